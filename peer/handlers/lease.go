package handlers

import (
	"cmp"
	"slices"
	"time"

	"memberly/peer/types"
)

// This page is rule 8 (docs/protocol.md): what lets a leader act as such, while it is certain that no other peer of
// its group may.

// Lease is the right of a leader to act: no other peer of its group has one before it ends. The zero Lease is none.
type Lease struct {
	Fence    uint64        // the leader's term as a number: larger than that of any earlier leader of its group
	Until    time.Duration // when it ends unless it is renewed, as an Instant.Run of the caller
	Resigned bool          // the leader has given it up (Resign), and keeps others from leading until it leaves
}

// Valid reports whether the lease lasts at now, an Instant.Run of the caller. Who acts upon a lease
// asks this at the moment it acts, not once.
func (l Lease) Valid(now time.Duration) bool { return l.Fence != 0 && !l.Resigned && now < l.Until }

// leaseShare is the share of the monitor interval that a lease lasts, in percent. The rest makes up for clocks whose
// rates differ.
const leaseShare = 98

// supported is the leader, or candidate, that a member has last answered as its follower: until a monitor interval
// after that, it answers no other so, and does not become a candidate.
type supported struct {
	peer  types.Member
	term  types.Term
	at    time.Duration // when it last did
	stamp uint64        // of the newest message with a stamp that it so answered
}

// free reports whether this member may answer id as its follower.
func (h *Handler) free(id types.ID) bool {
	b := &h.supported
	if h.ceasing() && id != h.ID {
		return false
	}
	return b.peer.ID == 0 || b.peer.ID == id || h.since(b.at) >= h.Monitor ||
		!h.view.Holds(b.peer) || h.known(b.peer.ID) && h.hosts[b.peer.ID-1].diedAfter(b.at)
}

// ceasing reports whether this peer has just ceased to lead: for a moment it keeps others from leading, so that what acts
// upon its lease can end before theirs begins.
func (h *Handler) ceasing() bool {
	return h.ceased != types.Term{} && h.leading == nil && h.since(h.ceasedAt) < h.paced(ceasePause)
}

// turnAway refuses m, a leader's request, because this member supports another peer, and looks into that one.
func (h *Handler) turnAway(m *types.Message) {
	h.answer(m, types.Refused).Reason = types.HasLeader
	if id := h.supported.peer.ID; id != 0 { // else it has just ceased to lead itself
		h.ask(id)
	}
}

// support notes that this member answers m as a follower of its term, or is about to in its heartbeats.
func (h *Handler) support(m *types.Message) {
	b := &h.supported
	if b.term != m.Term || b.peer != sender(m) {
		*b = supported{peer: sender(m), term: m.Term}
	}
	b.at = h.now.Run
	if stamped(m) {
		b.stamp = max(b.stamp, m.Request)
	}
}

// release forgets the leader that this member supports, if m, a heartbeat of it, shows that it will never lead under
// that term again: it says so, or has promised a higher one.
func (h *Handler) release(m *types.Message) {
	b, s := &h.supported, &h.election.sign
	ceased := func(t types.Term) bool {
		return t.Below(m.Term) && !m.Leads && m.Term.Peer != m.From || m.Ceased && t == m.Term // else it stands again
	}
	if b.peer == sender(m) && ceased(b.term) {
		*b = supported{}
	}
	if s.peer == m.From && ceased(s.term) {
		s.at = min(s.at, h.now.Run-h.Monitor)
		s.stamp = max(s.stamp, m.Request)
	}
}

// echo returns the stamp to be echoed to the peer of term t: 0 for none.
func (h *Handler) echo(t types.Term) uint64 {
	if h.supported.term != t || t != h.promised || h.supported.peer.ID != t.Peer {
		return 0
	}
	return h.supported.stamp
}

// extent is how long a leader may act, and what it knows for that. Unlike all else here, these are times of the caller's
// clock, which goes on while this peer stands still.
type extent struct {
	answered []time.Duration // by ID-1: when this peer sent the newest message of its term that the host has answered
	quorum   time.Duration   // when it sent the newest that a quorum has answered
	newer    int             // how many hosts, at most, have answered what was sent after that
	until    time.Duration   // the end of the lease
	tenure   time.Duration   // until when the peer leads, with a lease or without: a new view may need more answers
	since    time.Duration   // by this peer's own time: what it sent before does not count
}

func newExtent(hosts int, since time.Duration) extent {
	x := extent{answered: make([]time.Duration, hosts), quorum: never, until: never, since: since}
	for i := range x.answered {
		x.answered[i] = never
	}
	return x
}

// grow makes room for so many hosts.
func (x *extent) grow(hosts int) {
	for len(x.answered) < hosts {
		x.answered = append(x.answered, never)
	}
}

// answeredBy notes that id has answered what this leader sent at a moment of its own time.
func (h *Handler) answeredBy(id types.ID, sent time.Duration) {
	x := &h.leading.extent
	if sent < x.since || sent > h.now.Run {
		return
	}
	if sent += h.stood; sent <= x.answered[id-1] { // it has not stood still since
		return
	}
	if sent > x.quorum && x.answered[id-1] <= x.quorum {
		x.newer++
	}
	x.answered[id-1] = sent
	// In a large group most answers come while too few have: there is no need to look at all of them each time.
	if sent > x.quorum && h.view.Enough(1+x.newer, true) && h.view.Quorum(func(id types.ID) bool { return id == h.ID || x.answered[id-1] > x.quorum }) {
		h.extend()
	}
}

// echoed notes what m, a HEARTBEAT or STATE, says that its sender has answered as a follower.
func (h *Handler) echoed(m *types.Message) {
	if h.role == roleLeader && m.Heard != 0 && m.Term == h.leading.term && h.mine(m) && h.view.Holds(sender(m)) {
		h.answeredBy(m.From, time.Duration(m.Heard))
	}
}

// keepTime has this peer's next heartbeat follow that of its leader, m, so that it carries the newest stamp.
func (h *Handler) keepTime(m *types.Message) {
	if m.From == h.election.sign.peer && h.leading == nil && h.since(h.nextHeartbeat-h.pace()) >= h.Heartbeat/8 {
		h.nextHeartbeat = min(h.nextHeartbeat, h.now.Run+h.slot())
		h.due(h.nextHeartbeat)
	}
}

// slot is how long after its leader's heartbeat this member sends its own. No two go at one moment, and in a large group
// not so many in the time between two looks at the socket that a receiver's kernel has no room for them.
func (h *Handler) slot() time.Duration {
	if len(h.hosts) < manyHosts {
		return h.scaled(slotOfFew) * time.Duration(h.ID-1)
	}
	members := time.Duration(len(h.view.Members)) // they alone, so that half of them have answered after half the time
	return min(h.Heartbeat/2, h.scaled(slotOfMany)*members) * time.Duration(slices.Index(h.view.Members, h.ID)) / members
}

// The times between the heartbeats of two members that follow their leader's.
const (
	slotOfFew  = 100 * time.Microsecond
	slotOfMany = 500 * time.Microsecond
)

// pace is the time between two heartbeats of this peer. That of a follower is a little more than its leader's, which
// it waits for.
func (h *Handler) pace() time.Duration {
	if h.leading == nil {
		return h.Heartbeat * 23 / 22
	}
	return h.Heartbeat
}

// forgetFormer forgets what hosts have answered in lives that are no members of the present view: in another life they
// support nobody yet.
func (h *Handler) forgetFormer(before *types.View) {
	for _, id := range before.Members {
		if !h.view.Holds(types.Member{ID: id, Incarnation: before.Incarnation(id)}) {
			h.leading.extent.answered[id-1] = never
		}
	}
}

// extend sets the end of the lease to where the answers so far allow it in the present view.
func (h *Handler) extend() {
	x := &h.leading.extent
	x.quorum, x.newer = h.quorumAnswered(&h.view), 0
	for _, sent := range x.answered {
		if sent > x.quorum {
			x.newer++
		}
	}
	x.until = x.quorum + h.leaseLength()
	x.tenure = max(x.tenure, x.until)
}

func (h *Handler) leaseLength() time.Duration { return h.Monitor * leaseShare / 100 }

// quorumAnswered returns when this leader sent the newest message that a quorum of v has answered; never if none
// has. It answers itself at any moment.
func (h *Handler) quorumAnswered(v *types.View) time.Duration {
	x := &h.leading.extent
	count, leader := 1, v.Leader == h.ID
	if v.Enough(count, leader) {
		return h.elapsed()
	}
	newest := slices.Clone(v.Members)
	slices.SortFunc(newest, func(a, b types.ID) int { return cmp.Compare(x.answered[b-1], x.answered[a-1]) })
	for _, id := range newest {
		if id == h.ID || x.answered[id-1] == never {
			continue
		}
		count++
		leader = leader || id == v.Leader
		if v.Enough(count, leader) {
			return x.answered[id-1]
		}
	}
	return never
}

// ruling reports whether the tenure of a leader lasts at this step.
func (h *Handler) ruling() bool { return h.elapsed() < h.leading.extent.tenure }

// keepsLease reports whether this leader would have its lease in next, if it has one now.
func (h *Handler) keepsLease(next *types.View) bool {
	return !h.lease().Valid(h.elapsed()) || h.quorumAnswered(next)+h.leaseLength() > h.elapsed()
}

// lease returns the lease that the peer has. A leader that may have to settle what an earlier one has proposed has
// none yet: it does not know whether that was chosen, and leads in the next view.
func (h *Handler) lease() Lease {
	if !h.leads() || !h.leading.ready || h.leading.inherits || h.leading.settle.Change.Operation != types.Nothing {
		return Lease{}
	}
	return Lease{Fence: h.leading.term.Fence(), Until: h.leading.extent.until, Resigned: h.resigned || h.leaving != never}
}

// noteLease returns the lease, and notes that the peer begins to lead with one, or ceases to.
func (h *Handler) noteLease() Lease {
	l := h.lease()
	now := l
	if !l.Valid(h.elapsed()) {
		now = Lease{}
	}
	if h.told != 0 && h.told != now.Fence {
		h.note(Ceased).Fence = h.told
		h.told = 0
	}
	if h.told == 0 && now.Fence != 0 {
		h.note(Leads).Fence = now.Fence
		h.totals.Led++
		h.told = now.Fence
	}
	return l
}

// leasePatience is the age of the newest message that a quorum has answered at which a leader asks who has not
// answered lately. In a large group heartbeats are read late.
func (h *Handler) leasePatience() time.Duration {
	if len(h.hosts) >= manyHosts {
		return h.patience() + h.Heartbeat/3
	}
	return h.patience()
}

// manyHosts is the size of a group from which on heartbeats do not wake a peer (docs/protocol.md, section 4).
const manyHosts = 32

// tickLease asks the members for the answers that the lease needs, where heartbeats have brought none.
func (h *Handler) tickLease() {
	if h.role != roleLeader {
		return
	}
	x, limit := &h.leading.extent, h.leasePatience()
	if h.view.Enough(1, h.view.Leader == h.ID) {
		h.extend()
	}
	if age := h.elapsed() - x.quorum; age < limit {
		h.due(h.now.Run + limit - age)
		return
	}
	for _, id := range h.view.Members {
		if id != h.ID && h.elapsed()-x.answered[id-1] >= limit {
			h.ask(id)
		}
	}
	h.due(h.now.Run + h.retry())
}

// Resign is the step that comes before Leave where listeners have something to end first: a leader gives up its
// lease, and leads on otherwise, so that nobody else has one before it leaves.
func (h *Handler) Resign(now Instant) *Output {
	h.begin(now)
	h.resigned = true
	return h.end()
}
