// Package local runs a whole group on this machine: one process for each host of the hosts file that is not retired,
// each with its own loopback address.
package local

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/ops/hold"
	"memberly/peer/ops/hook"
	"memberly/peer/types"
)

// killTime is how long children without -exec may take to end after SIGTERM.
const killTime = 2 * time.Second

// orphanCheck is how often awaitOrphaned checks for the parent's end.
const orphanCheck = 200 * time.Millisecond

// Run starts a process for each host of c that is not retired, c.Delay apart, and copies their stdout to stdout and their
// stderr to stderr, with the host's name before each line. When ctx ends, Run ends them. It returns when
// all have ended. With keys, it passes SIGHUP on to all of them, so that they read their keys again; they have the hosts
// file from a pipe, and do not read that again.
//
// The exit code is 1 if a process could not be started or failed. A crash that c.Crash or c.Drill
// ordered is no failure. On Linux the processes end with this one, however it ends.
func Run(ctx context.Context, c config.Config, stdout, stderr io.Writer) int {
	// The kernel kills the children when the thread that started them ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	executable, err := os.Executable()
	if err != nil {
		fmt.Fprintf(stderr, "memberly: finding this program to start it for each host: %v\n", err)
		return 1
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if underGoRun(executable) {
		go func() {
			awaitOrphaned(ctx)
			cancel()
		}()
	}
	g := newGroup(c, executable, stdout, stderr)
	if c.KeyFile != "" {
		signal.Notify(g.hangups, syscall.SIGHUP)
		defer signal.Stop(g.hangups)
	}
	if err := g.start(); err != nil {
		fmt.Fprintf(stderr, "memberly: %v\n", err)
		return 1
	}
	return g.run(ctx)
}

// underGoRun reports whether this program was built by `go run`, in its cache or a temporary directory.
// Such a program has to end with `go run`, whose death sends it no signal.
func underGoRun(executable string) bool {
	cache := os.Getenv("GOCACHE")
	return strings.Contains(executable, "/go-build") || cache != "" && strings.HasPrefix(executable, cache+"/")
}

// awaitOrphaned returns when this process has lost its parent, or when ctx ends.
func awaitOrphaned(ctx context.Context) {
	parent := os.Getppid()
	tick := time.NewTicker(orphanCheck)
	defer tick.Stop()
	for os.Getppid() == parent {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// group is the processes of all hosts.
type group struct {
	executable string
	config     config.Config
	hosts      []types.Host
	children   []*child
	stdout     *stream
	stderr     *stream
	ended      chan *child
	hangups    chan os.Signal // to pass on to the children
	failed     bool           // a child failed
}

func newGroup(c config.Config, executable string, stdout, stderr io.Writer) *group {
	return &group{
		executable: executable, config: c, hosts: addresses(c.Hosts),
		stdout: newStream(stdout), stderr: newStream(stderr),
		ended: make(chan *child, len(c.Hosts)), hangups: make(chan os.Signal, 1),
	}
}

// addresses returns hosts with loopback addresses: their own if the hosts file has one for all, else
// 127.0.0.1, 127.0.0.2, ….
func addresses(hosts []types.Host) []types.Host {
	own := true
	for _, h := range hosts {
		own = own && (h.Retired || h.Addr.IsLoopback())
	}
	if own {
		return hosts
	}
	numbered := make([]types.Host, len(hosts))
	addr := netip.AddrFrom4([4]byte{127})
	for i, h := range hosts {
		addr = addr.Next()
		numbered[i] = types.Host{Name: h.Name, Addr: addr, Retired: h.Retired}
	}
	return numbered
}

// start starts all children, and prints a table of them before anything that they write. If one cannot
// be started, it kills those that were.
func (g *group) start() error {
	g.stdout.Lock()
	g.stderr.Lock()
	defer g.stdout.Unlock()
	defer g.stderr.Unlock()
	for i, h := range g.hosts {
		if h.Retired {
			continue
		}
		c := g.child(types.ID(i + 1))
		if err := c.start(hostsFile(g.hosts)); err != nil {
			for _, started := range g.children {
				started.signal(syscall.SIGKILL)
			}
			return fmt.Errorf("starting host %s: %w", c.name, err)
		}
		g.children = append(g.children, c)
	}
	fmt.Fprint(g.stdout.to, g.table())
	return nil
}

// hostsFile returns the content of the children's hosts file.
func hostsFile(hosts []types.Host) string {
	var b strings.Builder
	for _, h := range hosts {
		fmt.Fprintln(&b, h)
	}
	return b.String()
}

func (g *group) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s  %-15s  %s\n", g.width(), "host", "address", "process")
	for _, c := range g.children {
		fmt.Fprintf(&b, "%-*s  %-15v  %d\n", g.width(), c.name, c.addr, c.pid())
	}
	return b.String()
}

// width returns the width of the widest name of a host that is not retired.
func (g *group) width() int {
	width := len("host")
	for _, h := range g.hosts {
		if !h.Retired {
			width = max(width, len(h.Name))
		}
	}
	return width
}

// run waits until all children have ended, which it causes when ctx ends. It returns the exit code.
func (g *group) run(ctx context.Context) int {
	for _, c := range g.children {
		go func() {
			c.wait()
			g.ended <- c
		}()
	}
	done, kill := ctx.Done(), (<-chan time.Time)(nil)
	for left := len(g.children); left > 0; {
		select {
		case c := <-g.ended:
			left--
			g.note(c, done == nil)
		case <-done:
			done, kill = nil, time.After(g.killTime())
			g.signal(syscall.SIGTERM)
			g.signal(resume) // so that frozen ones end too
		case s := <-g.hangups:
			g.signal(s.(syscall.Signal))
		case <-kill:
			g.signal(syscall.SIGKILL)
		}
	}
	if g.failed {
		return 1
	}
	return 0
}

// killTime returns how long children may take to end, including the time that -exec and -hold grant commands.
func (g *group) killTime() time.Duration {
	switch {
	case g.config.Exec != "":
		return killTime + hook.LongestEnd
	case g.config.Hold != "":
		return killTime + hold.Patience
	}
	return killTime
}

func (g *group) signal(s syscall.Signal) {
	for _, c := range g.children {
		c.signal(s)
	}
}

// note records that a child ended, and prints how unless Run told it to end.
func (g *group) note(c *child, told bool) {
	if c.failed() {
		g.failed = true
	}
	if !told {
		g.stdout.printf("%s %s\n", c.name, c.fate())
	}
}
