package verify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"memberly/peer/utils"
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
	return fmt.Sprintf("malformed record: %v\n%s:%d: %s", e.why, e.file, e.line, utils.Printable(e.text))
}

// read adds all records of a file. When ctx ends, it stops after the complete lines that have come.
func (h *history) read(ctx context.Context, name string, from io.Reader) error {
	h.files = append(h.files, name)
	in := interruptible(ctx, from)
	defer in.Close()
	lines, p := bufio.NewReaderSize(in, maxLine), new(parser)
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

// interruptible returns a reader of from that ends when ctx does, even while from blocks. Then the
// goroutine that reads from stays until the process ends.
func interruptible(ctx context.Context, from io.Reader) *io.PipeReader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.Close() })
	go func() {
		_, err := io.Copy(w, from)
		w.CloseWithError(err)
	}()
	return r
}
