package simulation

import (
	"slices"
	"time"

	"memberly/peer/types"
)

// inject makes a fault happen.
func (w *world) inject(f fault) {
	if int(max(f.A, f.B)) > len(w.hosts) || w.now > w.plan.Quiet && !f.Endless {
		return
	}
	if f.Down > 0 {
		w.repeat(f)
		return
	}
	if f.Endless {
		f.For = 0
	}
	w.injectOnce(f)
}

// repeat injects a fault that comes and goes, now and again and again.
func (w *world) repeat(f fault) {
	left := f.At + f.For - w.now
	if !f.Endless && (left <= 0 || w.now > w.plan.Quiet) {
		return
	}
	once := f
	once.Down, once.Up, once.For = 0, 0, f.Down
	if !f.Endless {
		once.For = min(f.Down, left)
	}
	if once, ok := w.target(once); ok {
		w.injectOnce(once)
		if f.Kind == Crash {
			w.after(once.For, func() { w.inject(fault{Kind: start, A: once.A, Endless: f.Endless}) })
		}
	}
	w.after(f.Down+f.Up, func() { w.repeat(f) })
}

// target turns a fault on the leader into one on the host that leads now. It returns false if none leads.
func (w *world) target(f fault) (fault, bool) {
	sides := f.Kind == cutHosts || f.Kind == mute || f.Kind == deaf
	if f.A != 0 || sides && f.Side != 0 || f.Kind == crashAll || f.Kind == restart || f.Kind == cutPair {
		return f, true
	}
	leader := w.leader()
	if leader == nil {
		return f, false
	}
	f.A = leader.id
	if f.B == f.A {
		f.B = 1 + f.A%types.ID(len(w.hosts))
	}
	if sides {
		f.Side = 1 << (f.A - 1)
	}
	return f, true
}

// leader returns the process that leads: of several the one of the latest view, and of these
// that of the first host. Nil if none does.
func (w *world) leader() (leader *process) {
	for _, m := range w.hosts {
		p := m.process
		if p != nil && !p.frozen && p.handler.Leads() && (leader == nil || p.handler.View().Number > leader.handler.View().Number) {
			leader = p
		}
	}
	return leader
}

func (w *world) injectOnce(f fault) {
	f, ok := w.target(f)
	if !ok {
		return
	}
	if f.Kind == cutPair {
		n := len(w.hosts)
		i := w.random.IntN(n)
		f.Kind, f.A, f.B = linkBoth, types.ID(1+i), types.ID(1+(i+1+w.random.IntN(max(n-1, 1)))%n)
	}
	w.trace.fault(w, f)
	switch f.Kind {
	case cutHosts, mute, deaf, link, linkBoth, slow:
		w.startFault(f)
	case snap:
		if f.A != f.B {
			w.snap(f.A, f.B)
		}
	case crashAll, restart:
		for _, m := range w.hosts {
			w.injectHost(m, f)
		}
	default:
		w.injectHost(w.host(f.A), f)
	}
}

func (w *world) injectHost(m *machine, f fault) {
	p := m.process
	switch f.Kind {
	case start, restart:
		w.start(m)
	case editFile:
		w.edit(m, w.plan.Files[f.Side], f.For)
	case cutFile:
		w.cutFile(m, int(f.Side), f.For)
		return
	case jump:
		m.jump += f.For
	case off:
		w.switchOff(m, f.For)
	}
	if p == nil {
		return
	}
	switch f.Kind {
	case Crash, crashAll:
		w.end(p)
	case moveHost:
		w.end(p)
		m.address += len(w.hosts)
	case freeze:
		w.freeze(p, f.For)
	case Signal:
		w.step(p, "crashes", p.handler.Crash)
	case Leave:
		p.leaves = true
		w.step(p, "is told to leave", p.handler.Leave)
	}
}

func (w *world) switchOff(m *machine, d time.Duration) {
	if m.down {
		return
	}
	m.down = true
	if p := m.process; p != nil {
		w.end(p)
	}
	w.after(d, func() { m.down = w.now > w.plan.Quiet && w.plan.Dark&(1<<(m.id-1)) != 0 })
}

// startFault blocks or slows the ways that f is about, until its time is over or the plan is quiet.
func (w *world) startFault(f fault) {
	w.impeding = append(w.impeding, &f)
	w.changeWays(&f, 1)
	if f.Endless && f.For == 0 {
		return
	}
	w.after(f.For, func() { w.endFault(&f) })
}

// endFault ends what impede has begun, if nothing has yet.
func (w *world) endFault(f *fault) {
	if i := slices.Index(w.impeding, f); i >= 0 {
		w.impeding = slices.Delete(w.impeding, i, i+1)
		w.changeWays(f, -1)
	}
}

// changeWays blocks or slows by n faults the ways that f is about.
func (w *world) changeWays(f *fault, n int) {
	for i := range w.hosts {
		w.changeWaysFrom(i, f, n)
	}
}

// changeWaysFrom does so with the ways from one host, counted from 0.
func (w *world) changeWaysFrom(i int, f *fault, n int) {
	a := w.hosts[i]
	for j := range w.hosts {
		if !f.concerns(i, j) {
			continue
		}
		if f.Kind == slow {
			a.slow[j] += time.Duration(n) * f.Delay
		} else {
			a.cuts[j] += n
		}
		a.blocked[j] = w.now
	}
}

// concerns reports whether a fault is about the way from the host i to j, counted from 0.
func (f *fault) concerns(i, j int) bool {
	from, to := f.Side&(1<<i) != 0, f.Side&(1<<j) != 0
	a, b := int(f.A)-1, int(f.B)-1
	switch f.Kind {
	case cutHosts:
		return from != to
	case mute:
		return from && !to
	case deaf:
		return to && !from
	case link, slow:
		return i == a && j == b
	case linkBoth:
		return i != j && (i == a || i == b) && (j == a || j == b)
	}
	return false
}

// settle puts right all that is wrong but for processes that do not run, and endless faults.
func (w *world) settle() {
	w.plan.Late = 0
	n := &w.plan.Network
	*n = Network{MinDelay: n.MinDelay, MaxDelay: n.MaxDelay}
	for i, m := range w.hosts {
		m.down = w.plan.Dark&(1<<i) != 0
		if m.down && m.process != nil {
			w.end(m.process)
		}
		for _, f := range w.impeding {
			if !f.Endless {
				w.changeWaysFrom(i, f, -1)
			}
		}
		if p := m.process; p != nil && p.frozen {
			w.thaw(p)
		}
	}
	w.impeding = slices.DeleteFunc(w.impeding, func(f *fault) bool { return !f.Endless })
	w.settleFiles()
}
