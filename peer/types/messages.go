package types

import (
	"net/netip"
	"time"
)

// Kind is what a message is for: the table of docs/protocol.md, section 3.
type Kind uint8

// The messages. All but HEARTBEAT go over TCP.
const (
	Join            Kind = iota + 1 // a fresh peer asks to be let in
	Req                             // a leader proposes a change
	OK                              // the answer to REQ and NEWVIEW
	NewView                         // this is the view now
	NewLeader                       // a candidate asks to lead
	PendingResponse                 // the answer to NEWLEADER: the promise, and what was accepted
	Heartbeat                       // I am here; over UDP
	Leave                           // a member asks the leader to take it out
	Probe                           // are you there?
	State                           // the answer to PROBE, and to a JOIN that only a leader can help
	Refused                         // no, and why
	Echo                            // a doctor asks whether this comes through; over TCP and UDP, outside the protocol
	Echoed                          // the answer to ECHO, on the same lane; over TCP on a new connection too
)

func (k Kind) String() string {
	return name(k, "?", "JOIN", "REQ", "OK", "NEWVIEW", "NEWLEADER", "PENDINGRESPONSE",
		"HEARTBEAT", "LEAVE", "PROBE", "STATE", "REFUSED", "ECHO", "ECHOED")
}

// Hosts returns how many hosts the ids in a message of this kind may be of, where the hosts
// file lists so many. Those who ask, and who refuse, may have another file: it must be
// possible to tell them.
func (k Kind) Hosts(listed int) int {
	switch k {
	case Join, Probe, Refused, Echo, Echoed:
		return MaxHosts
	}
	return listed
}

// Standing is what a peer is at the moment.
type Standing uint8

// The standings of a peer.
const (
	Fresh  Standing = iota + 1 // holds no view and asks to join
	Out                        // was expelled, and stays out
	Joined                     // holds a view
)

func (s Standing) String() string { return name(s, "?", "fresh", "out", "member") }

// Reason says why a message was refused.
type Reason uint8

// The reasons of a refusal.
const (
	Promised  Reason = iota + 1 // a higher term was promised: Term
	HasLeader                   // NEWLEADER: somebody leads already
	Behind                      // the sender of the refusal holds an earlier view
	Differs                     // JOIN, PROBE: the hosts files differ
	Twice                       // another process of the same host runs at another address: Lives
	Elsewhere                   // JOIN, PROBE: the sender of the refusal has the host at another address: Lives
)

func (r Reason) String() string {
	return name(r, "?", "promised", "has a leader", "behind", "hosts files differ", "runs twice", "is elsewhere")
}

// Addr is where a process is: an IP address, as a value. The protocol compares it and hands it on.
type Addr = netip.Addr

// Message is every message of the protocol; which fields a kind uses is in its table
// (docs/protocol.md), and the others are zero.
type Message struct {
	Kind        Kind
	From, To    ID
	Incarnation Incarnation // the sender's
	For         Incarnation // the receiver's that is meant; 0 in JOIN, PROBE and HEARTBEAT
	Group       Group       // the sender's; zero if it holds no view
	Number      int64       // of the view that the message is about; 0 for none
	Request     uint64      // which request this is, or answers. HEARTBEAT: when it was sent, by the sender's clock
	Heard       uint64      // HEARTBEAT: the newest time of Term's peer that the sender has heard, by that one's clock
	Term        Term        // of the sender; in a refusal, the promise; in STATE of a follower, its leader's

	Change      Change // REQ: proposed. OK, PENDINGRESPONSE: accepted. NEWVIEW: what made the view. NEWLEADER: PENDING
	Accepted    Term   // OK, PENDINGRESPONSE: the term in which Change was accepted
	View        *View  // NEWVIEW: the whole view; nil to one that holds the view before
	Unreachable []ID   // REQ, NEWVIEW, NEWLEADER: whom the sender holds unreachable. HEARTBEAT: some whom it does not hear

	Standing  Standing    // STATE; ECHOED: 0 from a doctor
	Leads     bool        // STATE, HEARTBEAT: the sender leads
	HasLeader bool        // STATE: the sender has a leader, or leads
	Last      Incarnation // STATE: the last incarnation of the receiver's host that the sender knows
	Reason    Reason      // REFUSED
	Lives     [2]Addr     // REFUSED, Twice: where the two processes are; first the member, or the leader. Elsewhere: where the host is listed, and where it sends from
	Digest    uint64      // JOIN, PROBE, ECHO, ECHOED: of the hosts file
	Broadcast bool        // ECHO, ECHOED: the question was sent by broadcast

	// Not sent.
	Waited time.Duration // how long it lay with the receiver unread, as far as is known
	Addr   Addr          // received: where it came from. To be sent: the only address to send it to; invalid for any of the host's
}

// Outcome is what came of trying to connect to a host.
type Outcome uint8

// The outcomes of a dial that failed.
const (
	NoAnswer   Outcome = iota + 1 // an address is known, and nothing came back in time, or the network said no: silence
	Refusal                       // every address of the host refused the connection
	NoName                        // the name service says that there is no such name
	Unresolved                    // no address is known: the name service gave none, and did not say that there is no such name
)

func (o Outcome) String() string {
	return name(o, "?", "no answer", "refused", "no such name", "not resolved")
}
