package rawio

import "time"

// runtimeTimer is a Timer that Go's runtime keeps.
type runtimeTimer struct{ timer *time.Timer }

func newRuntimeTimer() runtimeTimer { return runtimeTimer{time.NewTimer(time.Hour)} }

func (t runtimeTimer) Set(d time.Duration) { t.timer.Reset(d) }
func (t runtimeTimer) C() <-chan time.Time { return t.timer.C }
func (t runtimeTimer) Close()              { t.timer.Stop() }
