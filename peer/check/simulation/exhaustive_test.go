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

var depth = flag.Int("depth", usualMoves, "how many deliveries TestEveryOrder looks ahead")

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
	disks  []tableDisk      // of peers that store; nil if none does
	beats  []*types.Message // by host: its newest heartbeat. It is lost, but for those that open delivers
}

// tableDisk is the disk of a peer: what is on it, and what is still to be written.
type tableDisk struct {
	stored types.Stored
	next   handlers.Save
	clock  time.Duration // at the start of the process
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
	stores  // the disk of to writes what it was asked to
	returns // to, which has crashed, is started again, and time passes until it is a member again
)

// commutes reports whether two moves can be made in either order with the same outcome:
// deliveries to two peers can, as each peer only appends to the ways from itself.
func (m move) commutes(o move) bool {
	own := func(m move) bool { return m.kind == deliver || m.kind == stores }
	return own(m) && own(o) && m.way.to != o.way.to
}

func newTable(hosts int, store bool) *table {
	t := &table{queues: map[pairing][]arrival{}, views: map[viewKey]string{}, last: make([]int64, hosts),
		beats: make([]*types.Message, hosts), peers: make([]*handlers.Handler, hosts)}
	if store {
		t.disks = make([]tableDisk, hosts)
	}
	return t
}

func (t *table) newPeer(i, hosts int) *handlers.Handler {
	c := handlers.Config{ID: types.ID(i + 1), Listed: types.Numbered(hosts),
		Heartbeat: 1100 * time.Millisecond, Monitor: 2200 * time.Millisecond, Salt: uint32(i), ReformOnRefusal: true}
	if t.disks != nil {
		stored := t.disks[i].stored
		t.disks[i].clock = stored.Clock
		c.Stored = &stored
	}
	return handlers.New(c)
}

func (t *table) instant(i int) handlers.Instant {
	now := handlers.Instant{Run: t.now + time.Second, Wall: epoch + int64(t.now)}
	if t.disks != nil {
		now.Run += t.disks[i].clock
	}
	return now
}

// act takes what peer i does. Heartbeats are lost here: all of them may be.
func (t *table) act(i int, out *handlers.Output) {
	for k := range out.Events {
		t.check(i, &out.Events[k])
	}
	if out.Save.Number > 0 {
		t.disks[i].next = out.Save
	}
	if out.Heartbeat != nil {
		m := *out.Heartbeat
		t.beats[i] = &m
	}
	messages, exit := slices.Clone(out.Messages), out.Exit // out is good until the next step
	for _, m := range messages {
		j := int(m.To) - 1
		if t.peers[j] != nil {
			t.queues[pairing{i, j}] = append(t.queues[pairing{i, j}], arrival{message: m})
		} else if t.peers[i] != nil {
			t.act(i, t.peers[i].Undialed(t.instant(i), m.To, t.instant(i).Run, types.Refusal))
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
	key, members := viewKey{e.Now.Group, e.View}, fmt.Sprint(e.Members, " of ", len(e.Now.Last), " hosts ", e.Now.Digest)
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
	if t.disks != nil {
		t.disks[i].next = handlers.Save{}
	}
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
		t.pass(300 * time.Millisecond)
	case stores:
		t.store(m.way.to)
	case returns:
		i := m.way.to
		t.last[i] = 0
		t.peers[i] = t.newPeer(i, len(t.peers))
		t.act(i, t.peers[i].Start(t.instant(i)))
		for range 6 {
			t.pass(400 * time.Millisecond)
			t.store(i)
		}
	case deliver:
		a := t.queues[m.way][0]
		t.queues[m.way] = t.queues[m.way][1:]
		p, from := t.peers[m.way.to], types.ID(m.way.from+1)
		if a.closed {
			t.act(m.way.to, p.Closed(t.instant(m.way.to), from))
		} else {
			t.act(m.way.to, p.Message(t.instant(m.way.to), from, &a.message))
		}
	}
}

// pass lets time pass for everybody.
func (t *table) pass(d time.Duration) {
	t.now += d
	for i, p := range t.peers {
		if p != nil {
			t.act(i, p.Tick(t.instant(i)))
		}
	}
}

// store writes what peer i has asked to store.
func (t *table) store(i int) {
	d := &t.disks[i]
	if d.next.Number > 0 && t.peers[i] != nil {
		d.stored = d.next.Stored
		n := d.next.Number
		d.next = handlers.Save{}
		t.act(i, t.peers[i].Saved(t.instant(i), n))
	}
}

// moves lists what can happen next, in an order that is always the same.
func (t *table) moves(mayCrash, mayWait bool) (ms []move) {
	for i := range t.disks {
		switch {
		case t.peers[i] == nil:
			ms = append(ms, move{returns, pairing{to: i}})
		case t.disks[i].next.Number > 0:
			ms = append(ms, move{stores, pairing{to: i}})
		}
	}
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

// open sets the table: host 1 has made a group, all others, up to this many hosts, have just asked to be let in.
func (t *table) open(hosts int) {
	for i := range hosts {
		t.peers[i] = t.newPeer(i, hosts)
	}
	for i := hosts - 1; i >= 0; i-- {
		t.act(i, t.peers[i].Start(t.instant(i)))
	}
	t.playUntil(func() bool { return t.peers[0].View().Number > 0 })
}

// playUntil makes moves until something is so; where there is none, time passes.
func (t *table) playUntil(done func() bool) {
	for !done() {
		if ms := t.moves(false, false); len(ms) > 0 {
			t.make(ms[0])
		} else {
			t.make(move{kind: waits})
		}
	}
}

// openGrowing sets the table: all hosts but the last are members, their hosts files have just got the last one, they know that
// of each other, and the last one has just asked to be let in.
func (t *table) openGrowing() {
	members := len(t.peers) - 1
	t.open(members)
	t.playUntil(func() bool {
		return t.peers[members-1].View().Number == int64(members) && len(t.moves(false, false)) == 0
	})
	for i := range members {
		t.act(i, t.peers[i].Reread(t.instant(i), types.Numbered(members+1)))
	}
	for i := range members {
		for j := range members {
			if i != j {
				t.queues[pairing{i, j}] = append(t.queues[pairing{i, j}], arrival{message: *t.beats[i]})
			}
		}
	}
	t.peers[members] = t.newPeer(members, members+1)
	t.act(members, t.peers[members].Start(t.instant(members)))
}

// openWhole sets the table: all hosts are members, and there is nothing left to deliver or to store.
func (t *table) openWhole() {
	t.open(len(t.peers))
	t.playUntil(func() bool {
		return t.peers[0].View().Number == int64(len(t.peers)) && len(t.moves(false, false)) == 0
	})
}

// explorer goes through all orders of moves, but of orders that differ only in what commutes
// through one (sleep sets). Handlers cannot be copied, so each order is played from the start, but that the first move from
// a place goes on with the table that is there.
type explorer struct {
	hosts, depth int
	store, grow  bool
	whole        bool // all hosts are members at the beginning
	path         []move
	orders       int
	most         int   // members of a view, in some order
	again        int64 // the highest view number after a return, in some order
	wrong        string
}

// start explores all orders.
func (e *explorer) start() {
	e.explore(e.played(), nil, false, 0)
}

// played returns a table on which the moves of e.path have been made.
func (e *explorer) played() *table {
	t := newTable(e.hosts, e.store)
	switch {
	case e.grow:
		t.openGrowing()
	case e.whole:
		t.openWhole()
	default:
		t.open(e.hosts)
	}
	for _, m := range e.path {
		t.make(m)
	}
	return t
}

// explore explores the orders that begin with e.path, which has been played on t. It uses t up.
func (e *explorer) explore(t *table, asleep []move, crashed bool, waited int) {
	for _, p := range t.peers {
		if p != nil {
			v := p.View()
			e.most = max(e.most, len(v.Members))
			if slices.ContainsFunc(e.path, func(m move) bool { return m.kind == returns }) {
				e.again = max(e.again, v.Number)
			}
		}
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
		if t == nil {
			t = e.played()
		}
		t.make(m)
		e.path = append(e.path, m)
		awake := slices.DeleteFunc(slices.Clone(asleep), func(s move) bool { return !s.commutes(m) })
		next := waited
		if m.kind == waits {
			next++
		}
		e.explore(t, awake, crashed || m.kind == crashes, next)
		t = nil
		e.path = e.path[:len(e.path)-1]
		asleep = append(asleep, m)
	}
}

// TestEveryOrder plays groups of two and three in every order of deliveries, with one crash at
// any point and up to three pauses in which timers fire. A third host is also added to a group of two. Peers that store also
// return, and their disks write at any point: while the group is made, and in a view of all three.
func TestEveryOrder(t *testing.T) {
	for hosts := 2; hosts <= 3; hosts++ {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			t.Parallel()
			e := &explorer{hosts: hosts, depth: *depth}
			if hosts == 2 {
				e.depth += 4
			}
			e.start()
			t.Logf("%d hosts, %d moves deep: %d orders", hosts, e.depth, e.orders)
			if e.wrong != "" {
				t.Error(e.wrong)
			}
		})
	}
	t.Run("2 that become 3", func(t *testing.T) {
		t.Parallel()
		e := &explorer{hosts: 3, depth: min(*depth-1, 8), grow: true}
		e.start()
		t.Logf("2 hosts that become 3, %d moves deep: %d orders", e.depth, e.orders)
		if e.wrong != "" || e.most != 3 {
			t.Errorf("at most %d members; %s", e.most, e.wrong)
		}
	})
	t.Run("3 that store", func(t *testing.T) {
		t.Parallel()
		e := &explorer{hosts: 3, depth: min(*depth-3, 7), store: true}
		e.start()
		t.Logf("3 hosts that store, %d moves deep: %d orders", e.depth, e.orders)
		if e.wrong != "" {
			t.Error(e.wrong)
		}
	})
	t.Run("3 members that store", func(t *testing.T) {
		t.Parallel()
		e := &explorer{hosts: 3, depth: min(*depth-1, 7), store: true, whole: true}
		e.start()
		t.Logf("3 members that store, %d moves deep: %d orders, view %d after a return", e.depth, e.orders, e.again)
		if e.wrong != "" || e.again < 4 && e.depth >= 7 { // a crash, a return and a change take so many
			t.Errorf("view %d after a return; %s", e.again, e.wrong)
		}
	})
}
