package handlers

import (
	"fmt"
	"math/bits"
	"reflect"
	"slices"
	"testing"
	"time"

	"memberly/peer/types"
)

// watcher returns a member of a view of n, led by the given one, that reaches those whose bits
// are set in reached.
func watcher(n int, leader types.ID, reached uint) *Handler {
	h := New(Config{ID: 1, Listed: types.Numbered(n), Heartbeat: 1100 * time.Millisecond, Monitor: 2200 * time.Millisecond})
	h.now = Instant{Run: time.Hour, Wall: 1}
	h.becomeFresh()
	v := types.View{Group: types.Group{Made: 1, Maker: leader}, Number: 7, Leader: leader, Last: make([]types.Past, n), Digest: types.Digest(h.Listed)}
	for i := range n {
		v.Members = append(v.Members, types.ID(i+1))
		v.Last[i].Incarnation = types.Incarnation(i + 1)
	}
	h.incarnation = 1
	h.install(&v)
	h.becomeFollower()
	for i := range n {
		h.hosts[i].gone = reached&(1<<i) == 0
	}
	h.recount()
	return h
}

// Whom the group could lose is tried out: with every set of members, in every view of up to
// seven, whichever of them this peer reaches.
func TestSpare(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 7; n++ {
		for reached := uint(1); reached < 1<<n; reached += 2 {
			for leader := types.ID(1); leader <= 2 && int(leader) <= n; leader++ {
				h := watcher(n, leader, reached)
				got := h.Status().Spare
				if want := trySpare(&h.view, reached); got != want {
					t.Errorf("of %d led by %d with %b reached: %+v, want %+v", n, leader, reached, got, want)
				}
				h.storing.newest.Number, h.storing.waits = 1, h.now.Run-h.Monitor // its disk keeps it waiting
				if got, want := h.Status().Spare, trySpare(&h.view, reached&^1); h.quorate && got != want {
					t.Errorf("of %d led by %d with %b reached, and a disk that stalls: %+v, want %+v", n, leader, reached, got, want)
				}
			}
		}
	}
}

// trySpare loses every set of those that are reached.
func trySpare(v *types.View, reached uint) (s Spare) {
	leader := uint(1) << (v.Leader - 1)
	whoever, sparing := len(v.Members)+1, len(v.Members)+1 // the smallest losses that are too much
	for lost := reached; ; lost = (lost - 1) & reached {
		left := reached &^ lost
		if !v.Quorum(func(id types.ID) bool { return left&(1<<(id-1)) != 0 }) {
			whoever = min(whoever, bits.OnesCount(lost))
			if lost&leader == 0 {
				sparing = min(sparing, bits.OnesCount(lost))
			}
		}
		if lost == 0 {
			break
		}
	}
	if whoever == 0 {
		return Spare{}
	}
	if reached&leader == 0 {
		sparing = whoever
	}
	s = Spare{Any: whoever - 1, ExceptLeader: sparing - 1}
	if others := bits.OnesCount(reached &^ leader); reached&leader != 0 && sparing > others { // all of them may go
		s.ExceptLeader = others
	}
	s.ExceptLeader = max(s.Any, s.ExceptLeader)
	return s
}

// Status changes nothing: what it reads is as before, and twice it says the same.
func TestStatusOnlyReads(t *testing.T) {
	t.Parallel()
	h := watcher(5, 2, 0b00111)
	h.now.Run += time.Minute
	h.hosts[1].gone, h.hosts[1].spoke = true, h.now.Run
	h.hosts[2].heard = h.now.Run
	h.recount()
	before := fmt.Sprintf("%+v", *h)
	first, second := h.Status(), h.Status()
	if after := fmt.Sprintf("%+v", *h); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	if !reflect.DeepEqual(first, second) {
		t.Errorf("it says %+v, then %+v", first, second)
	}
	var states []State
	for _, host := range first.Hosts {
		states = append(states, host.State)
	}
	if want := []State{Self, Unanswered, Present, Gone, Gone}; !slices.Equal(states, want) {
		t.Errorf("states are %v, want %v", states, want)
	}
	if first.Halt != NoQuorum || !slices.Equal(first.Awaited, []types.ID{2, 4, 5}) {
		t.Errorf("it halts for %v, waiting for %v", first.Halt, first.Awaited)
	}
	if deaf := first.Hosts[0].NotHearing; !slices.Equal(deaf, []types.ID{2, 4, 5}) {
		t.Errorf("it says that it does not hear %v", deaf)
	}
}

// Of a group that the peer is leaving it does not say whom it could lose.
func TestSpareOfOneThatLeaves(t *testing.T) {
	t.Parallel()
	h := watcher(5, 2, 0b11111)
	if got := h.Status().Spare; got.Any != 2 {
		t.Errorf("of five, all reached: %+v", got)
	}
	h.Leave(h.now)
	if got := h.Status(); got.Halt != LeavesView || got.Spare != (Spare{}) {
		t.Errorf("it halts for %v, and could lose %+v", got.Halt, got.Spare)
	}
}

// A fresh peer that knows who leads waits for that one to let it in, even the first host, which
// would else make a group.
func TestHaltOfOneThatIsInvited(t *testing.T) {
	t.Parallel()
	for id := types.ID(1); id <= 2; id++ {
		h := New(Config{ID: id, Listed: types.Numbered(3), Heartbeat: 1100 * time.Millisecond, Monitor: 2200 * time.Millisecond})
		h.Start(Instant{Run: time.Hour})
		if got, want := h.Status().Halt, map[types.ID]Halt{1: Unfounded, 2: NoGroup}[id]; got != want {
			t.Errorf("peer %d, of no group: %v, want %v", id, got, want)
		}
		h.learnLeader(3, types.Group{Made: 1, Maker: 3}, types.Term{})
		if got := h.Status(); got.Halt != NoGroup || !slices.Equal(got.Awaited, []types.ID{3}) {
			t.Errorf("peer %d, of a group that 3 leads: %v, waiting for %v", id, got.Halt, got.Awaited)
		}
	}
}

// A heartbeat says whom its sender does not hear, and who gets it shows that.
func TestHeartbeatNamesTheUnheard(t *testing.T) {
	t.Parallel()
	sender := watcher(3, 1, 0b011)
	sender.sendHeartbeat()
	m := *sender.out.Heartbeat
	if !slices.Equal(m.Unreachable, []types.ID{3}) {
		t.Fatalf("it names %v, want 3", m.Unreachable)
	}
	m.From, m.Incarnation = 2, 2
	h := watcher(3, 1, 0b111)
	h.Message(h.now, 2, &m)
	if got := h.Status().Hosts[1]; !got.Reported || !slices.Equal(got.NotHearing, m.Unreachable) {
		t.Errorf("it shows %+v", got)
	}
	if got := h.Status().Hosts[2]; got.Reported {
		t.Errorf("it shows %+v of one that said nothing", got)
	}
	large := watcher(100, 1, 1)
	large.sendHeartbeat()
	if n := len(large.out.Heartbeat.Unreachable); n != MaxNamed {
		t.Errorf("with 99 unheard it names %d, want %d", n, MaxNamed)
	}
}

// A heartbeat while everybody is heard costs no memory.
func TestSteadyHeartbeatAllocatesNothing(t *testing.T) {
	h := watcher(100, 1, ^uint(0))
	for i := range h.hosts {
		h.hosts[i].gone = false
	}
	h.recount()
	m := types.Message{Kind: types.Heartbeat, From: 2, Incarnation: 2, Group: h.view.Group, Number: 7}
	if n := testing.AllocsPerRun(100, func() {
		h.begin(h.now)
		h.sendHeartbeat()
		h.onHeartbeat(&m)
	}); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}

// What made a view is found by comparing it with the one before.
func TestBetween(t *testing.T) {
	t.Parallel()
	v := watcher(3, 1, 0b111).view
	del := types.Change{Operation: types.Del, Member: types.Member{ID: 3, Incarnation: 3}, Cause: types.Left}
	without := v.With(del)
	add := types.Change{Operation: types.Add, Member: types.Member{ID: 3, Incarnation: 9}}
	again := without.With(add)
	for _, c := range []struct {
		from, to types.View
		want     types.Change
	}{
		{v, without, del},
		{without, again, add},
		{v, again, types.Change{}},
		{types.View{}, v, types.Change{}},
	} {
		if got := between(&c.from, &c.to); got != c.want {
			t.Errorf("from %v to %v: %+v, want %+v", c.from.Members, c.to.Members, got, c.want)
		}
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var g Histogram
	for _, d := range []time.Duration{0, time.Millisecond, 2 * time.Millisecond, time.Minute} {
		g.add(d)
	}
	if g.Counts[0] != 2 || g.Counts[1] != 1 || g.Count != 4 || g.Sum != time.Minute+3*time.Millisecond {
		t.Errorf("counts %+v", g)
	}
}
