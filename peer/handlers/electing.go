package handlers

import (
	"time"

	"memberly/peer/types"
)

// leaderSeen is the last thing that showed a peer to lead: REQ, NEWVIEW, or a heartbeat or answer
// to PROBE that says so.
type leaderSeen struct {
	peer  types.ID
	term  types.Term
	at    time.Duration
	stamp uint64 // of the newest message with a stamp that showed it, or showed that it leads no more; 0 for none
}

// election is what a member knows of who leads, or might.
type election struct {
	sign       leaderSeen
	grant      leaderSeen    // the NEWLEADER it last granted
	deferred   types.Message // a NEWLEADER it refused because it had a leader
	deferredAt time.Duration
	leaderless time.Duration // since when it has no leader; never while it has
	vacant     time.Duration // since when it has neither leader nor granted candidate
	deposed    time.Duration // when this peer last lost its quorum while it led
	declined   time.Duration // when a quorum last said that there is a leader, which this peer does not hear
	declines   int           // how often, one after the other
}

func noElection() election {
	return election{sign: leaderSeen{at: never}, grant: leaderSeen{at: never}, deferredAt: never,
		leaderless: never, vacant: never, deposed: never, declined: never}
}

// stamped reports whether the request of m is the moment at which it was sent, by its sender's clock.
func stamped(m *types.Message) bool { return m.Kind == types.Heartbeat || m.Kind == types.Probe }

// outrun reports whether m is old: what its sender sent then or later has shown that it leads, or that it leads no more.
func (h *Handler) outrun(m *types.Message) bool {
	s := &h.election.sign
	return stamped(m) && s.stamp != 0 && s.peer == m.From && s.term == m.Term && m.Request <= s.stamp
}

// noteSign notes that m has shown at a moment that its sender leads.
func (h *Handler) noteSign(m *types.Message, at time.Duration) {
	s := leaderSeen{peer: m.From, term: m.Term, at: at}
	if last := &h.election.sign; s.peer == last.peer && s.term == last.term {
		s.stamp = last.stamp
	}
	if stamped(m) {
		s.stamp = m.Request
	}
	h.election.sign = s
}

// sawLeader notes that the sender of m says that it leads, in a term not below the promise.
func (h *Handler) sawLeader(m *types.Message) {
	if h.view.Holds(sender(m)) && m.Term.Peer == m.From && h.obeys(m.Term) && !h.outrun(m) {
		h.becomeFollower()
		at := h.now.Run - m.Waited
		if m.From == h.election.sign.peer {
			at = max(at, h.election.sign.at)
		}
		h.noteSign(m, at)
		if m.Term == h.promised && h.free(m.From) {
			h.support(m)
		}
	}
}

// holdsGood reports whether s is recent, from a member that is reachable.
func (h *Handler) holdsGood(s leaderSeen) bool {
	return h.since(s.at) < h.Monitor && (h.reaches(s.peer) || h.speaks(s.peer)) && h.obeys(s.term)
}

// leaderIsSilent reports whether the leader has fallen silent, and is not yet unreachable: it leads until
// it is, so that its failure is recorded as the leader's.
func (h *Handler) leaderIsSilent(s leaderSeen) bool {
	return s.at != never && h.reaches(s.peer) && h.obeys(s.term) &&
		h.since(h.hosts[s.peer-1].heard) >= h.patience()
}

// hasLeader reports whether another peer leads this one.
func (h *Handler) hasLeader() bool {
	return h.joined() && h.leading == nil &&
		(h.holdsGood(h.election.sign) || h.leaderIsSilent(h.election.sign))
}

// review is done at the end of every step: it finds out whether the leader is lost, and
// whether it is this peer's turn to stand (rule 5).
func (h *Handler) review() {
	e := &h.election
	if h.role == roleLeader && (!h.quorate || !h.ruling()) {
		e.deposed = h.now.Run
		h.becomeFollower()
		h.due(h.now.Run)
	}
	if h.role == roleLeader {
		h.until(h.leading.extent.until - h.stood)
		h.until(h.leading.extent.tenure - h.stood)
	}
	led := h.leads() || h.hasLeader()
	mark(&e.leaderless, !led, h.now.Run)
	mark(&e.vacant, !led && !h.holdsGood(e.grant), h.now.Run)
	if led {
		e.declined, e.declines = never, 0
		h.tellLeader()
		h.progress()
		if h.leading == nil {
			h.until(e.sign.at + h.Monitor)
		}
		return
	}
	if e.vacant != never && h.free(e.deferred.From) && h.since(e.deferredAt) < h.retry()+h.RefusalTakes {
		m := e.deferred
		e.deferredAt = never
		h.onRequest(&m)
		h.review()
		return
	}
	if e.vacant == never {
		h.until(e.grant.at + h.Monitor)
		return
	}
	if h.role != roleFollower || !h.quorate || h.leaving != never {
		return
	}
	if turn := h.turn(); h.now.Run < turn {
		h.due(turn)
		return
	}
	if h.leaderGone() {
		h.stand(types.Term{})
	} else {
		h.preVote()
	}
}

// leaderGone reports whether the peer that this one last followed certainly leads no more.
func (h *Handler) leaderGone() bool {
	id := h.followed.Peer
	return id != 0 && id != h.ID && (!h.view.Has(id) || h.hosts[id-1].dead)
}

// preVote asks all members whether they would grant this peer a term, and changes nothing otherwise: where a quorum
// has a leader that this peer alone does not hear, that leader keeps its term (rule 5).
func (h *Handler) preVote() {
	h.reportFollowed()
	r := h.newRound(types.NewLeader, h.nextTerm(), &h.view)
	r.message.Change.Operation, r.message.PreVote = types.Pending, true
	h.becomeCandidate(r)
	h.call(r, &h.view)
	if r.done {
		h.stand(r.message.Term)
	}
}

// nextTerm returns a term of this peer above all that it has seen.
func (h *Handler) nextTerm() types.Term {
	return types.Term{Counter: max(h.counter, h.promised.Counter) + 1, Peer: h.ID}
}

// reportFollowed records that the peer that this one follows has failed, if it is unreachable.
func (h *Handler) reportFollowed() {
	if h.view.Has(h.following) && !h.reaches(h.following) {
		h.report(h.following)
	}
}

// turn returns when it is this peer's turn to stand (rules 5 and 8).
func (h *Handler) turn() time.Duration {
	e := &h.election
	turn := max(e.vacant, h.regained) + time.Duration(h.place())*h.Monitor
	if e.vacant > e.leaderless && h.reaches(e.grant.peer) {
		turn = max(turn, e.vacant+h.retry()) // other grants run out now, too: it may just win
	}
	if e.declined != never {
		turn = max(turn, e.declined+h.Monitor<<(e.declines-1))
	}
	if !h.free(h.ID) {
		turn = max(turn, h.supported.at+h.Monitor)
	}
	return turn
}

// mark keeps in t since when a condition holds.
func mark(t *time.Duration, holds bool, now time.Duration) {
	if !holds {
		*t = never
	} else if *t == never {
		*t = now
	}
}

// place counts the reachable members whose turn to stand comes before this peer's.
func (h *Handler) place() int {
	n := 0
	for _, id := range h.view.Members {
		if id != h.ID && h.reaches(id) && h.precedes(id, h.ID) {
			n++
		}
	}
	return n
}

// precedes reports whether a stands before b: the lower id does, but those that yield come last.
func (h *Handler) precedes(a, b types.ID) bool {
	if yields := h.yields(a); yields != h.yields(b) {
		return !yields
	}
	return a < b
}

// yields reports whether a member lets the others stand first: it said lately that it hears no quorum, or
// it led until lately and does so no more (rule 5). Else one with a bad link would lead again and again.
func (h *Handler) yields(id types.ID) bool {
	e := &h.election
	if id == h.ID {
		return h.hosts[id-1].unfit || h.since(e.deposed) < 3*h.Monitor
	}
	return h.hosts[id-1].unfit || id == e.sign.peer && h.since(e.sign.at) < 3*h.Monitor
}

// stand asks all members to be led by this peer, under a new term, that of its pre-vote or, where the view has
// changed under a candidacy, that of the candidacy.
func (h *Handler) stand(term types.Term) {
	if term.Peer != h.ID || !h.obeys(term) {
		term = h.nextTerm()
	}
	h.counter = max(h.counter, term.Counter)
	h.reportFollowed()
	h.promise(term)
	r := h.newRound(types.NewLeader, term, &h.view)
	r.asked = h.now.Run
	if c := h.candidacy; h.role == roleCandidate && !c.message.PreVote && c.message.Term == term {
		r.asked = c.asked
	}
	r.message.Change.Operation = types.Pending
	h.becomeCandidate(r)
	h.call(r, &h.view)
	if r.done {
		h.lead(term, h.accepted, r)
	}
}

// standAgain is for a leader whose term is no longer the highest: it stands at once above
// it, unless another leads.
func (h *Handler) standAgain(above types.Term) {
	h.counter = max(h.counter, above.Counter)
	if h.quorate && h.free(h.ID) {
		h.stand(types.Term{})
	} else {
		h.becomeFollower()
	}
}

// onNewLeader grants a candidate its term, or says why not.
func (h *Handler) onNewLeader(m *types.Message) {
	e := &h.election
	switch {
	case !h.obeys(m.Term):
		h.answer(m, types.Refused).Reason = types.Promised
	case h.leads():
		h.answer(m, types.Refused).Reason = types.HasLeader
		if !m.PreVote {
			h.standAgain(m.Term)
		}
	case !h.free(m.From) || m.From != h.following && (h.hasLeader() || e.grant.peer != m.From && h.holdsGood(e.grant)):
		if h.since(max(h.supported.at, e.sign.at)) < h.Monitor-h.retry() { // else it may miss its leader in a moment, too
			h.answer(m, types.Refused).Reason = types.HasLeader
		}
		e.deferred, e.deferredAt = *m, h.now.Run
		e.deferred.Unreachable = nil
		h.doubt(m)
	case m.PreVote:
		h.answer(m, types.PendingResponse).Term = m.Term
	default:
		h.grant(m)
	}
}

// grant promises the candidate's term.
func (h *Handler) grant(m *types.Message) {
	h.becomeFollower()
	h.promise(m.Term)
	if h.election.grant.term != m.Term {
		h.election.grant = leaderSeen{peer: m.From, term: m.Term, at: h.now.Run}
	}
	h.ok(m, types.PendingResponse)
}

// doubt looks into a leader that a candidate holds unreachable.
func (h *Handler) doubt(m *types.Message) {
	leader := h.election.sign.peer
	for _, id := range m.Unreachable {
		if id == leader {
			h.ask(id)
		}
	}
}

// onBallot counts the answers to a candidacy.
func (h *Handler) onBallot(m *types.Message) {
	if !h.quorate {
		h.becomeFollower() // grants of members that are gone since make no leader
		return
	}
	r := h.candidacy
	if m.Request != r.message.Request || m.Number != h.view.Number {
		return
	}
	if m.Kind == types.Refused && m.Reason == types.Promised && r.message.Term.Below(m.Term) {
		h.counter = max(h.counter, m.Term.Counter)
		r.outbid = true // tickCandidacy stands above it
		return
	}
	if m.Kind == types.Refused && m.Reason == types.HasLeader {
		r.led.add(&h.view, m.From) // tickCandidacy looks at it: they look into their leader, and may grant this yet
		return
	}
	if m.Kind != types.PendingResponse || m.Term != r.message.Term || !h.isPossible(m.Change) {
		return
	}
	r.learn(types.Accepted{Term: m.Accepted, Change: m.Change})
	if r.add(&h.view, m.From) {
		h.won(r)
	}
}

// won goes on with a candidacy that a quorum has granted.
func (h *Handler) won(r *round) {
	switch {
	case r.message.PreVote && !h.free(h.ID):
		h.becomeFollower()
	case r.message.PreVote:
		h.stand(r.message.Term)
	default:
		r.learn(h.accepted)
		h.lead(r.message.Term, r.settle, r)
	}
}

// isDeclined reports whether so many members have said that they have a leader that the others are no quorum.
func (h *Handler) isDeclined(r *round) bool {
	return r.led.count > 0 && !h.view.Quorum(func(id types.ID) bool { return h.reaches(id) && !r.led.has(id) })
}

// declined gives up a candidacy because a quorum has a leader, which this peer alone does not hear: it stands again later,
// and later each time.
func (h *Handler) declined() {
	h.becomeFollower()
	h.election.declined = h.now.Run
	h.election.declines = min(h.election.declines+1, 3)
}

// tickCandidacy asks again; under a higher term if one was seen.
func (h *Handler) tickCandidacy() {
	r := h.candidacy
	switch {
	case h.role != roleCandidate:
		return
	case !h.quorate:
		h.becomeFollower()
		return
	case h.since(r.sent) < h.retry():
	case h.isDeclined(r):
		h.declined()
		h.due(h.now.Run)
		return
	case r.outbid && r.message.PreVote:
		h.preVote()
		return
	case r.outbid:
		h.stand(types.Term{})
		return
	default:
		h.call(r, &h.view)
	}
	h.due(r.sent + h.retry())
}
