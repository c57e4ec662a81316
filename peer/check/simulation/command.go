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

	"memberly/peer/config/options"
	"memberly/peer/types"
)

// Page describes the flags of trial.flags.
var Page = options.Page{Command: "simulate", What: "run groups on a simulated network", Synopsis: "[options]",
	About: "Runs whole groups, with the code that ships, on a simulated network and clock: the same seed and options give the same run. Each run ends when all faults are over and the group agrees, and is checked against the promises of the protocol.",
	Sections: []options.Section{
		{Options: []options.Option{
			{Name: "seed", Arg: "S", Default: "1", What: "the seed"},
			{Name: "seeds", Arg: "N", Default: "1", What: "run N seeds from S on, and print a verdict"},
			{Name: "records", What: "print the records of the one seed, each behind its host's number"},
			{Name: "trace", What: "print every event of the one seed, one per line"},
		}},
		{Options: []options.Option{
			{Name: "state", What: "hosts store what they must remember, as with -state of the daemon"},
		}},
		{About: "Without any of the options below the seed draws everything: hosts, network, faults. With one of them, only the faults that they name happen; the seed draws when, and on which hosts.", Options: []options.Option{
			{Name: "hosts", Arg: "N", Default: "5", What: "how many hosts, 1 to 32"},
			{Name: "for", Arg: "D", Default: "30s", What: "the time in which faults happen"},
			{Name: "stagger", Arg: "D", Default: "1s", What: "time between the starts of two hosts"},
			{Name: "drill", What: "the leader-failure drill; four or more hosts"},
			{Name: "again", What: "in the end, start every host that does not run"},
		}},
		{Title: "Network, while faults happen", Options: []options.Option{
			{Name: "delay", Arg: "D", Default: "200µs", What: "a packet takes up to D, 100ms at most"},
			{Name: "loss", Arg: "P", What: "of datagrams; 0.1 is one in ten"},
			{Name: "duplicate", Arg: "P", What: "of datagrams"},
			{Name: "resend", Arg: "P", What: "of TCP segments that must be sent again, 0.05 at most"},
			{Name: "no-udp", What: "no datagram comes through"},
			{Name: "backoff", Arg: "D", Default: "5s", What: "TCP waits up to D before it sends again, 5s to 2m"},
			{Name: "boot", Arg: "D", What: "no packet comes through before D: the network comes up late"},
			{Name: "drift", Arg: "P", What: "of clocks, either way, 0.02 at most"},
			{Name: "late", Arg: "D", What: "timers of a process fire up to D late, 300ms at most"},
		}},
		{Title: "Disks, with -state", Options: []options.Option{
			{Name: "sync", Arg: "D", Default: "5ms", What: "a write takes up to D, 300ms at most"},
			{Name: "stalls", Arg: "P", What: "of writes, which take up to four seconds"},
		}},
		{Title: "Faults (upper limits: a fault that hits a host without a process has no effect)", Options: []options.Option{
			{Name: "crashes", Arg: "N", What: "a process crashes, with a record, as -c makes it"},
			{Name: "restarts", Arg: "N", What: "a process is killed, and a new one starts within four seconds"},
			{Name: "offs", Arg: "N", What: "a host is silent, then up without its process"},
			{Name: "freezes", Arg: "N", What: "a process does not run for a while"},
			{Name: "cuts", Arg: "N", What: "some hosts and the others do not hear each other for a while"},
			{Name: "mutes", Arg: "N", What: "the same, but only in one direction"},
			{Name: "snaps", Arg: "N", What: "the connections between two hosts break"},
			{Name: "leaves", Arg: "N", What: "a process is told to leave"},
			{Name: "moves", Arg: "N", What: "a process ends, and its host has another address"},
			{Name: "jumps", Arg: "N", What: "a host's wall clock jumps"},
			{Name: "flaps", Arg: "N", What: "a host or the way between two fails and comes back, again and again"},
			{Name: "bursts", Arg: "N", What: "several faults within milliseconds, on the leader and on others"},
			{Name: "power-cuts", Arg: "N", What: "all processes are killed, and new ones start within six seconds"},
		}},
		{Title: "Growth", Options: []options.Option{
			{Name: "edits", Arg: "N", What: "the hosts file changes, 32 times at most: a host is added, retired or replaced; some hosts get the change late, not at all or with a mistake, and all get the last one in the end, as with -again; -for must be 8s or more, so that there is a group before"},
		}},
	},
	Exit:     "0 every promise was kept, 1 one was broken, 2 wrong usage",
	Examples: []options.Example{{What: "check the records of a group in which processes are often restarted", Line: "memberly simulate -restarts 5 -records | memberly verify"}}}

// maxFaults bounds the faults of one kind, and maxTime that of a run: a run is kept whole in
// memory. minEdited is how long a run takes at least in which hosts files change, and maxEdits bounds the changes.
const (
	maxFaults = 1000
	maxTime   = 24 * time.Hour
	minEdited = 8 * time.Second
	maxEdits  = 32
)

// trial is what `memberly simulate` is asked for.
type trial struct {
	profile        Profile
	drawn          bool // the seed draws everything, but whether hosts store
	seed           uint64
	seeds          int
	records, trace bool
	state          bool   // hosts store
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
		fmt.Fprint(stdout, Page.Text())
		return success
	case err != nil:
		fmt.Fprint(stderr, Page.Wrong(err))
		return misuse
	case t.records || t.trace:
		return t.show(ctx, stdout, stderr)
	}
	return t.judge(ctx, stdout)
}

// parseTrial returns what args ask for.
func parseTrial(args []string) (trial, error) {
	t := trial{seed: 1, seeds: 1, profile: Profile{Hosts: 5, For: 30 * time.Second, Stagger: time.Second,
		Faults: map[Kind]int{}, Disks: Disks{Sync: 5 * time.Millisecond}, Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 200 * time.Microsecond}}}
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
	case t.state && w.Drill:
		return t, errors.New("-drill is for hosts that store nothing: leave -state or -drill out")
	case w.Edits > 0 && w.Drill:
		return t, errors.New("-drill is for hosts files that do not change: leave -edits or -drill out")
	case w.Edits > 0 && w.For < minEdited:
		return t, fmt.Errorf("-edits needs time: give -for %v or more", minEdited)
	case w.Boot > w.For:
		return t, fmt.Errorf("-boot %v is after the end of all faults: give -for %v or more", w.Boot, w.Boot)
	}
	t.drawn = true
	of := "" // of disks
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "seed", "seeds", "records", "trace":
			return
		case "sync", "stalls":
			of = f.Name
		}
		t.drawn = t.drawn && f.Name == "state"
		t.options += " -" + f.Name + "=" + f.Value.String()
	})
	if of != "" && !t.state {
		return t, fmt.Errorf("-%s is for hosts that store: give -state too", of)
	}
	if !t.state {
		t.profile.Disks = Disks{}
	}
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
	f.BoolVar(&t.state, "state", false, "")
	f.Var(&span{&w.Sync, time.Microsecond, 300 * time.Millisecond}, "sync", "")
	f.Var(&share{&w.Stalls, 1}, "stalls", "")
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
	f.Var(&wholeNumber{&w.PowerCuts, 0, maxFaults}, "power-cuts", "")
	f.Var(&wholeNumber{&w.Edits, 0, maxEdits}, "edits", "")
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
	switch {
	case t.drawn && t.state:
		return newStoredPlan(seed)
	case t.drawn:
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
