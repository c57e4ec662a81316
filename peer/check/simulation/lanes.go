package simulation

import (
	"cmp"
	"slices"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// The simulated lanes promise what the real ones do, and no more. TCP: in order on one
// connection while it lives, not across connections; what a cut holds up comes after it.
// UDP: may lose, repeat, delay and reorder.

type pair struct{ low, high types.ID }

func pairOf(a, b types.ID) pair { return pair{min(a, b), max(a, b)} }

// conn is a connection between two processes.
type conn struct {
	ends [2]*process
	open bool
	ways [2]way // from ends[i] to the other
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
		err = types.DecodeMessage(b, len(w.hosts), &got)
	}
	if err != nil {
		w.judge.fail("%v from peer %d: %v", m.Kind, m.From, err)
	}
	return got
}

// sendTCP sends over the newest open connection with the host, and over one that is being
// dialled; if there is neither, it dials.
func (w *world) sendTCP(p *process, m types.Message) {
	w.bill.count(p.id, &m)
	queue, dialling := p.dialling[m.To]
	if dialling {
		p.dialling[m.To] = append(queue, m)
	}
	conns := w.conns[pairOf(p.id, m.To)]
	for i := len(conns) - 1; i >= 0; i-- {
		if c := conns[i]; c.open && c.has(p) {
			w.transmit(c, c.side(p), m)
			return
		}
	}
	if !dialling {
		w.dial(p, m.To)
		p.dialling[m.To] = append(p.dialling[m.To], m)
	}
}

// dial tries to make a connection; what is to be sent meanwhile waits for it.
func (w *world) dial(p *process, id types.ID) {
	if _, ok := p.dialling[id]; !ok {
		p.dialling[id] = nil
	}
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
			c := &conn{ends: [2]*process{p, to.process}, open: true}
			w.accept(c)
			w.after(w.delay()+back, func() { w.dialled(c, id) })
		}
	})
}

// dialTime is how long a dial may take.
const dialTime = time.Second

// accept keeps the four newest connections of two hosts; older ones are closed quietly.
func (w *world) accept(c *conn) {
	at := pairOf(c.ends[0].id, c.ends[1].id)
	conns := slices.DeleteFunc(w.conns[at], func(c *conn) bool { return !c.open })
	if len(conns) >= 4 {
		conns[0].open = false
		conns = conns[1:]
	}
	w.conns[at] = append(conns, c)
}

func (w *world) dialled(c *conn, id types.ID) {
	p := c.ends[0]
	if p.ended {
		return
	}
	queue := p.dialling[id]
	delete(p.dialling, id)
	for _, m := range queue {
		if c.open {
			w.transmit(c, 0, m)
		}
	}
}

func (w *world) undialed(p *process, id types.ID, began time.Duration, o types.Outcome) {
	if p.ended {
		return
	}
	delete(p.dialling, id)
	w.step(p, w.trace.undialed(id, o), func(now handlers.Instant) *handlers.Output {
		return p.handler.Undialed(now, id, began, o)
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
		y.queue = nil // nobody sends it again
	}
	if !c.open || len(y.queue) == 0 {
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
	if to.ended {
		w.hangUp(c, to, to.slow[from.id-1])
		return
	}
	m := y.queue[0].message
	y.queue = y.queue[1:]
	y.retry = 200 * time.Millisecond
	if len(y.queue) > 0 {
		w.after(time.Microsecond, func() { w.pump(c, side) })
	} else {
		y.busy = false
	}
	w.receive(from, to, m)
	if y.fin && len(y.queue) == 0 {
		w.hangUp(c, from, 0)
	}
}

// hangUp closes c as its end p does; the other learns of it, so much later than usual, unless a
// cut is between them.
func (w *world) hangUp(c *conn, p *process, slow time.Duration) {
	other := c.ends[1-c.side(p)]
	if w.blocked(p.id, other.id) {
		return // half open until somebody sends
	}
	c.open = false
	w.after(w.delay()+slow, func() { w.closed(other, p.id) })
}

func (w *world) closed(p *process, id types.ID) {
	if p.ended || w.blocked(id, p.id) {
		return
	}
	w.step(p, w.trace.closed(id), func(now handlers.Instant) *handlers.Output { return p.handler.Closed(now, id) })
}

// snap breaks every connection between two hosts.
func (w *world) snap(a, b types.ID) {
	for _, c := range w.conns[pairOf(a, b)] {
		if c.open {
			c.open = false
			w.after(w.delay(), func() { w.closed(c.ends[0], c.ends[1].id) })
			w.after(w.delay(), func() { w.closed(c.ends[1], c.ends[0].id) })
		}
	}
}
