package loopback

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

// Output collects what a process or a peer writes, and lets tests wait for it. The zero Output is
// ready for use, by any goroutine.
type Output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed at the next Write; nil while nothing waits
}

func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.text.Write(b)
}

// String returns what was written so far.
func (o *Output) String() string {
	text, _ := o.state()
	return text
}

// Lines returns the complete lines written so far, without their ends.
func (o *Output) Lines() []string {
	lines := strings.Split(o.String(), "\n")
	return lines[:len(lines)-1]
}

// Await waits until ok holds, which it calls after each Write. It returns false if ok does not hold
// within limit, or when ended is closed.
func (o *Output) Await(limit time.Duration, ended <-chan struct{}, ok func() bool) bool {
	timeout := time.After(limit)
	for {
		_, changed := o.state()
		if ok() {
			return true
		}
		select {
		case <-changed:
		case <-ended:
			return ok()
		case <-timeout:
			return false
		}
	}
}

// state returns what was written so far, and a channel that the next Write closes.
func (o *Output) state() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.text.String(), o.changed
}
