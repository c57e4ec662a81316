package network

import (
	"net/netip"
	"time"

	"memberly/peer/datastructures"
	"memberly/peer/handlers"
	"memberly/peer/types"
)

const (
	// eventsKept is how many events are kept: in a group of a thousand, they take two megabytes.
	eventsKept = 256
	// glance is the least time between two looks at a protocol that nothing happened to.
	glance = 100 * time.Millisecond
)

// window is what the loop shows of the protocol to those who look on. Storing never waits for
// them, and they never see more than copies.
type window struct {
	status datastructures.SafeValue[*handlers.Status]
	events datastructures.SafeRing[handlers.Event]

	// These belong to the loop.
	looked time.Duration // when it was last looked, as an Instant.Run
	halt   handlers.Halt // what was seen
}

func newWindow() *window {
	w := &window{looked: -glance}
	w.events.Most = eventsKept
	return w
}

// show publishes what a step did to the protocol: at once if there are events or a heartbeat
// goes out, as when a peer begins to lead; else what is to be seen now and then. Of a peer that
// lapsed, and whose protocol has not judged anybody since, the status is not shown: it would be
// new, and of before.
func (w *window) show(now time.Duration, p protocol, out *handlers.Output, lapsed bool) {
	for _, e := range out.Events {
		e.Now = types.View{} // nobody asks an old event for more than the members
		w.events.Append(e)
	}
	if lapsed || len(out.Events) == 0 && out.Heartbeat == nil && now-w.looked < glance {
		return
	}
	w.looked = now
	s := p.Status()
	w.status.Store(s)
	if s.Halt != w.halt {
		w.halt = s.Halt
		w.events.Append(handlers.Event{Kind: handlers.Halted, At: s.At, View: s.View.Number, Leader: s.Follows,
			Halt: s.Halt, Awaited: s.Awaited})
	}
}

// Status returns what the peer last showed of itself; nil before its first step, or if its
// Config has no HTTP address. It is not to be modified. Any goroutine may call it.
func (p *Peer) Status() *handlers.Status {
	if p.window == nil {
		return nil
	}
	return p.window.status.Load()
}

// Events returns the log of what happens to the peer; nil if its Config has no HTTP address.
func (p *Peer) Events() *datastructures.SafeRing[handlers.Event] {
	if p.window == nil {
		return nil
	}
	return &p.window.events
}

// Ended is closed when the peer has taken its last step, before it waits for the command of
// -exec. Any goroutine may call it.
func (p *Peer) Ended() <-chan struct{} { return p.quit }

// Age returns how long ago s was true. Any goroutine may call it.
func (p *Peer) Age(s *handlers.Status) time.Duration { return p.run() - s.At.Run }

// Addresses returns those that a host was last found to have. Any goroutine may call it.
func (p *Peer) Addresses(id types.ID) []netip.Addr { return p.sockets.book.known(id) }

// DropsByName returns how often something was dropped, for every reason there is. Any
// goroutine may call it.
func (p *Peer) DropsByName() map[string]uint64 {
	counted := make(map[string]uint64, reasons)
	for reason := range reasons {
		counted[reason.String()] = p.sockets.drops.counts[reason].Load()
	}
	return counted
}
