package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A peer whose file lacks the last host joins, and is told of it: it hears that host, and needs it once the others are gone.
func TestHostsFileBehind(t *testing.T) {
	t.Parallel()
	bothKeys(t, func(t *testing.T, args ...string) {
		g := newHosted(t, 6, args...)
		g.edit(1, 2, 3, 4, 6)
		g.write(5, g.lines[:5]...)
		g.begin(1, 2, 3, 4, 6)
		g.agree(6, nil, 1, 2, 3, 4, 6)
		for range 2 {
			g.begin(5)
			g.agree(6, nil, 1, 2, 3, 4, 5, 6)
			g.says([]int{5}, fmt.Sprintf(`The hosts file here lacks six (host 6), which the group has: add "six %v" as host 6 at its end`, g.Host(6)))
			g.stop(5)
			g.agree(6, nil, 1, 2, 3, 4, 6)
		}
		g.begin(5)
		g.agree(6, nil, 1, 2, 3, 4, 5, 6)
		for left := []int{1, 2, 3, 4, 5, 6}; len(left) > 2; left = left[1:] {
			g.runs[left[0]].signal(syscall.SIGKILL)
			g.agree(6, nil, left[1:]...)
		}
		if s, ok := g.ask(5); !ok || !s.Leads || !slices.Equal(s.File.Behind, []int{6}) {
			t.Errorf("host 5 says %+v; want that it leads, and that its file lacks host 6", s)
		}
	})
}

// The hosts are restarted one after the other with the new file, and nobody reads it anew: there are six in the end, and one
// leader at any moment.
func TestHostsByRestarts(t *testing.T) {
	t.Parallel()
	bothKeys(t, func(t *testing.T, args ...string) {
		g := newHosted(t, 5, args...)
		g.found(5)
		said := sayings{T: t, count: make(map[int]int)}
		ctx, cancel := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		for id := range 5 {
			asking.Go(func() { said.ask(ctx, id+1, g.at(id+1)) })
		}
		seen, longest := evidence{}, time.Duration(0)
		asking.Go(func() { seen, longest = g.leading(ctx) })
		g.add()
		for _, id := range []int{2, 3, 4, 5, 1} { // the leader last
			g.stop(id)
			g.edit(id)
			g.begin(id)
			n := 5
			if id == 1 {
				n = 6
			}
			g.agree(n, nil, 1, 2, 3, 4, 5)
		}
		g.edit(6)
		g.begin(6)
		g.agree(6, nil, 1, 2, 3, 4, 5, 6)
		cancel()
		asking.Wait()
		for _, wrong := range seen.between() {
			t.Error(wrong)
		}
		if t.Logf("no answer said for %v that one leads", longest); longest > 2500*time.Millisecond {
			t.Errorf("nobody led for %v", longest)
		}
		g.viewsAgree()
	})
}

// leading asks the first five hosts in turn who leads, until ctx ends, and returns the longest time without a leader.
func (g *hosted) leading(ctx context.Context) (e evidence, longest time.Duration) {
	began, last := time.Now(), time.Duration(0)
	for range ticks(ctx, 10*time.Millisecond) {
		for id := 1; id <= 5; id++ {
			asked := time.Since(began)
			s, ok := g.ask(id)
			if ok && s.Leads {
				now := time.Since(began)
				e.sayings = append(e.sayings, saying{peer: id, asked: asked, answered: now, leads: true, fence: s.Fence})
				longest, last = max(longest, asked-last), now
			}
		}
	}
	return e, longest
}

// A peer whose file has another name on a line that the group has is not let in, and makes no group: neither when it starts,
// nor when it is started again.
func TestHostsFileContradicts(t *testing.T) {
	t.Parallel()
	bothKeys(t, func(t *testing.T, args ...string) {
		for _, c := range []struct{ what, line string }{{"first", "drei"}, {"another", "drei"}} {
			t.Run(c.what, func(t *testing.T) {
				t.Parallel()
				g := newHosted(t, 5, args...)
				g.found(5)
				id, rest := 5, []int{1, 2, 3, 4}
				if c.what == "first" { // who would make the group
					id, rest = 1, []int{2, 3, 4, 5}
				}
				g.stop(id)
				wrong := slices.Clone(g.lines)
				wrong[2] = fmt.Sprint(c.line, " ", g.Host(3))
				g.write(id, wrong...)
				lead := g.agree(5, nil, rest...)
				for i := range 2 {
					g.begin(id)
					g.says([]int{id}, "differs from the one here", "Waiting ")
					g.idle(4*time.Second, id)
					g.unmoved(100*time.Millisecond, &lead, rest...)
					if i == 0 {
						g.runs[id].signal(syscall.SIGKILL)
						g.runs[id].awaitExit(patience)
					}
				}
				g.says(rest[:1], "The hosts file of "+hostName(id)+" differs from the one here")
				g.edit(id)
				g.hangup(id)
				g.agree(5, nil, 1, 2, 3, 4, 5)
				g.viewsAgree()
			})
		}
	})
}

// A retired host that is started again with an old file is refused, and says so. A new line can have its name and its address.
func TestHostsRetired(t *testing.T) {
	t.Parallel()
	bothKeys(t, func(t *testing.T, args ...string) {
		g := newHosted(t, 4, args...)
		g.found(4)
		g.stop(3)
		old := g.lines[2]
		g.retire(3)
		g.edit(1, 2, 4)
		g.hangup(1, 2, 4)
		lead := g.agree(4, []int{3}, 1, 2, 4)
		for range 2 {
			g.begin(3) // its file is as it was
			g.says([]int{3}, "The group of ", " has retired this host, whose id is never used again: add a new line for it at the end of all hosts files", "Waiting ")
			g.idle(2500*time.Millisecond, 3)
			g.unmoved(100*time.Millisecond, &lead, 1, 2, 4)
			g.runs[3].signal(syscall.SIGKILL)
			g.runs[3].awaitExit(patience)
		}
		g.edit(3)
		if _, errs, code := commandOf(t, "-h", g.file(3), "-n", "three"); code != 1 || !strings.Contains(errs, `this host, "three", is retired in hosts file`) {
			t.Errorf("with the new file: exit code %d, %q", code, errs)
		}
		g.lines = append(g.lines, old)
		g.edit(1, 2, 4)
		g.hangup(1, 2, 4)
		g.agree(5, []int{3}, 1, 2, 4)
		again := &hosted{T: t, Subnet: g.Subnet, folder: t.TempDir(), args: args, lines: g.lines, runs: make(map[int]*daemon)}
		again.edit(3)
		again.begin(3) // by its name, which is that of host 5
		again.runs[3].awaitRecord("{peer_id:5, view_id: 8, leader: 1, memb_list: [<1,2,4,5>]}")
		within(t, "the others and host 5 agree", func() bool {
			s, ok := again.ask(3)
			return ok && s.Ready && s.File.Settled
		})
	})
}

// With state, the hosts that a group has added and retired are so after a power cut of all, also for one whose file lacks them.
func TestHostsPowerCut(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 5)
	g.storing = true
	g.edit(1, 2, 3, 4, 5)
	g.begin(1, 2, 3, 4, 5)
	g.agree(5, nil, 1, 2, 3, 4, 5)
	g.stop(5, 3)
	g.retire(3)
	g.add()
	g.edit(1, 2, 4, 6)
	g.hangup(1, 2, 4)
	g.agree(6, []int{3}, 1, 2, 4)
	g.begin(5, 6) // five's file lacks six, and does not retire three
	before := g.agree(6, []int{3}, 1, 2, 4, 5, 6)
	for range 2 {
		killAtOnce([]*daemon{g.runs[1], g.runs[2], g.runs[4], g.runs[5], g.runs[6]})
		g.begin(5, 6, 4) // a quorum, that of one whose file is behind among them
		after := g.agree(6, []int{3}, 4, 5, 6)
		if after.Group != before.Group || after.View.Number <= before.View.Number || after.Fence <= before.Fence {
			t.Errorf("after the power cut: %v with fence %d; before %v with fence %d", &after, after.Fence, &before, before.Fence)
		}
		g.says([]int{5}, "The hosts file here does not retire three (host 3), which the group has retired, and lacks six (host 6), which the group has: ")
		g.begin(1, 2, 3)
		before = g.agree(6, []int{3}, 1, 2, 4, 5, 6)
		g.says([]int{3}, "has retired this host")
		g.runs[3].signal(syscall.SIGKILL)
	}
	g.add()
	g.edit(1, 2, 4, 5, 6)
	g.hangup(1, 2, 4, 5, 6)
	g.agree(7, []int{3}, 1, 2, 4, 5, 6)
}

// New hosts that are more than half of their file make no group while all others are down, if they are only to join.
func TestHostsJoinOnly(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 2)
	g.storing = true
	g.edit(1, 2)
	g.begin(1, 2)
	before := g.agree(2, nil, 1, 2)
	killAtOnce([]*daemon{g.runs[1], g.runs[2]})
	for range 3 {
		g.add()
	}
	g.edit(1, 2, 3, 4, 5)
	g.args = []string{"-join-only"}
	g.begin(3, 4, 5)
	g.says([]int{3, 4, 5}, "Waiting to be let into a group, and makes none itself (-join-only); no answer from one, two")
	g.idle(5*time.Second, 3, 4, 5)
	g.begin(1, 2) // they are in a group already
	if after := g.agree(5, nil, 1, 2, 3, 4, 5); after.Group != before.Group {
		t.Errorf("with the old hosts it is %v, it was %v", &after, &before)
	}
}

// New hosts that are started before the files of the others have them wait, make no group, and say that they are not listed.
// They join when the files are changed.
func TestHostsEarly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what     string
		old, all int
		storing  bool
		keys     bool
	}{
		{"one", 5, 6, false, false},
		{"one, with state", 5, 6, true, false},
		{"one, with keys", 5, 6, false, true},
		{"as many as there were", 3, 6, false, false},
		{"as many as there were, with state", 3, 6, true, false},
		{"more than there were", 2, 6, false, false},
		{"more than there were, with state", 2, 6, true, false},
		{"more than there were, with state and keys", 2, 7, true, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var args []string
			if c.keys {
				args = []string{"-key", keyFile(t, newKeys(t, 1)...)}
			}
			g := newHosted(t, c.old, args...)
			g.storing = c.storing
			var old, all, late []int
			for id := range c.all {
				all = append(all, id+1)
			}
			old, late = all[:c.old], all[c.old:]
			g.edit(old...)
			g.begin(old...)
			lead := g.agree(c.old, nil, old...)
			for range late {
				g.add()
			}
			g.edit(late...)
			g.begin(late...)
			g.says(late, "does not list this host yet: ", "Waiting ")
			g.idle(5*time.Second, late...)
			g.unmoved(100*time.Millisecond, &lead, old...)
			g.edit(old...)
			g.hangup(old...)
			after := g.agree(c.all, nil, all...)
			if after.Group != lead.Group {
				t.Errorf("with the new hosts it is %v, it was %v", &after, &lead)
			}
			g.viewsAgree()
		})
	}
}
