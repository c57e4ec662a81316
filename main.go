// Memberly keeps a group of hosts in agreement about which of them are up and which one leads. See
// README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"memberly/peer/check/simulation"
	"memberly/peer/check/verify"
	"memberly/peer/config"
	"memberly/peer/network"
	"memberly/peer/ops/commands"
	"memberly/peer/ops/doctor"
	"memberly/peer/ops/hold"
	"memberly/peer/ops/hook"
	"memberly/peer/ops/local"
	"memberly/peer/ops/observe"
	"memberly/peer/seal"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// The exit codes, besides those of commands and of the peer.
const (
	success = 0
	failure = 1
	misuse  = 2
)

// table has the commands that the first argument can name. Without one the program runs a peer.
var table = commands.Table{
	{Name: "status", What: "show what a peer with -http knows about its group", Run: observe.RunStatus},
	{Name: "ready", What: "exit with 0 if a peer with -http is ready, else 1", Run: observe.RunReady},
	{Name: "hold", What: "run a command while a peer with -http leads", Run: hold.Run},
	{Name: "doctor", What: "check whether a peer could run on this host", Run: doctor.Run},
	{Name: "keygen", What: "make a key for -key", Run: seal.RunKeygen},
	{Name: "verify", What: "check records for contradictions between peers", Run: verify.Run},
	{Name: "simulate", What: "run groups on a simulated network", Run: simulation.RunCommand},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == hold.Supervisor {
		os.Exit(hold.Supervise(os.Args[2:]))
	}
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-") {
		// A peer is idle almost all the time; a second P only adds wake-ups.
		runtime.GOMAXPROCS(1)
	}
	// Keep running when the reader of our output goes away. We catch SIGPIPE rather than ignore it:
	// ignored signals are inherited by the -exec command.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	// Without a call of stop, so that a second signal is ignored.
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs the command or the peer that args name, until it is done or ctx ends. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if holdsKeys(args) {
		utils.ForbidCores() // before there is a key in memory
	}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return await(ctx, stderr, args[0], func() int {
			code, err := table.Run(ctx, args, stdin, stdout, stderr)
			if err != nil {
				return max(code, fail(stderr, err))
			}
			return code
		})
	}
	c, err := parse(ctx, args)
	switch {
	case ctx.Err() != nil:
		return success
	case errors.Is(err, config.ErrHelp):
		fmt.Fprint(stdout, usage())
		return success
	case err != nil:
		return fail(stderr, err)
	case c.Version:
		fmt.Fprintln(stdout, version())
		return success
	case c.Local:
		return local.Run(ctx, c, stdout, stderr)
	}
	hangups := hangups(c)
	if !wait(ctx, c.Delay) {
		return success
	}
	peer, err := network.New(c, stdout, stderr)
	if err != nil {
		return fail(stderr, err)
	}
	if err := listen(c, peer); err != nil {
		peer.Close()
		return fail(stderr, err)
	}
	go rekey(ctx, peer, hangups)
	return peer.Run(ctx)
}

// holdsKeys reports whether what args name makes keys or reads them: keygen, and whatever is given -key.
func holdsKeys(args []string) bool {
	return len(args) > 0 && args[0] == "keygen" || slices.ContainsFunc(args, func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return name == "-key" || name == "--key"
	})
}

// grace is how long a command has to end after a signal.
const grace = 2 * time.Second

// await runs the command name, and returns its exit code. A command that has not ended grace after ctx has failed, because
// it may open, read or write a pipe whose other end no process uses.
func await(ctx context.Context, stderr io.Writer, name string, command func() int) int {
	code := start(command)
	select {
	case c := <-code:
		return c
	case <-ctx.Done():
	}
	select {
	case c := <-code:
		return c
	case <-time.After(grace):
	}
	select {
	case c := <-start(func() int {
		return fail(stderr, fmt.Errorf("%s did not end within %v of a signal, so it was ended: "+
			"if it reads or writes a pipe, start the process at the other end", name, grace))
	}):
		return c
	case <-time.After(grace):
		return failure // stderr may be such a pipe too
	}
}

// start runs f in a goroutine, and returns the channel of its result.
func start(f func() int) <-chan int {
	result := make(chan int, 1)
	go func() { result <- f() }()
	return result
}

// parse is config.Parse, but fails when ctx ends, because args may name a pipe that no process writes.
func parse(ctx context.Context, args []string) (config.Config, error) {
	var c config.Config
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err = config.Parse(args, utils.HostName)
	}()
	select {
	case <-done:
		return c, err
	case <-ctx.Done():
		return config.Config{}, ctx.Err()
	}
}

// listen adds the listeners that c configures.
func listen(c config.Config, peer *network.Peer) error {
	var names []string
	for _, h := range c.Hosts {
		names = append(names, h.Name)
	}
	peer.Listen(observe.Notices{Names: names, Say: peer.Say})
	if c.Exec != "" {
		h, err := hook.New(hook.Config{Command: c.Exec, Self: c.ID, Names: names, Now: peer.Now, Report: peer.Say})
		if err != nil {
			return err
		}
		peer.Listen(h)
	}
	if c.Hold != "" {
		h, err := hold.New(hold.Config{Command: c.Hold, Once: c.HoldOnce, Self: c.ID, Name: c.Name, Monitor: c.Monitor,
			Now: peer.Now, Report: peer.Say})
		if err != nil {
			return err
		}
		peer.Listen(h)
	}
	if c.HTTP.Port() != 0 {
		s, err := observe.Start(observe.Config{Addr: c.HTTP, Names: names, Monitor: c.Monitor, Build: build()}, peer)
		if err != nil {
			return err
		}
		peer.Listen(s)
	}
	return nil
}

// hangups returns a channel of SIGHUP signals. With -key they make the peer read its key file again;
// without, SIGHUP ends the process and the channel stays empty.
func hangups(c config.Config) <-chan os.Signal {
	hangups := make(chan os.Signal, 1)
	if c.KeyFile != "" {
		signal.Notify(hangups, syscall.SIGHUP)
	}
	return hangups
}

// rekey makes a peer read its keys at each hangup, until ctx ends.
func rekey(ctx context.Context, peer *network.Peer, hangups <-chan os.Signal) {
	for {
		select {
		case <-hangups:
			peer.Rekey()
		case <-ctx.Done():
			return
		}
	}
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

// fail prints why nothing was started, and returns the exit code.
func fail(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "memberly: %v\n", err)
	if _, ok := errors.AsType[config.UsageError](err); ok {
		fmt.Fprintf(stderr, "\n%s", usage())
		return misuse
	}
	return failure
}

// usage returns the usage text of the program.
func usage() string { return config.Usage() + table.Usage() }

// version returns the names of this build and of its wire versions, without keys and with, in which all peers must agree.
func version() string {
	return fmt.Sprintf("memberly %s, wire version %d, with keys %d", build(), types.Version, types.SealedVersion)
}

// build returns the version of this build.
func build() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}
