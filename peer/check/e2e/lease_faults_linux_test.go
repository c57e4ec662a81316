package e2e

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// trial is a group of five hosts, all of whose leading is observed during a fault. The first host leads at the beginning.
type trial struct {
	*testing.T
	lan          *lan
	daemons      []*daemon
	watch        *watch
	commands     *commands
	processor    *processor // of the first host; nil if it has no limit
	killed       map[int]time.Duration
	left         map[int]time.Duration
	deaf, frozen []span
}

// leaseFault is what happens to a trial.
type leaseFault struct {
	what    string
	begin   func(*trial)
	lasts   time.Duration
	end     func(*trial)  // nil if the fault does not end
	without time.Duration // how long the group may have no leader
	starved starved       // who of the first host
	steady  bool          // the leader stays, with its fence, and its lease never ends
	manner  string        // of the held commands
}

// toStart is by how much one process may start later than another on a busy machine. The next leader leads 0.1 s after one has
// ceased at the earliest, and has a command for leads started then.
const toStart = 50 * time.Millisecond

// starved is who gets little of a processor.
type starved int

const (
	nobody starved = iota
	thePeer
	theHost // all of its processes: the peer, what ends held commands, and these
)

// The longest times without a leader. Where a leader is gone, milliseconds suffice; the rest is for a busy machine, and is less than
// it takes to notice silence.
const (
	withoutLeader = 2500 * time.Millisecond
	whereGone     = 2 * time.Second // of which the command for ceased takes the most, under the race detector
	whereStarved  = 3 * time.Second // what a starved leader sends arrives late, and renews its members' support once more
)

const (
	short = time.Second
	long  = 6 * time.Second
)

var (
	repeat = flag.Int("repeat", 1, "how often TestLeaseFaults runs each fault")
	lossy  = flag.Duration("lossy", 20*time.Second, "how long datagrams are lost in TestLeaseFaults, which no lease may notice")
)

// links are the faults of links, as expressions for the packets that are dropped. The first host leads.
var links = []struct {
	what  string
	deaf  bool // the first host hears no other that may lead
	drops []string
}{
	{"cut both ways", true, []string{`iifname "p1"`, `oifname "p1"`}},
	{"unheard, hears all", false, []string{`iifname "p1"`}},
	{"hears nobody", true, []string{`oifname "p1"`}},
	{"unheard, hears two", false, []string{`iifname "p1"`, `oifname "p1" iifname { "p2", "p3" }`}},
	{"in the minority", true, []string{`iifname { "p1", "p2" } oifname { "p3", "p4", "p5" }`,
		`iifname { "p3", "p4", "p5" } oifname { "p1", "p2" }`}},
}

// dropping is a fault in which packets are dropped.
func dropping(what string, lasts time.Duration, drops ...string) leaseFault {
	return leaseFault{what: what, lasts: lasts, without: withoutLeader,
		begin: func(g *trial) { g.lan.drop(drops...) },
		end: func(g *trial) {
			if dropped := g.lan.dropNoMore(); !dropped && lasts > withoutLeader {
				g.Errorf("no packet was dropped in %v", lasts)
			}
		}}
}

// deafening is such a fault, during which the first host hears no other that leads.
func deafening(what string, lasts time.Duration, drops ...string) leaseFault {
	f := dropping(what, lasts, drops...)
	begin, end := f.begin, f.end
	f.begin = func(g *trial) {
		begin(g)
		g.deaf = append(g.deaf, span{peer: 1, from: monotonic()})
	}
	f.end = func(g *trial) {
		g.deaf[0].to = monotonic()
		end(g)
	}
	return f
}

// leaseFaults returns all faults but that of the clock.
func leaseFaults() (all []leaseFault) {
	for _, what := range []struct{ what, drops string }{
		{"UDP, 30 % lost", `ip protocol udp numgen random mod 100 < 30`}, {"UDP blocked", `ip protocol udp`},
	} {
		f := dropping(what.what, *lossy, what.drops)
		f.steady = true
		all = append(all, f)
	}
	for _, lasts := range []time.Duration{long, short} {
		for _, l := range links {
			if l.deaf {
				all = append(all, deafening(l.what, lasts, l.drops...))
			} else {
				all = append(all, dropping(l.what, lasts, l.drops...))
			}
		}
		all = append(all, starving(theHost, "host with a hundredth of a processor", lasts, 100*time.Millisecond),
			starving(thePeer, "peer with a thousandth of a processor", lasts, time.Second))
	}
	for _, lasts := range []time.Duration{4 * time.Second, short} {
		all = append(all, leaseFault{what: "frozen", lasts: lasts, without: withoutLeader,
			begin: (*trial).freeze, end: (*trial).resume})
	}
	return append(all,
		leaseFault{what: "killed", without: whereGone, begin: func(g *trial) {
			g.killed[1] = monotonic()
			g.daemons[0].signal(syscall.SIGKILL)
		}},
		leaseFault{what: "leaves", without: whereGone, manner: "obedient", begin: func(g *trial) {
			g.left[1] = monotonic()
			g.daemons[0].signal(syscall.SIGTERM)
		}})
}

// starving is a fault in which the first host's peer, or all processes of that host together, run for a millisecond in
// each period.
func starving(of starved, what string, lasts, period time.Duration) leaseFault {
	return leaseFault{what: what, lasts: lasts, without: whereStarved, starved: of,
		begin: func(g *trial) {
			if of == thePeer {
				g.processor.add(g.daemons[0].cmd.Process.Pid)
			}
			g.frozen = append(g.frozen, span{peer: 1, from: monotonic()})
			g.processor.limit(time.Millisecond, period)
		},
		end: func(g *trial) {
			g.processor.limit(0, 0)
			g.frozen[0].to = monotonic()
		}}
}

// freeze stops the first host's daemon, but not what ends the commands that it holds.
func (g *trial) freeze() {
	g.frozen = append(g.frozen, span{peer: 1, from: monotonic()})
	g.daemons[0].signal(syscall.SIGSTOP)
}

func (g *trial) resume() {
	g.daemons[0].signal(syscall.SIGCONT)
	g.frozen[0].to = monotonic()
}

var hostNames = []string{"one", "two", "three", "four", "five"}

// newTrial starts a group, and waits until the first host leads all of it.
func newTrial(t *testing.T, f *leaseFault) *trial {
	t.Helper()
	g := &trial{T: t, lan: newLAN(t, hostNames...), commands: newCommands(t),
		killed: make(map[int]time.Duration), left: make(map[int]time.Duration)}
	manner := f.manner
	if manner == "" {
		manner = "stubborn"
	}
	if f.starved != nobody {
		g.processor = newProcessor(t)
	}
	exec := "case $MEMBERLY_EVENT$MEMBERLY_LEADS in ceased*|*true) " + g.commands.line("-exec", "short") + ";; esac"
	var holds []*daemon
	for i, name := range hostNames {
		g.daemons = append(g.daemons, g.lan.start(i+1, name, "-h", g.lan.file, "-n", name, "-http", "8082",
			"-exec", exec, "-hold", g.commands.line("-hold", manner)))
		holds = append(holds, g.lan.start(i+1, "hold at "+name, "hold", "--", "sh", "-c", g.commands.line("hold", manner)))
	}
	if f.starved == theHost {
		g.processor.add(g.daemons[0].cmd.Process.Pid, holds[0].cmd.Process.Pid)
	}
	awaitView(g.daemons, len(hostNames))
	g.watch = newWatch(t, g.lan, g.daemons)
	if leader := g.settle(); leader.peer != 1 {
		t.Fatalf("peer %d leads at the beginning, want 1", leader.peer)
	}
	return g
}

// settle waits until all peers that run hold one view of just themselves, and one of them leads and its commands run.
// It returns what the leader said.
func (g *trial) settle() (leader saying) {
	g.Helper()
	from, all := monotonic(), len(hostNames)-len(g.killed)-len(g.left)
	within(g.T, "a leader of all that run, whose commands run", func() bool {
		leaders, view := 0, int64(0)
		for i := range g.daemons {
			if g.killed[i+1]+g.left[i+1] > 0 {
				continue
			}
			s, ok := g.watch.latest(i+1, from)
			if !ok || !s.ready || s.members != all || view != 0 && s.view != view {
				return false
			}
			if view = s.view; s.leads {
				leaders++
				leader = s
			}
		}
		return leaders == 1 && g.commands.runs("-hold", leader.peer, leader.fence) && g.commands.runs("hold", leader.peer, leader.fence)
	})
	return leader
}

// evidence returns what was seen until now.
func (g *trial) evidence(now time.Duration) *evidence {
	e := &evidence{events: g.watch.events(now), ended: maps.Clone(g.killed), deaf: g.deaf, frozen: g.frozen}
	maps.Copy(e.ended, g.left)
	for i, s := range e.events {
		if at, has := g.killed[s.peer]; has {
			e.events[i].to = min(s.to, at)
		}
	}
	g.watch.mu.Lock()
	defer g.watch.mu.Unlock()
	e.sayings, e.stalls = slices.Clone(g.watch.said), slices.Clone(g.watch.late)
	return e
}

// leaseFigures are what is measured of a fault.
type leaseFigures struct {
	gap, leaseless time.Duration
	changes        int
	least          time.Duration            // left of a lease
	overlap        map[string]time.Duration // the longest, by source
	answers        int
}

// judge fails the test if two led at once, or nobody for too long.
func (g *trial) judge(f *leaseFault) leaseFigures {
	g.Helper()
	now := monotonic()
	e := g.evidence(now)
	if all := e.contradictions(); len(all) > 0 {
		g.Errorf("%d contradictions:\n%s", len(all), strings.Join(all[:min(len(all), 5)], "\n"))
	}
	figures := leaseFigures{changes: len(e.fences()) - 1, least: e.leastLease(), answers: len(e.sayings),
		overlap: make(map[string]time.Duration)}
	for source, spans := range map[string][]span{
		"/events": e.excused(e.events), "-exec": e.excused(g.commands.told(now, g.killed)),
		"-hold": g.commands.held("-hold", now), "hold": g.commands.held("hold", now),
	} {
		overlap, which := e.overlaps(spans)
		figures.overlap[source] = overlap
		if allowed := map[string]time.Duration{"-exec": toStart}[source]; overlap > allowed && f.starved != theHost {
			g.Errorf("by %s two led at once for %v: %s", source, overlap, which)
		}
		if len(spans) <= figures.changes {
			g.Errorf("%s told of %d leaders, want more than %d", source, len(spans), figures.changes)
		}
	}
	if f.starved != theHost {
		g.judgeLocks()
	}
	figures.gap, figures.leaseless = e.gaps()
	without := figures.gap
	switch f.starved { // it answers late
	case thePeer:
		without = figures.leaseless
	case theHost:
		without = e.unled()
	}
	if without > f.without {
		g.Errorf("nobody led for %v, want %v at most", without, f.without)
	}
	if f.steady && (figures.changes > 0 || figures.least <= 0 || len(e.events) != 1) {
		g.Errorf("the leader changed %d times, or its lease ended: by /events it led %v", figures.changes, e.events)
	}
	if g.Failed() {
		g.Logf("%s\nkilled %v, left %v\n-exec %v\n-hold %v\nhold %v", e.timeline(), g.killed, g.left, g.commands.told(now, g.killed),
			g.commands.held("-hold", now), g.commands.held("hold", now))
	}
	return figures
}

// judgeLocks fails the test if a held command found that another one held the lock.
func (g *trial) judgeLocks() {
	g.Helper()
	for _, by := range []string{"-hold", "hold"} {
		for _, r := range g.commands.of(by) {
			if !r.alone {
				g.Errorf("a command of %s started at peer %d (fence %d) while another one ran", by, r.peer, r.fence)
			}
		}
	}
}

// worse returns the worse of each of two figures.
func (a leaseFigures) worse(b leaseFigures) leaseFigures {
	worst := leaseFigures{max(a.gap, b.gap), max(a.leaseless, b.leaseless), max(a.changes, b.changes), min(a.least, b.least),
		make(map[string]time.Duration), a.answers + b.answers}
	for source := range b.overlap {
		worst.overlap[source] = max(a.overlap[source], b.overlap[source])
	}
	return worst
}

// figuresTable collects the worst figures of each fault.
type figuresTable struct {
	mu   sync.Mutex
	rows map[string]leaseFigures
}

func (t *figuresTable) add(f *leaseFault, of leaseFigures) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		t.rows = make(map[string]leaseFigures)
	}
	if was, has := t.rows[f.name()]; has {
		of = of.worse(was)
	}
	t.rows[f.name()] = of
}

// print writes the table. Its columns are the fault, the longest times without anybody who said that it leads and without a
// lease, changes of the leader, the longest overlaps, the least that was left of a lease, and how many answers that is by.
func (t *figuresTable) print(to *testing.T) {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(t.rows)) {
		r := t.rows[name]
		text += fmt.Sprintf("| %s | %.2f s | %.2f s | %d |", name, r.gap.Seconds(), r.leaseless.Seconds(), r.changes)
		for _, source := range []string{"/events", "-exec", "-hold", "hold"} {
			text += fmt.Sprintf(" %s %d ms |", source, r.overlap[source].Milliseconds())
		}
		text += fmt.Sprintf(" %d ms | %d |\n", r.least.Milliseconds(), r.answers)
	}
	to.Logf("\n%s", text)
}

func (f *leaseFault) name() string {
	if f.lasts == 0 {
		return f.what
	}
	return fmt.Sprint(f.what, ", ", f.lasts)
}

// run runs a fault on a group of its own.
func (f *leaseFault) run(t *testing.T, table *figuresTable) {
	g := newTrial(t, f)
	f.begin(g)
	<-time.After(f.lasts)
	if f.end != nil {
		f.end(g)
	}
	g.settle()
	table.add(f, g.judge(f))
}

// Whatever happens to a leader's links, processor, process or datagrams, no two peers say or tell at once that they lead, no two
// held commands run at once, and the group soon has a leader.
func TestLeaseFaults(t *testing.T) {
	var table figuresTable
	room := make(chan struct{}, 3)
	t.Run("all", func(t *testing.T) {
		for _, f := range slices.Repeat(leaseFaults(), *repeat) {
			t.Run(f.name(), func(t *testing.T) {
				t.Parallel()
				room <- struct{}{}
				defer func() { <-room }()
				f.run(t, &table)
			})
		}
	})
	table.print(t)
}
