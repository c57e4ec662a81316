package verify

import (
	"maps"
	"slices"
	"sort"

	"memberly/peer/types"
)

// Records do not name their group, so this file assigns the installs to the fewest groups that can
// have made them. A group begins where a peer installs a view of itself alone that no removal can
// explain, and from then on each view differs from the one before by one member at most: by none if
// a host was added or retired. An install that fits no group is a contradiction.

// group is one chain of views.
type group struct {
	maker  types.ID     // 0 if the group began before the records
	leader types.ID     // of the last view, as types.View defines it; 0 if unknown
	views  []*view      // ascending; numbers without records are missing
	signed [][]*install // by index in views
	orphan bool         // its view fits no group
}

func (g *group) last() *view { return g.views[len(g.views)-1] }

// index returns the index in g.views of the first one with this number or a higher one.
func (g *group) index(number int64) int {
	return sort.Search(len(g.views), func(i int) bool { return g.views[i].number >= number })
}

// follows reports whether v can continue g in as many steps as their numbers differ. It takes no
// more changes than steps: spare ones are of hosts, or undo each other. Of two members the
// leader alone is a quorum, so the other can go on without it only if it left.
func (h *history) follows(g *group, v *view) bool {
	last := g.last()
	steps := v.number - last.number
	if steps < 1 || g.orphan {
		return false
	}
	if len(v.members) == 1 && (steps > 1 || g.leader != 0 && g.leader != v.members[0] && !h.parted(g.leader, g, last, v)) {
		return false
	}
	lost, added := change(last.members, v.members)
	return int64(len(lost)+len(added)) <= steps
}

// extend makes v the last view of g.
func (g *group) extend(v *view) {
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

// level is the state of assigning the installs of one number.
type level struct {
	*history
	number int64
	taken  map[seat]bool
	tried  map[search]int
}

// seat is a peer's place in a group for one number, because a peer installs no number twice.
type seat struct {
	group *group
	peer  types.ID
}

// search is a peer's search through the groups that have a view.
type search struct {
	view *view
	peer types.ID
}

// assignToGroups assigns all installs, from the lowest number up, the most certain ones first.
func (h *history) assignToGroups() {
	for _, number := range slices.Sorted(maps.Keys(h.views)) {
		var rest []*install
		for _, v := range h.views[number] {
			rest = append(rest, v.installs...)
		}
		l := level{h, number, map[seat]bool{}, map[search]int{}}
		for _, way := range []func(*install) bool{l.made, l.continued, l.joined, l.shared, l.founded, l.next, l.resumed, l.orphaned} {
			rest = slices.DeleteFunc(rest, way)
		}
	}
	h.checkDrops()
}

// assign assigns s to g, which has its view or can continue with it. It returns true.
func (l *level) assign(s *install, g *group) bool {
	if len(g.views) == 0 || g.last() != s.view {
		l.move(g)
		g.extend(s.view)
	}
	s.group = g
	l.taken[seat{g, s.peer}] = true
	last := len(g.signed) - 1
	g.signed[last] = append(g.signed[last], s)
	return true
}

// move moves g to the groups that end at this number.
func (l *level) move(g *group) {
	if len(g.views) > 0 {
		n := g.last().number
		if tail := l.tails[n]; tail[0] == g {
			l.tails[n] = tail[1:] // the usual case, because tails are in the order of groups
		} else {
			i := slices.Index(tail, g)
			l.tails[n] = slices.Delete(tail, i, i+1)
		}
	}
	l.tails[l.number] = append(l.tails[l.number], g)
}

// begin starts group g with s. It returns true.
func (l *level) begin(s *install, g *group) bool {
	l.groups = append(l.groups, g)
	return l.assign(s, g)
}

// made assigns s to the group that its peer made and never left, which is certain.
func (l *level) made(s *install) bool {
	return s.before != nil && s.before.group.maker == s.peer && s.before.view.number == l.number-1 && l.caughtUp(s)
}

// continued assigns s to the group of its peer's previous view if that has the number before, or
// to another group that has both views, because two groups that are alike so far may be either.
func (l *level) continued(s *install) bool {
	if s.before == nil || s.before.view.number != l.number-1 {
		return false
	}
	if l.joined(s) {
		return true
	}
	for _, g := range s.view.groups {
		if n := len(g.views); n > 1 && g.views[n-2] == s.before.view && !l.taken[seat{g, s.peer}] {
			return l.assign(s, g)
		}
	}
	return l.caughtUp(s)
}

// caughtUp assigns s to the group of its peer's previous view.
func (l *level) caughtUp(s *install) bool {
	if s.before == nil || s.before.group.last() != s.view && (!l.follows(s.before.group, s.view) || l.anew(s)) {
		return false
	}
	return l.assign(s, s.before.group)
}

// joined assigns s to the group of its peer's previous view, if that group has this view too.
func (l *level) joined(s *install) bool {
	return s.before != nil && s.before.group.last() == s.view && l.assign(s, s.before.group)
}

// shared assigns s to a group that has this view.
func (l *level) shared(s *install) bool {
	at := search{s.view, s.peer}
	for ; l.tried[at] < len(s.view.groups); l.tried[at]++ {
		if g := s.view.groups[l.tried[at]]; !l.taken[seat{g, s.peer}] {
			return l.assign(s, g)
		}
	}
	return false
}

// next assigns s to a group whose last view has the number before.
func (l *level) next(s *install) bool {
	if len(s.view.members) == 1 {
		return false
	}
	i := slices.IndexFunc(l.tails[l.number-1], func(g *group) bool { return l.follows(g, s.view) })
	return l.shared(s) || i >= 0 && l.assign(s, l.tails[l.number-1][i])
}

// founded starts a group with s, if that can be a first view.
func (l *level) founded(s *install) bool {
	if len(s.view.members) > 1 || s.peer != s.view.members[0] {
		return false
	}
	return l.begin(s, &group{maker: s.peer, leader: s.peer})
}

// resumed assigns s to a group of which views are missing: that of its peer's previous view if
// possible, else the one whose last view has the highest number.
func (l *level) resumed(s *install) bool {
	if l.shared(s) || l.caughtUp(s) {
		return true
	}
	var best *group
	for _, g := range l.groups {
		if (best == nil || g.last().number > best.last().number) && l.follows(g, s.view) {
			best = g
		}
	}
	return best != nil && l.assign(s, best)
}

// anew reports whether s, of a view of one member, starts a new group, although a removal from the
// previous view could explain it: the peer recorded no such removal. It was killed and started
// again, which leaves no record, and another peer told it the number.
func (l *level) anew(s *install) bool {
	before := s.before.view
	if !s.unexplained || len(s.view.members) > 1 || len(before.members) != 2 || len(l.logs) == 1 {
		return false
	}
	other := slices.IndexFunc(before.members, func(id types.ID) bool { return id != s.peer })
	return !l.parted(before.members[other], s.before.group, before, s.view)
}

// orphaned starts a group with an install that fits no other. It is a contradiction, unless the
// records may begin after that group did.
func (l *level) orphaned(s *install) bool {
	if l.shared(s) {
		return true
	}
	v := s.view
	lacking := slices.ContainsFunc(v.members, func(id types.ID) bool { return l.logs[id] == nil })
	if len(l.groups) == 0 || lacking && s.parted {
		return l.begin(s, &group{})
	}
	twice := slices.IndexFunc(v.installs, func(o *install) bool { return o.peer == s.peer && o.group != nil })
	other := slices.IndexFunc(l.views[v.number], func(o *view) bool { return o != v && len(o.groups) > 0 })
	switch {
	case twice >= 0:
		l.contradict([]entry{v.installs[twice].entry(), s.entry()}, "peer %d installs view %d again, and the records show no second group%s",
			s.peer, v.number, l.withoutRecords(v.members))
	case other >= 0:
		l.contradict([]entry{l.views[v.number][other].installs[0].entry(), s.entry()}, "view %d has two memberships%s", v.number, l.withoutRecords(v.members))
	default:
		o := l.latest()
		l.contradict([]entry{o.installs[0].entry(), s.entry()},
			"view %d cannot follow view %d: each view differs from the one before by one member at most", v.number, o.number)
	}
	return l.begin(s, &group{orphan: true})
}

// latest returns the view with the highest number, if possible of a group that is no orphan.
func (h *history) latest() *view {
	best := h.groups[0]
	for _, g := range h.groups[1:] {
		if best.orphan && !g.orphan || best.orphan == g.orphan && g.last().number > best.last().number {
			best = g
		}
	}
	return best.last()
}

// checkDrops checks each drop of a peer's numbers, which takes another group.
func (h *history) checkDrops() {
	var firsts []int64 // the first numbers of all groups
	for _, g := range h.groups {
		if !g.orphan {
			firsts = append(firsts, g.views[0].number)
		}
	}
	for _, m := range h.drops {
		since, _ := slices.BinarySearch(firsts, m.from.view.number+1)
		until, _ := slices.BinarySearch(firsts, m.to.view.number+1)
		if since >= 2 && until >= 1 {
			continue
		}
		h.contradict([]entry{m.from.entry(), m.to.entry()}, "the view numbers of peer %d drop from %d to %d, and the records show no second group%s",
			m.to.peer, m.from.view.number, m.to.view.number, h.withoutRecords(m.to.view.members))
	}
}
