package verify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// mostLine is the longest line that is looked at whole: a record of 4096 members is shorter.
const mostLine = 1 << 16

// malformedError is a line that begins like a record and is none.
type malformedError struct {
	file string
	line int32
	text string
	why  error
}

func (e malformedError) Error() string {
	return fmt.Sprintf("malformed record: %v\n%s:%d: %s", e.why, e.file, e.line, e.text)
}

// read takes all records of a file into the book; when ctx ends, those of the whole lines that
// have come.
func (b *book) read(ctx context.Context, name string, from io.Reader) error {
	b.files = append(b.files, name)
	lines, p := bufio.NewReaderSize(&interruptible{ctx: ctx, from: from}, mostLine), new(parser)
	for at := (place{int32(len(b.files) - 1), 1}); ; at.line++ {
		line, err := nextLine(lines)
		if err == io.EOF && (len(line) == 0 || ctx.Err() != nil) {
			return nil
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		text, ok, odd := find(line)
		if odd {
			b.odd = append(b.odd, at)
		}
		if !ok {
			b.others++
			continue
		}
		r, err := p.parse(text)
		if err != nil {
			return malformedError{name, at.line, string(text), err}
		}
		b.add(note{r, at})
	}
}

// nextLine returns the next line without its end, or what fits of it. It is good until the next.
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

// interruptible is a reader that has no more when ctx ends, even while it waits for more.
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

// fetch reads ahead by one chunk. It may wait for ever: the process then ends without it.
func (r *interruptible) fetch() {
	for {
		c := chunk{text: make([]byte, mostLine)}
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
