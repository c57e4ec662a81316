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

// table writes a table for each group, with a row for each view and a column for each peer. A cell
// is the leader that the peer followed when it installed the view, or `-` for a member without a
// record of that.
func (h *history) table(to io.Writer) {
	w := bufio.NewWriter(to)
	defer w.Flush()
	peers, widest := h.peers, len("members")
	column := len(fmt.Sprint(peers[len(peers)-1]))
	for _, views := range h.views {
		for _, v := range views {
			widest = min(max(widest, len(list(v.members))), maxColumn)
		}
	}
	for i, g := range h.groups {
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
			line := fmt.Sprintf("  %-*s  %s", widest, list(v.members), h.why(g, j))
			fmt.Fprintln(w, strings.TrimRight(line, " "))
		}
	}
}

// maxColumn is the maximum width of the column of memberships.
const maxColumn = 40

// allPeers returns the peers that wrote records and those in their views, ascending.
func (h *history) allPeers() []types.ID {
	all := map[types.ID]bool{}
	for id := range h.logs {
		all[id] = true
	}
	for _, views := range h.views {
		for _, v := range views {
			for _, id := range v.members {
				all[id] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// list formats a membership as a record does.
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
	case g.orphan:
		return "a view that is in no group"
	case g.maker == 0:
		return "a group that began before these records"
	}
	return fmt.Sprintf("the group that peer %d made", g.maker)
}

// cells writes the cells of the view at an index of g.views.
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

// why describes the changes that made the view at an index of g.views.
func (h *history) why(g *group, index int) string {
	v := g.views[index]
	if index == 0 {
		return ""
	}
	before := g.views[index-1]
	lost, added := change(before.members, v.members)
	if len(lost)+len(added) == 0 && v.number == before.number+1 {
		return "a host is added or retired"
	}
	var parts []string
	for _, id := range added {
		parts = append(parts, fmt.Sprintf("%d joins", id))
	}
	for _, id := range lost {
		parts = append(parts, fmt.Sprintf("without %d: %s", id, h.cause(g, id, before, v)))
	}
	return strings.Join(parts, "; ")
}

// cause returns why a peer was removed between two views.
func (h *history) cause(g *group, id types.ID, before, v *view) string {
	said := slices.Concat(h.partingsOf(id, g, before, v), []string{""})[0]
	reporters := h.reporters(id, before.number, v.number)
	switch {
	case len(reporters) > 0 && said == crashing:
		return "crashed, unreachable to " + names(reporters)
	case len(reporters) > 0:
		return "unreachable to " + names(reporters)
	case said == leaving:
		return "left"
	case said == removed || h.expelled(id, before, v):
		return "expelled"
	}
	return "unknown"
}

// lookBack is how many views before a removal reporters searches.
const lookBack = 16

// reporters returns the peers that reported a failure, in the latest view before a removal that has
// such a report.
func (h *history) reporters(id types.ID, before, removal int64) []types.ID {
	for n := removal - 1; n > 0 && n > before-lookBack && n > removal-2*lookBack; n-- {
		if by := h.reports[failure{id, n}]; len(by) > 0 {
			return slices.Compact(slices.Sorted(slices.Values(by)))
		}
	}
	return nil
}

// names lists peers in a sentence.
func names(ids []types.ID) string {
	return strings.ReplaceAll(strings.Trim(list(ids), "<>"), ",", ", ")
}
