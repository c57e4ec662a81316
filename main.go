// Memberly keeps a group of hosts in agreement about which of them are up and which one leads. See
// README.md and docs.
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
	"memberly/peer/ops/reform"
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
var table = commands.Table{Version: version, Commands: []commands.Command{
	{Page: observe.StatusPage, Run: observe.RunStatus},
	{Page: observe.ReadyPage, Run: observe.RunReady},
	{Page: observe.ReloadPage, Run: observe.RunReload},
	{Page: hold.Page, Run: hold.Run},
	{Page: doctor.Page, Run: doctor.Run},
	{Page: reform.Page, Run: reform.Run},
	{Page: seal.KeygenPage, Run: seal.RunKeygen},
	{Page: verify.Page, Run: verify.Run},
	{Page: simulation.Page, Run: simulation.RunCommand},
}}

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
	reloads, rekeys := hangups(), hangups() // before anything else, so that none ends the peer
	c, err := parse(ctx, args)
	forget()
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
		signal.Reset(syscall.SIGHUP) // without keys it ends a group on this machine
		return local.Run(ctx, c, stdout, stderr)
	}
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
	go follow(ctx, reloads, func() { peer.Reload() })
	go follow(ctx, rekeys, peer.Rekey)
	return peer.Run(ctx)
}

// forget removes the variables that configure a peer from the environment, now that they are read. What a peer starts does
// not inherit its options: the peers of -local have flags for all, and a peer or command that -exec or -hold starts is
// configured by its own command line.
func forget() {
	for _, name := range config.Environment() {
		os.Unsetenv(name)
	}
}

// holdsKeys reports whether what args name makes keys or reads them: keygen, and whatever is given -key, or its variable.
func holdsKeys(args []string) bool {
	if _, set := os.LookupEnv("MEMBERLY_KEY"); set {
		return true
	}
	return len(args) > 0 && args[0] == "keygen" || slices.ContainsFunc(args, func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return name == "-key" || name == "--key"
	})
}

// grace is how long a command has to end after a signal, besides what it gives to a command of its own.
const grace = 2 * time.Second

// await runs the command name, and returns its exit code. A command that has not ended in time after ctx has failed, because
// it may open, read or write a pipe whose other end no process uses.
func await(ctx context.Context, stderr io.Writer, name string, command func() int) int {
	code := start(command)
	select {
	case c := <-code:
		return c
	case <-ctx.Done():
	}
	within := grace
	if name == hold.Page.Command {
		within += hold.Patience
	}
	select {
	case c := <-code:
		return c
	case <-time.After(within):
	}
	select {
	case c := <-start(func() int {
		return fail(stderr, fmt.Errorf("%s did not end within %v of a signal, so it was ended: "+
			"if it reads or writes a pipe, start the process at the other end", name, within))
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
		c, err = config.ParseWith(args, os.LookupEnv, utils.HostName)
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
	names := observe.Names{Names: peer.Names()}
	peer.Listen(observe.Notices{Names: names, Say: peer.Say})
	if c.Exec != "" {
		h, err := hook.New(hook.Config{Command: c.Exec, Self: c.ID, Names: peer.Names(), Cause: observe.Cause, Now: peer.Now, Report: peer.Say})
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
		s, err := observe.Start(observe.Config{Addr: c.HTTP, Names: names, Monitor: c.Monitor, Build: build(), Reload: peer.Reload}, peer)
		if err != nil {
			return err
		}
		peer.Listen(s)
	}
	return nil
}

// hangups returns a channel of SIGHUP signals, which have the peer read its files again.
func hangups() <-chan os.Signal {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups
}

// follow reads a file again at each hangup, until ctx ends. Each file has a goroutine, as reading one may take any time.
func follow(ctx context.Context, hangups <-chan os.Signal, read func()) {
	for {
		select {
		case <-hangups:
			read()
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
	if _, ok := errors.AsType[config.UsageError](err); ok {
		fmt.Fprint(stderr, config.Page.Wrong(err))
		return misuse
	}
	fmt.Fprintf(stderr, "memberly: %v\n", err)
	return failure
}

// usage returns the usage text of the program.
func usage() string { return config.Usage() + table.Usage() }

// version returns the names of this build and of its wire versions, without keys and with, in which all peers must agree.
func version() string {
	return fmt.Sprintf("memberly %s, wire version %d, with keys %d", build(), types.Version, types.SealedVersion)
}

// release is the version that make dist gives a build, with the linker's -X.
var release string

// build returns the version of this build.
func build() string {
	if release != "" {
		return release
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}
