package simulation

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"memberly/peer/types"
)

// three is a plan of three hosts on a fast network, which start one after the other.
func three() Plan {
	return Plan{Seed: 1, Hosts: 3, Starts: seconds(0, 0.1, 0.2), Quiet: time.Hour,
		Network: Network{MinDelay: 100 * time.Microsecond, MaxDelay: 100 * time.Microsecond}}
}

// Ticks come late where the plan says so, and never later than it says.
func TestLate(t *testing.T) {
	for _, late := range []time.Duration{0, 20 * time.Millisecond} {
		p := three()
		p.Late = late
		w := newWorld(p, nil)
		most := time.Duration(0)
		for w.now < 20*time.Second {
			w.runUntil(w.now + time.Millisecond)
			for _, m := range w.hosts {
				if q := m.process; q != nil && q.wakeAt >= 0 {
					most = max(most, w.now-q.wakeAt)
				}
			}
		}
		if w.judge.failure != "" {
			t.Fatal(w.judge.failure)
		}
		if most > late || most < late/2 {
			t.Errorf("a tick is up to %v late, want about %v", most, late)
		}
	}
}

// The pause before TCP sends again doubles up to the plan's bound, or 5 s.
func TestBackoff(t *testing.T) {
	for _, c := range []struct{ bound, want time.Duration }{{0, 5 * time.Second}, {120 * time.Second, 120 * time.Second}} {
		p := three()
		p.Backoff = c.bound
		p.Faults = []fault{cut(5, 0b100, 150)}
		w := newWorld(p, nil)
		w.runUntil(150 * time.Second)
		most := time.Duration(0)
		for _, conns := range w.conns {
			for _, c := range conns {
				most = max(most, c.ways[0].retry, c.ways[1].retry)
			}
		}
		if most != c.want {
			t.Errorf("with a bound of %v the longest pause is %v, want %v", c.bound, most, c.want)
		}
	}
}

// Until the network is up nobody hears anybody; then the hosts agree.
func TestNetworkComesUpLate(t *testing.T) {
	p := three()
	p.Boot = 30 * time.Second
	w := newWorld(p, nil)
	w.runUntil(p.Boot - 1)
	for _, m := range w.hosts {
		if v := m.process.handler.View(); len(v.Members) > 1 {
			t.Errorf("peer %d holds view %v while there is no network", m.id, v.Members)
		}
	}
	w.runUntil(p.Boot + 30*time.Second)
	if wrong := w.judge.agreed(); wrong != "" || w.judge.failure != "" {
		t.Error(wrong, w.judge.failure)
	}
}

// waysBlocked lists the ways between three hosts that are blocked, as "from>to".
func (w *world) waysBlocked() (ways []string) {
	for a := types.ID(1); int(a) <= len(w.hosts); a++ {
		for b := types.ID(1); int(b) <= len(w.hosts); b++ {
			if w.blocked(a, b) {
				ways = append(ways, fmt.Sprintf("%d>%d", a, b))
			}
		}
	}
	return ways
}

// Each fault of the network blocks just the ways that it is about, for as long as it lasts.
func TestWhatFaultsBlock(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		fault fault
		at    time.Duration // since it strikes
		want  string
	}{
		{fault{Kind: link, A: 1, B: 2, For: 2 * second}, second, "[1>2]"},
		{fault{Kind: link, A: 1, B: 2, For: 2 * second}, 3 * second, "[]"},
		{fault{Kind: linkBoth, A: 1, B: 2, For: 2 * second}, second, "[1>2 2>1]"},
		{fault{Kind: cutHosts, Side: 0b1, For: 2 * second}, second, "[1>2 1>3 2>1 3>1]"},
		{fault{Kind: mute, Side: 0b1, For: 2 * second}, second, "[1>2 1>3]"},
		{fault{Kind: deaf, Side: 0b1, For: 2 * second}, second, "[2>1 3>1]"},
		{fault{Kind: deaf, Side: 0b1, For: 9 * second, Down: 2 * second, Up: second}, second, "[2>1 3>1]"},
		{fault{Kind: deaf, Side: 0b1, For: 9 * second, Down: 2 * second, Up: second}, 2500 * time.Millisecond, "[]"},
		{fault{Kind: deaf, Side: 0b1, For: 9 * second, Down: 2 * second, Up: second}, 4 * second, "[2>1 3>1]"},
		{fault{Kind: deaf, Side: 0b1, For: 9 * second, Down: 2 * second, Up: second}, 10 * second, "[]"},
		{fault{Kind: link, A: 1, B: 2, For: 9 * second}, 6 * second, "[]"}, // the plan is quiet
		{fault{Kind: link, A: 1, B: 2, Endless: true}, 6 * second, "[1>2]"},
		{fault{Kind: mute, Side: 0b1, Down: 2 * second, Up: second, Endless: true}, 7 * second, "[1>2 1>3]"},
		{fault{Kind: mute, For: 2 * second}, second, "[1>2 1>3]"}, // host 1 leads
		{fault{Kind: link, B: 1, For: 2 * second}, second, "[1>2]"},
	} {
		p := three()
		p.Quiet = 15 * time.Second
		c.fault.At = 10 * time.Second
		p.Faults = []fault{c.fault}
		w := newWorld(p, nil)
		w.runUntil(min(c.fault.At+c.at, p.Quiet))
		if c.fault.At+c.at > p.Quiet {
			w.settle()
			w.runUntil(c.fault.At + c.at)
		}
		if got := fmt.Sprint(w.waysBlocked()); got != c.want {
			t.Errorf("%v later %v blocks %v, want %v", c.at, c.fault, got, c.want)
		}
	}
}

// Pairs are cut one after the other.
func TestPairsRotate(t *testing.T) {
	p := three()
	p.Faults = []fault{{At: 5 * time.Second, Kind: cutPair, For: 20 * time.Second, Down: time.Second}}
	w := newWorld(p, nil)
	seen := map[string]bool{}
	for w.now < 24*time.Second {
		w.runUntil(w.now + time.Second/2)
		if ways := w.waysBlocked(); w.now > p.Faults[0].At && len(ways) != 2 {
			t.Fatalf("at %v the ways %v are blocked, want those of one pair", w.now, ways)
		} else {
			seen[fmt.Sprint(ways)] = true
		}
	}
	if len(seen) != 4 { // three pairs, and none before
		t.Errorf("cut are %v", seen)
	}
}

// A process that crashes again and again runs between, and in the end.
func TestCrashLoop(t *testing.T) {
	p := three()
	p.Faults = []fault{{At: 5 * time.Second, Kind: Crash, A: 3, For: 10 * time.Second, Down: time.Second, Up: 2 * time.Second}}
	w := newWorld(p, nil)
	var lives []int
	for _, s := range []float64{4.5, 5.5, 7, 8.5, 10, 13, 14.5, 20} {
		w.runUntil(seconds(s)[0])
		lives = append(lives, w.host(3).lives)
		if runs, want := w.host(3).process != nil, s != 5.5 && s != 8.5 && s != 14.5; runs != want {
			t.Errorf("at %v s the process runs: %v, want %v", s, runs, want)
		}
	}
	if want := []int{1, 1, 2, 2, 3, 4, 4, 5}; !slices.Equal(lives, want) {
		t.Errorf("host 3 has had %v processes, want %v", lives, want)
	}
	if wrong := w.judge.agreed(); wrong != "" || w.judge.failure != "" {
		t.Error(wrong, w.judge.failure)
	}
}

// What is sent over a slow way comes late, and over one connection in order, also when the way
// is fast again.
func TestSlowWay(t *testing.T) {
	p := three()
	p.Hosts, p.Starts = 2, seconds(0, 0)
	w := newWorld(p, nil)
	w.runUntil(5 * time.Second)
	a, b := w.host(1).process, w.host(2).process
	c := w.newConn(a, b)
	w.opened(c, 0)
	var out bytes.Buffer
	w.trace = &trace{out: &out}
	w.inject(fault{At: w.now, Kind: slow, A: 1, B: 2, Delay: 10 * time.Second, For: 2 * time.Second})
	for i := range int64(3) { // at 5, 6.5 and 8 s; the last when the way is fast again
		w.transmit(c, 0, types.Message{Kind: types.Echo, From: 1, To: 2, Number: i + 1})
		w.runUntil(w.now + 1500*time.Millisecond)
	}
	w.runUntil(20 * time.Second)
	got := regexp.MustCompile(`(\d+\.\d)\d* +2 +1: ECHO v(\d)`).FindAllStringSubmatch(out.String(), -1)
	want := [][2]string{{"15.0", "1"}, {"16.5", "2"}, {"16.7", "3"}} // behind PROBEs
	for i, w := range want {
		if len(got) != len(want) || got[i][1] != w[0] || got[i][2] != w[1] {
			t.Fatalf("messages come so: %q, want %q", got, want)
		}
	}
}

// Several faults within milliseconds hit the leader, and the one that leads next.
func TestBurstOnLeader(t *testing.T) {
	p := three()
	p.Hosts, p.Starts = 5, seconds(0, 0.1, 0.2, 0.3, 0.4)
	p.Faults = []fault{{At: 5 * time.Second, Kind: Crash}, {At: 5*time.Second + 5*time.Millisecond, Kind: Crash}}
	w := newWorld(p, nil)
	w.runUntil(5*time.Second + 6*time.Millisecond)
	for _, m := range w.hosts {
		if runs, want := m.process != nil, m.id > 2; runs != want {
			t.Errorf("the process of host %d runs: %v, want %v", m.id, runs, want)
		}
	}
}
