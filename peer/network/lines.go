package network

import (
	"fmt"
	"io"
	"time"

	"memberly/peer/datastructures"
	"memberly/peer/handlers"
	"memberly/peer/types"
)

// lines writes whole lines to a stream, one write each and in order, from a goroutine of its own, so
// that its callers never wait for a stream that is slow or stuck. Any goroutine may use it.
type lines struct {
	to      io.Writer
	failed  func(error) // told of the first write that fails; may be nil
	waiting datastructures.SafeQueue[[]byte]
	done    chan struct{} // closed when all is written
}

// newLines returns the writer of a stream. At most limit lines wait, the oldest being dropped beyond; 0 stands for any number.
func newLines(to io.Writer, limit int, failed func(error)) *lines {
	l := &lines{to: to, failed: failed, done: make(chan struct{})}
	l.waiting.Max = limit
	go l.run()
	return l
}

// put adds a line without its end. The bytes belong to l from then on.
func (l *lines) put(line []byte) { l.waiting.Put(append(line, '\n')) }

func (l *lines) printf(format string, args ...any) { l.put(fmt.Appendf(nil, format, args...)) }

// close waits until all lines are written, but no longer than patience.
func (l *lines) close(patience time.Duration) {
	l.waiting.Close()
	select {
	case <-l.done:
	case <-time.After(patience):
	}
}

func (l *lines) run() {
	defer close(l.done)
	for {
		line, dropped, ok := l.waiting.Take()
		if !ok {
			return
		}
		if dropped > 0 {
			l.write(fmt.Appendf(nil, "(%d older lines were dropped: this stream was not read)\n", dropped))
		}
		l.write(line)
	}
}

func (l *lines) write(line []byte) {
	if _, err := l.to.Write(line); err != nil && l.failed != nil {
		l.failed(err)
		l.failed = nil
	}
}

// recorder is the listener that writes the records of a peer.
type recorder struct {
	*lines
	self  types.ID
	times bool // put the time before each
}

// recordTime is the layout of a record's time, which is in UTC.
const recordTime = "2006-01-02T15:04:05.000Z "

// Stepped writes the records of a step.
func (r recorder) Stepped(s *handlers.Step) {
	for i := range s.Events {
		if record, ok := s.Events[i].Record(r.self); ok {
			var line []byte
			if r.times {
				line = time.Now().UTC().AppendFormat(line, recordTime)
			}
			r.put(record.Append(line))
		}
	}
}

// Ended waits until all records are written, but no longer than drainTime.
func (r recorder) Ended(bool) { r.close(drainTime) }
