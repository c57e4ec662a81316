package verify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxLine is how much of a line is examined. A record of 4096 members is shorter.
const maxLine = 1 << 16

// malformedError reports a line that begins like a record but is not one.
type malformedError struct {
	file string
	line int32
	text string
	why  error
}

func (e malformedError) Error() string {
	return fmt.Sprintf("malformed record: %v\n%s:%d: %s", e.why, e.file, e.line, e.text)
}

// read adds all records of a file. When ctx ends, it stops after the complete lines that have come.
func (h *history) read(ctx context.Context, name string, from io.Reader) error {
	h.files = append(h.files, name)
	lines, p := bufio.NewReaderSize(&interruptible{ctx: ctx, from: from}, maxLine), new(parser)
	for at := (place{int32(len(h.files) - 1), 1}); ; at.line++ {
		line, err := nextLine(lines)
		if err == io.EOF && (len(line) == 0 || ctx.Err() != nil) {
			return nil
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		text, ok, doubtful := find(line)
		if doubtful {
			h.doubtful = append(h.doubtful, at)
		}
		if !ok {
			h.others++
			continue
		}
		r, err := p.parse(text)
		if err != nil {
			return malformedError{name, at.line, string(text), err}
		}
		h.add(entry{r, at})
	}
}

// nextLine returns the next line without its newline, cut off at maxLine. It is valid until the next
// call.
func nextLine(from *bufio.Reader) ([]byte, error) {
	line, err := from.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return bytes.TrimSuffix(line, []byte("\n")), err
	}
	line = bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = from.ReadSlice('\n')
	}
	return line, err
}

// interruptible is a reader that returns io.EOF when ctx ends, even during a read that blocks.
type interruptible struct {
	ctx    context.Context
	from   io.Reader
	chunks chan chunk
	rest   []byte
	err    error
}

type chunk struct {
	text []byte
	err  error
}

func (r *interruptible) Read(to []byte) (int, error) {
	if r.chunks == nil {
		r.chunks = make(chan chunk)
		go r.fetch()
	}
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		select {
		case c := <-r.chunks:
			r.rest, r.err = c.text, c.err
		case <-r.ctx.Done():
			return 0, io.EOF
		}
	}
	n := copy(to, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// fetch reads one chunk ahead. It may block for ever, which only the end of the process ends.
func (r *interruptible) fetch() {
	for {
		c := chunk{text: make([]byte, maxLine)}
		n, err := r.from.Read(c.text)
		c.text, c.err = c.text[:n], err
		select {
		case r.chunks <- c:
		case <-r.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}
