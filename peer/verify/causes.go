package verify

import (
	"fmt"
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

// continuous tells whether the peer that moved was a member all the time between, in one
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

// elsewhere tells whether another group let the peer in with the very view that it moved to. It
// may have been killed, and started again in that one.
func elsewhere(m move) bool {
	return slices.ContainsFunc(m.to.view.groups, func(g *group) bool {
		i := g.index(m.to.view.number)
		return g != m.to.group && (i == 0 || !slices.Contains(g.views[i-1].members, m.to.peer))
	})
}

// parted tells whether a peer, a member of an earlier view of g, said itself why it is not in a
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

// lacks tells whether a peer is missing in some view of g after a number, and up to another.
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

// expelled tells whether the leader-failure drill may have removed a peer: the last host, by
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

// await judges every failure that was reported and had no removal: where there is one group,
// it has since gone on by something else, and the failed one is still in its last view, of
// which it knows nothing.
func (b *book) await() {
	if len(b.groups) != 1 {
		return
	}
	g := b.groups[0]
	for _, d := range b.diaries {
		if d.holds == nil || d.holds.view != g.last() || d.ended {
			continue
		}
		for id, n := range d.failures {
			if went := g.wentOn(id, n.View); went != nil {
				b.blame([]note{n, went.written[0].note()}, "peer %d was reported unreachable in view %d, but is still in the group after view %d%s",
					id, n.View, went.number, b.absent([]types.ID{id}))
			}
		}
	}
}

// wentOn returns the view by which g went on after a view in which a peer failed: a later one
// that came of no removal. It is nil if there is none, or the failed one knew a later view.
func (g *group) wentOn(failed types.ID, number int64) (went *view) {
	for i := max(g.index(number+1), 1); i < len(g.views); i++ {
		v := g.views[i]
		if v.by(failed) {
			return nil
		}
		if lost, _ := change(g.views[i-1].members, v.members); len(lost) == 0 && went == nil {
			went = v
		}
	}
	return went
}
