package simulation

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"memberly/peer/types"
)

// Network describes background faults of the network, active until Plan.Quiet. The zero value is a perfect
// network.
type Network struct {
	MinDelay, MaxDelay time.Duration // of a packet; different delays reorder datagrams
	Loss               float64       // of datagrams
	Duplicate          float64       // of datagrams
	Resend             float64       // of TCP segments that come only when sent again
	Hang               float64       // of dials that never end
	NoUDP              bool          // no datagram comes through
	Names              bool          // a host that was never started has no name
}

// Kind is what a fault does.
type Kind uint8

// The faults.
const (
	Crash    Kind = iota // the process of A ends; its host is up and refuses connections
	start                // a new process on A, if it has none
	off                  // host A is switched off, silent, for For; then it is up without a process
	freeze               // the process of A does not run for For
	cutHosts             // the hosts in Side and the others do not hear each other for For
	mute                 // what the hosts in Side send does not reach the others for For
	snap                 // the connections between A and B break
	Leave                // the process of A is told to leave
	jump                 // the wall clock of A jumps by For
	moveHost             // the process of A ends, and its host has another address
	crashAll             // every process ends
	restart              // a new process on every host that has none
	Signal               // the process of A crashes as -c makes it: with a record
	deaf                 // what the others send does not reach the hosts in Side for For
	link                 // what A sends does not reach B for For
	linkBoth             // A and B do not hear each other for For
	slow                 // what A sends takes Delay longer to B for For
	cutPair              // two hosts, drawn when it begins, do not hear each other for For
	editFile             // the hosts file of A becomes that of Plan.Files at Side, and its process reads it For later
	cutFile              // before there is a group, another process of A begins with the first Side lines of its hosts file; it has all For later
)

var kindNames = []string{"crash", "start", "off", "freeze", "cut", "mute", "snap", "leave", "jump", "move", "crash-all", "restart", "signal",
	"deaf", "link", "link-both", "slow", "pair", "edit", "cut-file"}

// fault is something that happens at a time.
//
// With A 0, and for Cut, Mute and Deaf Side 0 as well, it hits the host whose process leads at
// that moment, or none if none does. With Down it comes and goes: it lasts for Down and comes again after Up,
// until For is over; a Crash is then followed by a Start after Down.
type fault struct {
	At       time.Duration
	Kind     Kind
	A, B     types.ID
	For      time.Duration
	Side     uint32        // bit i-1 for host i
	Delay    time.Duration // of Slow
	Down, Up time.Duration
	Endless  bool // it goes on after the plan is quiet, too: For does not count
}

func (f fault) String() string {
	s := fmt.Sprintf("%.3fs %s", f.At.Seconds(), kindNames[f.Kind])
	a := strconv.Itoa(int(f.A))
	if f.A == 0 {
		a = "leader"
	}
	switch f.Kind {
	case cutHosts, mute, deaf:
		side := fmt.Sprint(sideNames(f.Side))
		if f.A == 0 && f.Side == 0 {
			side = a
		}
		s += fmt.Sprintf(" %s for %v", side, f.For)
	case link, linkBoth:
		s += fmt.Sprintf(" %s-%d for %v", a, f.B, f.For)
	case slow:
		s += fmt.Sprintf(" %s-%d by %v for %v", a, f.B, f.Delay, f.For)
	case cutPair:
		s += fmt.Sprintf(" for %v", f.For)
	case snap:
		s += fmt.Sprintf(" %s-%d", a, f.B)
	case off, freeze, jump:
		s += fmt.Sprintf(" %s %v", a, f.For)
	case editFile:
		s += fmt.Sprintf(" %s to file %d, read after %v", a, f.Side, f.For)
	case cutFile:
		s += fmt.Sprintf(" %s to %d lines for %v", a, f.Side, f.For)
	case crashAll, restart:
	default:
		s += " " + a
	}
	if f.Down > 0 {
		s += fmt.Sprintf(", %v down and %v up, for %v", f.Down, f.Up, f.For)
	}
	if f.Endless {
		s += ", endless"
	}
	return s
}

func sideNames(side uint32) (ids []int) {
	for i := range 32 {
		if side&(1<<i) != 0 {
			ids = append(ids, i+1)
		}
	}
	return ids
}

// Plan is everything that a simulation does not leave to the peers: it is drawn from a seed,
// and can be made smaller.
type Plan struct {
	Seed     uint64
	Hosts    int
	Listed   int            // how many of them the hosts files list at first; 0 for all
	JoinOnly bool           // those that are listed later are started with -join-only
	Files    [][]types.Host // what the hosts files become; all have the last one in the end
	Network
	Disks
	Drift   float64         // of clocks: 0.01 means up to one second in a hundred, either way
	Monitor time.Duration   // as -monitor; 0: 2.2 s. Heartbeats come twice as often
	Drill   bool            // the first host runs the leader-failure drill
	Wire    bool            // messages go through their bytes
	Dark    uint32          // hosts, as in Fault.Side, that are silent from the last fault on, for ever
	Starts  []time.Duration // of each host's first process
	Faults  []fault         // in the order of time
	Quiet   time.Duration   // when all that is wrong is put right

	Late     time.Duration // a tick is handled up to so long after it is due; what comes in meanwhile goes first
	Backoff  time.Duration // the longest pause before TCP sends a segment again; 0 means 5 s
	Boot     time.Duration // until then no packet gets from any host to another
	Nameless time.Duration // until then the name service says that there are no such names

	Endless   time.Duration // how long the run goes on after Quiet, with the faults that are endless
	Afflicted uint32        // the hosts, as in Fault.Side, that these leave badly connected
}

func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d hosts, starts %v, quiet after %v, drill %v, drift %v, wire %v, dark %v\n  network %+v\n",
		p.Seed, p.Hosts, p.Starts, p.Quiet, p.Drill, p.Drift, p.Wire, sideNames(p.Dark), p.Network)
	if p.JoinOnly {
		fmt.Fprintf(&b, "  from %d on they only join\n", p.Listed+1)
	}
	if p.Late > 0 || p.Backoff > 0 || p.Boot > 0 {
		fmt.Fprintf(&b, "  late %v, backoff %v, boot %v\n", p.Late, p.Backoff, p.Boot)
	}
	if p.Sync > 0 {
		fmt.Fprintf(&b, "  disks %+v\n", p.Disks)
	}
	if p.Endless > 0 {
		fmt.Fprintf(&b, "  goes on for %v, afflicted %v\n", p.Endless, sideNames(p.Afflicted))
	}
	for i, file := range p.Files {
		fmt.Fprintf(&b, "  file %d: %v\n", i, file)
	}
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "  %v\n", f)
	}
	return b.String()
}

// NewPlan draws the plan of a seed.
func NewPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 1))
	p := Plan{Seed: seed, Hosts: 1 + r.IntN(9)}
	if r.IntN(2) == 0 {
		p.Hosts = 3 + r.IntN(3)
	}
	p.Network = drawNetwork(r)
	if r.IntN(4) == 0 {
		p.Drift = r.Float64() * 0.01
	}
	p.Drill = p.Hosts >= 4 && r.IntN(20) == 0
	own := rand.New(rand.NewPCG(seed, 2)) // apart, so that older seeds keep their meaning
	p.Wire = own.IntN(8) == 0
	if own.IntN(20) == 0 {
		p.Dark = 1 << own.IntN(p.Hosts)
	}
	p.Starts = drawStarts(r, p.Hosts)
	calm := time.Duration(r.Int64N(int64(15 * time.Second)))
	p.Quiet = calm
	for range r.IntN(8) {
		p.Faults = append(p.Faults, drawFaults(r, p.Hosts, p.Quiet)...)
		p.Quiet += time.Duration(r.Int64N(int64(6 * time.Second)))
	}
	if r.IntN(3) > 0 {
		p.Faults = append(p.Faults, fault{At: p.Quiet, Kind: restart})
	}
	return p
}

func drawNetwork(r *rand.Rand) Network {
	n := Network{MinDelay: 50 * time.Microsecond, MaxDelay: 200 * time.Microsecond}
	if r.IntN(3) == 0 {
		n.MaxDelay = time.Duration(r.Int64N(int64(50 * time.Millisecond)))
		n.MaxDelay = max(n.MaxDelay, n.MinDelay)
	}
	if r.IntN(2) == 0 {
		n.Loss = r.Float64() * 0.3
	}
	if r.IntN(4) == 0 {
		n.Duplicate = r.Float64() * 0.3
	}
	if r.IntN(4) == 0 {
		n.Resend = r.Float64() * 0.05
	}
	if r.IntN(6) == 0 {
		n.Hang = r.Float64() * 0.05
	}
	n.NoUDP = r.IntN(30) == 0
	n.Names = r.IntN(2) == 0
	return n
}

// drawStarts draws one of the orders in which people start their hosts.
func drawStarts(r *rand.Rand, hosts int) []time.Duration {
	starts := make([]time.Duration, hosts)
	style := r.IntN(4)
	for i := range starts {
		switch style {
		case 0: // one after the other
			starts[i] = time.Duration(i) * time.Second
		case 1: // all at once
			starts[i] = time.Duration(r.Int64N(int64(time.Millisecond)))
		case 2: // the first last
			starts[i] = time.Duration(hosts-i) * 500 * time.Millisecond
		default:
			starts[i] = time.Duration(r.Int64N(int64(8 * time.Second)))
		}
	}
	return starts
}

// drawFaults draws one misfortune at about the time at: a fault, or a few that belong together.
func drawFaults(r *rand.Rand, hosts int, at time.Duration) []fault {
	a, b := types.ID(1+r.IntN(hosts)), types.ID(1+r.IntN(hosts))
	short := time.Duration(r.Int64N(int64(4 * time.Second)))
	length := short
	if r.IntN(3) == 0 {
		length *= 4
	}
	side := uint32(r.IntN(1 << hosts))
	f := fault{At: at, A: a, B: b, For: length, Side: side}
	again := fault{At: at + short, Kind: start, A: a}
	if r.IntN(2) == 0 {
		again.At = at + time.Millisecond + short/50
	}
	switch f.Kind = Kind(r.IntN(int(restart) + 1)); f.Kind {
	case start, restart:
		f.Kind = Crash
		return []fault{f}
	case Crash, moveHost:
		return []fault{f, again}
	case crashAll:
		again.Kind = restart
		return []fault{f, again}
	case Leave:
		again.At += 1100 * time.Millisecond
		return []fault{f, again}
	case jump:
		f.For = time.Duration(r.Int64N(int64(2*time.Hour))) - time.Hour
		return []fault{f, {At: at + short, Kind: Crash, A: a}, {At: at + short + time.Millisecond, Kind: start, A: a}}
	case cutHosts, mute:
		if r.IntN(3) > 0 {
			return []fault{f}
		}
		return flap(r, f)
	}
	return []fault{f}
}

// flap makes of one cut several short ones.
func flap(r *rand.Rand, f fault) (faults []fault) {
	for range 2 + r.IntN(4) {
		f.For = time.Duration(r.Int64N(int64(3 * time.Second)))
		faults = append(faults, f)
		f.At += f.For + time.Duration(r.Int64N(int64(2*time.Second)))
	}
	return faults
}
