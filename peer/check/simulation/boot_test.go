package simulation

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var boots = flag.Uint64("boots", 25, "how many seeds TestBoot runs with each number of hosts")

// Where hosts start long before their network comes up, or before the name service knows them, one group
// is made.
func TestBoot(t *testing.T) {
	for _, hosts := range []int{3, 5, 9} {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			t.Parallel()
			several, runs := 0, *boots
			for seed := range runs {
				for _, p := range []Plan{bootPlan(seed, hosts), namesPlan(seed, hosts)} {
					r := Run(p, nil)
					if r.Failure != "" {
						t.Errorf("seed %d: %s", seed, r.Failure)
					}
					if r.Groups > 1 {
						several++
					}
				}
			}
			t.Logf("%d of %d runs made more than one group", several, runs)
			if several > 0 {
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

// namesPlan is one in which the name service knows no host for half a minute.
func namesPlan(seed uint64, hosts int) Plan {
	return Plan{Seed: seed, Hosts: hosts, Starts: drawStarts(rand.New(rand.NewPCG(seed, 6)), hosts),
		Nameless: 30 * time.Second, Quiet: 31 * time.Second,
		Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 500 * time.Microsecond}}
}

// The judge fails a run that makes a second group, where only the network came up late.
func TestJudgeKnowsBootTwins(t *testing.T) {
	p := bootPlan(1, 5)
	w := newWorld(p, nil)
	w.runUntil(p.Boot)
	v := five()
	w.judge.latest[v.Group], w.judge.failure = v, ""
	other := five()
	other.Group.Maker = 2
	w.judge.created(w.host(2).process, other)
	if w.judge.failure == "" {
		t.Error("the judge lets a second group pass")
	}
	w.judge.failure = ""
	w.plan.Faults = []fault{{At: time.Second, Kind: Crash, A: 1}}
	w.judge.created(w.host(2).process, other)
	if w.judge.failure != "" {
		t.Errorf("something else was wrong, and the judge says %q", w.judge.failure)
	}
}
