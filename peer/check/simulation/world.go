// Package simulation runs whole groups of real handlers on one goroutine, with a simulated
// clock, network and name service, everything drawn from one seed: the same plan gives the
// same trace, byte for byte. Checkers outside the peers judge what they do.
package simulation

import (
	"cmp"
	"container/heap"
	"math/rand/v2"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/network/connections"
	"memberly/peer/types"
)

// epoch is the wall clock, in nanoseconds, when a simulation begins.
const epoch = 1_700_000_000_000_000_000

// world is one simulated group: its hosts, its network and its time.
type world struct {
	plan   Plan
	random *rand.Rand
	now    time.Duration
	queue  queue
	order  int
	hosts  []*machine // by id-1
	conns  map[pair][]*conn
	judge  *judge
	trace  *trace
	bill   *bill // nil: nothing is counted
	steps  int

	impeding []*fault // what blocks or slows packets now

	recorded func(types.ID, types.Record)     // if set, is told every record
	observed func(*process, *handlers.Output) // if set, is told every step
}

// machine is a host: what outlives its processes.
type machine struct {
	id      types.ID
	down    bool          // switched off: silent
	jump    time.Duration // of its wall clock
	address int
	process *process // the one that runs, if any
	lives   int
	file    []types.Host               // its hosts file
	edits   int                        // how often that was changed
	votes   map[string]bool            // what its processes have read there
	stored  types.Stored               // on its disk
	spoke   map[types.Incarnation]bool // as which its processes spoke
	lastEnd time.Duration              // when its last process ended
	blocked []time.Duration            // by id-1: when a packet from here to there could last not get through
	cuts    []int                      // by id-1: how many faults block that way now
	slow    []time.Duration            // by id-1: how much longer than usual a packet takes that way now
}

// process is one life of the daemon.
type process struct {
	*machine
	life      int
	handler   *handlers.Handler
	started   time.Duration
	clock     time.Duration // at its start
	rate      float64       // of its clock against the true one
	frozen    bool
	awake     time.Duration // since when it is not frozen
	asleep    time.Duration // when it was last frozen
	inbox     []func()      // what came while it was frozen
	wake      int           // the number of the tick that is due
	wakeAt    time.Duration
	ticked    time.Duration // when it last did
	ticks     int           // how often at that moment, before
	view      types.View
	became    time.Duration // when it took its present incarnation
	installed time.Duration // when it moved on to that
	writing   writing
	leaves    bool // it was told to leave
	ended     bool
	code      int
	stands    types.Standing
	stood     time.Duration // since when
	links     *connections.Table[*conn, types.Message]
	known     []int        // by id-1: the address at which it looks for a host
	lists     []types.Host // the hosts that it knows, by id-1
}

func newWorld(p Plan, t *trace) *world {
	w := &world{plan: p, random: rand.New(rand.NewPCG(p.Seed, 77)), conns: map[pair][]*conn{}, trace: t}
	w.judge = newJudge(w)
	for i := range p.Hosts {
		m := &machine{id: types.ID(i + 1), file: p.firstFile(), address: i, lastEnd: -time.Hour, cuts: make([]int, p.Hosts),
			blocked: make([]time.Duration, p.Hosts), slow: make([]time.Duration, p.Hosts)}
		for j := range m.blocked {
			m.blocked[j] = -time.Hour
		}
		if p.Sync > 0 && len(p.Files) > 0 && i < p.Listed { // nobody changes the file before all hosts have run
			m.stored.File = types.FileDigest(m.file)
		}
		w.hosts = append(w.hosts, m)
	}
	for i, at := range p.Starts {
		w.at(at, func() { w.start(w.hosts[i]) })
	}
	for _, f := range p.Faults {
		w.at(f.At, func() { w.inject(f) })
	}
	return w
}

func (w *world) host(id types.ID) *machine { return w.hosts[id-1] }

// at does f when the time has come; what is due at the same time goes in the order of asking.
func (w *world) at(t time.Duration, f func()) {
	w.order++
	heap.Push(&w.queue, event{t, w.order, f})
}

func (w *world) after(d time.Duration, f func()) { w.at(w.now+d, f) }

// runUntil lets the time pass until t, or until the judge has seen enough.
func (w *world) runUntil(t time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= t && w.judge.failure == "" {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	if w.judge.failure == "" {
		w.now = t
	}
}

// maxTicks is how often a process may tick in one moment.
const maxTicks = 20

// start begins a new process on a host that has none.
func (w *world) start(m *machine) {
	if m.process != nil || m.down || !m.mayStart() || w.isRetired(m) || w.now > w.plan.Quiet && w.plan.Dark&(1<<(m.id-1)) != 0 {
		return
	}
	m.lives++
	rate := 1.0
	if w.plan.Drift > 0 {
		rate += w.plan.Drift * (2*w.random.Float64() - 1)
	}
	p := &process{machine: m, life: m.lives, started: w.now, awake: w.now, clock: m.stored.Clock, asleep: -time.Hour, rate: rate,
		links: connections.New[*conn, types.Message](len(w.hosts)), known: make([]int, len(w.hosts)), lists: m.file}
	m.vote()
	for i, h := range w.hosts {
		p.known[i] = h.address
	}
	monitor := cmp.Or(w.plan.Monitor, 2200*time.Millisecond)
	p.handler = handlers.New(handlers.Config{ID: m.id, Listed: m.file, Heartbeat: monitor / 2, Monitor: monitor, Drill: w.plan.Drill && m.id == 1 && m.lives == 1, Stored: w.memory(m), Salt: w.random.Uint32(), ReformOnRefusal: true,
		JoinOnly: w.plan.JoinOnly && int(m.id) > w.plan.Listed})
	m.process = p
	w.step(p, "starts", p.handler.Start)
}

func (p *process) instant(now time.Duration) handlers.Instant {
	run := time.Duration(float64(now-p.started) * p.rate)
	return handlers.Instant{Run: run + time.Second + p.clock, Wall: epoch + int64(now+p.jump)}
}

// maxInbox is how much waits for a frozen process; what comes then is lost.
const maxInbox = 4096

// step lets a process handle something when it is not frozen.
func (w *world) step(p *process, what string, f func(handlers.Instant) *handlers.Output) {
	if p.frozen && len(p.inbox) >= maxInbox {
		return
	}
	w.whenAwake(p, func() {
		w.steps++
		out := f(p.instant(w.now))
		w.trace.step(w, p, what, out)
		w.carry(p, out)
	})
}

// whenAwake does f now, or when the process thaws; never if it has ended by then.
func (w *world) whenAwake(p *process, f func()) {
	switch {
	case p.ended:
	case p.frozen:
		p.inbox = append(p.inbox, func() { w.whenAwake(p, f) })
	default:
		f()
	}
}

// carry does what a step asks for, as the daemon does.
func (w *world) carry(p *process, out *handlers.Output) {
	if len(out.Hosts) > 0 {
		w.learn(p, out.Hosts)
	}
	w.judge.stepped(p, out)
	if w.observed != nil {
		w.observed(p, out)
	}
	if w.recorded != nil {
		for i := range out.Events {
			if r, ok := out.Events[i].Record(p.id); ok {
				w.recorded(p.id, r)
			}
		}
	}
	if out.Save.Number > 0 {
		w.save(p, out.Save)
	}
	for i, id := range out.Redial {
		w.connect(p, p.links.Redial(id, out.RedialAt[i]))
	}
	for _, m := range out.Messages {
		w.sendTCP(p, m)
	}
	if out.Heartbeat != nil {
		for _, m := range w.hosts {
			if m.id != p.id && p.hears(m.id) {
				w.sendUDP(p, m, *out.Heartbeat)
			}
		}
	}
	if out.Exit {
		p.code = out.Code
		w.end(p)
		return
	}
	w.schedule(p, out.Wake)
}

// schedule sees to it that the process ticks at run of its own clock.
func (w *world) schedule(p *process, run time.Duration) {
	at := p.moment(run) + 1
	at = max(at, w.now)
	overdue := at == w.now && p.wakeAt >= 0 && p.wakeAt < w.now // it is late, and keeps its time
	if p.wake != 0 && (p.wakeAt == at || overdue) {
		return
	}
	p.wake++
	p.wakeAt = at
	n := p.wake
	w.at(at+w.lateness(), func() {
		if n == p.wake {
			p.wake++
			p.wakeAt = -1
			w.guardAgainstLivelock(p)
			w.step(p, "", p.handler.Tick)
		}
	})
}

// lateness draws how long after it is due a tick is handled.
func (w *world) lateness() time.Duration {
	if w.plan.Late == 0 {
		return 0
	}
	return time.Duration(w.random.Int64N(int64(w.plan.Late) + 1))
}

// guardAgainstLivelock fails the run of a process that ticks again and again without time passing: the daemon
// would do nothing else.
func (w *world) guardAgainstLivelock(p *process) {
	if p.ticks++; p.ticked != w.now {
		p.ticked, p.ticks = w.now, 0
	}
	if p.ticks == maxTicks {
		w.judge.fail("peer %d wants a tick again and again", p.id)
	}
}

// end is the end of a process: its host, if it is up, closes its connections.
func (w *world) end(p *process) {
	if p.ended {
		return
	}
	p.ended = true
	w.crashDisk(p)
	p.process, p.lastEnd = nil, w.now
	for _, other := range w.hosts {
		for _, c := range w.conns[pairOf(p.id, other.id)] {
			if c.has(p) {
				w.finish(c, p)
			}
		}
	}
}

func (w *world) freeze(p *process, d time.Duration) {
	if p.frozen || p.ended {
		return
	}
	p.frozen, p.asleep = true, w.now
	w.after(d, func() { w.thaw(p) })
}

// thaw lets a frozen process run again; what waited for it comes first or after a tick.
func (w *world) thaw(p *process) {
	p.frozen, p.awake = false, w.now
	inbox := p.inbox
	p.inbox = nil
	if w.random.IntN(2) == 0 {
		w.step(p, "thaws", p.handler.Tick)
	}
	for _, f := range inbox {
		f()
	}
	w.step(p, "", p.handler.Tick)
}

type event struct {
	at    time.Duration
	order int
	do    func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(e any)   { *q = append(*q, e.(event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}
