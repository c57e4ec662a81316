package simulation

import (
	"time"

	"memberly/peer/types"
)

// glance is how often the judge looks at a group with endless faults.
const glance = 50 * time.Millisecond

// endurance measures a group during endless faults.
type endurance struct {
	Time           time.Duration // that was measured
	Leaderless     time.Duration // of that, in which no process led
	Outside        time.Duration // in which some well-connected host was not in the group's view
	ViewsPerMinute float64
	EndsPerMinute  float64 // of leases: how often a leader ceased
}

// runEndless runs a world with its endless faults, and measures it.
func (w *world) runEndless() (e endurance) {
	began, views, ended := w.now, len(w.judge.views), w.judge.leases.ended
	for w.now < began+w.plan.Endless && w.judge.failure == "" {
		w.runUntil(w.now + glance)
		leader := w.leader()
		if leader == nil {
			e.Leaderless += glance
		}
		if w.outside(w.common(leader)) {
			e.Outside += glance
		}
	}
	e.Time = w.now - began
	e.ViewsPerMinute = float64(len(w.judge.views)-views) / e.Time.Minutes()
	e.EndsPerMinute = float64(w.judge.leases.ended-ended) / e.Time.Minutes()
	return e
}

// common returns the view that the leader holds or, without one, the latest that is held of the
// group that most processes are in.
func (w *world) common(leader *process) types.View {
	if leader != nil {
		return leader.handler.View()
	}
	held := map[types.Group]int{}
	var common types.View
	for _, m := range w.hosts {
		if m.process != nil {
			held[m.process.handler.View().Group]++
		}
	}
	for _, m := range w.hosts {
		if m.process == nil {
			continue
		}
		v := m.process.handler.View()
		if more := held[v.Group] - held[common.Group]; v.Number > 0 && (common.Number == 0 || more > 0 || more == 0 && v.Number > common.Number) {
			common = v
		}
	}
	return common
}

// outside reports whether some well-connected host, whose process runs and was not expelled, is
// not in v: a host is well connected if no endless fault afflicts it.
func (w *world) outside(v types.View) bool {
	for i, m := range w.hosts {
		p := m.process
		if p == nil || w.plan.Afflicted&(1<<i) != 0 || p.handler.Standing() == types.Out {
			continue
		}
		if own := p.handler.View(); !v.Holds(types.Member{ID: m.id, Incarnation: p.handler.Incarnation()}) || own.Number < v.Number-1 {
			return true
		}
	}
	return false
}
