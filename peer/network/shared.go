package network

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"memberly/peer/types"
)

// eventKind is what happened at a socket.
type eventKind uint8

const (
	received eventKind = iota // a message came from an address of host
	opened                    // a connection with host is there to be used
	broken                    // it ended
	undialed                  // host could not be dialled
	ignored                   // a datagram came that is to be ignored
	rekeyed                   // the keys changed, which concerns the connections with host
)

// event is what the goroutines at the sockets report to the one that owns the protocol.
type event struct {
	kind    eventKind
	host    types.ID
	message *types.Message // said
	conn    *connection    // opened, broken; said: nil for a datagram
	began   time.Duration  // undialed: when the dial began, as an Instant.Run
	outcome types.Outcome  // undialed
	at      netip.Addr     // undialed: the only address that was dialled; invalid for all
}

// shared is what the goroutines at the sockets share.
type shared struct {
	self      types.ID
	addresses *addressBook
	drops     *drops
	limits    *limits
	notice    *lines
	keys      *keys      // nil without -key
	events    chan event // in the order in which each goroutine put them

	ctx   context.Context // ends when the sockets shall close
	end   context.CancelFunc
	tasks sync.WaitGroup // the goroutines that end with ctx
}

// maxEvents is how many events wait. Further input stays in the kernel.
const maxEvents = 256

func newShared(self types.ID, b *addressBook, d *drops) *shared {
	s := &shared{self: self, addresses: b, drops: d, limits: newLimits(len(b.hosts), usualBeat), notice: d.notice,
		events: make(chan event, maxEvents)}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// put hands e over, and waits while too many events wait. It returns false if the peer has ended.
func (s *shared) put(e event) bool {
	select {
	case s.events <- e:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// pause waits for d, so that what fails again and again does not spin.
func (s *shared) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
}
