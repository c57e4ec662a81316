package handlers

import (
	"slices"

	"memberly/peer/types"
)

// onReq accepts the change of a leader whose term is not below the promise.
func (h *Handler) onReq(m *types.Message) {
	if !h.obeys(m.Term) || !h.view.Admits(m.Change) {
		h.answer(m, types.Refused).Reason = types.Promised
		return
	}
	if !h.free(m.From) {
		h.turnAway(m)
		return
	}
	h.follow(m)
	if causeIsFailure(m.Change.Cause) {
		h.report(m.Change.Member.ID)
	}
	h.accept(m.Term, m.Change, h.now.Run)
	h.ok(m, types.OK)
}

// ok answers m with what this member has accepted.
func (h *Handler) ok(m *types.Message, kind types.Kind) {
	a := h.answer(m, kind)
	if kind == types.OK || h.supported.term != m.Term || h.supported.peer != sender(m) {
		h.support(m)
	}
	a.Term = m.Term
	a.Change, a.Accepted = h.accepted.Change, h.accepted.Term
}

// follow makes this peer follow the peer of m's term, which is not below the promise. First
// it records the failures that the sender has noticed and it has not.
func (h *Handler) follow(m *types.Message) {
	if m.From == m.Term.Peer {
		h.noteNamed(m)
		h.noteSign(m, h.now.Run)
	}
	h.following, h.followed = m.Term.Peer, m.Term
	switch changed := h.promise(m.Term); {
	case changed:
		h.misses = h.lacking > 0 && slices.ContainsFunc(h.view.Members, h.silent)
		h.becomeFollower() // what it leads or stands for is under the term that it had promised
	case h.role == roleCandidate && m.From == m.Term.Peer:
		h.becomeFollower() // a pre-vote has promised nothing: its leader still leads it, and it is about to support it
	}
}

// noteNamed records the failures that m names, unless its sender has said that or something later before, or
// is held unreachable itself: then this may be very old.
func (h *Handler) noteNamed(m *types.Message) {
	if m.Term == h.heeded.term && m.Request <= h.heeded.request || h.hosts[m.From-1].gone {
		return
	}
	h.heeded.term, h.heeded.request = m.Term, m.Request
	h.reportedByLeader = append(h.reportedByLeader[:0], m.Unreachable...)
	for _, id := range m.Unreachable {
		if h.known(id) && h.view.Has(id) {
			h.report(id)
		}
	}
}

// takeShown moves on to the view that m, a REQ, shows, as NEWVIEW would. It reports whether m is to be handled then.
func (h *Handler) takeShown(m *types.Message) bool {
	if m.View == nil && m.Made.Operation == types.Nothing || h.joined() && m.Number <= h.view.Number {
		return true
	}
	shown := *m
	shown.Kind, shown.Change, shown.Unanswered = types.NewView, m.Made, true
	h.onNewView(&shown)
	return h.joined() && h.view.Number >= m.Number
}

// onNewView installs the view of m if it is newer, and answers its leader.
func (h *Handler) onNewView(m *types.Message) {
	if h.role == roleFresh {
		h.onFirstView(m)
		return
	}
	if !h.mine(m) {
		return
	}
	if m.Number < h.view.Number {
		h.showView(m)
		return
	}
	if m.Number > h.view.Number && !h.advance(m) {
		return
	}
	obeyed := h.obeys(m.Term)
	if obeyed && h.view.Has(m.Term.Peer) && (h.followed != m.Term || m.From == m.Term.Peer) {
		h.follow(m)
	}
	switch {
	case m.From != m.Term.Peer || m.Unanswered:
	case obeyed && !h.free(m.From):
		h.turnAway(m)
	case obeyed:
		h.ok(m, types.OK)
	default:
		h.answer(m, types.Refused).Reason = types.Promised
	}
}

// advance moves on to the later view of m. It returns false if there is nothing to answer:
// the view cannot be known yet, or this peer is not in it.
func (h *Handler) advance(m *types.Message) bool {
	next := m.View
	if next == nil {
		if m.Number != h.view.Number+1 || !h.view.Admits(m.Change) {
			h.answer(m, types.Refused).Reason = types.Behind
			return false
		}
		v := h.view.With(m.Change)
		v.Term = m.Chosen
		next = &v
		h.noteGrowth(m.Change)
	} else if !h.knowsHosts(m) {
		return false
	}
	h.reportRemoved(next)
	if h.obeys(m.Term) {
		h.follow(m)
	}
	if !next.Holds(types.Member{ID: h.ID, Incarnation: h.incarnation}) {
		h.removed(next.Past(h.ID))
		return false
	}
	h.install(next)
	if h.role == roleLeader {
		h.announce(types.Change{}) // its term is the highest, but for this view it is not prepared
	}
	return true
}

// reportRemoved records the failures of the members that next no longer holds, unless this peer has done so.
func (h *Handler) reportRemoved(next *types.View) {
	for _, id := range h.view.Members {
		was := h.view.Incarnation(id)
		if now := next.Past(id); now.Incarnation > was || causeIsFailure(now.Cause) {
			h.report(id)
		}
	}
}

func causeIsFailure(c types.Cause) bool { return c == types.Unreachable || c == types.Restarted }

// install makes next this peer's view, and records it.
func (h *Handler) install(next *types.View) {
	h.noteInstall(next)
	before := h.view
	h.view = *next
	h.highest = max(h.highest, next.Number)
	h.storing.group, h.storing.former, h.storing.returns = next.Group, types.Stored{}, false
	h.storing.admitted = 0
	if h.incarnation >= h.storing.first {
		h.storing.found = h.storing.used
	}
	h.agree(&before)
	h.acceptor.moved()
	if h.promised.Below(next.Term) {
		h.promise(next.Term)
		if h.role == roleLeader {
			h.becomeFollower()
		}
	}
	if h.role == roleLeader {
		h.leading.moved()
		h.forgetFormer(&before)
		h.extend()
	}
	h.detector.moved(&before, next, h.now.Run)
	if !next.Has(h.following) {
		h.following = next.Leader
	}
	h.reform = reforming{}
	h.recount()
	switch {
	case h.role != roleCandidate:
	case h.candidacy.message.PreVote:
		h.preVote()
	default:
		h.stand(h.candidacy.message.Term)
	}
}

// removed is what becomes of a peer that learns that it is a member no more.
func (h *Handler) removed(past types.Past) {
	h.storing.former, h.storing.returns = h.toStore(), false
	own := past.Incarnation == h.incarnation && !h.storing.again // not what became of an earlier process
	switch {
	case h.leaving != never || own && past.Cause == types.Left:
		h.exit(0)
	case own && past.Cause == types.Expelled:
		h.note(Said).Text = "removed from the group"
		h.becomeOut()
	default:
		h.note(Said).Text = "removed from the group"
		leader, group, term := h.following, h.view.Group, h.followed
		h.becomeFresh()
		h.learnLeader(leader, group, term)
	}
}

// showView sends NEWVIEW to the sender of m, whole. Only a leader's asks for an answer.
func (h *Handler) showView(m *types.Message) {
	v := h.view
	s := h.send(types.NewView, m.From)
	s.For, s.View, s.Addr, s.Chosen = m.Incarnation, &v, h.back(m), v.Term
	s.Term = h.followed
	if h.leading != nil {
		h.signView(s)
	}
}

// askToLeave sends LEAVE to the leader, or begins to take out the leader itself.
func (h *Handler) askToLeave() {
	h.asked = h.now.Run
	h.due(h.asked + h.retry())
	switch {
	case len(h.view.Members) == 1:
		h.exit(0)
	case h.role == roleLeader:
		h.progress()
	case h.hasLeader():
		h.send(types.Leave, h.election.sign.peer).Term = h.promised
	}
}

// tickLeaving asks again, and ends what has taken a second.
func (h *Handler) tickLeaving() {
	if h.leaving == never {
		return
	}
	if h.since(h.leaving) >= h.paced(leaveLimit) {
		h.exit(0)
		return
	}
	if h.role != roleDeparting && h.since(h.asked) >= h.retry() {
		h.askToLeave()
	}
	h.until(h.asked + h.retry())
	h.until(h.leaving + h.paced(leaveLimit))
}

// tickMember is time passing for a member.
func (h *Handler) tickMember() {
	h.tickLeaving()
	if h.role == roleDeparting {
		if h.tickDeparture(); h.handsOver() {
			h.noteWaiting()
		}
		return
	}
	h.watch()
	h.tickCandidacy()
	h.tickLeader()
	h.tickReforming()
	if h.quorate && h.waitsForDisk() && !h.exited {
		h.noteWaiting()
	}
	if h.now.Run >= h.nextHeartbeat && !h.exited {
		h.sendHeartbeat()
	}
	h.due(h.nextHeartbeat)
}

// sendHeartbeat tells every host that is not retired that this peer is here.
func (h *Handler) sendHeartbeat() {
	h.nextHeartbeat = h.now.Run + h.pace()
	h.lastHeartbeat = types.Message{Kind: types.Heartbeat, From: h.ID, Incarnation: h.incarnation,
		Group: h.view.Group, Number: h.view.Number, Term: h.promised, Leads: h.leads(),
		Request: uint64(h.now.Run), Heard: h.echo(h.promised), Unreachable: h.missing(&h.view, MaxNamed),
		Ceased: h.ceased == h.promised && h.leading == nil && h.ceased != types.Term{} && !h.ceasing(), Speaks: types.Version,
		File: h.listing.vote}
	h.noteListing()
	h.hosts[h.ID-1].unfit = !h.quorate
	h.misses = h.lacking > 0
	h.out.Heartbeat = &h.lastHeartbeat
	h.sendAdded()
	h.totals.Sent++
}
