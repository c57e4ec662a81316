package simulation

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

var depth = flag.Int("depth", 8, "how many deliveries TestEveryOrder looks ahead")

// table is a group of two or three on a table: nothing happens but by a move. It explores
// what the seeds only sample: every order in which messages can be delivered, with a crash
// at any point.
type table struct {
	peers  []*handlers.Handler // nil once crashed
	queues map[pairing][]arrival
	now    time.Duration
	views  map[viewKey]string
	last   []int64
	wrong  string
}

// pairing is a way from one host to another; what goes it arrives in order.
type pairing struct{ from, to int }

// arrival is a message, or that the connection was closed.
type arrival struct {
	message types.Message
	closed  bool
}

// move is a delivery on one way, or a crash, or time passing for everybody.
type move struct {
	kind moveKind
	way  pairing // of a delivery; to is who crashes
}

type moveKind uint8

const (
	deliver moveKind = iota
	crashes
	waits
)

// commutes reports whether two moves can be made in either order with the same outcome:
// deliveries to two peers can, as each peer only appends to the ways from itself.
func (m move) commutes(o move) bool {
	return m.kind == deliver && o.kind == deliver && m.way.to != o.way.to
}

func newTable(hosts int) *table {
	t := &table{queues: map[pairing][]arrival{}, views: map[viewKey]string{}, last: make([]int64, hosts)}
	for i := range hosts {
		t.peers = append(t.peers, handlers.New(handlers.Config{ID: types.ID(i + 1), Hosts: hosts, Digest: 1,
			Heartbeat: 1100 * time.Millisecond, Monitor: 2200 * time.Millisecond, Salt: uint32(i), ReformOnRefusal: true}))
	}
	return t
}

func (t *table) instant() handlers.Instant {
	return handlers.Instant{Run: t.now + time.Second, Wall: epoch + int64(t.now)}
}

// act takes what peer i does. Heartbeats are lost here: all of them may be.
func (t *table) act(i int, out *handlers.Output) {
	for k := range out.Events {
		t.check(i, &out.Events[k])
	}
	messages, exit := slices.Clone(out.Messages), out.Exit // out is good until the next step
	for _, m := range messages {
		j := int(m.To) - 1
		if t.peers[j] != nil {
			t.queues[pairing{i, j}] = append(t.queues[pairing{i, j}], arrival{message: m})
		} else if t.peers[i] != nil {
			t.act(i, t.peers[i].Undialed(t.instant(), m.To, t.instant().Run, types.Refusal))
		}
	}
	if exit && t.peers[i] != nil {
		t.crash(i)
	}
}

// check holds every view against those of the others.
func (t *table) check(i int, e *handlers.Event) {
	if e.Kind == handlers.Said {
		t.last[i] = 0
	}
	if e.Kind != handlers.Installed {
		return
	}
	key, members := viewKey{e.Now.Group, e.View}, fmt.Sprint(e.Members)
	if seen, ok := t.views[key]; ok && seen != members {
		t.wrong = fmt.Sprintf("view %d is %s and %s", e.View, seen, members)
	}
	if e.View <= t.last[i] || !slices.Contains(e.Members, types.ID(i+1)) {
		t.wrong = fmt.Sprintf("peer %d installs view %d %s after %d", i+1, e.View, members, t.last[i])
	}
	t.views[key], t.last[i] = members, e.View
}

func (t *table) crash(i int) {
	t.peers[i] = nil
	for j := range t.peers {
		delete(t.queues, pairing{j, i})
		if j != i && t.peers[j] != nil {
			t.queues[pairing{i, j}] = append(t.queues[pairing{i, j}], arrival{closed: true})
		}
	}
}

// make makes a move.
func (t *table) make(m move) {
	t.now += 50 * time.Microsecond
	switch m.kind {
	case crashes:
		t.crash(m.way.to)
	case waits:
		t.now += 300 * time.Millisecond
		for i, p := range t.peers {
			if p != nil {
				t.act(i, p.Tick(t.instant()))
			}
		}
	case deliver:
		a := t.queues[m.way][0]
		t.queues[m.way] = t.queues[m.way][1:]
		p, from := t.peers[m.way.to], types.ID(m.way.from+1)
		if a.closed {
			t.act(m.way.to, p.Closed(t.instant(), from))
		} else {
			t.act(m.way.to, p.Message(t.instant(), from, &a.message))
		}
	}
}

// moves lists what can happen next, in an order that is always the same.
func (t *table) moves(mayCrash, mayWait bool) (ms []move) {
	for i := range t.peers {
		for j := range t.peers {
			if way := (pairing{i, j}); len(t.queues[way]) > 0 && t.peers[j] != nil {
				ms = append(ms, move{deliver, way})
			}
		}
	}
	for i := range t.peers {
		if mayCrash && t.peers[i] != nil {
			ms = append(ms, move{crashes, pairing{to: i}})
		}
	}
	if mayWait {
		ms = append(ms, move{kind: waits})
	}
	return ms
}

// open sets the table: host 1 has made a group, all others have just asked to be let in.
func (t *table) open() {
	for i := len(t.peers) - 1; i >= 0; i-- {
		t.act(i, t.peers[i].Start(t.instant()))
	}
	for t.peers[0].View().Number == 0 {
		ms := t.moves(false, false)
		t.make(ms[0])
	}
}

// explorer goes through all orders of moves, but of orders that differ only in what commutes
// through one (sleep sets). Handlers cannot be copied, so each order is played from the start.
type explorer struct {
	hosts, depth int
	path         []move
	orders       int
	wrong        string
}

func (e *explorer) explore(asleep []move, crashed bool, waited int) {
	t := newTable(e.hosts)
	t.open()
	for _, m := range e.path {
		t.make(m)
	}
	if t.wrong != "" {
		e.wrong = fmt.Sprintf("%s\nafter %+v", t.wrong, e.path)
	}
	moves := t.moves(!crashed, waited < 3)
	if e.wrong != "" || len(e.path) == e.depth || len(moves) == 0 {
		e.orders++
		return
	}
	for _, m := range moves {
		if slices.Contains(asleep, m) {
			continue
		}
		e.path = append(e.path, m)
		awake := slices.DeleteFunc(slices.Clone(asleep), func(s move) bool { return !s.commutes(m) })
		next := waited
		if m.kind == waits {
			next++
		}
		e.explore(awake, crashed || m.kind == crashes, next)
		e.path = e.path[:len(e.path)-1]
		asleep = append(asleep, m)
	}
}

// TestEveryOrder plays groups of two and three in every order of deliveries, with one crash at
// any point and up to three pauses in which timers fire.
func TestEveryOrder(t *testing.T) {
	for hosts := 2; hosts <= 3; hosts++ {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			t.Parallel()
			e := &explorer{hosts: hosts, depth: *depth}
			if hosts == 2 {
				e.depth += 4
			}
			e.explore(nil, false, 0)
			t.Logf("%d hosts, %d moves deep: %d orders", hosts, e.depth, e.orders)
			if e.wrong != "" {
				t.Error(e.wrong)
			}
		})
	}
}
