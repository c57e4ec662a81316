// Package hook runs the operator's command of -exec: for each view that the peer installs, one run at a time and in
// order, and beside those when the peer begins to lead and when it has ceased to (leading.go). It never delays a step
// of the peer.
package hook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"memberly/peer/datastructures"
	"memberly/peer/handlers"
	"memberly/peer/ops/process"
	"memberly/peer/types"
)

// Limit is how long one run of the command may take. When the peer ends, all runs that still wait have as long
// together, and the last run as long again.
const Limit = 10 * time.Second

// LongestEnd is how long the commands take at most when the peer ends: that for leads, for ceased, those that wait, and
// the last.
const LongestEnd = leadsGrace + 3*Limit

// maxWaiting bounds the runs that wait, and so the memory. Beyond it the oldest is dropped, because the newest
// is what is true.
const maxWaiting = 1000

const shell = "/bin/sh"

// Config is what a hook runs, and for which peer.
type Config struct {
	Command string // for /bin/sh -c
	Self    types.ID
	Names   *types.Names // of all hosts
	// Cause names why there is the view of an Installed.
	Cause func(*handlers.Event) string
	// Now returns the present moment, by which leases are judged. Any goroutine may call it.
	Now func() time.Duration
	// Report writes a line that says what went wrong. It must not wait.
	Report func(format string, args ...any)
}

// Hook is the listener that runs a command on each view, and when leading begins and ends.
type Hook struct {
	Config
	limit   time.Duration
	waiting datastructures.SafeQueue[notification]
	lease   datastructures.SafeValue[handlers.Lease]
	newest  datastructures.SafeValue[notification] // whose view is that of the last step
	leading lane

	// These belong to the goroutine of the steps.
	last  notification // that was added to waiting
	holds bool         // the peer held a view after its last step

	done    chan struct{} // closed after the last run
	views   context.Context
	abandon context.CancelFunc // ends views: waiting runs are dropped, the current one is killed
}

// notification is something that happened to the peer, and the view that it held then.
type notification struct {
	event   event
	group   types.Group
	number  int64 // of the view
	leader  types.ID
	members []types.ID // of the view, in the order of joining
	fence   uint64     // of leads and ceased
	cause   string     // of installed: why there is the view
	host    member     // of installed: that was added, removed or retired; zero for none
}

// event is the reason for a run.
type event string

// The events; the words are an interface.
const (
	installed event = "view"   // the peer has installed a view
	removed   event = "out"    // it holds no view any more: it was removed, or went to join another group
	left      event = "left"   // it has left and ends
	leads     event = "leads"  // it leads
	ceased    event = "ceased" // it does so no more
)

// New returns a hook that is ready. The error is that there is no shell here.
func New(c Config) (*Hook, error) {
	if _, err := os.Stat(shell); err != nil {
		return nil, fmt.Errorf("-exec needs %s: %w: leave -exec out, or use an image that has a shell", shell, err)
	}
	return newHook(c, Limit), nil
}

func newHook(c Config, limit time.Duration) *Hook {
	h := &Hook{Config: c, limit: limit, done: make(chan struct{})}
	h.waiting.Max = maxWaiting
	h.views, h.abandon = context.WithCancel(context.Background())
	h.leading.start()
	go h.run()
	go h.lead()
	process.Reap()
	return h
}

// Stepped has the command run for each view that the peer installed in a step, if it lost its view, and if it begins to
// lead or ceases to.
func (h *Hook) Stepped(s *handlers.Step) {
	for i := range s.Events {
		if e := &s.Events[i]; e.Kind == handlers.Installed {
			h.add(h.view(e))
			h.holds = true
			h.newest.Store(h.last)
		}
	}
	h.lease.Store(s.Lease)
	h.nudge()
	if h.holds && s.View.Number == 0 && !s.Exit {
		h.again(removed)
	}
	h.holds = s.View.Number != 0
}

// Ended ends the hook. If the peer has left its group, Ended waits until the end of leading is told, for the runs that
// wait, for Limit at most, and runs the command once more. After a crash nothing more runs, and what runs is killed.
func (h *Hook) Ended(hasLeft bool) {
	h.endLeading(hasLeft)
	if hasLeft {
		h.again(left)
		defer time.AfterFunc(h.limit, h.abandon).Stop()
	} else {
		h.abandon()
	}
	h.waiting.Close()
	<-h.done
}

// view returns the notification of e, an Installed.
func (h *Hook) view(e *handlers.Event) notification {
	n := notification{event: installed, group: e.Now.Group, number: e.View, leader: e.Leader, members: e.Members, cause: h.Cause(e)}
	if id := e.Change.Member.ID; id != 0 {
		n.host = member{id, cmp.Or(e.Change.Name, h.Names.Name(id))} // Names may lack a host that is added by e
	}
	return n
}

// again adds an event of the view that was the last, if there was one.
func (h *Hook) again(e event) {
	if n := h.last; n.event != "" {
		n.event, n.cause, n.host = e, "", member{}
		h.add(n)
	}
}

func (h *Hook) add(n notification) {
	h.last = n
	h.waiting.Put(n)
}

// run runs the command for each notification, until there is none and none will come.
func (h *Hook) run() {
	defer close(h.done)
	for skipped := 0; ; {
		n, dropped, ok := h.waiting.Take()
		skipped += dropped
		ctx := h.views
		if n.event == left {
			ctx = context.Background()
		}
		if ok && ctx.Err() != nil {
			skipped++ // there is no time for it
			continue
		}
		if skipped > 0 {
			h.Report("Error running -exec: %d views were skipped, because the command is slower than they come", skipped)
			skipped = 0
		}
		if !ok {
			return
		}
		h.perform(ctx, n)
	}
}

// perform runs the command, and reports its failure.
func (h *Hook) perform(ctx context.Context, n notification) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.limit, errLimit)
	defer cancel()
	said, err := h.runs(ctx, n)
	switch {
	case err == nil:
		return
	case errors.Is(context.Cause(ctx), errLimit):
		err = fmt.Errorf("it took longer than %v and was killed", h.limit)
	case ctx.Err() != nil:
		err = errors.New("the peer ended and killed it")
	}
	h.report(n, err, said)
}

// report reports that the command failed.
func (h *Hook) report(n notification, err error, said string) {
	number := uint64(n.number)
	if n.event == leads || n.event == ceased {
		number = n.fence
	}
	h.Report("Error running -exec for %s %d: %v%s", n.event, number, err, said)
}

var errLimit = errors.New("too slow")
