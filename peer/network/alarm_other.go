//go:build !linux || 386 || s390x

package network

func newAlarm() (alarm, error) { return newTimer(), nil }

// wakeMonitor does nothing: Go's own ways to use a socket wake its monitor thread.
func wakeMonitor() {}
