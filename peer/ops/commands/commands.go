// Package commands runs the program's commands, such as status and doctor.
package commands

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"memberly/peer/config"
)

// Command is one command. Run returns its exit code, and prints the command's own usage text for -help.
type Command struct {
	Name, What string
	Run        func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int
}

// Table has all commands, in the order of the usage text.
type Table []Command

// Run runs the command that args[0] names, and returns its exit code. args must not be empty. The error
// is a config.UsageError if there is no such command, or the failure to write stdout. A command whose
// output cannot be written has failed, whatever its exit code.
func (t Table) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	var names []string
	for _, c := range t {
		if c.Name != args[0] {
			names = append(names, c.Name)
			continue
		}
		out := &errWriter{to: stdout}
		code := c.Run(ctx, args[1:], stdin, out, stderr)
		if err := out.failure(); err != nil {
			return code, fmt.Errorf("writing the output: %w", err)
		}
		return code, nil
	}
	return 0, config.UsageError{Problem: fmt.Sprintf("unknown command %q: use one of %s, or nothing but options",
		args[0], strings.Join(names, ", "))}
}

// Usage returns the lines of the usage text that list the commands.
func (t Table) Usage() string {
	var b strings.Builder
	b.WriteString("\nCommands, each with a -help of its own\n")
	for _, c := range t {
		fmt.Fprintf(&b, "  memberly %-10s %s\n", c.Name, c.What)
	}
	return b.String()
}

// errWriter is a writer that keeps its first error. Any goroutine may use it.
type errWriter struct {
	to  io.Writer
	mu  sync.Mutex
	err error
}

func (w *errWriter) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = cmp.Or(w.err, err)
	return n, err
}

func (w *errWriter) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
