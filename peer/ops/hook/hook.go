// Package hook runs the operator's command on each view that the peer installs: one at a
// time, in order, away from everything that the group waits for.
package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"memberly/peer/types"
)

// Limit is how long one run of the command may take. What still waits when the peer ends has
// as long together, and the last run as long again.
const Limit = 10 * time.Second

// most is how many runs wait. A command that takes all its time falls hours behind before
// one is lost, and the memory that waits is bounded. Beyond it the oldest goes: the newest is
// what is true.
const most = 1000

const shell = "/bin/sh"

// Config is what a hook runs, and for whom.
type Config struct {
	Command string // for /bin/sh -c
	Self    types.ID
	Names   []string // of all hosts, by ID-1
	// Report says what went wrong, as a line without its end. It must not wait.
	Report func(format string, args ...any)
}

// Hook runs a command on each view. A nil Hook does nothing. Any goroutine may use it.
type Hook struct {
	Config
	limit time.Duration

	mu      sync.Mutex
	filled  sync.Cond // that something waits, or that closing is set
	waiting []moment
	dropped int
	last    moment // that was added
	closing bool

	done    chan struct{} // closed when all has run
	views   context.Context
	abandon context.CancelFunc // ends views: what waits is dropped, what runs is killed
}

// moment is something that happened to the peer, and the view that it held then.
type moment struct {
	event event
	group types.Group
	view  types.Record
}

// event is why the command runs.
type event string

// The events; the words are an interface.
const (
	installed event = "view" // the peer has installed a view
	removed   event = "out"  // it holds no view any more: it was removed, or went to join another group
	left      event = "left" // it has left and ends
)

// New returns a hook that is ready, or nil if there is no command. The error is that there
// is no shell here.
func New(c Config) (*Hook, error) {
	if c.Command == "" {
		return nil, nil
	}
	if _, err := os.Stat(shell); err != nil {
		return nil, fmt.Errorf("-exec needs %s: %w: leave -exec out, or use an image that has a shell", shell, err)
	}
	return newHook(c, Limit), nil
}

func newHook(c Config, limit time.Duration) *Hook {
	h := &Hook{Config: c, limit: limit, done: make(chan struct{})}
	h.filled.L = &h.mu
	h.views, h.abandon = context.WithCancel(context.Background())
	go h.run()
	return h
}

// Record has the command run if r is a view that the peer has installed. It never waits.
func (h *Hook) Record(group types.Group, r types.Record) {
	if h != nil && r.Message == "" {
		h.add(moment{installed, group, r})
	}
}

// Removed has the command run because the peer holds no view any more. It never waits.
func (h *Hook) Removed() {
	if h != nil {
		h.again(removed)
	}
}

// Close waits until all that happened has run, for Limit at most, and ends the hook. If the
// peer has left, having held a view before, the command runs once more after that. Else it is
// a crash: nothing more runs, and what runs is killed. Close is called once.
func (h *Hook) Close(hasLeft bool) {
	if h == nil {
		return
	}
	if hasLeft {
		h.again(left)
		defer time.AfterFunc(h.limit, h.abandon).Stop()
	} else {
		h.abandon()
	}
	h.mu.Lock()
	h.closing = true
	h.filled.Signal()
	h.mu.Unlock()
	<-h.done
}

// again adds an event of the view that was the last, if there was one.
func (h *Hook) again(e event) {
	h.mu.Lock()
	m := h.last
	h.mu.Unlock()
	if m.event != "" {
		m.event = e
		h.add(m)
	}
}

func (h *Hook) add(m moment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = m
	if len(h.waiting) == most {
		h.waiting = h.waiting[1:]
		h.dropped++
	}
	h.waiting = append(h.waiting, m)
	h.filled.Signal()
}

// run runs the command for each moment, until there is none and none will come.
func (h *Hook) run() {
	defer close(h.done)
	for passed := 0; ; {
		m, dropped, ok := h.take()
		passed += dropped
		ctx := h.views
		if m.event == left {
			ctx = context.Background()
		}
		if ok && ctx.Err() != nil {
			passed++ // there is no time for it
			continue
		}
		if passed > 0 {
			h.Report("Error running -exec: %d views were passed over, as it takes longer than they come", passed)
			passed = 0
		}
		if !ok {
			return
		}
		h.perform(ctx, m)
	}
}

// take waits for the next moment, and returns how many were lost before it.
func (h *Hook) take() (m moment, dropped int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.waiting) == 0 {
		if h.closing {
			return moment{}, 0, false
		}
		h.filled.Wait()
	}
	m, dropped = h.waiting[0], h.dropped
	h.waiting, h.dropped = h.waiting[1:], 0
	return m, dropped, true
}

// perform runs the command, and reports its failure.
func (h *Hook) perform(ctx context.Context, m moment) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.limit, errLimit)
	defer cancel()
	said, err := h.command(ctx, m)
	switch {
	case err == nil:
		return
	case errors.Is(context.Cause(ctx), errLimit):
		err = fmt.Errorf("it took longer than %v and was ended", h.limit)
	case ctx.Err() != nil:
		err = errors.New("the peer ends, and ended it")
	}
	h.Report("Error running -exec for %s %d: %v%s", m.event, m.view.View, err, said)
}

var errLimit = errors.New("too slow")
