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
	// refreshEvery is the least time between two statuses while nothing happens.
	refreshEvery = 100 * time.Millisecond
)

// publisher publishes what the loop does to the protocol. Storing never waits for those who read, and
// they see nothing but copies.
type publisher struct {
	status datastructures.SafeValue[*handlers.Status]
	events datastructures.SafeRing[handlers.Event]

	// These belong to the loop.
	refreshed time.Duration // when status was stored, as an Instant.Run
	halt      handlers.Halt // that of status
}

func newPublisher() *publisher {
	b := &publisher{refreshed: -refreshEvery}
	b.events.Most = eventsKept
	return b
}

// publish publishes what a step did to the protocol: at once if there are events or a heartbeat
// goes out, as when a peer begins to lead; else at most every refreshEvery. It does not publish the
// status of a peer that stalled and has not judged since who was silent: the status would claim to be
// new, and be of before.
func (b *publisher) publish(now time.Duration, p protocol, out *handlers.Output, stalled bool) {
	for _, e := range out.Events {
		e.Now = types.View{} // nobody asks an old event for more than the members
		b.events.Append(e)
	}
	if stalled || len(out.Events) == 0 && out.Heartbeat == nil && now-b.refreshed < refreshEvery {
		return
	}
	b.refreshed = now
	s := p.Status()
	b.status.Store(s)
	if s.Halt != b.halt {
		b.halt = s.Halt
		b.events.Append(handlers.Event{Kind: handlers.Halted, At: s.At, View: s.View.Number, Leader: s.Follows,
			Halt: s.Halt, Awaited: s.Awaited})
	}
}

// Status returns what the peer last showed of itself; nil before its first step, or if its
// Config has no HTTP address. It is not to be modified. Any goroutine may call it.
func (p *Peer) Status() *handlers.Status {
	if p.publisher == nil {
		return nil
	}
	return p.publisher.status.Load()
}

// Events returns the log of what happens to the peer; nil if its Config has no HTTP address.
func (p *Peer) Events() *datastructures.SafeRing[handlers.Event] {
	if p.publisher == nil {
		return nil
	}
	return &p.publisher.events
}

// Ended is closed when the peer has taken its last step, before it waits for the command of
// -exec. Any goroutine may call it.
func (p *Peer) Ended() <-chan struct{} { return p.quit }

// Age returns how long ago s was true. Any goroutine may call it.
func (p *Peer) Age(s *handlers.Status) time.Duration { return p.run() - s.At.Run }

// Addresses returns those that a host was last found to have. Any goroutine may call it.
func (p *Peer) Addresses(id types.ID) []netip.Addr { return p.addresses.known(id) }

// DropsByName returns how often something was dropped, for every reason there is. Any
// goroutine may call it.
func (p *Peer) DropsByName() map[string]uint64 {
	counted := make(map[string]uint64, reasons)
	for reason := range reasons {
		counted[reason.String()] = p.drops.counts[reason].Load()
	}
	return counted
}
