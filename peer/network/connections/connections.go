// Package connections decides which TCP connections a peer has with each host, and over which of them a
// message goes. It is a value without sockets, goroutines or clock: who owns it reports what happens to
// connections, and carries out the actions that come back, in order. The daemon does so with sockets, and
// the simulator with its simulated network.
//
// Two hosts may have several connections, each of which serves both directions. The newest is in use.
// Those that are older stay open, because the other end may still send over them.
package connections

import (
	"slices"

	"memberly/peer/types"
)

const (
	// MaxOpen is how many connections there may be with one host.
	MaxOpen = 4
	// maxWaiting is how many frames wait for a host to be dialled. The protocol sends everything again,
	// so the newest are enough.
	maxWaiting = 16
	// maxDials is how many dials of one host may be in progress. The protocol asks for a new connection
	// every 0.2 s at most, and a dial takes up to a second.
	maxDials = 5
)

// Verb says what to do.
type Verb uint8

const (
	Dial  Verb = iota // dial Host, at At alone if that is valid; then report Opened or DialFailed
	Queue             // queue Frame on Conn
	Close             // write what is queued on Conn, then close it
)

// Action is something to do. C identifies a connection, and F is a frame; both are opaque here.
type Action[C comparable, F any] struct {
	Verb  Verb
	Host  types.ID
	At    types.Addr // Dial
	Conn  C          // Queue, Close
	Frame F          // Queue
}

// Table has the connections with all hosts. The actions that a method returns are valid until the next
// call of any method. Each connection that Opened adds is removed by exactly one Close. One goroutine
// may use it at a time.
type Table[C comparable, F any] struct {
	hosts   []host[C, F]   // by ID-1
	actions []Action[C, F] // that the last call returned; reused
}

// host has the connections with one host.
type host[C comparable, F any] struct {
	open    []connection[C] // the oldest first
	dials   int             // in progress
	begun   int             // dials, ever
	met     bool            // none has begun since one of them succeeded, so no frame needs to wait
	again   bool            // a dial is to follow, as too many were in progress
	againAt types.Addr      // the only address to dial then; invalid for all
	waiting []waiting[F]    // for a connection that is being dialled; the oldest first
	retired bool            // it gets no frame and no connection any more
}

type connection[C comparable] struct {
	id   C
	addr types.Addr // of the other end
}

// waiting is a frame, and the only address that it may go to; any of the host's if that is invalid.
type waiting[F any] struct {
	frame F
	at    types.Addr
	dial  int // how many dials had begun when it was sent
}

// New returns a table without connections, for so many hosts.
func New[C comparable, F any](hosts int) *Table[C, F] {
	return &Table[C, F]{hosts: make([]host[C, F], hosts)}
}

// Grow makes room for so many hosts.
func (t *Table[C, F]) Grow(hosts int) {
	if more := hosts - len(t.hosts); more > 0 {
		t.hosts = append(t.hosts, make([]host[C, F], more)...)
	}
}

// Retire closes all connections with a host: until List it is dialled no more, frames for it are dropped, and Opened
// closes what it adds.
func (t *Table[C, F]) Retire(id types.ID) []Action[C, F] {
	h := t.begin(id)
	h.retired, h.waiting, h.again = true, nil, false
	for len(h.open) > 0 {
		t.remove(id, 0)
	}
	return t.actions
}

// List takes back Retire: the host is dialled again.
func (t *Table[C, F]) List(id types.ID) { t.hosts[id-1].retired = false }

// Retired reports whether Retire was called for a host, and List not since.
func (t *Table[C, F]) Retired(id types.ID) bool { return t.hosts[id-1].retired }

// Send sends a frame to a host, over the newest connection with the address at, if that is valid. If there
// is none, it dials at, and the frame goes over the newest connection of all, as the host may have moved.
// While a dial is in progress, and none has succeeded since the latest began, the frame also waits for the new
// connection. So the host may receive it twice, which is harmless.
func (t *Table[C, F]) Send(id types.ID, at types.Addr, frame F) []Action[C, F] {
	h := t.begin(id)
	if h.retired {
		return nil
	}
	c, ok := h.newest(at)
	if !ok && h.dials == 0 {
		t.dial(id, at)
	}
	if !ok || h.dials > 0 && !h.met {
		h.wait(waiting[F]{frame, at, h.begun})
	}
	if !ok {
		c, ok = h.newest(types.Addr{})
	}
	if ok {
		t.queue(id, c, frame)
	}
	return t.actions
}

// Redial opens another connection with a host, even if there are some; at one address alone, if at is
// valid. It does not wait for a dial in progress, whose first packet may be lost: the system sends that again
// only when the dial's time is over. Beyond maxDials, another dial follows the next that ends: what the
// protocol learns from a dial is of use to it only if the dial began after it asked.
func (t *Table[C, F]) Redial(id types.ID, at types.Addr) []Action[C, F] {
	h := t.begin(id)
	switch {
	case h.retired:
	case h.dials == maxDials:
		h.again, h.againAt = true, at
	default:
		t.dial(id, at)
	}
	return t.actions
}

// DialIfRoom dials a host, unless a dial is in progress, or another connection would make Opened close one.
func (t *Table[C, F]) DialIfRoom(id types.ID) []Action[C, F] {
	if h := t.begin(id); !h.retired && h.dials == 0 && len(h.open) < MaxOpen {
		t.dial(id, types.Addr{})
	}
	return t.actions
}

// Opened adds a connection with the other end at addr, and makes it the one in use. dialled says that a
// Dial asked for it. If there are MaxOpen already, Opened closes the oldest: of the same address, if one is,
// so that a host that runs twice does not take the connections of its other process.
func (t *Table[C, F]) Opened(id types.ID, c C, addr types.Addr, dialled bool) []Action[C, F] {
	h := t.begin(id)
	if len(h.open) == MaxOpen {
		oldest := max(0, slices.IndexFunc(h.open, func(o connection[C]) bool { return o.addr == addr }))
		t.remove(id, oldest)
	}
	h.open = append(h.open, connection[C]{c, addr})
	h.waiting = slices.DeleteFunc(h.waiting, func(w waiting[F]) bool {
		fits := !w.at.IsValid() || w.at == addr
		if fits {
			t.queue(id, c, w.frame)
		}
		return fits
	})
	if dialled {
		h.met = true
		t.dialled(id)
	}
	if h.retired {
		t.remove(id, len(h.open)-1)
	}
	return t.actions
}

// DialFailed ends a dial that failed; at is the only address that was dialled, and invalid if all were.
// Frames for that address are dropped, except those that were sent since the latest dial began, while it is in
// progress. The protocol has sent the others again since, or does so.
func (t *Table[C, F]) DialFailed(id types.ID, at types.Addr) []Action[C, F] {
	h := t.begin(id)
	h.waiting = slices.DeleteFunc(h.waiting, func(w waiting[F]) bool {
		elsewhere := w.at.IsValid() && at.IsValid() && w.at != at
		return !elsewhere && (w.dial < h.begun || h.dials == 1)
	})
	t.dialled(id)
	return t.actions
}

// Broken removes a connection that has ended, or is to end. It reports whether that was the one in use. The
// end of an older one means nothing, because the other end closes its oldest too. Nor does that of one
// which is not in the table: Broken then returns no action.
func (t *Table[C, F]) Broken(id types.ID, c C) (actions []Action[C, F], inUse bool) {
	h := t.begin(id)
	i := slices.IndexFunc(h.open, func(o connection[C]) bool { return o.id == c })
	if i < 0 {
		return nil, false
	}
	inUse = i == len(h.open)-1
	t.remove(id, i)
	return t.actions, inUse
}

// Clear removes all connections.
func (t *Table[C, F]) Clear() []Action[C, F] {
	t.actions = t.actions[:0]
	for i := range t.hosts {
		for len(t.hosts[i].open) > 0 {
			t.remove(types.ID(i+1), 0)
		}
	}
	return t.actions
}

// Open returns the connections with a host, the newest first.
func (t *Table[C, F]) Open(id types.ID) []C {
	var all []C
	for _, c := range slices.Backward(t.hosts[id-1].open) {
		all = append(all, c.id)
	}
	return all
}

// begin begins a call, which has no actions yet, and returns the host that it is about.
func (t *Table[C, F]) begin(id types.ID) *host[C, F] {
	t.actions = t.actions[:0]
	return &t.hosts[id-1]
}

func (t *Table[C, F]) queue(id types.ID, c C, frame F) {
	t.actions = append(t.actions, Action[C, F]{Verb: Queue, Host: id, Conn: c, Frame: frame})
}

// dial begins a dial of a host.
func (t *Table[C, F]) dial(id types.ID, at types.Addr) {
	h := &t.hosts[id-1]
	h.dials, h.begun, h.met = h.dials+1, h.begun+1, false
	t.actions = append(t.actions, Action[C, F]{Verb: Dial, Host: id, At: at})
}

// remove removes the connection at index i of a host, and closes it.
func (t *Table[C, F]) remove(id types.ID, i int) {
	h := &t.hosts[id-1]
	t.actions = append(t.actions, Action[C, F]{Verb: Close, Host: id, Conn: h.open[i].id})
	h.open = slices.Delete(h.open, i, i+1)
}

// dialled ends a dial, and begins the one that is to follow: for Redial, or for frames that still wait for
// an address with which there is no connection.
func (t *Table[C, F]) dialled(id types.ID) {
	h := &t.hosts[id-1]
	if h.dials--; h.dials == 0 {
		h.waiting = slices.DeleteFunc(h.waiting, func(w waiting[F]) bool {
			_, there := h.newest(w.at)
			return there
		})
	}
	if h.again {
		h.again = false
		t.dial(id, h.againAt)
	} else if h.dials == 0 && len(h.waiting) > 0 {
		t.dial(id, h.waiting[0].at)
	}
}

// newest returns the newest connection with the address at, or with any if that is not valid; false if
// there is none.
func (h *host[C, F]) newest(at types.Addr) (c C, ok bool) {
	for _, o := range slices.Backward(h.open) {
		if !at.IsValid() || o.addr == at {
			return o.id, true
		}
	}
	return c, false
}

// wait adds a frame to those that wait, and drops the oldest beyond maxWaiting.
func (h *host[C, F]) wait(w waiting[F]) {
	if len(h.waiting) == maxWaiting {
		h.waiting = slices.Delete(h.waiting, 0, 1)
	}
	h.waiting = append(h.waiting, w)
}
