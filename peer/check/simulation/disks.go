package simulation

import (
	"math/rand/v2"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// Disks describes the disks of a plan in which hosts store what they must remember. The zero value has none.
type Disks struct {
	Sync   time.Duration // the longest that a write takes; more than 0
	Slow   bool          // every write takes that long
	Stalls float64       // of the writes that take up to 4 s
}

// writing is a write of a process that has not ended, and the one that comes after it.
type writing struct {
	now, next handlers.Save
}

// save writes s to the disk of the process's host. One write is under way at a time; of those that wait, only the newest
// is done.
func (w *world) save(p *process, s handlers.Save) {
	if p.writing.now.Number != 0 {
		p.writing.next = s
		return
	}
	p.writing.now = s
	took := upTo(w.random, w.plan.Sync)
	if w.plan.Slow {
		took = w.plan.Sync
	}
	if w.random.Float64() < w.plan.Stalls {
		took = upTo(w.random, 4*time.Second)
	}
	w.after(took, func() {
		if p.ended {
			return
		}
		w.keep(p, s)
		next := p.writing.next
		p.writing = writing{}
		if next.Number != 0 {
			w.save(p, next)
		}
		w.step(p, "stored", func(now handlers.Instant) *handlers.Output { return p.handler.Saved(now, s.Number) })
	})
}

// crashDisk decides what becomes of the write of a process that ends: it is lost, or done.
func (w *world) crashDisk(p *process) {
	if held := w.now - max(p.installed, p.awake); w.plan.Sync > 0 && w.plan.Stalls == 0 && p.view.Number != p.stored.View.Number &&
		p.handler.Standing() == types.Joined && !p.frozen && held > 50*time.Millisecond+w.plan.Late+2*w.plan.Sync {
		w.judge.fail("peer %d has held view %d for %v, and has stored view %d", p.id, p.view.Number, held, p.stored.View.Number)
	}
	if s := p.writing.now; s.Number != 0 && w.random.IntN(2) == 0 {
		w.keep(p, s)
	}
}

// keep is the end of a write that was done.
func (w *world) keep(p *process, s handlers.Save) {
	p.stored = s.Stored
	w.judge.keeps(p.id, &s.Stored)
}

// memory returns what a new process on m finds stored; nil if hosts store nothing.
func (w *world) memory(m *machine) *types.Stored {
	if w.plan.Sync == 0 {
		return nil
	}
	s := m.stored
	return &s
}

// stallsTake returns how much longer agreement may take where writes stall for up to 4 s, after the last fault too: an election
// takes one write after another, and stands still with them.
func (p *Plan) stallsTake() time.Duration {
	if p.Stalls == 0 {
		return 0
	}
	return 10 * time.Second
}

// drawPowerCut draws a power cut at a time: every process ends, and each host gets a new one within six seconds, or at the end.
func drawPowerCut(r *rand.Rand, hosts int, at, end time.Duration) []fault {
	faults := []fault{{At: at, Kind: crashAll}}
	for i := range hosts {
		faults = append(faults, fault{At: min(at+upTo(r, 6*time.Second), end), Kind: start, A: types.ID(i + 1)})
	}
	return faults
}

// newStoredPlan draws the plan of a seed in which hosts store what they must remember, and the power fails.
func newStoredPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 6))
	p := NewPlan(seed)
	p.Drill = false
	p.Sync = 100*time.Microsecond + upTo(r, 5*time.Millisecond)
	if r.IntN(3) == 0 {
		p.Sync = upTo(r, 300*time.Millisecond) + 1
	}
	if r.IntN(4) == 0 {
		p.Stalls = r.Float64() * 0.1
	}
	for range r.IntN(3) {
		p.Faults = append(p.Faults, fault{At: p.Quiet, Kind: crashAll})
		for i := range p.Hosts {
			if r.IntN(4) > 0 {
				p.Faults = append(p.Faults, fault{At: p.Quiet + upTo(r, 6*time.Second), Kind: start, A: types.ID(i + 1)})
			}
		}
		p.Quiet += upTo(r, 12*time.Second)
	}
	if r.IntN(8) > 0 {
		p.Faults = append(p.Faults, fault{At: p.Quiet, Kind: restart})
	}
	return p
}
