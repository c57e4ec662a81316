//go:build !linux || 386 || s390x

package network

import "time"

// wakeMonitor does nothing: Go's own ways to use a socket wake its monitor thread.
func wakeMonitor() {}

// alarm rings once at a time that can be moved. One goroutine may set it.
type alarm struct{ timer *time.Timer }

func newAlarm() (*alarm, error) { return &alarm{time.NewTimer(time.Hour)}, nil }

// set has it ring in d.
func (a *alarm) set(d time.Duration) { a.timer.Reset(d) }

// rings delivers when it rings; now and then when it would have, had it not been set again.
func (a *alarm) rings() <-chan time.Time { return a.timer.C }

func (a *alarm) close() { a.timer.Stop() }
