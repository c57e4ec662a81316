package verify

import (
	"cmp"
	"maps"
	"slices"
	"sort"

	"memberly/peer/types"
)

// Records do not name the group that a view is of. So the book's views are dealt out to as few
// groups as can have had them. A group begins where a peer installs a view of itself alone that
// it cannot have come to by a removal, and each of its views follows from an earlier one by
// one change a number. What no group can have had is a contradiction.

// group is one chain of views.
type group struct {
	maker  types.ID       // 0 if the records do not reach back to its beginning
	leader types.ID       // of the last view: of the view before if still a member, else the lowest id; 0 if unknown
	views  []*view        // ascending; numbers may lack where records do
	signed [][]*signature // of each of views, in this group
	stray  bool           // it holds what belongs to no group
}

func (g *group) last() *view { return g.views[len(g.views)-1] }

// index returns where in g.views the first one is of that number or above.
func (g *group) index(number int64) int {
	return sort.Search(len(g.views), func(i int) bool { return g.views[i].number >= number })
}

// follows reports whether v may continue g, in so many steps as their numbers differ: no more
// changes than steps, and such as undo each other come in pairs. Of two members, the leader alone
// is a quorum: it may go on without the other, and that without it only if it left.
func (b *book) follows(g *group, v *view) bool {
	last := g.last()
	steps := v.number - last.number
	if steps < 1 || g.stray {
		return false
	}
	if len(v.members) == 1 && (steps > 1 || g.leader != 0 && g.leader != v.members[0] && !b.parted(g.leader, g, last, v)) {
		return false
	}
	lost, added := change(last.members, v.members)
	changes := int64(len(lost) + len(added))
	return changes <= steps && (steps-changes)%2 == 0
}

// take continues g with v.
func (g *group) take(v *view) {
	if len(g.views) > 0 {
		lost, _ := change(g.last().members, v.members)
		switch {
		case !slices.Contains(lost, g.leader):
		case v.number > g.last().number+1:
			g.leader = 0
		default:
			g.leader = slices.Min(v.members)
		}
	}
	g.views, g.signed = append(g.views, v), append(g.signed, nil)
	v.groups = append(v.groups, g)
}

// level is what is dealt out of one number.
type level struct {
	*book
	number int64
	taken  map[seat]bool
	tried  map[search]int
}

// seat is a peer's place in a group, for one number: it installs no view twice.
type seat struct {
	group *group
	peer  types.ID
}

// search is a peer's search among the groups that have a view.
type search struct {
	view *view
	peer types.ID
}

// deal finds out which groups there were, from the lowest number up.
func (b *book) deal() {
	for _, number := range slices.Sorted(maps.Keys(b.views)) {
		var rest []*signature
		for _, v := range b.views[number] {
			rest = append(rest, v.written...)
		}
		l := level{b, number, map[seat]bool{}, map[search]int{}}
		for _, way := range []func(*signature) bool{l.made, l.continued, l.joined, l.shared, l.founded, l.next, l.resumed, l.stray} {
			rest = slices.DeleteFunc(rest, way)
		}
	}
	b.fell()
}

// give deals s to g, which has its view or can continue with it. It returns true.
func (l *level) give(s *signature, g *group) bool {
	if len(g.views) == 0 || g.last() != s.view {
		l.move(g)
		g.take(s.view)
	}
	s.group = g
	l.taken[seat{g, s.peer}] = true
	last := len(g.signed) - 1
	g.signed[last] = append(g.signed[last], s)
	return true
}

// move puts g among those that end at this number.
func (l *level) move(g *group) {
	if len(g.views) > 0 {
		n := g.last().number
		if tail := l.tails[n]; tail[0] == g {
			l.tails[n] = tail[1:] // in the order of the groups, this is most often the one
		} else {
			i := slices.Index(tail, g)
			l.tails[n] = slices.Delete(tail, i, i+1)
		}
	}
	l.tails[l.number] = append(l.tails[l.number], g)
}

// begin begins a group with s. It returns true.
func (l *level) begin(s *signature, g *group) bool {
	l.groups = append(l.groups, g)
	return l.give(s, g)
}

// made deals s to the group that its peer made, and has been in since: that is certain.
func (l *level) made(s *signature) bool {
	return s.before != nil && s.before.group.maker == s.peer && s.before.view.number == l.number-1 && l.caughtUp(s)
}

// continued deals s to the group of its peer's view before, if that has the number before; or
// to another that has both views, for of two groups that were alike so far it may be either.
func (l *level) continued(s *signature) bool {
	if s.before == nil || s.before.view.number != l.number-1 {
		return false
	}
	if l.joined(s) {
		return true
	}
	for _, g := range s.view.groups {
		if n := len(g.views); n > 1 && g.views[n-2] == s.before.view && !l.taken[seat{g, s.peer}] {
			return l.give(s, g)
		}
	}
	return l.caughtUp(s)
}

// caughtUp deals s to the group of its peer's view before.
func (l *level) caughtUp(s *signature) bool {
	if s.before == nil || s.before.group.last() != s.view && (!l.follows(s.before.group, s.view) || l.anew(s)) {
		return false
	}
	return l.give(s, s.before.group)
}

// joined deals s to the group of its peer's view before, if that has this view too.
func (l *level) joined(s *signature) bool {
	return s.before != nil && s.before.group.last() == s.view && l.give(s, s.before.group)
}

// shared deals s to a group that has this view.
func (l *level) shared(s *signature) bool {
	at := search{s.view, s.peer}
	for ; l.tried[at] < len(s.view.groups); l.tried[at]++ {
		if g := s.view.groups[l.tried[at]]; !l.taken[seat{g, s.peer}] {
			return l.give(s, g)
		}
	}
	return false
}

// next deals s to a group whose last view comes just before.
func (l *level) next(s *signature) bool {
	if len(s.view.members) == 1 {
		return false
	}
	i := slices.IndexFunc(l.tails[l.number-1], func(g *group) bool { return l.follows(g, s.view) })
	return l.shared(s) || i >= 0 && l.give(s, l.tails[l.number-1][i])
}

// founded begins a group with s, if it can be the first view.
func (l *level) founded(s *signature) bool {
	if len(s.view.members) > 1 || s.peer != s.view.members[0] {
		return false
	}
	return l.begin(s, &group{maker: s.peer, leader: s.peer})
}

// resumed deals s to a group of which views are missing: if it can be, that of its peer's view
// before, else that whose last view is the latest.
func (l *level) resumed(s *signature) bool {
	if l.shared(s) || l.caughtUp(s) {
		return true
	}
	var best *group
	for _, g := range l.groups {
		if (best == nil || g.last().number > best.last().number) && l.follows(g, s.view) {
			best = g
		}
	}
	return best != nil && l.give(s, best)
}

// anew reports whether s, of a view of one member, is the first view of a new group though it
// could come of the view before by a removal: the peer has no record of that. It was killed and
// started again, which leaves no record, and some other peer told it the number.
func (l *level) anew(s *signature) bool {
	before := s.before.view
	if !s.silent || len(s.view.members) > 1 || len(before.members) != 2 || len(l.diaries) == 1 {
		return false
	}
	other := slices.IndexFunc(before.members, func(id types.ID) bool { return id != s.peer })
	return !l.parted(before.members[other], s.before.group, before, s.view)
}

// stray begins a group with what fits nowhere. That may be because the records do not reach
// back to its beginning, or it is a contradiction.
func (l *level) stray(s *signature) bool {
	if l.shared(s) {
		return true
	}
	v := s.view
	lacking := slices.ContainsFunc(v.members, func(id types.ID) bool { return l.diaries[id] == nil })
	if len(l.groups) == 0 || lacking && s.parted {
		return l.begin(s, &group{})
	}
	twice := slices.IndexFunc(v.written, func(o *signature) bool { return o.peer == s.peer && o.group != nil })
	other := slices.IndexFunc(l.views[v.number], func(o *view) bool { return o != v && len(o.groups) > 0 })
	switch {
	case twice >= 0:
		l.blame([]note{v.written[twice].note(), s.note()}, "peer %d installs view %d again, and the records show no second group%s",
			s.peer, v.number, l.absent(v.members))
	case other >= 0:
		l.blame([]note{l.views[v.number][other].written[0].note(), s.note()}, "view %d has two memberships%s", v.number, l.absent(v.members))
	default:
		o := l.latest()
		l.blame([]note{o.written[0].note(), s.note()},
			"view %d cannot come of view %d: each view differs from the one before by one member", v.number, o.number)
	}
	return l.begin(s, &group{stray: true})
}

// latest returns the latest view of any group, if possible of one that is not astray.
func (b *book) latest() *view {
	return slices.MaxFunc(b.groups, func(g, o *group) int {
		return cmp.Or(cmp.Compare(rank(g), rank(o)), cmp.Compare(g.last().number, o.last().number))
	}).last()
}

func rank(g *group) int {
	if g.stray {
		return 0
	}
	return 1
}

// fell judges the falls of a peer's numbers: only in another group can they.
func (b *book) fell() {
	var firsts []int64 // of all groups
	for _, g := range b.groups {
		if !g.stray {
			firsts = append(firsts, g.views[0].number)
		}
	}
	for _, m := range b.falls {
		since, _ := slices.BinarySearch(firsts, m.from.view.number+1)
		until, _ := slices.BinarySearch(firsts, m.to.view.number+1)
		if since >= 2 && until >= 1 {
			continue
		}
		b.blame([]note{m.from.note(), m.to.note()}, "the numbers of peer %d fall from %d to %d, and the records show no second group%s",
			m.to.peer, m.from.view.number, m.to.view.number, b.absent(m.to.view.members))
	}
}
