package simulation

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"memberly/peer/types"
)

// newHarshPlan draws the harsh plan of a seed: 5 to 25 hosts, with many faults at once.
func newHarshPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 4))
	p := Plan{Seed: seed, Hosts: 5 + r.IntN(5)}
	if r.IntN(10) == 0 {
		p.Hosts = 5 + r.IntN(21)
	}
	p.Network = drawNetwork(r)
	if r.IntN(4) == 0 {
		p.Drift = r.Float64() * 0.01
	}
	p.Wire = r.IntN(8) == 0
	if r.IntN(2) == 0 {
		p.Late = 20 * time.Millisecond
	} else if r.IntN(4) == 0 {
		p.Late = 100 * time.Millisecond
	}
	if r.IntN(2) == 0 {
		p.Backoff = 2 * time.Minute
	}
	if r.IntN(6) == 0 {
		p.Boot = upTo(r, 2*time.Minute)
	}
	p.Starts = drawStarts(r, p.Hosts)
	p.drawTroubles(r)
	if r.IntN(3) > 0 {
		p.Faults = append(p.Faults, fault{At: p.Quiet, Kind: restart})
	}
	return p
}

// drawTroubles draws the faults, and when they are over. In half of the plans they are several successions,
// each a few seconds after the one before.
func (p *Plan) drawTroubles(r *rand.Rand) {
	victim := types.ID(1 + r.IntN(p.Hosts))
	at := p.Boot + upTo(r, 20*time.Second)
	end, successions := at, r.IntN(2) == 0
	for range 1 + r.IntN(6) {
		troubles := drawSuccession(r, p.Hosts, at)
		if !successions {
			troubles = drawTrouble(r, p.Hosts, victim, at)
		}
		for _, f := range troubles {
			p.Faults = append(p.Faults, f)
			if f.Kind != jump {
				end = max(end, f.At+f.For)
			}
		}
		at += upTo(r, 6*time.Second)
		if !successions && r.IntN(4) == 0 { // the next fault comes when the others are about to end, or just over
			at = max(at, end-5*time.Second+upTo(r, 10*time.Second))
		}
	}
	slices.SortStableFunc(p.Faults, func(f, g fault) int { return cmp.Compare(f.At, g.At) })
	p.Quiet = max(at, end)
	if r.IntN(4) == 0 { // then many faults end at the same moment
		p.Quiet = at
	}
}

func upTo(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }

// drawTrouble draws a fault that lasts or comes and goes, or a burst of faults. It hits the leader, the victim,
// which is hit more than once, or any host.
func drawTrouble(r *rand.Rand, hosts int, victim types.ID, at time.Duration) []fault {
	f := fault{At: at, A: types.ID(r.IntN(hosts + 1)), B: types.ID(1 + r.IntN(hosts))} // A 0: the leader
	switch r.IntN(4) {
	case 0:
		f.A = 0
	case 1, 2:
		f.A = victim
	}
	if r.IntN(4) == 0 {
		f.B = victim
	}
	if f.A == f.B {
		f.B = 1 + f.B%types.ID(hosts)
	}
	f.For = 5*time.Second + upTo(r, 30*time.Second)
	switch r.IntN(9) {
	case 0, 1:
		return drawBurst(r, hosts, at)
	case 2: // a crash loop
		f.Kind, f.Down, f.Up = Crash, time.Millisecond+upTo(r, 2*time.Second), 100*time.Millisecond+upTo(r, 6*time.Second)
	case 3:
		f.Kind, f.Down = cutPair, time.Second+upTo(r, 4*time.Second)
	case 4: // a host or a way flaps
		f.Kind = []Kind{cutHosts, mute, deaf, link, linkBoth}[r.IntN(5)]
		f.Down, f.Up = 100*time.Millisecond+upTo(r, 3*time.Second), 100*time.Millisecond+upTo(r, 2*time.Second)
		if f.A != 0 {
			f.Side = 1 << (f.A - 1)
		}
	case 5:
		f.Kind, f.Delay = slow, 100*time.Millisecond+upTo(r, 3*time.Second)
		if r.IntN(2) == 0 {
			f.Delay = upTo(r, 40*time.Second)
		}
	case 6, 7: // a long cut, of some hosts or of a way
		f.Kind = []Kind{cutHosts, cutHosts, mute, link, linkBoth}[r.IntN(5)]
		f.For = time.Minute + upTo(r, 2*time.Minute)
		f.Side = 1 + uint32(r.Int64N(1<<hosts-1))
	default:
		return drawFaults(r, hosts, at)
	}
	return []fault{f}
}

// drawSuccession draws a burst that hits the leader while it changes the view, because a host returns or
// leaves, and a second burst that hits others when the next leader is about to lead.
func drawSuccession(r *rand.Rand, hosts int, at time.Duration) []fault {
	const silence = 2200 * time.Millisecond // until a leader that is cut off is unreachable
	someone := types.ID(1 + r.IntN(hosts))
	faults := []fault{{At: at, Kind: Crash, A: someone}, {At: at + 500*time.Millisecond, Kind: start, A: someone}}
	if r.IntN(3) == 0 {
		faults = []fault{{At: at + 500*time.Millisecond, Kind: Leave, A: someone}}
	}
	at += 500*time.Millisecond + upTo(r, 2*time.Millisecond)
	first := fault{At: at, Kind: []Kind{cutHosts, cutHosts, Crash, mute}[r.IntN(4)], For: 3*time.Second + upTo(r, 10*time.Second)}
	faults = append(faults, first)
	for range 1 + r.IntN(3) {
		f := fault{At: at + upTo(r, 5*time.Millisecond), A: types.ID(1 + r.IntN(hosts)), For: 2*time.Second + upTo(r, 4*time.Second)}
		f.Kind, f.Side = []Kind{Crash, cutHosts, freeze}[r.IntN(3)], 1<<(f.A-1)
		if first.Kind != Crash && r.IntN(3) > 0 {
			f.At += silence
		}
		faults = append(faults, f)
	}
	return faults
}

// drawBurst draws several faults within milliseconds, on the leader and on others; some of
// those whose process ended start again.
func drawBurst(r *rand.Rand, hosts int, at time.Duration) (faults []fault) {
	for i := range 2 + r.IntN(4) {
		f := fault{At: at, B: types.ID(1 + r.IntN(hosts)), For: upTo(r, 6*time.Second)}
		if i > 0 && r.IntN(2) == 0 {
			f.A = types.ID(1 + r.IntN(hosts))
		}
		f.Kind = []Kind{Crash, Crash, Signal, off, freeze, cutHosts, mute, deaf, link, snap, Leave}[r.IntN(11)]
		if f.A != 0 {
			f.Side = 1 << (f.A - 1)
		}
		if f.A == f.B {
			f.B = 1 + f.B%types.ID(hosts)
		}
		faults = append(faults, f)
		at += upTo(r, 5*time.Millisecond)
	}
	if r.IntN(2) == 0 {
		faults = append(faults, fault{At: at + upTo(r, 4*time.Second), Kind: restart})
	}
	return faults
}
