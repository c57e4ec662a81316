package verify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"memberly/peer/types"
)

// checkCauses checks every removal of which the peer that installed it recorded no cause.
func (h *history) checkCauses() {
	for _, m := range h.moves {
		if !continuous(m) || elsewhere(m) {
			continue
		}
		for _, id := range m.lost {
			if h.parted(id, m.from.group, m.from.view, m.to.view) || h.expelled(id, m.from.view, m.to.view) {
				continue
			}
			h.contradict([]entry{m.from.entry(), m.to.entry()}, "peer %d installs view %d without peer %d, and no record explains it%s",
				m.to.peer, m.to.view.number, id, h.withoutRecords([]types.ID{id}))
		}
	}
}

// continuous reports whether the peer that moved was a member of one group all the time between.
// Otherwise it may have been killed and started again, and missed the cause.
func continuous(m move) bool {
	g, self := m.from.group, m.to.peer
	if g.orphan || g != m.to.group || slices.Contains(m.lost, self) {
		return false
	}
	from, to := m.from.view.number, m.to.view.number
	between := g.views[g.index(from):g.index(to)]
	return int64(len(between)) == to-from && !slices.ContainsFunc(between, func(v *view) bool {
		return !slices.Contains(v.members, self)
	})
}

// elsewhere reports whether another group let the peer in with the view that it moved to. Then it
// may have been killed and started again in that group.
func elsewhere(m move) bool {
	return slices.ContainsFunc(m.to.view.groups, func(g *group) bool {
		i := g.index(m.to.view.number)
		return g != m.to.group && (i == 0 || !slices.Contains(g.views[i-1].members, m.to.peer))
	})
}

// parted reports whether a member of an earlier view of g announced that it left or was removed,
// which explains why a later view lacks it. An announced crash does not, because the members that
// stay record that failure.
func (h *history) parted(id types.ID, g *group, earlier, later *view) bool {
	messages := h.partingsOf(id, g, earlier, later)
	return slices.Contains(messages, leaving) || slices.Contains(messages, removed)
}

// partingsOf returns the messages, the last one first, by which a member of an earlier view of g
// announced the end of its membership before a later one.
func (h *history) partingsOf(id types.ID, g *group, earlier, later *view) (messages []string) {
	d := h.logs[id]
	if d == nil {
		return nil
	}
	for i := d.partedBefore(later.number); i >= 0 && d.partings[i].number > 0; i-- {
		if g.lacks(id, d.partings[i].number, earlier.number) {
			break // the peer was removed and came back after this one
		}
		messages = append(messages, d.partings[i].message)
	}
	return messages
}

// lacks reports whether some view of g lacks a peer, of those above a number and up to another.
func (g *group) lacks(id types.ID, after, until int64) bool {
	for i := g.index(until+1) - 1; i >= 0 && g.views[i].number > after; i-- {
		if !slices.Contains(g.views[i].members, id) {
			return true
		}
	}
	return false
}

// partedBefore returns the index of the last parting from a view before a number, or -1.
func (d *peerLog) partedBefore(number int64) int {
	return sort.Search(len(d.partings), func(i int) bool { return d.partings[i].number >= number }) - 1
}

// expelled reports whether the leader-failure drill may have removed a peer: the first host removes
// the last one when all are members, and then crashes, unless another member fails before.
func (h *history) expelled(id types.ID, earlier, later *view) bool {
	d := h.logs[1]
	if d == nil || id != h.peers[len(h.peers)-1] || len(earlier.members) != len(h.peers) {
		return false
	}
	return slices.ContainsFunc(d.partings, func(p parting) bool {
		return p.message == crashing && p.leader == 1 && p.number >= earlier.number && p.number < later.number
	}) || slices.ContainsFunc(earlier.members, func(other types.ID) bool {
		return other != id && slices.Contains(h.reports[failure{other, earlier.number}], 1)
	})
}

// withoutRecords returns a remark that names those of some peers that have no record in the input,
// because their records might explain the contradiction.
func (h *history) withoutRecords(ids []types.ID) string {
	var without []string
	for _, id := range ids {
		if h.logs[id] == nil {
			without = append(without, fmt.Sprint(id))
		}
	}
	if len(without) == 0 {
		return ""
	}
	return " (the input has no record of peer " + strings.Join(without, ", ") + ")"
}

// checkRemovals checks every reported failure without a removal. It is a contradiction if the
// reporter's group has since added a member and kept the failed peer, else it is open. Only
// the peers that hold the last view of their group count. A failed peer that installed a later
// view was heard again.
func (h *history) checkRemovals() {
	for _, id := range h.peers {
		d := h.logs[id]
		if d == nil || d.holds == nil || d.ended || d.holds.group.orphan || d.holds.view != d.holds.group.last() {
			continue
		}
		g := d.holds.group
		for failed, r := range d.reported {
			if r.in == nil || r.in.group != g || g.heard(failed, r.View) {
				continue
			}
			at := failure{failed, r.View}
			h.open[at] = append(h.open[at], id)
			if went := g.wentOn(r.View); went != nil {
				h.contradict([]entry{r.entry, went.installs[0].entry()}, "peer %d was reported unreachable in view %d, but is still in the group after view %d%s",
					failed, r.View, went.number, h.withoutRecords([]types.ID{failed}))
			}
		}
	}
}

// heard reports whether a peer installed a view of g above a number.
func (g *group) heard(id types.ID, number int64) bool {
	return slices.ContainsFunc(g.views[g.index(number+1):], func(v *view) bool { return v.by(id) })
}

// wentOn returns the first view of g above a number that adds a member and removes none, or nil. One that changes hosts
// alone may be made by a leader that still hears whom another member does not.
func (g *group) wentOn(number int64) *view {
	for i := max(g.index(number+1), 1); i < len(g.views); i++ {
		if lost, added := change(g.views[i-1].members, g.views[i].members); len(lost) == 0 && len(added) > 0 {
			return g.views[i]
		}
	}
	return nil
}

// pending returns a line for each failure that has no removal when the records end.
func (h *history) pending() (lines []string) {
	all := slices.SortedFunc(maps.Keys(h.open), func(x, y failure) int {
		return cmp.Or(cmp.Compare(x.number, y.number), cmp.Compare(x.peer, y.peer))
	})
	for _, f := range all {
		lines = append(lines, fmt.Sprintf("Not removed when the records end: peer %d, unreachable to %s in view %d", f.peer, names(h.open[f]), f.number))
	}
	return lines
}
