package simulation

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"memberly/peer/types"
)

// maxHosts is how many hosts a plan can have: a side of a cut has a bit for each.
const maxHosts = 32

// Profile says how many faults of which kind a simulation has. The user chooses it; a seed decides when the
// faults happen, and on which hosts.
type Profile struct {
	Hosts     int           // 1 to maxHosts
	For       time.Duration // until all faults are over; more than 0
	Stagger   time.Duration // between the starts of two hosts
	Network   Network
	Disks             // as in Plan
	Drift     float64 // as Plan.Drift
	Drill     bool    // as Plan.Drill; of four hosts or more
	Again     bool    // every host whose process has ended gets a new one in the end
	Faults    map[Kind]int
	Reborn    int // crashes whose host gets a new process within seconds, besides those in Faults
	Flaps     int // hosts or ways between two that come and go
	Bursts    int // several faults within milliseconds, on the leader and others
	PowerCuts int // every process ends, and each host gets a new one within seconds
	Edits     int // changes of the hosts files, which add hosts and retire some; the last one reaches all, and Again is set then

	Late, Backoff time.Duration // as in Plan
	Boot          time.Duration // as Plan.Boot; For at most
}

// Plan returns the plan that a seed draws from the profile.
func (c Profile) Plan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 3))
	p := Plan{Seed: seed, Hosts: c.Hosts, Network: c.Network, Disks: c.Disks, Drift: c.Drift, Drill: c.Drill, Quiet: c.For,
		Late: c.Late, Backoff: c.Backoff, Boot: c.Boot}
	for i := range c.Hosts {
		p.Starts = append(p.Starts, time.Duration(i)*c.Stagger)
	}
	for kind := range Signal + 1 {
		for range c.Faults[kind] {
			p.Faults = append(p.Faults, c.draw(r, kind))
		}
	}
	for range c.Reborn {
		f := c.draw(r, Crash)
		again := min(f.At+time.Millisecond+time.Duration(r.Int64N(int64(4*time.Second))), c.For)
		p.Faults = append(p.Faults, f, fault{At: again, Kind: start, A: f.A})
	}
	for range c.Flaps {
		p.Faults = append(p.Faults, c.drawFlap(r))
	}
	for range c.Bursts {
		for _, f := range drawBurst(r, c.Hosts, upTo(r, c.For)) {
			f.At = min(f.At, c.For)
			p.Faults = append(p.Faults, f)
		}
	}
	for range c.PowerCuts {
		p.Faults = append(p.Faults, drawPowerCut(r, c.Hosts, upTo(r, c.For), c.For)...)
	}
	c.drawEdits(r, &p)
	slices.SortStableFunc(p.Faults, func(f, g fault) int { return cmp.Compare(f.At, g.At) })
	if c.Again || c.Edits > 0 {
		p.Faults = append(p.Faults, fault{At: c.For, Kind: restart})
	}
	return p
}

// drawEdits adds changes of the hosts files to p.
func (c Profile) drawEdits(r *rand.Rand, p *Plan) {
	if c.Edits == 0 {
		return
	}
	p.Listed, p.Hosts = c.Hosts, min(c.Hosts+c.Edits, maxHosts)
	if p.Sync > 0 { // more new hosts than old ones could make a group of their own
		p.Hosts = min(p.Hosts, 2*p.Listed)
	}
	times := make([]time.Duration, c.Edits)
	for i := range times {
		times[i] = upTo(r, c.For)
	}
	slices.Sort(times)
	file := p.firstFile()
	for _, at := range times {
		file = p.drawFile(r, file, at)
		p.drawEdits(r, len(p.Files)-1, at)
	}
}

// draw draws one fault: at any time, of any hosts, for up to 4 s or, one in three, 16 s.
func (c Profile) draw(r *rand.Rand, kind Kind) fault {
	f := fault{At: time.Duration(r.Int64N(int64(c.For))), Kind: kind, A: types.ID(1 + r.IntN(c.Hosts))}
	f.B = types.ID(1 + (int(f.A)+r.IntN(max(c.Hosts-1, 1)))%c.Hosts)
	f.Side = uint32(r.Int64N(1 << c.Hosts))
	f.For = time.Duration(r.Int64N(int64(4 * time.Second)))
	if r.IntN(3) == 0 {
		f.For *= 4
	}
	return f
}

// drawFlap draws a host that the others do not hear, that does not hear them, or both, or two hosts
// of which that is so, again and again.
func (c Profile) drawFlap(r *rand.Rand) fault {
	f := c.draw(r, []Kind{cutHosts, mute, deaf, link, linkBoth}[r.IntN(5)])
	f.Side = 1 << (f.A - 1)
	f.Down, f.Up = 100*time.Millisecond+upTo(r, 3*time.Second), 100*time.Millisecond+upTo(r, 2*time.Second)
	f.For = min(5*time.Second+upTo(r, 30*time.Second), c.For-f.At)
	return f
}
