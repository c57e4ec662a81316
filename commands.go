package main

import (
	"context"
	"fmt"
	"io"
	"strings"

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
	{"verify", "prove from records that the peers agreed", verify.Run},
	{"simulate", "run groups on a simulated network", simulate.Run},
}

// runCommand runs the command that args begin with, and returns the exit code.
func runCommand(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var names []string
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(ctx, args[1:], stdin, stdout, stderr)
		}
		names = append(names, c.name)
	}
	return fail(stderr, config.UsageError{Problem: fmt.Sprintf("unknown command %q: use one of %s, or nothing but options",
		args[0], strings.Join(names, ", "))})
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
