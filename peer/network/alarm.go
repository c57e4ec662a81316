package network

import "time"

// alarm rings at a time that can be moved. One goroutine may set it.
type alarm interface {
	// set has it ring in d.
	set(d time.Duration)
	// rings delivers when it rings; now and then when it would have, had it not been set again.
	rings() <-chan time.Time
	close()
}

// timer is an alarm that Go's runtime keeps.
type timer struct{ *time.Timer }

func newTimer() timer { return timer{time.NewTimer(time.Hour)} }

func (t timer) set(d time.Duration)     { t.Reset(d) }
func (t timer) rings() <-chan time.Time { return t.C }
func (t timer) close()                  { t.Stop() }
