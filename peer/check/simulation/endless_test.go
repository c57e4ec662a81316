package simulation

import (
	"testing"
	"time"

	"memberly/peer/types"
)

// trouble is an endless fault in a group of seven, the hosts that it afflicts, and what the group
// may suffer from it.
type trouble struct {
	name      string
	fault     Fault
	afflicted uint32
	bounds    bounds
}

// bounds are the most that an endless fault may cost: shares of the time, and views a minute.
type bounds struct{ leaderless, outside, views float64 }

func flapping(kind Kind, host types.ID) Fault {
	return Fault{Kind: kind, A: host, Side: 1 << (host - 1), Down: 2200 * time.Millisecond, Up: 500 * time.Millisecond}
}

func whole(kind Kind, host types.ID) Fault { return Fault{Kind: kind, A: host, Side: 1 << (host - 1)} }

func between(kind Kind, a, b types.ID) Fault { return Fault{Kind: kind, A: a, B: b} }

func looping(host types.ID) Fault {
	return Fault{Kind: Crash, A: host, Down: 100 * time.Millisecond, Up: 4900 * time.Millisecond}
}

var troubles = []trouble{
	{"host 1 is deaf for 2.2 s of 2.7", flapping(Deaf, 1), 0b1, bounds{0.001, 0.001, 1}},
	{"host 1 is mute for 2.2 s of 2.7", flapping(Mute, 1), 0b1, bounds{0.001, 0.001, 16}},
	{"host 1 is both for 2.2 s of 2.7", flapping(Cut, 1), 0b1, bounds{0.001, 0.001, 24}},
	{"host 1 is deaf", whole(Deaf, 1), 0b1, bounds{0.001, 0.001, 0.5}},
	{"host 7 is deaf", whole(Deaf, 7), 0b1000000, bounds{0.001, 0.001, 0.5}},
	{"host 1 is mute", whole(Mute, 1), 0b1, bounds{0.001, 0.001, 0.5}},
	{"no way between 1 and 5", between(LinkBoth, 1, 5), 0, bounds{0.001, 0.001, 0.5}},
	{"no way from 1 to 5", between(Link, 1, 5), 0, bounds{0.001, 0.001, 0.5}},
	{"no way from 5 to 1", between(Link, 5, 1), 0, bounds{0.001, 0.001, 0.5}},
	{"no way between 3 and 5", between(LinkBoth, 3, 5), 0, bounds{0.001, 0.001, 0.5}},
	{"another pair is cut every 3 s", Fault{Kind: Pair, Down: 3 * time.Second}, 0, bounds{0.001, 0.01, 1}},
	{"the process of host 1 crashes every 5 s", looping(1), 0b1, bounds{0.001, 0.001, 25}},
	{"the process of host 7 crashes every 5 s", looping(7), 0b1000000, bounds{0.001, 0.001, 25}},
}

// TestEndless holds groups under faults that never end to bounds: how long they are without a
// leader, how long a well-connected host is outside, and how often the view changes.
func TestEndless(t *testing.T) {
	t.Logf("%-42s %10s %10s %10s", "fault, for ten minutes", "leaderless", "outside", "views/min")
	for _, c := range troubles {
		const runs = 3
		var got bounds
		for seed := range uint64(runs) {
			c.fault.At, c.fault.Endless = 15*time.Second, true
			p := Plan{Seed: seed, Hosts: 7, Starts: seconds(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), Quiet: 15 * time.Second,
				Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 500 * time.Microsecond},
				Faults:  []Fault{c.fault}, Endless: 10 * time.Minute, Afflicted: c.afflicted}
			r := Run(p, nil)
			if r.Failure != "" {
				t.Errorf("%s: seed %d: %s", c.name, seed, r.Failure)
			}
			e := r.Endured
			got.leaderless += e.Leaderless.Seconds() / e.Time.Seconds() / runs
			got.outside += e.Outside.Seconds() / e.Time.Seconds() / runs
			got.views += e.ViewsPerMinute / runs
		}
		t.Logf("%-42s %9.1f%% %9.1f%% %10.1f", c.name, 100*got.leaderless, 100*got.outside, got.views)
		if most := c.bounds; got.leaderless > most.leaderless || got.outside > most.outside || got.views > most.views {
			t.Errorf("%s: shares and views a minute are %.3f, want %.3f at most", c.name, got, most)
		}
	}
}
