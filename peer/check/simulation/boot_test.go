package simulation

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var boots = flag.Uint64("boots", 25, "how many seeds TestBoot runs with each number of hosts")

// Where hosts start long before their network comes up, one group is made. A run with more is
// only counted unless singleGroup is on.
func TestBoot(t *testing.T) {
	for _, hosts := range []int{5, 9} {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			t.Parallel()
			several, runs := 0, *boots
			for seed := range runs {
				r := Run(bootPlan(seed, hosts), nil)
				if r.Failure != "" {
					t.Errorf("seed %d: %s", seed, r.Failure)
				}
				if r.Groups > 1 {
					several++
				}
			}
			t.Logf("%d of %d runs made more than one group", several, runs)
			if singleGroup && several > 0 {
				t.Errorf("%d of %d runs made more than one group, want none", several, runs)
			}
		})
	}
}

// bootPlan is a plan in which the hosts start in one of the usual orders, and the network is up after
// two minutes.
func bootPlan(seed uint64, hosts int) Plan {
	return Plan{Seed: seed, Hosts: hosts, Starts: drawStarts(rand.New(rand.NewPCG(seed, 5)), hosts),
		Boot: 2 * time.Minute, Quiet: 2*time.Minute + time.Second,
		Network: Network{MinDelay: time.Millisecond, MaxDelay: 50 * time.Millisecond}}
}

// The judge fails a run that makes a second group, where only the network came up late.
func TestJudgeKnowsBootTwins(t *testing.T) {
	p := bootPlan(1, 5)
	w := newWorld(p, nil)
	w.runUntil(p.Boot)
	v := five()
	w.judge.latest[v.Group], w.judge.failure = v, ""
	w.judge.single = true
	other := five()
	other.Group.Maker = 2
	w.judge.created(w.host(2).process, other)
	if w.judge.failure == "" {
		t.Error("the judge lets a second group pass")
	}
	w.judge.failure = ""
	w.plan.Faults = []Fault{{At: time.Second, Kind: Crash, A: 1}}
	w.judge.created(w.host(2).process, other)
	if w.judge.failure != "" {
		t.Errorf("something else was wrong, and the judge says %q", w.judge.failure)
	}
}
