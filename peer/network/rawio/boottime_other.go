//go:build !linux

package rawio

import "time"

// Boottime returns the time since the machine booted, suspended or not; false if the system does not tell.
func Boottime() (time.Duration, bool) { return 0, false }

// Suspended returns how long the machine was suspended since it booted; false if the system does not tell.
func Suspended() (time.Duration, bool) { return 0, false }
