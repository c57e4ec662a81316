package hold

import (
	"time"

	"memberly/peer/network/rawio"
)

// clock returns a moment by a clock that all processes of this machine share, and that goes on while the machine is
// suspended: the time since it booted. A system that does not tell it has the wall clock.
func clock() time.Duration {
	if t, ok := rawio.Boottime(); ok {
		return t
	}
	return time.Duration(time.Now().UnixNano())
}

// glance is the longest wait for a moment of clock: timers stand still while the machine is suspended.
const glance = 100 * time.Millisecond

// untilAt returns how long to wait for a moment of clock, or for the next look at it.
func untilAt(at time.Duration) time.Duration { return min(max(at-clock(), 0), glance) }
