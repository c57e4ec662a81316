package simulation

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/network/connections"
	"memberly/peer/types"
)

// The simulated lanes promise what the real ones do, and no more. TCP: in order on one
// connection while it lives, not across connections; what a cut holds up comes after it.
// UDP: may lose, repeat, delay and reorder.

type pair struct{ low, high types.ID }

func pairOf(a, b types.ID) pair { return pair{min(a, b), max(a, b)} }

// conn is a connection between two processes, the first of which dialled.
type conn struct {
	ends  [2]*process
	addrs [2]types.Addr // of the ends
	open  bool          // no end has closed it, and nothing has broken it
	heard bool          // a message of the dialler came, so the other end may use it
	ways  [2]way        // from ends[i] to the other
}

// way is one direction of a connection.
type way struct {
	queue []segment
	busy  bool
	fin   bool // the sender has closed: what is queued comes first
	retry time.Duration
}

// segment is a message on its way, and when it comes at the earliest.
type segment struct {
	message types.Message
	due     time.Duration
}

func (c *conn) has(p *process) bool { return c.ends[0] == p || c.ends[1] == p }

func (c *conn) side(p *process) int {
	if c.ends[0] == p {
		return 0
	}
	return 1
}

// blocked reports whether no packet gets from a to b now.
func (w *world) blocked(a, b types.ID) bool {
	return w.host(a).cuts[b-1] > 0 || w.host(b).down || w.host(a).down || w.now < w.plan.Boot
}

// delay draws how long a packet takes.
func (w *world) delay() time.Duration {
	d := w.plan.MinDelay
	if spread := w.plan.MaxDelay - w.plan.MinDelay; spread > 0 {
		d += time.Duration(w.random.Int64N(int64(spread)))
	}
	return d
}

// passage draws how long a packet that is sent now from a to b takes.
func (w *world) passage(a, b types.ID) time.Duration { return w.delay() + w.host(a).slow[b-1] }

func (w *world) chance(p float64) bool { return p > 0 && w.random.Float64() < p }

func (w *world) sendUDP(p *process, to *machine, m types.Message) {
	w.bill.count(p.id, &m)
	times := 1
	if w.chance(w.plan.Duplicate) {
		times = 2
	}
	for range times {
		if w.blocked(p.id, to.id) || w.chance(w.plan.Loss) || w.plan.NoUDP {
			continue
		}
		w.after(w.passage(p.id, to.id), func() { w.receive(p, to.process, m) })
	}
}

// receive hands a message to a process, if there is one still.
func (w *world) receive(from, to *process, m types.Message) {
	if to == nil || to.ended || to.down {
		return
	}
	if !to.hears(from.id) {
		w.turnAway(from, to, m)
		return
	}
	to.known[from.id-1] = from.address
	if w.plan.Wire {
		m = w.throughWire(m)
	}
	w.step(to, w.trace.in(&m), func(now handlers.Instant) *handlers.Output {
		copied := m
		return to.handler.Message(now, from.id, &copied)
	})
}

// throughWire returns what is left of m when it went through its bytes.
func (w *world) throughWire(m types.Message) types.Message {
	var got types.Message
	b, err := types.AppendMessage(nil, &m)
	if err == nil {
		err = types.DecodeMessage(b, &got)
	}
	if err != nil {
		w.judge.fail("%v from peer %d: %v", m.Kind, m.From, err)
	}
	return got
}

// sendTCP sends m over the connection, or those, that the process's policy chooses.
func (w *world) sendTCP(p *process, m types.Message) {
	w.bill.count(p.id, &m)
	w.connect(p, p.links.Send(m.To, m.Addr, m))
}

// connect does what a process's policy for connections asks for.
func (w *world) connect(p *process, actions []connections.Action[*conn, types.Message]) {
	for _, a := range actions {
		switch a.Verb {
		case connections.Dial:
			w.dial(p, a.Host)
		case connections.Queue:
			w.transmit(a.Conn, a.Conn.side(p), a.Frame)
		case connections.Close:
			w.finish(a.Conn, p)
		}
	}
}

// dial tries to make a connection.
func (w *world) dial(p *process, id types.ID) {
	began := p.instant(w.now).Run
	to, address := w.host(id), p.known[id-1]
	there := min(w.host(p.id).slow[id-1], dialTime)
	w.after(w.delay()+there, func() {
		back := to.slow[p.id-1]
		switch {
		case p.ended:
		case w.blocked(p.id, id) || w.blocked(id, p.id) || to.address != address || w.chance(w.plan.Hang) || there+back >= dialTime:
			p.known[id-1] = to.address // it is looked up again
			w.after(dialTime-there, func() { w.undialed(p, id, began, types.NoAnswer) })
		case to.process == nil && to.lives == 0 && w.plan.Names || w.now < w.plan.Nameless:
			w.after(w.delay(), func() { w.undialed(p, id, began, types.NoName) })
		case to.process == nil:
			w.after(w.delay()+back, func() { w.undialed(p, id, began, types.Refusal) })
		default:
			c := w.newConn(p, to.process)
			w.after(w.delay()+back, func() { w.dialled(c) })
		}
	})
}

// dialTime is how long a dial may take.
const dialTime = time.Second

// newConn is a connection that p has dialled. The other process uses it when a message has come.
func (w *world) newConn(p, to *process) *conn {
	c := &conn{ends: [2]*process{p, to}, addrs: [2]types.Addr{addressOf(p.machine), addressOf(to.machine)}, open: true}
	at := pairOf(p.id, to.id)
	w.conns[at] = append(slices.DeleteFunc(w.conns[at], (*conn).over), c)
	return c
}

// over reports whether nothing can come over c any more.
func (c *conn) over() bool { return !c.open || c.ends[0].ended && c.ends[1].ended }

// addressOf returns the address that a host has now.
func addressOf(m *machine) types.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(m.address))
	return netip.AddrFrom4(b)
}

// dialled tells the dialler that it has a connection.
func (w *world) dialled(c *conn) {
	w.opened(c, 0)
	if !c.open {
		w.closed(c.ends[0], c)
	}
}

// opened tells one end of c that it may use it.
func (w *world) opened(c *conn, side int) {
	p, other := c.ends[side], c.ends[1-side]
	w.whenAwake(p, func() { w.connect(p, p.links.Opened(other.id, c, c.addrs[1-side], side == 0)) })
}

func (w *world) undialed(p *process, id types.ID, began time.Duration, o types.Outcome) {
	w.whenAwake(p, func() {
		w.connect(p, p.links.DialFailed(id, types.Addr{}))
		w.step(p, w.trace.undialed(id, o), func(now handlers.Instant) *handlers.Output {
			return p.handler.Undialed(now, id, began, o)
		})
	})
}

// transmit queues m on one way of c.
func (w *world) transmit(c *conn, side int, m types.Message) {
	y := &c.ways[side]
	slow := w.host(c.ends[side].id).slow[c.ends[1-side].id-1]
	y.queue = append(y.queue, segment{m, w.now + slow})
	if !y.busy {
		y.busy = true
		y.retry = 200 * time.Millisecond
		w.after(w.delay()+slow, func() { w.pump(c, side) })
	}
}

// pump delivers the head of a way, or tries again later.
func (w *world) pump(c *conn, side int) {
	y, from, to := &c.ways[side], c.ends[side], c.ends[1-side]
	if from.ended && from.down {
		y.queue = nil // the sender does not send it again
	}
	if len(y.queue) == 0 {
		y.busy = false
		return
	}
	if due := y.queue[0].due; due > w.now {
		w.at(due, func() { w.pump(c, side) })
		return
	}
	if w.blocked(from.id, to.id) || w.blocked(to.id, from.id) || w.chance(w.plan.Resend) {
		pause := y.retry
		y.retry = min(2*y.retry, cmp.Or(w.plan.Backoff, 5*time.Second))
		w.after(pause, func() { w.pump(c, side) })
		return
	}
	if !c.open || to.ended || c.ways[1-side].over() {
		y.queue, y.busy = nil, false
		w.hangUp(c, to, to.slow[from.id-1])
		return
	}
	w.deliver(c, side)
}

// over reports whether the sender has closed, and all came that it had sent before.
func (y *way) over() bool { return y.fin && len(y.queue) == 0 }

// deliver delivers the head of a way.
func (w *world) deliver(c *conn, side int) {
	y, from, to := &c.ways[side], c.ends[side], c.ends[1-side]
	m := y.queue[0].message
	y.queue = y.queue[1:]
	y.retry = 200 * time.Millisecond
	if len(y.queue) > 0 {
		w.after(time.Microsecond, func() { w.pump(c, side) })
	} else {
		y.busy = false
	}
	if side == 0 && !c.heard {
		c.heard = true
		w.opened(c, 1)
	}
	w.receive(from, to, m)
	if y.over() {
		w.hangUp(c, from, 0)
	}
}

// finish closes c as its end p does, when all is sent that is queued.
func (w *world) finish(c *conn, p *process) {
	y := &c.ways[c.side(p)]
	if !c.open || y.fin {
		return
	}
	if y.fin = true; len(y.queue) == 0 {
		w.hangUp(c, p, p.slow[c.ends[1-c.side(p)].id-1])
	}
}

// hangUp closes c as its end p does; the other learns of it, so much later than usual, unless a
// cut is between them.
func (w *world) hangUp(c *conn, p *process, slow time.Duration) {
	other := c.ends[1-c.side(p)]
	if w.blocked(p.id, other.id) {
		return // half open until one end sends
	}
	c.open = false
	w.after(w.delay()+slow, func() { w.closed(other, c) })
}

// closed tells p that c is closed, unless a cut is between its ends: then p learns of it when it sends.
func (w *world) closed(p *process, c *conn) {
	id := c.ends[1-c.side(p)].id
	if p.ended || w.blocked(id, p.id) {
		return
	}
	w.whenAwake(p, func() {
		actions, inUse := p.links.Broken(id, c)
		w.connect(p, actions)
		if inUse {
			w.step(p, w.trace.closed(id), func(now handlers.Instant) *handlers.Output { return p.handler.Closed(now, id) })
		}
	})
}

// snap breaks every connection between two hosts.
func (w *world) snap(a, b types.ID) {
	for _, c := range w.conns[pairOf(a, b)] {
		if c.open {
			c.open = false
			w.after(w.delay(), func() { w.closed(c.ends[0], c) })
			w.after(w.delay(), func() { w.closed(c.ends[1], c) })
		}
	}
}
