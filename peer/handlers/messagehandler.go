// Package handlers is the protocol of docs/protocol.md, sections 3 to 6, as a pure step: one
// message or moment comes in with the time, messages and events go out. It opens no socket
// and reads no clock, so the simulator runs the very code that ships.
//
// Each file tells one story: joining (fresh peers), founding (who may make a group),
// following (what a member does for its leader), leading, electing and monitoring; and, for peers that store, storing,
// returning and bidding. Three are values
// without sight of a Handler: acceptor (rule 1), detector (who is reachable) and clock. Role says what
// a peer is at a moment.
package handlers

import (
	"math"
	"time"

	"memberly/peer/types"
)

// Instant is a moment as one peer sees it.
type Instant struct {
	Run  time.Duration // steady, since any fixed moment in the life of the process; with Config.Stored above Stored.Clock
	Wall int64         // nanoseconds of the wall clock; used for new incarnations alone
}

// never is long before every moment.
const never = time.Duration(math.MinInt64 / 2)

// Config is what a peer knows from its start.
type Config struct {
	ID              types.ID
	Listed          []types.Host  // those of the hosts file, by ID-1
	Heartbeat       time.Duration // between two heartbeats
	Monitor         time.Duration // of silence that makes a peer unreachable; at least twice Heartbeat
	Drill           bool          // the leader-failure drill (docs/protocol.md, section 6)
	Salt            uint32        // random in each process
	RefusalTakes    time.Duration // from a refused dial until Undialed is called for it; 0 if it is at once
	ReformOnRefusal bool          // a host that refuses connections counts as gone for re-forming (rule 7)
	Stored          *types.Stored // what this host has stored so far; nil if it stores nothing (rule 9)
	JoinOnly        bool          // while it knows of no group it makes none, and does not vote for one (rules 7 and 9)
}

// Output is what a step did and asks of its caller, in this order: to note what is new of the hosts, to store, to tell the listeners, to send, to
// exit. It is good until the next step.
type Output struct {
	Hosts     []HostChange    // what is new of the hosts; new ones in the order of their ids, each the next
	Save      Save            // what is to be stored, while the peer goes on; then Saved is called
	Events    []Event         // what happened, for the listeners
	Redial    []types.ID      // open a new connection to each before sending to it
	RedialAt  []types.Addr    // for each of Redial, the only address to dial; invalid for any of the host's
	Messages  []types.Message // over TCP, each to its To
	Heartbeat *types.Message  // over UDP, to every other host of the file
	Misled    bool            // the message was for another incarnation, and was dropped; nothing needs to be done
	Late      bool            // and that incarnation was this process's own, before it took a new one
	Lease     Lease           // that the peer has after the step
	Exit      bool            // the peer is done, with
	Code      int             // this exit code
	Wake      time.Duration   // call Tick no later than this Instant.Run
}

// Handler is the protocol state of one peer. It is not safe for concurrent use: one
// goroutine owns it.
type Handler struct {
	Config
	clock
	out    Output
	exited bool

	identity
	position
	view types.View // zero unless it is a member

	acceptor        // its vote
	counter  uint64 // highest of the terms it has seen in its group
	requests uint64 // ids given to its requests

	listing listing
	follower
	detector
	heartbeats
	fresh    freshness
	storing  storing
	election election
	leaver
	supported supported  // of a member: whom it answers as a follower
	ceased    types.Term // under which it last led, and leads no more
	ceasedAt  time.Duration
	resigned  bool   // it has given up its lease for good
	told      uint64 // the fence of which it was last told that this peer leads; 0 for none
	reform    reforming
	waited    time.Duration // when it last told what it waits for
	totals    Tally         // for Status alone
}

// identity is who this peer is, and what it must be above.
type identity struct {
	incarnation types.Incarnation
	first       types.Incarnation // of this process
	highest     int64             // view number that this peer was ever told
	newest      types.Incarnation // of any host, that it was ever told
	topCounter  uint64            // highest of the terms that it was ever told, in any group
}

// follower is the leader that this peer follows, and what that leader has reported of others.
type follower struct {
	following        types.ID   // the peer whose lead it follows
	followed         types.Term // the term in which it does
	reportedByLeader []types.ID // members that the leader holds unreachable
	heeded           struct {   // the last message that listed missing members
		term    types.Term
		request uint64
	}
}

// heartbeats are those that this peer sends.
type heartbeats struct {
	nextHeartbeat time.Duration // when the next one is due
	lastHeartbeat types.Message
}

// leaver is the state of a peer that was told to leave (section 5). It may have any role meanwhile.
type leaver struct {
	leaving time.Duration // when it was told to, or never
	asked   time.Duration // when it last asked to be taken out
}

// New returns the handler of a peer that has not started.
func New(c Config) *Handler {
	return &Handler{Config: c, clock: clock{resumed: never}, leaver: leaver{leaving: never},
		listing: newListing(c.Listed), detector: newDetector(c.ID, len(c.Listed))}
}

// Start is the first step: the peer becomes fresh.
func (h *Handler) Start(now Instant) *Output {
	h.now = now
	if h.stores() {
		h.recall(h.Config.Stored)
	}
	h.becomeFresh()
	h.first = h.incarnation
	return h.Tick(now)
}

// Tick is the step of time: everything that is due is done.
func (h *Handler) Tick(now Instant) *Output {
	h.begin(now)
	h.wake = math.MaxInt64
	if h.joined() {
		h.tickMember()
	} else if h.role == roleFresh {
		h.tickFresh()
	}
	return h.end()
}

// Closed is the step of a connection with host that broke, or that the host closed.
func (h *Handler) Closed(now Instant, id types.ID) *Output {
	h.begin(now)
	if h.known(id) && h.joined() && h.view.Has(id) {
		h.probe(id, true)
	}
	return h.end()
}

// Undialed is the step of a connection that could not be made; began is when it was tried.
func (h *Handler) Undialed(now Instant, id types.ID, began time.Duration, o types.Outcome) *Output {
	h.begin(now)
	if h.known(id) {
		h.undialed(id, began-h.stood, o)
	}
	return h.end()
}

// Leave is the step of SIGTERM and SIGINT: the peer asks to be taken out, and exits with
// code 0 when that is done or a second has passed (docs/protocol.md, section 5). Calling it again changes nothing.
func (h *Handler) Leave(now Instant) *Output {
	h.begin(now)
	if h.leaving != never || h.exited {
		return h.end()
	}
	h.leaving = h.now.Run
	if !h.joined() {
		h.exit(0)
		return h.end()
	}
	h.note(Said).Text = "leaving"
	h.askToLeave()
	return h.end()
}

// Crash is the step of -c: the record, and exit code 1, without asking to leave.
func (h *Handler) Crash(now Instant) *Output {
	h.begin(now)
	h.crash()
	return h.end()
}

// View returns the view that the peer holds: the zero View if none.
func (h *Handler) View() types.View { return h.view }

// Incarnation returns the incarnation that the peer speaks as.
func (h *Handler) Incarnation() types.Incarnation { return h.incarnation }

// Standing returns what the peer is at the moment.
func (h *Handler) Standing() types.Standing {
	if h.returned() {
		return types.Returned
	}
	return h.role.standing()
}

// Leads reports whether the peer leads its group (rule 5).
func (h *Handler) Leads() bool { return h.leads() }

// Message is the step of a message m that came from an address of the host remote. The
// handler may keep m.View, which is never modified, but nothing else of m.
func (h *Handler) Message(now Instant, remote types.ID, m *types.Message) *Output {
	h.begin(now)
	switch {
	case h.exited:
	case (m.Kind == types.Join || m.Kind == types.Probe) && !h.sameHosts(m):
		h.refuseFile(remote, m)
	case m.Kind == types.Refused && m.Reason == types.Differs:
		if h.addressed(m) {
			h.onDiffers(remote, m)
		}
	case h.outlived(remote, m):
		h.endDeparture()
	case h.known(m.From) && m.From == remote && h.meant(m):
		h.highest, h.newest = max(h.highest, m.Number), max(h.newest, m.Incarnation)
		h.topCounter = max(h.topCounter, m.Term.Counter)
		h.hosts[m.From-1].lastContact = h.now.Run
		h.totals.received(m.Kind)
		h.noteSpeech(m)
		h.receive(m)
	}
	return h.end()
}

// meant reports whether m is for this incarnation of the peer, from one that may still speak
// (rule 4). An earlier incarnation than its host's last may ask and be told what it missed:
// where a clock was set back, it can be the one that lives.
func (h *Handler) meant(m *types.Message) bool {
	switch m.Kind {
	case types.Join, types.Probe, types.Heartbeat:
		if m.Kind == types.Join && h.stores() {
			return true // also while departing: who was let in may not know
		}
		return h.role != roleDeparting || m.Kind == types.Probe
	}
	if m.Kind > types.LastKind || h.aboutFounding(m) && (m.Kind == types.NewLeader || m.Kind == types.Req) {
		return true
	}
	if !h.addressed(m) {
		return false
	}
	if h.role == roleDeparting && m.Kind != types.OK {
		return false
	}
	return !h.mine(m) || m.Incarnation >= h.view.Past(m.From).Incarnation
}

// addressed reports whether this incarnation is the one that m names, and tells the caller of the
// step if it is not.
func (h *Handler) addressed(m *types.Message) bool {
	h.out.Misled = m.For != h.incarnation
	h.out.Late = h.out.Misled && m.For >= h.first && m.For < h.incarnation
	return !h.out.Misled
}

func (h *Handler) receive(m *types.Message) {
	h.locate(m)
	if h.mine(m) {
		h.counter = max(h.counter, m.Term.Counter)
		h.hear(m)
	}
	if h.aboutFounding(m) {
		h.onFounding(m)
		return
	}
	switch m.Kind {
	case types.Join:
		h.onJoin(m)
	case types.Heartbeat:
		h.onHeartbeat(m)
	case types.Probe:
		h.onProbe(m)
	case types.State:
		h.onState(m)
	case types.NewView:
		h.onNewView(m)
	case types.Req:
		if h.takeShown(m) {
			h.onRequest(m)
		}
	case types.NewLeader, types.Leave:
		h.onRequest(m)
	case types.Hosts:
		h.onHosts(m)
	case types.OK, types.PendingResponse, types.Refused:
		h.onAnswer(m)
	default:
		if !h.onAdded(m) {
			h.answer(m, types.Refused).Reason = types.Unknown // a later release sent it
		}
	}
}

// sender returns who sent m.
func sender(m *types.Message) types.Member {
	return types.Member{ID: m.From, Incarnation: m.Incarnation}
}

// mine reports whether m is of the group that this peer is a member of.
func (h *Handler) mine(m *types.Message) bool {
	return h.joined() && m.Group == h.view.Group
}

// onRequest handles what only a present member may ask, about one view only (rule 4).
func (h *Handler) onRequest(m *types.Message) {
	switch {
	case !h.mine(m):
	case m.Number < h.view.Number:
		h.showView(m)
	case m.Number > h.view.Number:
		h.answer(m, types.Refused).Reason = types.Behind
	case !h.view.Holds(sender(m)):
	case m.Kind == types.Leave:
		h.onLeave(m)
	case m.Term.Peer != m.From:
	case m.Kind == types.Req:
		h.onReq(m)
	default:
		h.onNewLeader(m)
	}
}

// onAnswer handles an answer, which counts only for its own request, term and view, from a
// present member (rule 4).
func (h *Handler) onAnswer(m *types.Message) {
	switch m.Reason {
	case types.Twice:
		h.refusedTwice(m)
		return
	case types.Settings:
		h.tellOfHost(m.From, MonitorDiffers)
		return
	case types.IsRetired:
		h.tellOfHost(m.From, SelfRetired)
		if h.mine(m) && m.Number > h.view.Number && !h.leaves() { // it was removed, and nobody speaks to it any more
			h.removed(types.Past{Cause: types.Retired})
		}
		return
	}
	if !h.mine(m) {
		return
	}
	if h.role == roleDeparting {
		h.onDepartureAnswer(m)
		return
	}
	if !h.view.Holds(sender(m)) {
		return
	}
	switch {
	case m.Kind == types.Refused && m.Reason == types.Behind:
		if m.Number < h.view.Number {
			h.hosts[m.From-1].behind, h.hosts[m.From-1].shown = true, 0
			h.showView(m)
		}
	case h.role == roleCandidate:
		h.onBallot(m)
	case h.role == roleLeader:
		h.onLeaderAnswer(m)
	}
}

// begin opens a step: the clock moves.
func (h *Handler) begin(now Instant) {
	o := &h.out
	*o = Output{Events: o.Events[:0], Redial: o.Redial[:0], RedialAt: o.RedialAt[:0], Messages: o.Messages[:0], Code: o.Code}
	if h.clock.advance(now, h.scaled(stallLimit)) {
		h.totals.Stalls++
		h.resume()
	}
}

func (h *Handler) end() *Output {
	if !h.exited && h.joined() && h.role != roleDeparting {
		h.review()
	}
	h.store()
	h.out.Hosts = h.listing.hostChanges()
	h.out.Lease = h.noteLease()
	h.out.Exit = h.exited
	// Waking this often guarantees that begin notices every stall.
	h.out.Wake = min(h.wake, h.nextLook(), h.now.Run+h.scaled(stallWatch)) + h.stood
	return &h.out
}

// send adds a message to the output and returns it to be filled in; it is good until the
// next send.
func (h *Handler) send(kind types.Kind, to types.ID) *types.Message {
	h.out.Messages = append(h.out.Messages, types.Message{
		Kind: kind, From: h.ID, To: to, Incarnation: h.incarnation,
		Group: h.view.Group, Number: h.view.Number,
		For: h.view.Incarnation(to), Addr: h.at(to),
	})
	return &h.out.Messages[len(h.out.Messages)-1]
}

// answer is send to the sender of m, for the request that m is.
func (h *Handler) answer(m *types.Message, kind types.Kind) *types.Message {
	a := h.send(kind, m.From)
	a.For, a.Request, a.Term, a.Addr = m.Incarnation, m.Request, h.promised, h.back(m)
	return a
}

func (h *Handler) crash() {
	h.note(Said).Text = "crashing"
	h.exit(1)
}

func (h *Handler) exit(code int) {
	h.exited, h.out.Code = true, code
}
