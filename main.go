// Memberly keeps a group of hosts agreed on who of them is up, and who leads. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/local"
	"memberly/peer/network"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// The exit codes, besides that of the peer.
const (
	success = 0
	failure = 1
	misuse  = 2
)

func main() {
	// Whoever read the output may be gone: the group's work goes on.
	signal.Ignore(syscall.SIGPIPE)
	// Never undone, so that a second signal is ignored.
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run does what args ask for, until it is done or ctx ends, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := config.Parse(args, utils.HostName)
	switch {
	case errors.Is(err, config.ErrHelp):
		fmt.Fprint(stdout, config.Usage())
		return success
	case err != nil:
		return fail(stderr, err)
	case c.Version:
		fmt.Fprintln(stdout, version())
		return success
	case c.Local:
		return local.Run(ctx, c, stdout, stderr)
	}
	if !wait(ctx, c.Delay) {
		return success
	}
	peer, err := network.New(c, stdout, stderr)
	if err != nil {
		return fail(stderr, err)
	}
	return peer.Run(ctx)
}

// wait waits for d. It returns false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// fail says why nothing was started, and returns the exit code.
func fail(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "memberly: %v\n", err)
	if _, ok := errors.AsType[config.UsageError](err); ok {
		fmt.Fprintf(stderr, "\n%s", config.Usage())
		return misuse
	}
	return failure
}

// version names this build, and the wire version by which peers must agree.
func version() string {
	build := "(devel)"
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		build = b.Main.Version
	}
	return fmt.Sprintf("memberly %s, wire version %d", build, types.Version)
}
