package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/check/ledger"
	"memberly/peer/check/loopback"
)

// storing is a group of hosts with -state, whose processes come and go.
type storing struct {
	*testing.T
	loopback.Subnet
	program string
	file    string
	names   []string
	args    []string
	dir     string    // of the state files; "" for none
	runs    []*daemon // by id-1; the last process of each host
}

// newStoring makes a group of five that nobody has started.
func newStoring(t *testing.T, args ...string) *storing {
	t.Helper()
	g := &storing{T: t, Subnet: loopback.NewSubnet(t), program: program, args: args, dir: t.TempDir(),
		names: []string{"one", "two", "three", "four", "five"}}
	g.file, g.runs = g.HostsFile(t, g.names...), make([]*daemon, len(g.names))
	return g
}

// state returns the path of a host's state file.
func (g *storing) state(id int) string { return filepath.Join(g.dir, g.names[id-1]) }

func (g *storing) start(ids ...int) {
	g.Helper()
	for _, id := range ids {
		args := append([]string{"-h", g.file, "-n", g.names[id-1], "-http", "8082"}, g.args...)
		if g.dir != "" {
			args = append(args, "-state", g.state(id))
		}
		g.runs[id-1] = launch(g.T, g.names[id-1], exec.Command(g.program, args...))
	}
}

// kill ends processes as a power cut does: all of them before any is waited for.
func (g *storing) kill(ids ...int) {
	g.Helper()
	var daemons []*daemon
	for _, id := range ids {
		daemons = append(daemons, g.runs[id-1])
	}
	killAtOnce(daemons)
}

// standing is the part of /status that these tests check.
type standing = ledger.Status

// ask returns what a host's process says of itself; false if it does not answer.
func (g *storing) ask(id int) (standing, bool) { return ledger.Ask(fmt.Sprint(g.Host(id), ":8082")) }

// agreed returns what the leader of hosts says that agree at this moment.
func (g *storing) agreed(ids ...int) (standing, bool) {
	at := make(map[int]string)
	for _, id := range ids {
		at[id] = fmt.Sprint(g.Host(id), ":8082")
	}
	return ledger.Agreed(at)
}

// agree waits until hosts agree, and returns what their leader says, and how long it took.
func (g *storing) agree(ids ...int) (lead standing, took time.Duration) {
	g.Helper()
	began := time.Now()
	within(g.T, fmt.Sprint("one view of ", ids, ", with a leader"), func() (ok bool) {
		lead, ok = g.agreed(ids...)
		return ok
	})
	return lead, time.Since(began)
}

// meanwhile checks for a while that something holds: that nothing happens, for which there is no other condition.
func meanwhile(t *testing.T, d time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		if !holds() {
			t.Fatalf("not true for %v: %s", d, what)
		}
	}
}

// wait checks for a while that hosts are not ready, and make nothing: each shows at most the view that it has stored,
// or another of them has, which is the one before or an earlier one of its group; nil if there was none.
func (g *storing) wait(d time.Duration, before *standing, ids ...int) {
	g.Helper()
	meanwhile(g.T, d, fmt.Sprint(ids, " wait"), func() bool {
		return !slices.ContainsFunc(ids, func(id int) bool {
			s, ok := g.ask(id)
			strange := s.View.Number > 0 && (before == nil || s.Group != before.Group || s.View.Number > before.View.Number)
			return ok && (s.Ready || s.Leads || strange)
		})
	})
	for _, id := range ids {
		for _, line := range g.runs[id-1].stderr.Lines() {
			var peer, number int64
			fmt.Sscanf(line, "{peer_id:%d, view_id: %d,", &peer, &number)
			if strings.Contains(line, "memb_list") && (before == nil || number > before.View.Number) {
				g.Errorf("%s wrote %s while it waited", g.names[id-1], line)
			}
		}
	}
}

// After a power cut of all hosts a quorum of the last view goes on with the group: with higher numbers, and a larger
// fence. Fewer wait for another.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	g := newStoring(t)
	g.start(1, 2, 3, 4, 5)
	before, _ := g.agree(1, 2, 3, 4, 5)
	goesOn := func(after *standing, what string) {
		t.Helper()
		if after.Group != before.Group || after.View.Number <= before.View.Number || after.Fence <= before.Fence {
			t.Errorf("%s: %v with fence %d; before %v with fence %d", what, after, after.Fence, &before, before.Fence)
		}
		before = *after
	}
	g.kill(1, 2, 3, 4, 5)
	g.start(2, 3, 5)
	after, took := g.agree(2, 3, 5)
	t.Logf("three of five lead without the other two %v after their start", took)
	goesOn(&after, "after the power cut")
	g.start(1, 4)
	after, took = g.agree(1, 2, 3, 4, 5)
	t.Logf("the other two are members %v after their start", took)
	if after.Group != before.Group || after.View.Number != before.View.Number+2 || after.Fence != before.Fence {
		t.Errorf("with the others: %v; before %v", &after, &before)
	}
	before = after
	g.kill(1, 2, 3, 4, 5)
	g.start(1, 4)
	g.wait(6*time.Second, &before, 1, 4)
	g.start(3)
	after, took = g.agree(1, 3, 4)
	t.Logf("two that waited and a third lead %v after its start", took)
	goesOn(&after, "with a third")
}

// A host whose state file is an old copy says so and has no vote of the lost process: after a power cut it and two others of
// five wait for one more, and then it is a new member.
func TestOldStateFile(t *testing.T) {
	t.Parallel()
	g := newStoring(t)
	g.start(1, 2, 3, 4, 5)
	g.agree(1, 2, 3, 4, 5)
	old, err := os.ReadFile(g.state(5))
	if err != nil {
		t.Fatal(err)
	}
	g.kill(5)
	g.agree(1, 2, 3, 4)
	g.start(5)
	before, _ := g.agree(1, 2, 3, 4, 5)
	for _, id := range []int{3, 4} {
		within(t, "the view is stored", func() bool {
			s, ok := g.ask(id)
			return ok && s.Peer.Stored == before.View.Number
		})
	}
	g.kill(1, 2, 3, 4, 5)
	if err := os.WriteFile(g.state(5), old, 0o600); err != nil {
		t.Fatal(err)
	}
	g.start(3, 4, 5)
	g.runs[4].awaitNotice("The state file is older than what the group knows of this host")
	g.wait(6*time.Second, &before, 3, 4, 5)
	g.start(1)
	after, took := g.agree(1, 3, 4, 5)
	t.Logf("all four that run lead %v after the start of the last", took)
	if after.Group != before.Group || after.View.Number <= before.View.Number || after.Fence <= before.Fence {
		t.Errorf("%v with fence %d; before %v with fence %d", &after, after.Fence, &before, before.Fence)
	}
}

// A restart of all hosts at once keeps all members.
func TestAllRestart(t *testing.T) {
	t.Parallel()
	g := newStoring(t)
	g.start(1, 2, 3, 4, 5)
	before, _ := g.agree(1, 2, 3, 4, 5)
	for range 3 {
		g.kill(1, 2, 3, 4, 5)
		g.start(5, 4, 3, 2, 1)
		after, took := g.agree(1, 2, 3, 4, 5)
		t.Logf("all five lead %v after their start", took)
		if after.Group != before.Group || after.View.Number < before.View.Number || after.Fence <= before.Fence {
			t.Errorf("%v with fence %d; before %v with fence %d", &after, after.Fence, &before, before.Fence)
		}
		before = after
	}
}

// Hosts that store make one group, in whatever order they start, and none without a majority of all.
func TestFoundingWithState(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		waves [][]int // the last one makes a majority
		later []int
	}{
		{"the first host last", [][]int{{2, 3, 4, 5}}, []int{1}},
		{"one by one, the first host last", [][]int{{5}, {4}, {3}}, []int{2, 1}},
		{"two, then a third", [][]int{{1, 2}, {3}}, []int{4, 5}},
		{"two others, then the first", [][]int{{4, 5}, {1}}, []int{2, 3}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			g := newStoring(t)
			var ids []int
			for i, wave := range c.waves {
				g.start(wave...)
				ids = slices.Sorted(slices.Values(append(ids, wave...)))
				if i < len(c.waves)-1 {
					g.wait(6*time.Second, nil, ids...)
				}
			}
			first, took := g.agree(ids...)
			t.Logf("%v have founded the group %v after the last of them started", ids, took)
			for _, id := range c.later {
				g.start(id)
				ids = slices.Sorted(slices.Values(append(ids, id)))
				after, _ := g.agree(ids...)
				if after.Group != first.Group || after.View.Number != int64(len(ids)) {
					t.Errorf("with %d: %v; before %v", id, &after, &first)
				}
			}
		})
	}
}
