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
	asked                     // a host that is not listed, or retired, has sent JOIN or PROBE
	reread                    // the hosts file was read again
)

// event is what the goroutines at the sockets report to the one that owns the protocol.
type event struct {
	kind    eventKind
	host    types.ID
	message *types.Message       // received, asked
	conn    *connection          // opened, broken; received: nil for a datagram
	began   time.Duration        // undialed: when the dial began, as an Instant.Run
	outcome types.Outcome        // undialed
	answer  chan<- types.Message // asked: to be sent to that host; it has room
	hosts   []types.Host         // reread
	at      netip.Addr           // undialed: the only address that was dialled; invalid for all
}

// maxEvents is how many events wait. Further input stays in the kernel.
const maxEvents = 256

// tasks are the goroutines at the sockets, and the events that they report.
type tasks struct {
	events  chan event // in the order in which each goroutine put them
	ctx     context.Context
	end     context.CancelFunc // makes the goroutines end
	running sync.WaitGroup
}

func newTasks() *tasks {
	t := &tasks{events: make(chan event, maxEvents)}
	t.ctx, t.end = context.WithCancel(context.Background())
	return t
}

// run runs a task in a goroutine. It ends with ctx.
func (t *tasks) run(task func()) { t.running.Go(task) }

// put hands e over, and waits while too many events wait. It returns false if the peer has ended.
func (t *tasks) put(e event) bool {
	select {
	case t.events <- e:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// pause waits for d, so that what fails again and again does not spin.
func (t *tasks) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
	}
}
