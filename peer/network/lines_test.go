package network

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Every line is one write, in order, none lost.
func TestLines(t *testing.T) {
	t.Parallel()
	var writes []string
	l := newLines(writerFunc(func(b []byte) (int, error) {
		writes = append(writes, string(b))
		return len(b), nil
	}), 0, nil)
	for i := range 1000 {
		l.printf("line %d", i)
	}
	l.close(patience)
	l.printf("too late")
	for i, got := range writes {
		if want := fmt.Sprintf("line %d\n", i); got != want {
			t.Fatalf("write %d is %q, want %q", i, got, want)
		}
	}
	if len(writes) != 1000 {
		t.Errorf("%d writes, want 1000", len(writes))
	}
}

// A stream that nobody reads stops neither those who write nor the end; of bounded lines the
// newest are kept, and the gap is told.
func TestLinesStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		l := newLines(write, 3, nil)
		l.printf("first")
		synctest.Wait() // for it to be in the stuck write
		for i := range 10 {
			l.printf("line %d", i)
		}
		began := time.Now()
		l.close(time.Second)
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("close took %v, want 1s", waited)
		}
		go func() {
			<-l.done
			write.Close()
		}()
		got, err := io.ReadAll(read)
		want := "first\n(7 older lines were dropped: this stream was not read)\nline 7\nline 8\nline 9\n"
		if err != nil || string(got) != want {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
	})
}

// The first failure is told, and writing goes on.
func TestLinesFailing(t *testing.T) {
	t.Parallel()
	var failures []string
	n := 0
	l := newLines(writerFunc(func(b []byte) (int, error) {
		n++
		return 0, fmt.Errorf("%w: %d", errors.ErrUnsupported, n)
	}), 0, func(err error) { failures = append(failures, err.Error()) })
	l.printf("a")
	l.printf("b")
	l.close(patience)
	if n != 2 || len(failures) != 1 || !strings.HasSuffix(failures[0], ": 1") {
		t.Errorf("%d writes, failures %q, want 2 and the first", n, failures)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
