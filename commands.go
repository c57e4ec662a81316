package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"memberly/peer/config"
	"memberly/peer/doctor"
	"memberly/peer/observe"
	"memberly/peer/seal"
	"memberly/peer/simulate"
	"memberly/peer/verify"
)

// command is what the program does instead of running a peer, if its first argument is a name
// from the table. It prints its own usage text for -help.
type command struct {
	name, what string
	run        func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int
}

var commands = []command{
	{"status", "show what a peer with -http knows of its group", observe.RunStatus},
	{"ready", "exit with 0 if a peer with -http is ready, else 1", observe.RunReady},
	{"doctor", "check, before a peer is started, what it needs", doctor.Run},
	{"keygen", "make a key for -key", seal.RunKeygen},
	{"verify", "check by records whether the peers agreed", verify.Run},
	{"simulate", "run groups on a simulated network", simulate.Run},
}

// runCommand runs the command that args begin with, and returns the exit code. What it says on
// stdout is the point of it: where that cannot be written, it has failed, whatever it found.
func runCommand(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var names []string
	for _, c := range commands {
		if c.name == args[0] {
			out := &witness{to: stdout}
			code := c.run(ctx, args[1:], stdin, out, stderr)
			if err := out.failure(); err != nil {
				return max(code, fail(stderr, fmt.Errorf("writing the output: %w", err)))
			}
			return code
		}
		names = append(names, c.name)
	}
	return fail(stderr, config.UsageError{Problem: fmt.Sprintf("unknown command %q: use one of %s, or nothing but options",
		args[0], strings.Join(names, ", "))})
}

// witness is a writer that remembers its first failure. Any goroutine may use it.
type witness struct {
	to  io.Writer
	mu  sync.Mutex
	err error
}

func (w *witness) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = cmp.Or(w.err, err)
	return n, err
}

func (w *witness) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// usage returns the usage text of the program.
func usage() string {
	var b strings.Builder
	b.WriteString(config.Usage())
	b.WriteString("\nCommands, each with a -help of its own\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  memberly %-10s %s\n", c.name, c.what)
	}
	return b.String()
}
