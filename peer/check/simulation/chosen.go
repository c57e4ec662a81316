package simulation

import (
	"memberly/peer/types"
)

// ballots is what was proposed and accepted for the view after one view, as messages show it.
type ballots struct {
	proposed []types.Accepted // each once
	accepted map[types.Accepted]map[types.ID]bool
	chosen   types.Accepted // the first that a quorum accepted; of the lowest term it is known to be chosen in
}

// ballotsKept is of how many views of a group, up to the latest, the judge keeps the ballots.
const ballotsKept = 64

// voted judges what a message shows of a ballot: a REQ that its sender proposes and accepts a
// change, OK and PENDINGRESPONSE that their sender has accepted one.
func (j *judge) voted(m *types.Message) {
	a := types.Accepted{Term: m.Accepted, Change: m.Change}
	switch {
	case m.Kind == types.Req:
		a.Term = m.Term
	case m.Kind != types.OK && m.Kind != types.PendingResponse || m.Accepted == types.Term{}:
		return
	}
	key := viewKey{m.Group, m.Number}
	view := j.views[key]
	if view == nil || view.Incarnation(m.From) != m.Incarnation || m.Number <= j.latest[m.Group].Number-ballotsKept {
		return
	}
	if m.Kind == types.Req {
		j.put(m, j.ballotsOf(key), a)
		if j.w.plan.Sync > 0 {
			return // it accepts the change once that is stored
		}
	}
	j.accepted(key, view, m.From, a)
}

// keeps judges what a host has stored: it has accepted that.
func (j *judge) keeps(id types.ID, s *types.Stored) {
	key := viewKey{s.View.Group, s.View.Number}
	view := j.views[key]
	if s.Accepted.Change.Operation != types.Nothing && view != nil && view.Incarnation(id) == s.View.Incarnation(id) &&
		key.number > j.latest[key.group].Number-ballotsKept {
		if c := s.Accepted.Change; c.Operation == types.Del {
			j.accused[accusation{key, c.Member}] = true // by a leader that may have had nobody to send its REQ to, and will settle it
		}
		j.accepted(key, view, id, s.Accepted)
	}
}

func (j *judge) ballotsOf(key viewKey) *ballots {
	b := j.ballots[key]
	if b == nil {
		b = &ballots{accepted: map[types.Accepted]map[types.ID]bool{}}
		j.ballots[key] = b
	}
	return b
}

// accepted judges that a member of view has accepted a change for the view after it.
func (j *judge) accepted(key viewKey, view *types.View, id types.ID, a types.Accepted) {
	b := j.ballotsOf(key)
	by := b.accepted[a]
	if by == nil {
		by = map[types.ID]bool{}
		b.accepted[a] = by
	}
	if by[id] {
		return
	}
	by[id] = true
	if view.Enough(len(by), by[view.Leader]) {
		j.choose(key, b, a)
	}
}

// put judges a proposal: a leader proposes one change in a term, and what was chosen in a lower
// term if that is so of any.
func (j *judge) put(m *types.Message, b *ballots, a types.Accepted) {
	for _, p := range b.proposed {
		if p == a {
			return
		}
		if p.Term == a.Term {
			j.fail("peer %d proposes %v and %v for view %d in one term", m.From, p.Change, a.Change, m.Number+1)
		}
	}
	b.proposed = append(b.proposed, a)
	if c := b.chosen; c.Change.Operation != types.Nothing && c.Term.Below(a.Term) && c.Change != a.Change {
		j.fail("peer %d proposes %v in term %v for view %d, for which %v was chosen in term %v", m.From, a.Change, a.Term, m.Number+1, c.Change, c.Term)
	}
}

// choose checks a change that a quorum has accepted: it is the only one, no leader of a higher term proposed
// another, and it makes the next view.
func (j *judge) choose(key viewKey, b *ballots, a types.Accepted) {
	switch c := &b.chosen; {
	case c.Change.Operation == types.Nothing:
		*c = a
	case c.Change != a.Change:
		j.fail("for view %d of group %v both %v and %v are chosen", key.number+1, key.group, c.Change, a.Change)
	case a.Term.Below(c.Term):
		c.Term = a.Term
	}
	for _, p := range b.proposed {
		if a.Term.Below(p.Term) && p.Change != a.Change {
			j.fail("%v is chosen in term %v for view %d, for which peer %d has proposed %v in term %v", a.Change, a.Term, key.number+1, p.Term.Peer, p.Change, p.Term)
		}
	}
	if next := j.views[viewKey{key.group, key.number + 1}]; next != nil {
		j.follows(j.views[key], next)
	}
}

// follows judges a view by what was chosen for the one before it.
func (j *judge) follows(before, v *types.View) {
	b := j.ballots[viewKey{before.Group, before.Number}]
	if b == nil || b.chosen.Change.Operation == types.Nothing {
		return
	}
	c := b.chosen.Change
	if !before.Admits(c) {
		j.fail("%v is chosen for view %d, after a view of %v", c, v.Number, before.Members)
		return
	}
	if want := before.With(c); !want.Same(v) {
		j.fail("view %d has members %v, but %v was chosen for it", v.Number, v.Members, c)
	}
}
