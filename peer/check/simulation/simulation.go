package simulation

import (
	"io"
	"slices"
	"time"
)

// Result is the outcome of a run.
type Result struct {
	Plan      Plan
	Failure   string        // the promise that was broken, when and how; empty if none
	Converged time.Duration // after the plan was quiet
	Simulated time.Duration
	Steps     int
	Twins     int  // groups that rule 7 could not prevent
	Stuck     bool // a host that stays silent leaves a view without its quorum
	Views     int
	Groups    int // that these are of
	Endured   endurance
	Excuses   map[string]int // why members were rightly held unreachable, and how often
}

// Run simulates a plan. It writes every event to out, if that is not nil.
func Run(p Plan, out io.Writer) Result {
	var t *trace
	if out != nil {
		t = &trace{out: out}
	}
	return newWorld(p, t).run()
}

// run runs a world until its plan is quiet and its peers agree. With endless faults, under which they may never
// agree, it runs as long as the plan says.
func (w *world) run() Result {
	w.runUntil(w.plan.Quiet)
	w.settle()
	if w.plan.Endless > 0 {
		e := w.runEndless()
		r := w.result()
		r.Endured = e
		return r
	}
	stuck := w.converge()
	r := w.result()
	r.Converged, r.Stuck = w.now-w.plan.Quiet, stuck
	return r
}

func (w *world) result() Result {
	return Result{Plan: w.plan, Failure: w.judge.failure, Simulated: w.now, Steps: w.steps,
		Twins: w.judge.twins, Views: len(w.judge.views), Groups: len(w.judge.latest), Excuses: w.judge.excuses}
}

// converge runs until the peers agree, and reports whether there is a reason that they do not.
func (w *world) converge() (stuck bool) {
	p := w.plan
	wrong, going := "never asked", true
	patience := func() time.Duration {
		if going = going && w.judge.goesOn(); going { // and has done so all the time
			return 10*time.Second + p.last() - p.Quiet + p.changesTake() + p.stallsTake()
		}
		return w.patience()
	}
	for w.now < p.Quiet+patience() && w.judge.failure == "" {
		w.runUntil(w.now + 500*time.Millisecond)
		if wrong = w.judge.agreed(); wrong == "" && w.now > p.last() {
			break
		}
	}
	stuck = wrong != "" && w.judge.stuck()
	if wrong != "" && !stuck {
		w.judge.fail("no agreement %v after the last fault: %s", w.now-p.Quiet, wrong)
	}
	return stuck
}

// last is when the last process starts by plan.
func (p Plan) last() time.Duration {
	t := p.Quiet
	for _, s := range p.Starts {
		t = max(t, s)
	}
	return t
}

// patience is how long agreement may take once the faults are over, if no group goes on: 25 s, for the waits of
// rules 6 and 7, and 10 s more for each host before the first one that runs, and if a host is silent, because
// the founder then waits that long (rule 7).
func (w *world) patience() time.Duration {
	wait := 25*time.Second + w.plan.last() - w.plan.Quiet + w.plan.changesTake()
	if w.plan.Dark != 0 {
		wait += 10 * time.Second
	}
	for _, m := range w.hosts {
		if m.process != nil {
			break
		}
		wait += 10 * time.Second
	}
	return wait
}

// shrinkFailing drops faults from a failing plan as long as it still fails.
func shrinkFailing(p Plan) Plan {
	return shrink(p, func(q Plan) bool { return Run(q, nil).Failure != "" })
}

func shrink(p Plan, fails func(Plan) bool) Plan {
	for i := 0; i < len(p.Faults); {
		q := p
		q.Faults = slices.Delete(slices.Clone(p.Faults), i, i+1)
		if fails(q) {
			p, i = q, 0
		} else {
			i++
		}
	}
	return p
}
