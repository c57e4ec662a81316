package observe

import (
	"cmp"
	"fmt"
	"strings"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// This file says what an operator should see first, on the page and in a terminal.

// troubled reports whether there is something to see to at h.
func (h *hostJSON) troubled() bool {
	switch h.State {
	case handlers.Self.String(), handlers.Present.String(), string(retired):
		return h.beside() != "" || len(h.unheard()) > 0
	}
	return true
}

// unheard returns the members that h does not hear, as far as is known now.
func (h *hostJSON) unheard() []types.ID {
	if !h.Member || h.State == handlers.Gone.String() {
		return nil
	}
	return h.DoesNotHear
}

// byTrouble orders hosts: those with problems of their own, those that do not hear a member, and the others.
func byTrouble(a, b *hostJSON) int { return cmp.Compare(a.rank(), b.rank()) }

func (h *hostJSON) rank() int {
	healthy := h.State == handlers.Self.String() || h.State == handlers.Present.String()
	switch {
	case !h.troubled():
		return 2
	case healthy && h.beside() == "":
		return 1
	}
	return 0
}

// lacking names the hosts that the group lists, that are not retired, and that are no members or unreachable; without a
// view, none.
func lacking(r *statusJSON) (names []string) {
	for i := range r.Hosts {
		h := &r.Hosts[i]
		if r.View != nil && h.belongs() && (!h.Member || h.State == handlers.Gone.String()) {
			names = append(names, h.Name)
		}
	}
	return names
}

// briefly counts hosts, and names the first.
func briefly(names []string) string {
	const most = 4
	switch n := len(names); {
	case n == 0:
		return "no host"
	case n == 1:
		return names[0]
	case n <= most:
		return fmt.Sprintf("%d: %s", n, strings.Join(names, ", "))
	default:
		return fmt.Sprintf("%d: %s and %d more", n, strings.Join(names[:most-1], ", "), n-most+1)
	}
}

// quorum says whether a quorum is reached, and what it takes.
func (v *viewJSON) quorum(leader string) string {
	words := "reached"
	if !v.Quorate {
		words = "not reached"
	}
	words += fmt.Sprintf(": %d of %d, %d needed", v.Reachable, len(v.Members), v.Quorum)
	if n := len(v.Members); n%2 == 0 {
		words += fmt.Sprintf(", or %d with %s", n/2, leader)
	}
	return words
}
