package simulation

import (
	"cmp"
	"testing"
	"time"

	"memberly/peer/types"
)

// trouble is an endless fault in a group of seven, the hosts that it afflicts, and what the group
// may suffer from it.
type trouble struct {
	name      string
	fault     fault
	afflicted uint32
	bounds    bounds
	hosts     int   // 0: seven
	also      fault // if it has a time
}

// bounds are the most that an endless fault may cost: shares of the time, views a minute, and leases that end a minute.
type bounds struct{ leaderless, outside, views, ends float64 }

func flapping(kind Kind, host types.ID) fault {
	return fault{Kind: kind, A: host, Side: 1 << (host - 1), Down: 2200 * time.Millisecond, Up: 500 * time.Millisecond}
}

func whole(kind Kind, host types.ID) fault { return fault{Kind: kind, A: host, Side: 1 << (host - 1)} }

func between(kind Kind, a, b types.ID) fault { return fault{Kind: kind, A: a, B: b} }

func looping(host types.ID) fault {
	return fault{Kind: Crash, A: host, Down: 100 * time.Millisecond, Up: 4900 * time.Millisecond}
}

var troubles = []trouble{
	{name: "host 1 is deaf for 2.2 s of 2.7", fault: flapping(deaf, 1), afflicted: 0b1, bounds: bounds{0.001, 0.001, 1, 0.2}},
	{name: "host 1 is mute for 2.2 s of 2.7", fault: flapping(mute, 1), afflicted: 0b1, bounds: bounds{0.001, 0.001, 20, 0.2}},
	{name: "host 1 is both for 2.2 s of 2.7", fault: flapping(cutHosts, 1), afflicted: 0b1, bounds: bounds{0.001, 0.001, 24, 0.2}},
	{name: "host 1 is deaf", fault: whole(deaf, 1), afflicted: 0b1, bounds: bounds{0.001, 0.001, 0.5, 0.2}},
	{name: "host 7 is deaf", fault: whole(deaf, 7), afflicted: 0b1000000, bounds: bounds{0.001, 0.001, 0.5, 0}},
	{name: "host 1 is mute", fault: whole(mute, 1), afflicted: 0b1, bounds: bounds{0.001, 0.001, 0.5, 0.2}},
	{name: "no way between 1 and 5", fault: between(linkBoth, 1, 5), afflicted: 0, bounds: bounds{0.001, 0.001, 0.5, 0}},
	{name: "no way from 1 to 5", fault: between(link, 1, 5), afflicted: 0, bounds: bounds{0.001, 0.001, 0.5, 0}},
	{name: "no way from 5 to 1", fault: between(link, 5, 1), afflicted: 0, bounds: bounds{0.001, 0.001, 0.5, 0}},
	{name: "no way between 3 and 5", fault: between(linkBoth, 3, 5), afflicted: 0, bounds: bounds{0.001, 0.001, 0.5, 0}},
	{name: "another pair is cut every 3 s", fault: fault{Kind: cutPair, Down: 3 * time.Second}, afflicted: 0, bounds: bounds{0.001, 0.01, 1, 0}},
	{name: "the process of host 1 crashes every 5 s", fault: looping(1), afflicted: 0b1, bounds: bounds{0.001, 0.001, 25, 0}},
	{name: "the process of host 7 crashes every 5 s", fault: looping(7), afflicted: 0b1000000, bounds: bounds{0.001, 0.001, 25, 0}},
	{name: "no way from 5 to 1, and 7 crashes", fault: between(link, 5, 1), bounds: bounds{0.001, 0.001, 0.5, 0},
		also: fault{At: 30 * time.Second, Kind: Crash, A: 7, Endless: true}},
	{name: "no way between 1 and 2 of 3 for 3 s of 4", fault: fault{Kind: linkBoth, A: 1, B: 2, Down: 3 * time.Second, Up: time.Second},
		bounds: bounds{0.001, 0.02, 5, 0}, hosts: 3},
	{name: "no way from 2 to 1 of 3 for 2.2 s of 2.7", fault: fault{Kind: link, A: 2, B: 1, Down: 2200 * time.Millisecond, Up: 500 * time.Millisecond},
		bounds: bounds{0.001, 0.02, 5, 0}, hosts: 3},
	{name: "no way between 1 and 2, 1 and 3 of 4", fault: between(linkBoth, 1, 2), bounds: bounds{0.02, 0.02, 5, 0}, hosts: 4,
		also: fault{At: 15 * time.Second, Kind: linkBoth, A: 1, B: 3, Endless: true}},
}

// TestEndless holds groups under faults that never end to bounds: how long they are without a
// leader, how long a well-connected host is outside, and how often the view changes.
func TestEndless(t *testing.T) {
	t.Logf("%-42s %10s %10s %10s %10s", "fault, for ten minutes", "leaderless", "outside", "views/min", "ends/min")
	for _, c := range troubles {
		const runs = 3
		var got bounds
		for seed := range uint64(runs) {
			c.fault.At, c.fault.Endless = 15*time.Second, true
			hosts := cmp.Or(c.hosts, 7)
			p := Plan{Seed: seed, Hosts: hosts, Starts: seconds(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)[:hosts], Quiet: 15 * time.Second,
				Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 500 * time.Microsecond},
				Faults:  []fault{c.fault}, Endless: 10 * time.Minute, Afflicted: c.afflicted}
			if c.also.At > 0 {
				p.Faults = append(p.Faults, c.also)
			}
			r := Run(p, nil)
			if r.Failure != "" {
				t.Errorf("%s: seed %d: %s", c.name, seed, r.Failure)
			}
			e := r.Endured
			got.leaderless += e.Leaderless.Seconds() / e.Time.Seconds() / runs
			got.outside += e.Outside.Seconds() / e.Time.Seconds() / runs
			got.views += e.ViewsPerMinute / runs
			got.ends += e.EndsPerMinute / runs
		}
		t.Logf("%-42s %9.1f%% %9.1f%% %10.1f %10.2f", c.name, 100*got.leaderless, 100*got.outside, got.views, got.ends)
		if most := c.bounds; got.leaderless > most.leaderless || got.outside > most.outside || got.views > most.views || got.ends > most.ends {
			t.Errorf("%s: shares, views and ends a minute are %.3f, want %.3f at most", c.name, got, most)
		}
	}
}
