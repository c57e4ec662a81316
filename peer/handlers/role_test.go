package handlers

import (
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// Every transition is tried from every role: those listed lead to the role asked for, and all others panic
// with the names of both.
func TestRoles(t *testing.T) {
	t.Parallel()
	allowed := map[string]string{
		"fresh":     "unstarted fresh follower candidate leader departing",
		"out":       "follower candidate leader",
		"follower":  "fresh follower candidate leader",
		"candidate": "follower candidate leader",
		"leader":    "fresh candidate",
		"departing": "leader",
	}
	term := types.Term{Counter: 1, Peer: 1}
	for to, become := range map[role]func(*Handler){
		roleFresh:     (*Handler).becomeFresh,
		roleOut:       (*Handler).becomeOut,
		roleFollower:  (*Handler).becomeFollower,
		roleCandidate: func(h *Handler) { h.becomeCandidate(new(round)) },
		roleLeader:    func(h *Handler) { h.becomeLeader(term, types.Accepted{}, 0, nil) },
		roleDeparting: func(h *Handler) { h.becomeDeparting(new(round)) },
	} {
		for from := roleUnstarted; from <= roleDeparting; from++ {
			h := New(Config{ID: 1, Listed: types.Numbered(1), Heartbeat: time.Second, Monitor: 2 * time.Second})
			h.position = position{role: from, leading: new(leadership)}
			panicked := try(func() { become(h) })
			if slices.Contains(strings.Fields(allowed[to.String()]), from.String()) {
				if h.role != to || panicked != "" {
					t.Errorf("from %v to %v: is %v, panics with %q", from, to, h.role, panicked)
				}
				checkPosition(t, &h.position)
			} else if h.role != from || !strings.Contains(panicked, from.String()) || !strings.Contains(panicked, to.String()) {
				t.Errorf("from %v to %v: is %v, panics with %q", from, to, h.role, panicked)
			}
		}
	}
}

// checkPosition checks that p has what its role needs and nothing else, and that others are told the truth.
func checkPosition(t *testing.T, p *position) {
	t.Helper()
	r := p.role
	if (p.candidacy != nil) != (r == roleCandidate) || (p.departure != nil) != (r == roleDeparting) ||
		(p.leading != nil) != (r == roleLeader || r == roleDeparting) {
		t.Errorf("%v: %+v", r, *p)
	}
	if p.joined() != (r != roleFresh && r != roleOut) || (r.standing() == types.Out) != (r == roleOut) {
		t.Errorf("%v: others are told %v", r, r.standing())
	}
}

// try runs f and returns what it panics with; "" if it does not.
func try(f func()) (panicked string) {
	defer func() {
		if r := recover(); r != nil {
			panicked = r.(string)
		}
	}()
	f()
	return ""
}

// What members owe ends with the term, and lasts while its leader departs.
func TestDebtsEndWithTheTerm(t *testing.T) {
	t.Parallel()
	h := watcher(3, 1, 0b111)
	h.becomeCandidate(new(round))
	h.becomeLeader(types.Term{Counter: 2, Peer: 1}, types.Accepted{}, 0, nil)
	h.hosts[1].owes = h.now.Run
	if h.becomeDeparting(new(round)); h.hosts[1].owes == never {
		t.Error("a departing leader has forgotten what is owed")
	}
	if h.becomeFresh(); h.hosts[1].owes != never {
		t.Error("a fresh peer is still owed something")
	}
}
