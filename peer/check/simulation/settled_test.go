package simulation

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// A change was chosen, and the only other member that knows of it dies as the next leader takes
// office without a quorum that it reaches. It proposes that change all the same.
func TestChosenSurvivesAWeakLeader(t *testing.T) {
	const far = time.Minute
	p := three()
	p.Hosts, p.Starts = 6, seconds(0, 0.1, 0.2, 0.3, 0.4, 5.01)
	var told bytes.Buffer
	w := newWorld(p, &trace{out: &told, terse: true})
	stands := false
	w.recorded = func(id types.ID, r types.Record) {
		stands = stands || id == 2 && strings.HasPrefix(r.Message, "peer 1 (leader)")
	}
	until := func(ready func() bool) {
		t.Helper()
		for end := w.now + 10*time.Second; !ready(); w.runUntil(w.now + 10*time.Microsecond) {
			if w.now > end {
				t.Fatalf("at %v the plan does not go on", w.now)
			}
		}
	}
	w.runUntil(5 * time.Second)
	w.inject(fault{At: w.now, Kind: link, A: 1, B: 3, For: far})
	w.inject(fault{At: w.now, Kind: cutHosts, Side: 0b10000, For: 4 * time.Second})
	until(func() bool { v := w.host(1).process.handler.View(); return v.Has(6) })
	w.inject(fault{At: w.now, Kind: cutHosts, Side: 0b1, For: far})
	until(func() bool { return stands })
	w.inject(fault{At: w.now, Kind: slow, A: 3, B: 2, Delay: time.Millisecond, For: far})
	w.plan.Late = 20 * time.Millisecond // 3 grants before 2 sees that it reaches no quorum
	until(func() bool { return strings.Contains(told.String(), "2  4: PENDINGRESPONSE") })
	w.inject(fault{At: w.now, Kind: Crash, A: 4})
	w.runUntil(20 * time.Second)
	if w.judge.failure != "" {
		lines := strings.SplitAfter(told.String(), "\n")
		t.Fatalf("%s; its last moments:\n%s", w.judge.failure, strings.Join(lines[max(0, len(lines)-30):], ""))
	}
	if p := w.leader(); p == nil || !p.view.Has(6) {
		t.Errorf("the leader is %v; want one whose view has 6", p)
	}
}

// Hosts that store found their group however slow their disks are.
func TestFoundsWithSlowDisks(t *testing.T) {
	t.Parallel()
	for _, sync := range []time.Duration{10 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second} {
		for seed := range uint64(30) {
			p := Plan{Seed: seed, Hosts: 5, Disks: Disks{Sync: sync, Slow: true}, Quiet: time.Second, Starts: make([]time.Duration, 5),
				Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 500 * time.Microsecond}}
			w := newWorld(p, nil)
			for w.now < 20*sync+5*time.Second && w.leader() == nil {
				w.runUntil(w.now + 100*time.Millisecond)
			}
			if w.leader() == nil || w.judge.failure != "" {
				t.Errorf("writes take %v, seed %d: no group after %v; %s", sync, seed, w.now, w.judge.failure)
			}
		}
	}
}
