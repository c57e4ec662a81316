package handlers

import "time"

// clock is this peer's own time: it counts only the time in which the peer ran (section 4 of
// docs/protocol.md). A gap between two steps is the peer's own stall: it counts neither as silence of other
// hosts nor as waiting.
type clock struct {
	now     Instant       // of this step; its Run leaves out the stalls
	stood   time.Duration // how long the stalls took, in all
	resumed time.Duration // when the last one ended
	wake    time.Duration // when what was asked for since the last Tick is due
}

// advance moves the clock to now, as the caller of the step has it. It returns true if the peer did not run
// for longer than limit.
func (c *clock) advance(now Instant, limit time.Duration) (stalled bool) {
	gap := now.Run - c.stood - c.now.Run
	stalled = gap > limit
	if stalled {
		c.stood += gap - 1 // so that no moment after the stall equals one before
	}
	now.Run -= c.stood
	c.now = now
	if stalled {
		c.resumed = now.Run
	}
	return stalled
}

// elapsed returns the time as the caller of the step has it: it does not stand still.
func (c *clock) elapsed() time.Duration { return c.now.Run + c.stood }

// moment returns the present moment as the caller of the step sees it.
func (c *clock) moment() Instant { return Instant{Run: c.now.Run + c.stood, Wall: c.now.Wall} }

// due asks for a Tick at t at the latest.
func (c *clock) due(t time.Duration) { c.wake = min(c.wake, t) }

// until asks for a Tick at t, unless that is past.
func (c *clock) until(t time.Duration) {
	if t > c.now.Run {
		c.due(t)
	}
}

// since returns how long ago t was.
func (c *clock) since(t time.Duration) time.Duration { return c.now.Run - t }
