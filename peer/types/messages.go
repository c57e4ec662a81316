package types

import (
	"net/netip"
	"time"
)

// Kind is the kind of a message: see the table of docs/protocol.md, section 3.
type Kind uint8

// The messages. All but HEARTBEAT go over TCP.
const (
	Join            Kind = iota + 1 // a fresh peer asks to join
	Req                             // a leader proposes a change
	OK                              // answers REQ and NEWVIEW
	NewView                         // announces the present view
	NewLeader                       // a candidate asks for promises
	PendingResponse                 // answers NEWLEADER with a promise and the pending change
	Heartbeat                       // shows over UDP that its sender runs
	Leave                           // a member asks the leader to remove it
	Probe                           // asks for the receiver's STATE
	State                           // answers PROBE, and a JOIN to a peer that does not lead
	Refused                         // refuses a request, with a reason
	Echo                            // a doctor tests a connection; over TCP and UDP, not part of the protocol
	Echoed                          // answers ECHO on the same route; over TCP also on a new connection
	Hosts                           // asks for hosts that the sender does not know, or lists them
)

func (k Kind) String() string {
	if k > Hosts {
		return laterName(k)
	}
	return name(k, "?", "JOIN", "REQ", "OK", "NEWVIEW", "NEWLEADER", "PENDINGRESPONSE",
		"HEARTBEAT", "LEAVE", "PROBE", "STATE", "REFUSED", "ECHO", "ECHOED", "HOSTS")
}

// Standing is the relation of a peer to its group.
type Standing uint8

// The standings of a peer.
const (
	Fresh    Standing = iota + 1 // it holds no view, and asks to join
	Out                          // it was expelled, and stays out
	Joined                       // it holds a view
	Returned                     // it was a member before it crashed, and asks to join
)

func (s Standing) String() string { return name(s, "?", "fresh", "out", "member", "returned") }

// Free reports whether a peer of this standing is bound to no view.
func (s Standing) Free() bool { return s == Fresh || s == Out }

// Reason is why a message was refused.
type Reason uint8

// The reasons of a refusal.
const (
	Promised  Reason = iota + 1 // the sender has promised a higher term, which is in Term
	HasLeader                   // to NEWLEADER: the sender has a leader
	Behind                      // the sender holds an earlier view
	Differs                     // to JOIN and PROBE: the hosts files differ
	Twice                       // the host runs two processes, at the addresses in Lives
	Elsewhere                   // to JOIN and PROBE: the sender lists the host at another address: Lives
	Settings                    // to JOIN: the sender runs with another -monitor
	Unknown                     // the sender does not know this kind of message
	Storing                     // the sender has not stored yet what it will answer
	Founded                     // to NEWLEADER and REQ about view 0: the sender knows of a group
	IsRetired                   // to JOIN: the host is retired
)

func (r Reason) String() string {
	return name(r, "?", "promised", "has a leader", "behind", "hosts files differ", "runs twice", "is elsewhere", "-monitor differs", "unknown kind", "is storing", "a group exists", "is retired")
}

// Addr is the IP address of a process. The protocol only compares it and passes it on.
type Addr = netip.Addr

// Message is any message of the protocol. docs/protocol.md lists the fields that each kind uses; the
// others are zero.
type Message struct {
	Kind        Kind
	From, To    ID
	Incarnation Incarnation // the sender's
	For         Incarnation // the receiver's, as the sender knows it; 0 in JOIN, PROBE and HEARTBEAT
	Group       Group       // the sender's; zero if it holds no view
	Number      int64       // the number of the view that the message is about; 0 for none
	Request     uint64      // the number of this request, or of the one that it answers. HEARTBEAT: when it was sent, by the sender's clock
	Heard       uint64      // HEARTBEAT, STATE: the Request of the newest HEARTBEAT or PROBE that the sender has answered to as a follower of Term; 0 for none
	Term        Term        // the sender's. REFUSED: its promise. STATE of a follower: its leader's

	Change      Change // REQ: the proposed one. OK, PENDINGRESPONSE: the accepted one. NEWVIEW: the one that made the view. NEWLEADER: Pending
	Made        Change // REQ: the one that made the view that it is about, for a peer that holds the view before; NOTHING for a peer that holds it, or gets it in View
	Chosen      Term   // NEWVIEW, REQ with Made or View: a term in which the view was chosen
	Accepted    Term   // OK, PENDINGRESPONSE: the term in which Change was accepted
	View        *View  // NEWVIEW, REQ: the whole view; nil to a peer that holds the view before
	Unreachable []ID   // REQ, NEWVIEW, NEWLEADER: members that the sender finds unreachable. HEARTBEAT: some members that it does not hear

	Unanswered bool          // NEWVIEW: its leader needs no answer
	PreVote    bool          // NEWLEADER: the sender only asks whether it would be granted; who answers promises nothing
	Standing   Standing      // STATE; ECHOED: 0 from a doctor
	Leads      bool          // STATE, HEARTBEAT, PROBE: the sender leads
	Ceased     bool          // HEARTBEAT: the sender has led under Term, and never will again
	Speaks     uint8         // JOIN, PROBE, HEARTBEAT over UDP: the highest wire version that the sender speaks; 0 where it does not say
	Monitor    time.Duration // JOIN: the sender's -monitor
	HasLeader  bool          // STATE: the sender has a leader, or leads
	Last       Incarnation   // STATE: the last incarnation of the receiver's host that the sender knows
	Reason     Reason        // REFUSED
	Lives      [2]Addr       // REFUSED, Twice: the addresses of the two processes; first the member's or the leader's. Elsewhere: where the sender lists the host, and where the host sends from
	Lines      int           // JOIN, PROBE, ECHO, ECHOED, REFUSED with Differs: how many hosts Digest is of; 0 in ECHO and ECHOED that only ask and say whether a host runs
	Digest     uint64        // JOIN, PROBE, ECHO, ECHOED, REFUSED with Differs: that of the first Lines hosts that the sender lists. NEWLEADER and REQ about view 0: as File
	Full       int           // JOIN, PROBE: how many hosts the sender lists in all
	File       uint64        // HEARTBEAT, STATE: the FileDigest of the sender's hosts file
	First      ID            // HOSTS: the first of Listed or, without these, the first host that is asked for
	Listed     []Host        // HOSTS: at most MaxListed bytes of them, in order, with addresses without a zone; none asks for them
	Broadcast  bool          // ECHO, ECHOED: the question was sent by broadcast

	// Not sent.
	Waited time.Duration // how long it waited unread at the receiver, as far as known
	Addr   Addr          // of a received message, its source; of one to send, the only address to send it to, or invalid for any of the host's
	Stale  bool          // of a received STATE: neither has the hosts file the sender's address, nor did the name service give it lately
}

// Outcome is the result of an attempt to connect to a host.
type Outcome uint8

// The outcomes of a dial that failed.
const (
	NoAnswer     Outcome = iota + 1 // no address of the host answered in time, or the network reported an error: silence
	Refusal                         // every address of the host refused the connection
	NoName                          // the name service answered that there is no such name
	Unresolved                      // the name service gave no address lately, nor answered that there is no such name; an address that it gave before did not answer
	StaleRefusal                    // as Refusal, but all that is known of the addresses is that the host had them once
)

// Refused reports whether every address of the host refused, whether or not they are current.
func (o Outcome) Refused() bool { return o == Refusal || o == StaleRefusal }

func (o Outcome) String() string {
	return name(o, "?", "no answer", "refused", "no such name", "not resolved", "refused where it was")
}
