package simulation

import (
	"io"
	"slices"
	"time"

	"memberly/peer/types"
)

// Result is what came of a run.
type Result struct {
	Plan      Plan
	Failure   string        // the promise that was broken, when and how; empty if none
	Converged time.Duration // after the plan was quiet
	Simulated time.Duration
	Steps     int
	Twins     int // groups that rule 7 could not prevent
	Views     int
}

// Run simulates a plan. Trace, if not nil, is told every event.
func Run(p Plan, out io.Writer) Result {
	var t *trace
	if out != nil {
		t = &trace{out}
	}
	w := newWorld(p, t)
	w.runUntil(p.Quiet)
	w.settle()
	wrong := "never asked"
	patience := w.patience()
	for w.now < p.Quiet+patience && w.judge.failure == "" {
		w.runUntil(w.now + 500*time.Millisecond)
		if wrong = w.judge.agreed(); wrong == "" && w.now > p.last() {
			break
		}
	}
	if wrong != "" {
		w.judge.fail("no agreement %v after the last fault: %s", patience, wrong)
	}
	return Result{Plan: p, Failure: w.judge.failure, Converged: w.now - p.Quiet, Simulated: w.now, Steps: w.steps,
		Twins: w.judge.twins, Views: len(w.judge.views)}
}

// last is when the last process starts by plan.
func (p Plan) last() time.Duration {
	t := p.Quiet
	for _, s := range p.Starts {
		t = max(t, s)
	}
	return t
}

// patience is how long a group may take to agree once the faults are over: 25 s where rules 6
// and 7 make somebody wait, and 10 s more for each host that does not run before the first
// in the file that does, for then that one waits so long to found (rule 7).
func (w *world) patience() time.Duration {
	for i, m := range w.hosts {
		if m.process != nil || w.starts(m.id) {
			return 25*time.Second + time.Duration(i)*10*time.Second
		}
	}
	return time.Second // nobody runs
}

// starts tells whether a host is still to be started by plan.
func (w *world) starts(id types.ID) bool {
	return w.plan.Starts[id-1] > w.plan.Quiet || slices.ContainsFunc(w.plan.Faults, func(f Fault) bool {
		return f.Kind == Restart && f.At == w.plan.Quiet
	})
}

// Shrink drops faults from a failing plan as long as it still fails.
func Shrink(p Plan) Plan {
	for again := true; again; {
		again = false
		for i := range p.Faults {
			q := p
			q.Faults = append(append([]Fault(nil), p.Faults[:i]...), p.Faults[i+1:]...)
			if Run(q, nil).Failure != "" {
				p, again = q, true
				break
			}
		}
	}
	return p
}
