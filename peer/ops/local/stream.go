package local

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"memberly/peer/types"
)

// maxLine bounds the part of a line that is kept until its end comes.
const maxLine = 1 << 16

// stream is stdout or stderr, shared by all children. Whoever holds the lock may write.
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

// prefix is what stands before each line of the host id.
func (g *group) prefix(id types.ID, s *stream) string {
	prefix := fmt.Sprintf("%-*s | ", g.width(), g.hosts[id-1].Name)
	if !s.colour {
		return prefix
	}
	const colours = 6 // red to cyan
	return fmt.Sprintf("\x1b[3%dm%s\x1b[0m", 1+int(id-1)%colours, prefix)
}

// writer returns a writer of one child's lines to s, each behind prefix. seen, if not nil, is
// shown each line.
func (s *stream) writer(prefix string, seen func(line []byte)) *lineWriter {
	return &lineWriter{to: s, prefix: prefix, seen: seen}
}

// lineWriter writes whole lines, one write each, so that those of different children never mix.
type lineWriter struct {
	to     *stream
	prefix string
	seen   func([]byte)
	rest   []byte // of a line whose end has not come
}

// Write never fails: a child is to go on when nobody reads what it writes.
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

// flush writes what has no end of line, when there will be none.
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
