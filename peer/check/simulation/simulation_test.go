package simulation

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	one    = flag.Uint64("seed", 0, "run this one seed")
	play   = flag.Bool("play", false, "with -seed: print every event, of the shrunk plan if it fails (unless -brief)")
	many   = flag.Uint64("seeds", 3000/seedShare, "how many seeds to run")
	from   = flag.Uint64("from", 1, "the first of them")
	fresh  = flag.Duration("seeds-for", 0, "run fresh seeds for so long instead")
	brief  = flag.Bool("brief", false, "do not shrink what fails")
	atMost = flag.Duration("at-most", 0, "stop after so long")
	harsh  = flag.Bool("harsh", false, "TestSeeds draws harsh plans of the seeds")
	stored = flag.Bool("stored", false, "TestSeeds draws plans with state files of the seeds")
	edits  = flag.Bool("edits", false, "TestSeeds draws plans of the seeds in which hosts files change")
)

// How many harsh seeds, seeds with state files, and seeds with hosts files that change, run by default, from 1 on.
const (
	harshSeeds  = 300 / seedShare
	storedSeeds = 500 / seedShare
	editsSeeds  = 300 / seedShare
)

// TestMain collects garbage less often. Runs leave much of it and keep little, so collecting took half of the time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// drawing is one of the ways to draw a plan of a seed.
type drawing struct {
	name string // before "seed"
	flag string // that chooses it
	plan func(uint64) Plan
}

var (
	plain = drawing{"", "", NewPlan}
	rough = drawing{"harsh ", " -harsh", newHarshPlan}
	kept  = drawing{"stored ", " -stored", newStoredPlan}
	grown = drawing{"edits ", " -edits", newHostsPlan}
)

// tally is what many runs came to.
type tally struct {
	sync.Mutex
	next, end uint64 // the seeds that are left
	until     time.Time
	runs      uint64
	failed    uint64 // a seed that does, or 0
	twins     int
	stuck     int
	slow      int // took over 10 s to agree: rules 6 and 7 made somebody wait
	steps     int
	simulated time.Duration
	excuses   map[string]int
}

// take returns a seed to run, or false when that is enough.
func (c *tally) take() (uint64, bool) {
	c.Lock()
	defer c.Unlock()
	if c.failed != 0 || c.next == c.end || !c.until.IsZero() && time.Now().After(c.until) {
		return 0, false
	}
	c.next++
	return c.next - 1, true
}

func (c *tally) add(r Result) {
	c.Lock()
	defer c.Unlock()
	c.runs++
	c.twins += r.Twins
	c.steps += r.Steps
	c.simulated += r.Simulated
	for why, n := range r.Excuses {
		c.excuses[why] += n
	}
	if r.Stuck {
		c.stuck++
	}
	if r.Converged > 10*time.Second {
		c.slow++
	}
	if r.Failure != "" {
		c.failed = r.Plan.Seed
	}
}

// TestFoundByHarshSeeds runs again every harsh seed that once found a bug.
func TestFoundByHarshSeeds(t *testing.T) {
	for _, bug := range []struct {
		seed uint64
		what string
	}{
		{310, "a PROBE waited in a connection that a cut of minutes had stalled, as in the next five"},
		{1993, "the same"}, {5464, "the same"}, {6373, "the same"}, {7645, "the same"}, {7979, "the same"},
		{5039, "copies of one NEWVIEW named different members, and the oldest came last"},
		{57084, "the same, where nothing newer had come, as the leader was deaf"},
		{45317, "a fresh peer asked one that led no more, as what it had said for ages still came"},
		{24401, "what a member had said of another six seconds before confirmed its removal"},
		{34, "a redial waited for a dial whose first packet was lost"},
		{154, "a member that had moved on before it read a REQ owed its answer for ever"},
		{2637, "two leaders of one group had the same fence: it was the counter of their terms"},
		{10072, "whom the leader missed owed an answer to a PROBE that was never sent"},
	} {
		if r := Run(newHarshPlan(bug.seed), nil); r.Failure != "" {
			t.Errorf("harsh seed %d (%s) fails again: %s", bug.seed, bug.what, r.Failure)
		}
	}
}

// TestFoundBySeeds runs again every seed that once found a bug.
func TestFoundBySeeds(t *testing.T) {
	for _, bug := range []struct {
		seed uint64
		what string
	}{
		{16, "a fresh peer that had been let in was told of its own incarnation, and gave it up for a higher one"},
		{90, "a healed leader's NEWVIEW waited in a connection that the cut had stalled"},
		{4865, "what a dead process had sent came late, and its end was reported twice"},
		{5552, "the same, where the member had been silent and not refused"},
		{119868, "a peer whose clock was set back was removed, and never told"},
		{207060, "two lives of a host, told the same last incarnation, took the same and made one group twice"},
		{220514, "a thawed leader removed those it had held unreachable before it froze"},
		{274113, "a thawed member took what a dead one had sent for a sign of life"},
		{293125, "a NEWLEADER that a cut had held up reported failures that were over"},
		{348536, "a NEWVIEW of a leader that had left did so too"},
		{640090, "a datagram that came twice, late, brought back the dead"},
		{2242569, "a STATE that a cut had held up, from the same, did so too"},
		{3289467, "a member that answered, but late, was removed for not answering"},
		{4317818, "a member whose leader died before telling it that it was let in was removed for not knowing"},
		{5290348, "what a leader, long dead, had said of its members was recorded as new"},
		{96163, "a member installed its leader's view and in the same step removed the leader, which it had held unreachable"},
		{1059987, "a JOIN that a cut had held up, from before the clock was set back, removed a member that was fine"},
		{120650, "a leader removed a member on the word of one that had been removed itself"},
		{208366, "what a member had said of another in an earlier view confirmed its removal"},
		{160654, "answers to what a leader had sent before it froze extended its lease"},
		{46129, "it finds the mutant in which a member that supports a leader answers others too"},
		{27866, "it finds the mutant in which groups without leaders never meet"},
		{967, "a redial waited for a dial whose first packet was lost"},
		{80000593, "the same, where two heartbeats were lost too"},
		{1795583221288270612, "a thawed leader that had once followed a member ticked without end"},
		{1795587341544220963, "two candidates outvoted each other each time their voters' grants ran out, which was at once"},
	} {
		if r := Run(NewPlan(bug.seed), nil); r.Failure != "" {
			t.Errorf("seed %d (%s) fails again: %s", bug.seed, bug.what, r.Failure)
		}
	}
}

// TestFoundByEditsSeeds runs again every seed with hosts files that change that once found a bug. Three found bugs before plans
// were drawn as now: a host with a mistake in its file was let in, because it compared fewer lines than both list; a member
// formed its group again while the host that had refused it led another; and a returned member with an earlier view never
// asked one that it did not know for its later view. Tables of package handlers show these.
func TestFoundByEditsSeeds(t *testing.T) {
	for _, bug := range []struct {
		seed uint64
		what string
	}{
		{575, "hosts that were added later, and one that never was a member, made a second group with the longer file"},
		{2008134, "a host whose file was read again while it asked for votes made its group a second time, with that file"},
		{5009496, "who took the incarnation that an early view had let in never took that of the latest view"},
		{80000520, "a host that began with another file than its first, and had that back, asked too few for votes: two groups"},
		{177700000016384, "a member that had been gone, and came back with its state, was removed though nobody else missed it"},
		{1795770000000061943, "two groups without leaders waited for each other's last member, and one did not list that of the other"},
		{1795735000000072941, "its judge: a member formed its group again as another host, whose file did not list it, made one"},
		{377700000009426, "its judge: half of the hosts of the first file were missing, not of the last one"},
		{1038824, "its judge: who just learned that it was let in was reported, as its disk had stalled"},
		{3174485, "its judge: the same, as it had read a wrong file"},
		{3136979, "its plan: a host that the group had retired was started with a file of before, and made a group"},
	} {
		if r := Run(newHostsPlan(bug.seed), nil); r.Failure != "" {
			t.Errorf("edits seed %d (%s) fails again: %s", bug.seed, bug.what, r.Failure)
		}
	}
}

// TestSeeds runs groups through faults, each drawn from a seed.
func TestSeeds(t *testing.T) {
	d := plain
	if *harsh {
		d = rough
	}
	if *stored {
		d = kept
	}
	if *edits {
		d = grown
	}
	if *one != 0 {
		explain(t, d, *one)
		return
	}
	c := &tally{next: *from, end: *from + *many, excuses: map[string]int{}}
	if *fresh > 0 {
		c.next, c.end, c.until = uint64(time.Now().UnixNano()), 0, time.Now().Add(*fresh)
	}
	if *atMost > 0 {
		c.until = time.Now().Add(*atMost)
	}
	c.run(t, d)
}

// TestHarshSeeds runs groups through much that goes wrong at once.
func TestHarshSeeds(t *testing.T) {
	if *one != 0 || *harsh {
		return // TestSeeds does it
	}
	c := &tally{next: 1, end: 1 + harshSeeds, excuses: map[string]int{}}
	c.run(t, rough)
}

// TestFoundByStoredSeeds runs again every seed with state files that once found a bug.
func TestFoundByStoredSeeds(t *testing.T) {
	for _, bug := range []struct {
		seed uint64
		what string
	}{
		{167, "hosts with slow disks bid against each other for ever"},
		{1944, "a leader that had removed itself forgot the view that nobody else knew"},
		{2045, "who was let in, crashed and never knew was missing for ever"},
		{18024, "what a returned peer reported was older than what its earlier process had, by its clock"},
		{110496, "a member whose disk stalled was removed for not answering"},
		{1795805039463050189, "its judge: the last host that knew the next view led it, and so the other one was no quorum"},
		{1795750560122962298, "a leader that had removed itself did not tell the other that it had been let in"},
	} {
		if r := Run(newStoredPlan(bug.seed), nil); r.Failure != "" {
			t.Errorf("stored seed %d (%s) fails again: %s", bug.seed, bug.what, r.Failure)
		}
	}
}

// TestStoredSeeds runs groups whose hosts store what they must remember through power cuts and much else.
func TestStoredSeeds(t *testing.T) {
	if *one != 0 || *stored {
		return // TestSeeds does it
	}
	c := &tally{next: 1, end: 1 + storedSeeds, excuses: map[string]int{}}
	c.run(t, kept)
}

// TestEditsSeeds runs groups whose hosts files change meanwhile.
func TestEditsSeeds(t *testing.T) {
	if *one != 0 || *edits {
		return // TestSeeds does it
	}
	c := &tally{next: 1, end: 1 + editsSeeds, excuses: map[string]int{}}
	c.run(t, grown)
}

// run runs the seeds, and explains one that fails.
func (c *tally) run(t *testing.T, d drawing) {
	t.Helper()
	first, began := c.next, time.Now()
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed, ok := c.take(); ok; seed, ok = c.take() {
				c.add(Run(d.plan(seed), nil))
			}
		})
	}
	workers.Wait()
	took := time.Since(began).Seconds()
	t.Logf("%sseeds %d to %d: %d runs, %.0f a second, each second simulating %.0f s; %d twins, %d stuck, %d took over 10 s to agree",
		d.name, first, c.next-1, c.runs, float64(c.runs)/took, c.simulated.Seconds()/took, c.twins, c.stuck, c.slow)
	for _, why := range slices.Sorted(maps.Keys(c.excuses)) {
		t.Logf("excused: %s: %d times", why, c.excuses[why])
	}
	if c.failed != 0 {
		explain(t, d, c.failed)
	}
}

// explain runs one seed; of one that fails it tells how to repeat it, and the smallest
// schedule of faults that still fails.
func explain(t *testing.T, d drawing, seed uint64) {
	t.Helper()
	p := d.plan(seed) // that of the result has no faults of the network any more
	r := Run(p, nil)
	switch {
	case r.Failure == "":
		t.Logf("%sseed %d: agreement %v after the last fault; %v", d.name, seed, r.Converged, p)
	case *brief && *play:
		t.Errorf("%sseed %d fails: %s\n%v", d.name, seed, r.Failure, p)
	case *brief:
		t.Fatalf("%sseed %d fails: %s", d.name, seed, r.Failure)
	default:
		p = shrinkFailing(p)
		t.Errorf("%sseed %d fails: %s\nrepeat: go test ./peer/check/simulation -run 'TestSeeds$' -v%s -seed %d -play\nshrunk, it fails so: %s\n%v",
			d.name, seed, r.Failure, d.flag, seed, Run(p, nil).Failure, p)
	}
	if *play {
		Run(p, os.Stdout)
	} else if r.Failure != "" {
		var trace bytes.Buffer
		Run(p, &trace)
		lines := strings.SplitAfter(trace.String(), "\n")
		t.Logf("its last moments:\n%s", strings.Join(lines[max(0, len(lines)-60):], ""))
	}
}

// TestSameSeedSameTrace: a run depends on nothing but its seed.
func TestSameSeedSameTrace(t *testing.T) {
	for seed := range uint64(50 / seedShare) {
		var a, b bytes.Buffer
		Run(NewPlan(seed), &a)
		Run(NewPlan(seed), &b)
		if a.Len() == 0 || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("seed %d gave two traces of %d and %d bytes", seed, a.Len(), b.Len())
		}
	}
	for seed := range uint64(10 / seedShare) {
		var a, b bytes.Buffer
		Run(newHarshPlan(seed), &a)
		Run(newHarshPlan(seed), &b)
		if a.Len() == 0 || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("harsh seed %d gave two traces of %d and %d bytes", seed, a.Len(), b.Len())
		}
	}
}

// TestShrink: a plan that fails for one reason loses its other faults.
func TestShrink(t *testing.T) {
	p := NewPlan(1)
	p.Hosts, p.Starts, p.Quiet = 3, make([]time.Duration, 3), 20*time.Second
	for i := range 6 {
		p.Faults = append(p.Faults, fault{At: time.Duration(10+i) * time.Second, Kind: jump, A: 1, For: time.Minute})
	}
	p = shrink(p, func(q Plan) bool { return strings.Contains(fmt.Sprint(q), "13.000s jump") })
	if len(p.Faults) != 1 || p.Faults[0].At != 13*time.Second {
		t.Errorf("shrunk to %v", p)
	}
}

// With a -monitor of any length, hosts that start agree in a second or two: what is asked again is asked
// again in real time.
func TestLongMonitor(t *testing.T) {
	for _, monitor := range []time.Duration{time.Second, 10 * time.Minute, time.Hour} {
		for seed := range uint64(20) {
			p := Plan{Seed: seed, Hosts: 5, Monitor: monitor, Quiet: 2 * time.Second, Starts: drawStarts(rand.New(rand.NewPCG(seed, 0)), 5),
				Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 500 * time.Microsecond}}
			last := slices.Max(p.Starts)
			w := newWorld(p, nil)
			w.runUntil(last + 2*time.Second)
			if wrong := w.judge.agreed(); wrong != "" || w.judge.failure != "" {
				t.Errorf("-monitor %v, seed %d: %v after the last start at %v: %s%s", monitor, seed, 2*time.Second, last, wrong, w.judge.failure)
			}
		}
	}
}
