package simulation

import (
	"testing"
	"time"
)

// Two hosts of five vanish, and the link between two others is bad: each of these misses three. All the same,
// they are believed, with UDP and without, and the two are removed.
func TestWitnessesWithABadLink(t *testing.T) {
	for k := range 40 {
		at := 20*time.Second + time.Duration(k)*77*time.Millisecond
		p := Plan{Seed: uint64(k), Hosts: 5, Starts: seconds(0, 0.1, 0.2, 0.3, 0.4), Quiet: 5 * time.Minute, Late: 100 * time.Millisecond,
			Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 500 * time.Microsecond, NoUDP: k%2 == 0},
			Faults: []fault{{At: at - 10*time.Millisecond, Kind: linkBoth, A: 2, B: 3, For: time.Hour},
				{At: at, Kind: cutHosts, Side: 0b11000, For: time.Hour}}}
		w := newWorld(p, nil)
		w.runUntil(at + 20*time.Second)
		if v := w.host(1).process.handler.View(); v.Has(4) || v.Has(5) || !v.Has(2) || !v.Has(3) || w.judge.failure != "" {
			t.Errorf("plan %d: 20 s later the view is %v; %s", k, v.Members, w.judge.failure)
		}
	}
}
