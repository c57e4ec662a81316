package handlers

import (
	"cmp"

	"memberly/peer/types"
)

// This page is rule 9 (docs/protocol.md), too: what becomes of what was stored.

// recall is the beginning of a process with a state file. A peer that was a member asks to join in a new
// incarnation, as any other does. If nobody leads, it becomes the member again that it was.
func (h *Handler) recall(s *types.Stored) {
	st := &h.storing
	st.newest.Stored, st.view = *s, s.View.Number
	st.lives, st.used, st.group, st.former, st.returns = s.Lives+1, s.Incarnation, s.Group, *s, s.View.Number > 0
	st.found = s.Incarnation
	h.requests = st.lives << 40
	h.highest, h.topCounter = s.Highest, s.Counter
	for _, past := range s.View.Last {
		h.newest = max(h.newest, past.Incarnation)
	}
	st.founding.file = cmp.Or(s.File, h.listing.vote)
	h.recallHosts()
	if st.group == (types.Group{}) {
		st.founding.vote = acceptor{promised: s.Promised, accepted: s.Accepted}
	}
}

// recallHosts makes the hosts of the stored member's view those that this peer knows.
func (h *Handler) recallHosts() {
	st, l := &h.storing, &h.listing
	v := &st.former.View
	if v.Number == 0 || l.has(len(v.Last), v.Digest) && l.agreed == len(v.Last) {
		return
	}
	hosts, err := st.former.Hosts(l.file)
	if err != nil { // a peer is not started with such a file, but may read it later
		st.former, st.returns = types.Stored{}, false
		return
	}
	l.put(0, hosts)
	l.agreed = len(v.Last)
	h.grow()
}

// returned reports whether the peer was a member when its last process ended, and is none yet.
func (h *Handler) returned() bool { return h.role == roleFresh && h.storing.returns }

// tickStored is what a fresh peer with a state file does beside asking to join: it becomes the member again that it was,
// or takes part in the founding.
func (h *Handler) tickStored() {
	switch {
	case h.leaving != never || h.exited:
	case h.returned() || h.storing.admitted != 0:
		h.tickReturned()
	case h.storing.group == types.Group{}:
		h.noteListing()
		h.tickFounding()
	}
}

// tickReturned makes a peer the member again that it was, or was let in as, when nobody has led for a monitor interval.
// First its clock and its number of lives are stored, so that others tell what it says from what an earlier process said.
func (h *Handler) tickReturned() {
	quiet := max(h.fresh.since, h.fresh.hinted) + h.Monitor
	switch {
	case h.now.Run < quiet:
		h.due(quiet)
	case !h.isStored():
	case h.storing.admitted != 0:
		h.incarnation, h.storing.admitted, h.storing.again = h.storing.admitted, 0, true
		h.due(h.now.Run)
	default:
		h.becomeFormer()
	}
}

// noteAdmitted notes that a group holds an earlier incarnation of this host that it has not stored to be a member: so it has
// neither promised nor accepted anything in it. If nobody leads, the peer asks for that view.
func (h *Handler) noteAdmitted(m *types.Message) {
	st := &h.storing
	h.mistrust(m.Last)
	if m.Standing == types.Joined && m.Last > max(st.former.View.Incarnation(h.ID), st.admitted) && !h.isLost(m.Last) &&
		(m.Last < h.incarnation || st.again && m.Last > h.incarnation) { // an earlier view told it of an earlier one
		st.admitted = m.Last
	}
}

// isLost reports whether this host had an incarnation in a process of which the file knows nothing. It stores an incarnation
// before it uses it, so the file is an old copy, or a new one.
func (h *Handler) isLost(i types.Incarnation) bool {
	st := &h.storing
	return i > st.found && i < max(st.first, st.lost+1) || i > st.used
}

// mistrust forgets the stored member if a group knows of a later life of this host than what is stored does: then an old copy
// was put back, and promises are missing from it.
func (h *Handler) mistrust(last types.Incarnation) {
	if st := &h.storing; h.stores() && h.isLost(last) {
		if st.found > 0 && !st.old {
			st.old = true
			h.note(StateOld)
		}
		st.lost = max(st.lost, last)
		st.former, st.returns, st.admitted = types.Stored{}, false, 0
	}
}

// becomeFormer makes a returned peer the member again that it was. Nobody has led for a monitor interval, and it has
// answered no leader or candidate meanwhile: so whom it supported before has no lease by it any more.
func (h *Handler) becomeFormer() {
	if h.recallHosts(); !h.storing.returns {
		return
	}
	s := h.storing.former
	h.incarnation, h.storing.again = s.View.Incarnation(h.ID), true
	h.promise(s.Promised)
	h.counter = s.Counter
	h.following, h.followed = s.View.Leader, types.Term{}
	h.install(&s.View)
	h.becomeFollower()
	h.accepted, h.acceptedAt = s.Accepted, h.now.Run
	h.nextHeartbeat = h.now.Run
	h.due(h.now.Run)
}
