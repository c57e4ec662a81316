package network

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// lines writes whole lines to a stream, one write each and in order, from a goroutine of its own, so
// that its callers never wait for a stream that is slow or stuck. Any goroutine may use it.
type lines struct {
	to     io.Writer
	max    int         // how many lines may wait, the oldest being dropped beyond; 0: any number
	failed func(error) // told of the first write that fails; may be nil

	mu      sync.Mutex
	filled  sync.Cond // that there is a line, or that closing is set
	waiting [][]byte
	dropped int // since the last line that was taken
	closing bool
	done    chan struct{} // closed when all is written
}

func newLines(to io.Writer, limit int, failed func(error)) *lines {
	l := &lines{to: to, max: limit, failed: failed, done: make(chan struct{})}
	l.filled.L = &l.mu
	go l.run()
	return l
}

// put adds a line without its end. The bytes belong to l from then on.
func (l *lines) put(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return
	}
	if l.max > 0 && len(l.waiting) == l.max {
		l.waiting = l.waiting[1:]
		l.dropped++
	}
	l.waiting = append(l.waiting, append(line, '\n'))
	l.filled.Signal()
}

func (l *lines) printf(format string, args ...any) { l.put(fmt.Appendf(nil, format, args...)) }

// close waits until all lines are written, but no longer than patience.
func (l *lines) close(patience time.Duration) {
	l.mu.Lock()
	l.closing = true
	l.filled.Signal()
	l.mu.Unlock()
	select {
	case <-l.done:
	case <-time.After(patience):
	}
}

func (l *lines) run() {
	defer close(l.done)
	for {
		line, ok := l.take()
		if !ok {
			return
		}
		if _, err := l.to.Write(line); err != nil && l.failed != nil {
			l.failed(err)
			l.failed = nil
		}
	}
}

// take waits for the next line. It returns false when there is none and none will come.
func (l *lines) take() ([]byte, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) == 0 {
		if l.closing {
			return nil, false
		}
		l.filled.Wait()
	}
	if l.dropped > 0 {
		gap := fmt.Appendf(nil, "(%d older lines were dropped: this stream was not read)\n", l.dropped)
		l.dropped = 0
		return gap, true
	}
	line := l.waiting[0]
	l.waiting = l.waiting[1:]
	return line, true
}
