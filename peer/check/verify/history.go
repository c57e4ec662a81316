package verify

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"memberly/peer/types"
)

// table writes the history: a row for each view, a column for each peer. A cell says whose
// lead the peer followed when it installed the view, `-` that it is a member and has no record
// of that view.
func (b *book) table(to io.Writer) {
	w := bufio.NewWriter(to)
	defer w.Flush()
	peers, widest := b.peers, len("members")
	column := len(fmt.Sprint(peers[len(peers)-1]))
	for _, views := range b.views {
		for _, v := range views {
			widest = min(max(widest, len(list(v.members))), mostColumn)
		}
	}
	for i, g := range b.groups {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%6s ", "view")
		for _, id := range peers {
			fmt.Fprintf(w, " %*d", column, id)
		}
		fmt.Fprintf(w, "  %-*s  %s\n", widest, "members", g.title())
		for j, v := range g.views {
			fmt.Fprintf(w, "%6d ", v.number)
			g.cells(w, j, peers, column)
			line := fmt.Sprintf("  %-*s  %s", widest, list(v.members), b.why(g, j))
			fmt.Fprintln(w, strings.TrimRight(line, " "))
		}
	}
}

// mostColumn is the most that the column of memberships is made wide.
const mostColumn = 40

// everybody lists the peers that wrote records, and those that are in their views.
func (b *book) everybody() []types.ID {
	all := map[types.ID]bool{}
	for id := range b.diaries {
		all[id] = true
	}
	for _, views := range b.views {
		for _, v := range views {
			for _, id := range v.members {
				all[id] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// list writes a membership as a record does.
func list(ids []types.ID) string {
	b := []byte{'<'}
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	return string(append(b, '>'))
}

func (g *group) title() string {
	switch {
	case g.stray:
		return "a view that is in no group"
	case g.maker == 0:
		return "a group that was made before these records begin"
	}
	return fmt.Sprintf("the group that peer %d made", g.maker)
}

// cells writes what each peer wrote of a view of g.
func (g *group) cells(w io.Writer, index int, peers []types.ID, width int) {
	leaders := map[types.ID]types.ID{}
	for _, s := range g.signed[index] {
		leaders[s.peer] = s.leader
	}
	for _, id := range peers {
		cell := ""
		if leader, ok := leaders[id]; ok {
			cell = fmt.Sprint(leader)
		} else if slices.Contains(g.views[index].members, id) {
			cell = "-"
		}
		fmt.Fprintf(w, " %*s", width, cell)
	}
}

// why says what made the view at an index of a group's, and why.
func (b *book) why(g *group, index int) string {
	v := g.views[index]
	if index == 0 {
		return ""
	}
	before := g.views[index-1]
	lost, added := change(before.members, v.members)
	var told []string
	for _, id := range added {
		told = append(told, fmt.Sprintf("%d joins", id))
	}
	for _, id := range lost {
		told = append(told, fmt.Sprintf("without %d: %s", id, b.cause(g, id, before, v)))
	}
	return strings.Join(told, "; ")
}

// cause says why a peer was removed between two views.
func (b *book) cause(g *group, id types.ID, before, v *view) string {
	said := slices.Concat(b.farewells(id, g, before, v), []string{""})[0]
	reporters := b.reporters(id, before.number, v.number)
	switch {
	case len(reporters) > 0 && said == crashing:
		return "crashed, unreachable to " + names(reporters)
	case len(reporters) > 0:
		return "unreachable to " + names(reporters)
	case said == leaving:
		return "left"
	case said == removed || b.expelled(id, before, v):
		return "expelled"
	}
	return "unknown"
}

// lookBack is for how many views before a removal its cause is searched.
const lookBack = 16

// reporters lists who reported a failure in the latest view, of those before a removal, in
// which anybody did.
func (b *book) reporters(id types.ID, before, removal int64) []types.ID {
	for n := removal - 1; n > 0 && n > before-lookBack && n > removal-2*lookBack; n-- {
		if by := b.reports[failure{id, n}]; len(by) > 0 {
			return slices.Compact(slices.Sorted(slices.Values(by)))
		}
	}
	return nil
}

// names lists peers in a sentence.
func names(ids []types.ID) string {
	var names []string
	for _, id := range ids {
		names = append(names, fmt.Sprint(id))
	}
	return strings.Join(names, ", ")
}
