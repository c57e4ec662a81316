package local

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"memberly/peer/types"
)

// maxLine is how much of an unfinished line is kept. A longer one is split.
const maxLine = 1 << 16

// stream is stdout or stderr, shared by all children. Hold the lock to write.
type stream struct {
	sync.Mutex
	to     io.Writer
	colour bool
}

func newStream(to io.Writer) *stream {
	return &stream{to: to, colour: isTerminal(to) && os.Getenv("NO_COLOR") == ""}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	status, err := f.Stat()
	return err == nil && status.Mode()&os.ModeCharDevice != 0
}

func (s *stream) printf(format string, args ...any) {
	s.Lock()
	defer s.Unlock()
	fmt.Fprintf(s.to, format, args...)
}

// prefix returns what to write before each line of host id.
func (g *group) prefix(id types.ID, s *stream) string {
	prefix := fmt.Sprintf("%-*s | ", g.width(), g.hosts[id-1].Name)
	if !s.colour {
		return prefix
	}
	const colours = 6 // red to cyan
	return fmt.Sprintf("\x1b[3%dm%s\x1b[0m", 1+int(id-1)%colours, prefix)
}

// writer returns a writer that copies a child's lines to s, with prefix before each. It calls seen, if
// not nil, with each line.
func (s *stream) writer(prefix string, seen func(line []byte)) *lineWriter {
	return &lineWriter{to: s, prefix: prefix, seen: seen}
}

// lineWriter writes each whole line in one write, so that lines of different children never mix.
type lineWriter struct {
	to     *stream
	prefix string
	seen   func([]byte)
	rest   []byte // of an unfinished line
}

// Write never fails, so that a child keeps running when no reader is left.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole && len(w.rest) < maxLine {
			return len(b), nil
		}
		w.line(line)
		w.rest = rest
	}
}

// flush writes the last line if it has no newline.
func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.line(w.rest)
		w.rest = nil
	}
}

func (w *lineWriter) line(line []byte) {
	if w.seen != nil {
		w.seen(line)
	}
	w.to.printf("%s%s\n", w.prefix, line)
}
