//go:build !linux || 386 || s390x

package rawio

// NewTimer returns a timer that fires an hour from now unless it is set. Its caller closes it.
func NewTimer() (Timer, error) { return newRuntimeTimer(), nil }

// WakeMonitor does nothing: the system calls of Go's own sockets wake the monitor thread.
func WakeMonitor() {}
