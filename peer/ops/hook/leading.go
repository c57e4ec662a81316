package hook

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync/atomic"
	"time"

	"memberly/peer/ops/process"
)

// This file runs the command when the peer begins to lead, and when it has ceased to. Both have a goroutine of their
// own, so that neither waits behind a slow run for a view. It goes by the lease and the clock, not by the events of
// steps, so that the end of a lease is noticed while the peer takes no step.

// leadsGrace is how long a run for leads may go on after SIGTERM.
const leadsGrace = time.Second

// never is a wait that nothing ends.
const never = 1000 * time.Hour

// lane is the state of the goroutine that tells of leading.
type lane struct {
	wake  chan struct{} // has a value when the lease may have changed
	told  atomic.Uint64 // the fence for which leads was run, and ceased was not; 0 for none
	ends  atomic.Bool   // tell of no further lease
	done  chan struct{} // closed when it has ended, and told is 0 or given up
	ctx   context.Context
	crash context.CancelFunc // ends ctx: what runs is killed, and nothing more runs
}

func (l *lane) start() {
	l.wake, l.done = make(chan struct{}, 1), make(chan struct{})
	l.ctx, l.crash = context.WithCancel(context.Background())
}

// holding returns the fence of the lease that lasts now, 0 for none, and how much is left of it.
func (h *Hook) holding() (uint64, time.Duration) {
	l, now := h.lease.Load(), h.Now()
	if !l.Valid(now) {
		return 0, never
	}
	return l.Fence, l.Until - now
}

// nudge wakes the lane unless it has told of the present lease, or has none to tell of. The lease is stored before.
func (h *Hook) nudge() {
	if fence, _ := h.holding(); fence == h.leading.told.Load() {
		return
	}
	h.wakeLane()
}

func (h *Hook) wakeLane() {
	select {
	case h.leading.wake <- struct{}{}:
	default:
	}
}

// Finished returns a channel that is closed once the command has been told that the peer, which has resigned, does not
// lead any more; nil if it was not told that it leads. After that it is not told so again.
func (h *Hook) Finished() <-chan struct{} {
	h.leading.ends.Store(true)
	h.wakeLane()
	return h.leading.done
}

// endLeading ends the lane: as Finished, or at once after a crash.
func (h *Hook) endLeading(hasLeft bool) {
	if !hasLeft {
		h.leading.crash()
	}
	<-h.Finished()
}

// lead runs the command for leads and for ceased, until it is to end and has told of the end of each lease that it told
// of.
func (h *Hook) lead() {
	l := &h.leading
	defer close(l.done)
	defer l.crash()
	var run *leadRun // for leads, of the fence told; nil if none runs
	for l.ctx.Err() == nil {
		fence, left := h.holding()
		ends := l.ends.Load()
		switch told := l.told.Load(); {
		case told != 0 && (fence != told || ends):
			run.end(h)
			run = nil
			h.performFenced(ceased, told)
			l.told.Store(0) // before the lease is looked at again: see nudge
			continue
		case told == 0 && ends:
			return
		case told == 0 && fence != 0:
			l.told.Store(fence)
			run = h.startLeads(fence)
			continue
		}
		timer := time.NewTimer(left)
		select {
		case <-l.wake:
		case <-timer.C:
		case <-run.done():
			run.finish(h)
			run = nil
		case <-l.ctx.Done():
		}
		timer.Stop()
	}
	run.end(h)
}

// fenced returns the notification of an event of a lease.
func (h *Hook) fenced(e event, fence uint64) notification {
	n := h.newest.Load()
	n.event, n.fence, n.cause, n.host = e, fence, "", member{}
	if e == leads {
		n.leader = h.Self
	}
	return n
}

func (h *Hook) performFenced(e event, fence uint64) { h.perform(h.leading.ctx, h.fenced(e, fence)) }

// leadRun is a run for leads that may go on as long as the peer leads. A nil leadRun has ended.
type leadRun struct {
	notification
	group *process.Group
	out   *process.Tail
}

// startLeads starts the command for leads. It returns nil if the lease has just ended, or if that fails, which it
// reports.
func (h *Hook) startLeads(fence uint64) *leadRun {
	r := &leadRun{notification: h.fenced(leads, fence)}
	d := h.document(r.notification)
	if !d.Leads {
		return nil
	}
	c, out, err := h.command(context.Background(), d)
	if err == nil {
		r.out = out
		r.group, err = process.Start(c)
	}
	if err != nil {
		h.report(r.notification, err, "")
		return nil
	}
	return r
}

// done returns a channel that is closed when the command has ended; nil if nothing runs.
func (r *leadRun) done() <-chan struct{} {
	if r == nil {
		return nil
	}
	return r.group.Done()
}

// finish reports how the command ended by itself.
func (r *leadRun) finish(h *Hook) {
	if err := r.group.Err(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		h.report(r.notification, err, r.out.Quoted())
	}
}

// end ends the command and all of its process group, if it still runs: by SIGTERM, and SIGKILL after leadsGrace, or at
// once after a crash.
func (r *leadRun) end(h *Hook) {
	if r == nil {
		return
	}
	began := h.Now()
	if r.group.End(leadsGrace, h.leading.ctx.Done()); h.Now()-began >= leadsGrace {
		h.report(r.notification, fmt.Errorf("it did not end within %v of SIGTERM and was killed", leadsGrace), r.out.Quoted())
	}
}
