package rawio

import (
	"syscall"
	"time"
	"unsafe"
)

// CLOCK_MONOTONIC and CLOCK_BOOTTIME, which package syscall lacks.
const (
	clockMonotonic = 1
	clockBoottime  = 7
)

// Boottime returns the time since the machine booted, suspended or not; false if the system does not tell.
func Boottime() (time.Duration, bool) { return read(clockBoottime) }

// Suspended returns how long the machine was suspended since it booted; false if the system does not tell. It may
// return a little less.
func Suspended() (time.Duration, bool) {
	boot, ok := read(clockBoottime)
	running, alsoOK := read(clockMonotonic) // after the other: so the difference is not too large
	return max(0, boot-running), ok && alsoOK
}

func read(clock uintptr) (time.Duration, bool) {
	var t syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0)
	return time.Duration(t.Nano()), errno == 0
}
