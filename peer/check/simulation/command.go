package simulation

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"memberly/peer/types"
)

const simulateUsage = `Usage: memberly simulate [options]

Runs whole groups, with the code that ships, on a simulated network and clock:
the same seed and options give the same run. Each run ends when all faults are
over and the group agrees, and is checked against the promises of the protocol.

  -seed S        the seed (default 1)
  -seeds N       run N seeds from S on, and print a verdict (default 1)
  -records       print the records of the one seed, each behind its host's number
  -trace         print every event of the one seed, one per line

Without any of the options below the seed draws everything: hosts, network,
faults. With one of them, only the faults that they name happen; the seed draws when,
and on which hosts.

  -hosts N       how many hosts, 1 to 32 (default 5)
  -for D         the time in which faults happen (default 30s)
  -stagger D     time between the starts of two hosts (default 1s)
  -drill         the leader-failure drill; four or more hosts
  -again         in the end, start every host that does not run

Network, while faults happen
  -delay D       a packet takes up to D (default 200µs), 100ms at most
  -loss P        of datagrams; 0.1 is one in ten
  -duplicate P   of datagrams
  -resend P      of TCP segments that must be sent again, 0.05 at most
  -no-udp        no datagram comes through
  -backoff D     TCP waits up to D before it sends again, 5s to 2m (default 5s)
  -boot D        no packet comes through before D: the network comes up late
  -drift P       of clocks, either way, 0.02 at most
  -late D        timers of a process fire up to D late, 300ms at most

Faults (upper limits: a fault that hits a host without a process has no effect)
  -crashes N     a process crashes, with a record, as -c makes it
  -restarts N    a process is killed, and a new one starts within four seconds
  -offs N        a host is silent, then up without its process
  -freezes N     a process does not run for a while
  -cuts N        some hosts and the others do not hear each other for a while
  -mutes N       the same, but only in one direction
  -snaps N       the connections between two hosts break
  -leaves N      a process is told to leave
  -moves N       a process ends, and its host has another address
  -jumps N       a host's wall clock jumps
  -flaps N       a host or the way between two fails and comes back, again and again
  -bursts N      several faults within milliseconds, on the leader and on others

Exit code: 0 every promise was kept, 1 one was broken, 2 wrong usage

Example: check the records of a group in which processes are often restarted
  memberly simulate -restarts 5 -records | memberly verify
`

// maxFaults bounds the faults of one kind, and maxTime that of a run: a run is kept whole in
// memory.
const (
	maxFaults = 1000
	maxTime   = 24 * time.Hour
)

// trial is what `memberly simulate` is asked for.
type trial struct {
	profile        Profile
	drawn          bool // the seed draws everything
	seed           uint64
	seeds          int
	records, trace bool
	options        string // of the profile, as they were given
}

// The exit codes.
const (
	success = 0
	failure = 1
	misuse  = 2
)

// RunCommand runs the command `memberly simulate` with args, and returns its exit code: 0 if every promise was kept, 1 if
// one was broken, 2 for wrong usage. It stops early when ctx ends.
func RunCommand(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	t, err := parseTrial(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, simulateUsage)
		return success
	case err != nil:
		fmt.Fprintf(stderr, "memberly simulate: %v\n\n%s", err, simulateUsage)
		return misuse
	case t.records || t.trace:
		return t.show(ctx, stdout, stderr)
	}
	return t.judge(ctx, stdout)
}

// parseTrial returns what args ask for.
func parseTrial(args []string) (trial, error) {
	t := trial{seed: 1, seeds: 1, profile: Profile{Hosts: 5, For: 30 * time.Second, Stagger: time.Second,
		Faults: map[Kind]int{}, Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 200 * time.Microsecond}}}
	flags := t.flags()
	err := flags.Parse(args)
	switch w := t.profile; {
	case err != nil:
		return t, err
	case flags.NArg() > 0:
		return t, fmt.Errorf("unexpected argument %q: put nothing but options after simulate", flags.Arg(0))
	case t.records && t.trace:
		return t, errors.New("-records and -trace: leave one of the two out, for a trace has the records too")
	case (t.records || t.trace) && t.seeds > 1:
		return t, errors.New("-records and -trace are for one seed: leave out -seeds")
	case w.Drill && w.Hosts < 4:
		return t, fmt.Errorf("-drill needs at least 4 hosts, and -hosts is %d", w.Hosts)
	case w.Boot > w.For:
		return t, fmt.Errorf("-boot %v is after the end of all faults: give -for %v or more", w.Boot, w.Boot)
	}
	t.drawn = true
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "seed", "seeds", "records", "trace":
			return
		}
		t.drawn = false
		t.options += " -" + f.Name + "=" + f.Value.String()
	})
	return t, nil
}

// flags returns the flags that set t.
func (t *trial) flags() *flag.FlagSet {
	f, w := flag.NewFlagSet("memberly simulate", flag.ContinueOnError), &t.profile
	f.SetOutput(io.Discard)
	f.Uint64Var(&t.seed, "seed", t.seed, "")
	f.Var(&wholeNumber{&t.seeds, 1, 1_000_000_000}, "seeds", "")
	f.BoolVar(&t.records, "records", false, "")
	f.BoolVar(&t.trace, "trace", false, "")
	f.Var(&wholeNumber{&w.Hosts, 1, maxHosts}, "hosts", "")
	f.Var(&span{&w.For, time.Millisecond, maxTime}, "for", "")
	f.Var(&span{&w.Stagger, 0, time.Minute}, "stagger", "")
	f.BoolVar(&w.Drill, "drill", false, "")
	f.BoolVar(&w.Again, "again", false, "")
	f.Var(&span{&w.Network.MaxDelay, w.Network.MinDelay, 100 * time.Millisecond}, "delay", "")
	f.Var(&share{&w.Network.Loss, 1}, "loss", "")
	f.Var(&share{&w.Network.Duplicate, 1}, "duplicate", "")
	f.Var(&share{&w.Network.Resend, 0.05}, "resend", "")
	f.BoolVar(&w.Network.NoUDP, "no-udp", false, "")
	f.Var(&span{&w.Backoff, 5 * time.Second, 2 * time.Minute}, "backoff", "")
	f.Var(&span{&w.Boot, 0, maxTime}, "boot", "")
	f.Var(&share{&w.Drift, 0.02}, "drift", "")
	f.Var(&span{&w.Late, 0, 300 * time.Millisecond}, "late", "")
	f.Var(&wholeNumber{&w.Reborn, 0, maxFaults}, "restarts", "")
	f.Var(&wholeNumber{&w.Flaps, 0, maxFaults}, "flaps", "")
	f.Var(&wholeNumber{&w.Bursts, 0, maxFaults}, "bursts", "")
	for name, kind := range faultFlags {
		f.Var(faultCount{w.Faults, kind}, name, "")
	}
	return f
}

var faultFlags = map[string]Kind{
	"crashes": Signal, "offs": off, "freezes": freeze, "cuts": cutHosts,
	"mutes": mute, "snaps": snap, "leaves": Leave, "moves": moveHost,
	"jumps": jump,
}

// plan returns the plan of a seed.
func (t *trial) plan(seed uint64) Plan {
	if t.drawn {
		return NewPlan(seed)
	}
	return t.profile.Plan(seed)
}

// show prints the records or the trace of the seed.
func (t *trial) show(ctx context.Context, stdout, stderr io.Writer) int {
	done := make(chan Result, 1)
	go func() {
		out := bufio.NewWriter(stdout)
		defer func() { out.Flush() }()
		p := t.plan(t.seed)
		var r Result
		if t.trace {
			r = Run(p, out)
		} else {
			width := len(strconv.Itoa(p.Hosts))
			r = Records(p, func(r types.Record) { fmt.Fprintf(out, "%-*d | %v\n", width, r.Peer, r) })
		}
		out.Flush()
		done <- r
	}()
	select {
	case r := <-done:
		if r.Failure != "" {
			fmt.Fprintf(stderr, "seed %d breaks a promise: %s\n", t.seed, r.Failure)
			return failure
		}
		return success
	case <-ctx.Done():
		fmt.Fprintln(stderr, "memberly simulate: interrupted")
		return failure
	}
}

// verdict is what came of the seeds so far.
type verdict struct {
	sync.Mutex
	next                     int // to run
	ran, views, twins, stuck int
	simulated                time.Duration
	failed                   []Result
}

// judge runs all seeds and prints the verdict. When ctx ends, it is of those that have run.
func (t *trial) judge(ctx context.Context, stdout io.Writer) int {
	runtime.SetDefaultGOMAXPROCS() // a peer makes do with one processor: see main
	began := time.Now()
	var all verdict
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), t.seeds) {
		workers.Go(func() { all.work(ctx, t) })
	}
	done := make(chan struct{})
	go func() {
		workers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	all.Lock()
	defer all.Unlock()
	return all.tell(stdout, t, time.Since(began))
}

// work runs one seed after the other.
func (a *verdict) work(ctx context.Context, t *trial) {
	for ctx.Err() == nil {
		a.Lock()
		i := a.next
		a.next++
		a.Unlock()
		if i >= t.seeds {
			return
		}
		a.add(Run(t.plan(t.seed+uint64(i)), nil))
	}
}

func (a *verdict) add(r Result) {
	a.Lock()
	defer a.Unlock()
	a.ran++
	a.views += r.Views
	a.twins += r.Twins
	a.simulated += r.Simulated
	if r.Stuck {
		a.stuck++
	}
	if r.Failure != "" {
		a.failed = append(a.failed, r)
	}
}

// tell prints the verdict, and returns the exit code.
func (a *verdict) tell(to io.Writer, t *trial, took time.Duration) int {
	slices.SortFunc(a.failed, func(r, s Result) int { return cmp.Compare(r.Plan.Seed, s.Plan.Seed) })
	for _, r := range a.failed {
		fmt.Fprintf(to, "seed %d breaks a promise: %s\n  repeat it: memberly simulate%s -seed %d -trace\n", r.Plan.Seed, r.Failure, t.options, r.Plan.Seed)
	}
	fmt.Fprintf(to, "%d of %d seeds, from %d on: %.0f s simulated in %.1f s, %d views", a.ran, t.seeds, t.seed,
		a.simulated.Seconds(), took.Seconds(), a.views)
	if a.twins > 0 {
		fmt.Fprintf(to, ", %d groups made beside another, which nobody could prevent", a.twins)
	}
	if a.stuck > 0 {
		fmt.Fprintf(to, ", %d times a silent host left no quorum", a.stuck)
	}
	if len(a.failed) > 0 {
		fmt.Fprintf(to, "; %d broke a promise\n", len(a.failed))
		return failure
	}
	fmt.Fprintln(to, "; every promise was kept")
	return success
}

// wholeNumber is a flag of a whole number within bounds.
type wholeNumber struct {
	to          *int
	least, most int
}

func (w *wholeNumber) String() string {
	if w.to == nil {
		return ""
	}
	return strconv.Itoa(*w.to)
}

func (w *wholeNumber) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < w.least || n > w.most {
		return fmt.Errorf("give a whole number from %d to %d", w.least, w.most)
	}
	*w.to = n
	return nil
}

// span is a flag of a duration within bounds.
type span struct {
	to          *time.Duration
	least, most time.Duration
}

func (d *span) String() string {
	if d.to == nil {
		return ""
	}
	return d.to.String()
}

func (d *span) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil || v < d.least || v > d.most {
		return fmt.Errorf("give a duration with its unit, such as 1.5s, from %v to %v", d.least, d.most)
	}
	*d.to = v
	return nil
}

// share is a flag of a part of 1, up to a bound.
type share struct {
	to   *float64
	most float64
}

func (p *share) String() string {
	if p.to == nil {
		return ""
	}
	return strconv.FormatFloat(*p.to, 'g', -1, 64)
}

func (p *share) Set(s string) error {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0 && v <= p.most) {
		return fmt.Errorf("give a number from 0 to %g", p.most)
	}
	*p.to = v
	return nil
}

// faultCount is a flag of how many faults of a kind there are to be.
type faultCount struct {
	of   map[Kind]int
	kind Kind
}

func (c faultCount) String() string { return strconv.Itoa(c.of[c.kind]) }

func (c faultCount) Set(s string) error {
	var n int
	err := (&wholeNumber{&n, 0, maxFaults}).Set(s)
	c.of[c.kind] = n
	return err
}
