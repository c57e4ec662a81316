package simulation

import (
	"math/rand/v2"
	"testing"
	"time"
)

// successionLimit is the longest time without a lease after one fault of a leader: a monitor interval, for its end, and a
// little for the election.
const successionLimit = 2500 * time.Millisecond

// crashLimit is that after a crash, or where the leader leaves: it does not take a monitor interval to notice.
const crashLimit = 400 * time.Millisecond

// TestSuccession lets one fault befall the leader of three to seven, at any moment between two of its heartbeats, and measures how long
// nobody has a lease. A group that did better at other moments does not make up for a bad one.
func TestSuccession(t *testing.T) {
	faults := map[string]fault{
		"frozen":            {Kind: freeze, For: 6 * time.Second},
		"frozen, then runs": {Kind: freeze, For: 4 * time.Second},
		"cut both ways":     {Kind: cutHosts, For: 6 * time.Second},
		"unheard":           {Kind: mute, For: 6 * time.Second},
		"hears nobody":      {Kind: deaf, For: 6 * time.Second},
		"a crash":           {Kind: Crash},
		"left":              {Kind: Leave},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			worst, seed := time.Duration(0), uint64(0)
			for s := range uint64(240) {
				if d := leaderless(t, f, s); d > worst {
					worst, seed = d, s
				}
			}
			t.Logf("%s: without a lease for %v at most", name, worst)
			limit := successionLimit
			if f.Kind == Crash || f.Kind == Leave {
				limit = crashLimit
			}
			if worst > limit {
				t.Errorf("seed %d: nobody has a lease for %v, want %v at most", seed, worst, limit)
			}
		})
	}
}

// leaderless returns the longest time in which nobody has a lease, in a group of three to seven whose leader suffers f.
func leaderless(t *testing.T, f fault, seed uint64) (longest time.Duration) {
	r := rand.New(rand.NewPCG(seed, 9))
	f.At = 10*time.Second + upTo(r, 2*time.Second)
	hosts := 3 + int(seed%5)
	p := Plan{Seed: seed, Hosts: hosts, Starts: drawStarts(r, hosts), Quiet: 30 * time.Second, Late: 20 * time.Millisecond, Faults: []fault{f},
		Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 5 * time.Millisecond}}
	w := newWorld(p, nil)
	w.runUntil(9 * time.Second)
	since := w.now
	for w.now < 20*time.Second && w.judge.failure == "" {
		w.runUntil(w.now + 10*time.Millisecond)
		if w.leased() {
			since = w.now
		}
		longest = max(longest, w.now-since)
	}
	if w.judge.failure != "" {
		t.Errorf("seed %d: %s", seed, w.judge.failure)
	}
	return longest
}

// leased reports whether some process has a lease.
func (w *world) leased() bool {
	for p, l := range w.judge.leases.now {
		if !p.ended && l.until > w.now {
			return true
		}
	}
	return false
}
