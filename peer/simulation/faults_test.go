package simulation

import (
	"testing"
	"time"
)

// three is a plan of three hosts on a fast network, which start one after the other.
func three() Plan {
	return Plan{Seed: 1, Hosts: 3, Starts: seconds(0, 0.1, 0.2), Quiet: time.Hour,
		Network: Network{MinDelay: 100 * time.Microsecond, MaxDelay: 100 * time.Microsecond}}
}

// Ticks come late where the plan says so, and never later than it says.
func TestLate(t *testing.T) {
	for _, late := range []time.Duration{0, 20 * time.Millisecond} {
		p := three()
		p.Late = late
		w := newWorld(p, nil)
		most := time.Duration(0)
		for w.now < 20*time.Second {
			w.runUntil(w.now + time.Millisecond)
			for _, m := range w.hosts {
				if q := m.process; q != nil && q.wakeAt >= 0 {
					most = max(most, w.now-q.wakeAt)
				}
			}
		}
		if w.judge.failure != "" {
			t.Fatal(w.judge.failure)
		}
		if most > late || most < late/2 {
			t.Errorf("a tick is up to %v late, want about %v", most, late)
		}
	}
}

// The pause before TCP sends again doubles up to the plan's bound, or 5 s.
func TestBackoff(t *testing.T) {
	for _, c := range []struct{ bound, want time.Duration }{{0, 5 * time.Second}, {120 * time.Second, 120 * time.Second}} {
		p := three()
		p.Backoff = c.bound
		p.Faults = []Fault{cut(5, 0b100, 150)}
		w := newWorld(p, nil)
		w.runUntil(150 * time.Second)
		most := time.Duration(0)
		for _, conns := range w.conns {
			for _, c := range conns {
				most = max(most, c.ways[0].retry, c.ways[1].retry)
			}
		}
		if most != c.want {
			t.Errorf("with a bound of %v the longest pause is %v, want %v", c.bound, most, c.want)
		}
	}
}

// Until the network is up nobody hears anybody; then the hosts agree.
func TestNetworkComesUpLate(t *testing.T) {
	p := three()
	p.Boot = 30 * time.Second
	w := newWorld(p, nil)
	w.runUntil(p.Boot - 1)
	for _, m := range w.hosts {
		if v := m.process.handler.View(); len(v.Members) > 1 {
			t.Errorf("peer %d holds view %v while there is no network", m.id, v.Members)
		}
	}
	w.runUntil(p.Boot + 30*time.Second)
	if wrong := w.judge.agreed(); wrong != "" || w.judge.failure != "" {
		t.Error(wrong, w.judge.failure)
	}
}
