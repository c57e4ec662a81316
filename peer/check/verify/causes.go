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

// explain judges every removal for which the peer that installed it has no record.
func (b *book) explain() {
	for _, m := range b.moves {
		if !continuous(m) || elsewhere(m) {
			continue
		}
		for _, id := range m.lost {
			if b.parted(id, m.from.group, m.from.view, m.to.view) || b.expelled(id, m.from.view, m.to.view) {
				continue
			}
			b.blame([]note{m.from.note(), m.to.note()}, "peer %d installs view %d without peer %d, and no record says why%s",
				m.to.peer, m.to.view.number, id, b.absent([]types.ID{id}))
		}
	}
}

// continuous reports whether the peer that moved was a member all the time between, in one
// group: only then has it seen all that happened. One that was killed and started again writes
// nothing of that.
func continuous(m move) bool {
	g, self := m.from.group, m.to.peer
	if g.stray || g != m.to.group || slices.Contains(m.lost, self) {
		return false
	}
	from, to := m.from.view.number, m.to.view.number
	between := g.views[g.index(from):g.index(to)]
	return int64(len(between)) == to-from && !slices.ContainsFunc(between, func(v *view) bool {
		return !slices.Contains(v.members, self)
	})
}

// elsewhere reports whether another group let the peer in with the very view that it moved to. It
// may have been killed, and started again in that one.
func elsewhere(m move) bool {
	return slices.ContainsFunc(m.to.view.groups, func(g *group) bool {
		i := g.index(m.to.view.number)
		return g != m.to.group && (i == 0 || !slices.Contains(g.views[i-1].members, m.to.peer))
	})
}

// parted reports whether a peer, a member of an earlier view of g, said itself why it is not in a
// later one: that it left, or was removed. That it crashed is not enough, for others must have
// noticed.
func (b *book) parted(id types.ID, g *group, earlier, later *view) bool {
	said := b.farewells(id, g, earlier, later)
	return slices.Contains(said, leaving) || slices.Contains(said, removed)
}

// farewells lists how a peer announced that it would be no member of a later view, where it was one
// of an earlier view of the group: the last word first.
func (b *book) farewells(id types.ID, g *group, earlier, later *view) (messages []string) {
	d := b.diaries[id]
	if d == nil {
		return nil
	}
	for i := d.partedBefore(later.number); i >= 0 && d.partings[i].number > 0; i-- {
		if g.lacks(id, d.partings[i].number, earlier.number) {
			break // it had come back
		}
		messages = append(messages, d.partings[i].message)
	}
	return messages
}

// lacks reports whether a peer is missing in some view of g after a number, and up to another.
func (g *group) lacks(id types.ID, after, until int64) bool {
	for i := g.index(until+1) - 1; i >= 0 && g.views[i].number > after; i-- {
		if !slices.Contains(g.views[i].members, id) {
			return true
		}
	}
	return false
}

// partedBefore returns the index of the last parting from a view before a number, or -1.
func (d *diary) partedBefore(number int64) int {
	return sort.Search(len(d.partings), func(i int) bool { return d.partings[i].number >= number }) - 1
}

// expelled reports whether the leader-failure drill may have removed a peer: the last host, by
// the first, when all were members. Then the first crashed, or somebody else failed and the
// drill was called off.
func (b *book) expelled(id types.ID, earlier, later *view) bool {
	d := b.diaries[1]
	if d == nil || id != b.peers[len(b.peers)-1] || len(earlier.members) != len(b.peers) {
		return false
	}
	return slices.ContainsFunc(d.partings, func(p parting) bool {
		return p.message == crashing && p.leader == 1 && p.number >= earlier.number && p.number < later.number
	}) || slices.ContainsFunc(earlier.members, func(other types.ID) bool {
		return other != id && slices.Contains(b.reports[failure{other, earlier.number}], 1)
	})
}

// absent says which of some peers have no record here, as what they wrote may explain what
// else is a contradiction.
func (b *book) absent(ids []types.ID) string {
	var without []string
	for _, id := range ids {
		if b.diaries[id] == nil {
			without = append(without, fmt.Sprint(id))
		}
	}
	if len(without) == 0 {
		return ""
	}
	return " (there is no record here by peer " + strings.Join(without, ", ") + ")"
}

// await judges every failure that was reported and had no removal. Where the group of who reported
// it has since gone on by something else, with the failed one, that is a contradiction; else it is
// open. Only who holds the last view of its group tells what came of it there, and nothing is open
// of one that has written of a later view: it was heard again.
func (b *book) await() {
	for _, id := range b.peers {
		d := b.diaries[id]
		if d == nil || d.holds == nil || d.ended || d.holds.group.stray || d.holds.view != d.holds.group.last() {
			continue
		}
		g := d.holds.group
		for failed, r := range d.failures {
			if r.in == nil || r.in.group != g || g.heard(failed, r.View) {
				continue
			}
			at := failure{failed, r.View}
			b.open[at] = append(b.open[at], id)
			if went := g.wentOn(r.View); went != nil {
				b.blame([]note{r.note, went.written[0].note()}, "peer %d was reported unreachable in view %d, but is still in the group after view %d%s",
					failed, r.View, went.number, b.absent([]types.ID{failed}))
			}
		}
	}
}

// heard reports whether a peer wrote that it installed a view of g after one of a number.
func (g *group) heard(id types.ID, number int64) bool {
	return slices.ContainsFunc(g.views[g.index(number+1):], func(v *view) bool { return v.by(id) })
}

// wentOn returns the first view after a number by which g went on without a removal; nil if none.
func (g *group) wentOn(number int64) *view {
	for i := max(g.index(number+1), 1); i < len(g.views); i++ {
		if lost, _ := change(g.views[i-1].members, g.views[i].members); len(lost) == 0 {
			return g.views[i]
		}
	}
	return nil
}

// pending says which failures had no removal by the end of the records.
func (b *book) pending() (lines []string) {
	all := slices.SortedFunc(maps.Keys(b.open), func(x, y failure) int {
		return cmp.Or(cmp.Compare(x.number, y.number), cmp.Compare(x.peer, y.peer))
	})
	for _, f := range all {
		lines = append(lines, fmt.Sprintf("Not removed when the records end: peer %d, unreachable to %s in view %d", f.peer, names(b.open[f]), f.number))
	}
	return lines
}
