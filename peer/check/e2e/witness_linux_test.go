package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// This file observes commands that daemons run. Such a command is this test's own binary: it reports when it starts over a
// connection, which the kernel closes when its process ends.

func init() { helpers["report"] = report }

// monotonic returns a moment by a clock that all processes of this machine share, and that nobody can set.
func monotonic() time.Duration {
	var now syscall.Timespec
	const clock = 1 // CLOCK_MONOTONIC
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&now)), 0); errno != 0 {
		panic(errno)
	}
	return time.Duration(now.Nano())
}

// reported is what a command reports.
type reported struct {
	by     string // -exec, -hold or hold
	peer   int
	fence  uint64
	event  string // of -exec
	leads  bool   // by MEMBERLY_LEADS
	alone  bool   // no other command had the lock
	at, to time.Duration
	over   bool // it ended, at to
}

const reportForm = "%s %d %d %s %t %t %d\n"

// report is the command: report SOCKET BY MANNER LOCK. In the manner "short" it ends at once; in the manner "obedient" it ends at
// SIGTERM; in the manner "stubborn" only at SIGKILL. The latter two hold the lock, as long as they run.
func report(args []string) int {
	at := monotonic()
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	socket, by, manner, lock := args[0], args[1], args[2], args[3]
	alone := true
	if manner != "short" {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return 1
		}
		alone = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
		defer f.Close()
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		return 1
	}
	defer c.Close()
	event := os.Getenv("MEMBERLY_EVENT")
	if event == "" {
		event = "-"
	}
	var peer int
	var fence uint64
	fmt.Sscan(os.Getenv("MEMBERLY_PEER"), &peer)
	fmt.Sscan(os.Getenv("MEMBERLY_FENCE"), &fence)
	if _, err := fmt.Fprintf(c, reportForm, by, peer, fence, event, os.Getenv("MEMBERLY_LEADS") == "true", alone, at); err != nil {
		return 1
	}
	for manner != "short" {
		if <-terminated; manner == "obedient" {
			break
		}
	}
	return 0
}

// commands collects what commands report.
type commands struct {
	*testing.T
	dir string
	mu  sync.Mutex
	all []*reported
}

func newCommands(t *testing.T) *commands {
	t.Helper()
	c := &commands{T: t, dir: t.TempDir()}
	l, err := net.Listen("unix", filepath.Join(c.dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	t.Cleanup(func() { l.Close(); reading.Wait() })
	reading.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			reading.Go(func() { c.read(conn) })
		}
	})
	return c
}

// read reads what one command reports, and waits for its end.
func (c *commands) read(conn net.Conn) {
	defer conn.Close()
	r, from := &reported{}, bufio.NewReader(conn)
	line, err := from.ReadString('\n')
	if err != nil {
		return // it was killed before it could report
	}
	if _, err := fmt.Sscanf(line, reportForm, &r.by, &r.peer, &r.fence, &r.event, &r.leads, &r.alone, &r.at); err != nil {
		c.Errorf("a command reports %q: %v", line, err)
		return
	}
	c.mu.Lock()
	c.all = append(c.all, r)
	c.mu.Unlock()
	io.Copy(io.Discard, from)
	c.mu.Lock()
	r.to, r.over = monotonic(), true
	c.mu.Unlock()
}

// line returns the shell line of a command.
func (c *commands) line(by, manner string) string {
	self, err := os.Executable()
	if err != nil {
		c.Fatal(err)
	}
	return strings.Join([]string{"exec", self, "report", filepath.Join(c.dir, "socket"), by, manner, filepath.Join(c.dir, by)}, " ")
}

// of returns what commands of one kind have reported so far, in the order of their starts.
func (c *commands) of(by string) (all []reported) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.all {
		if r.by == by {
			all = append(all, *r)
		}
	}
	slices.SortFunc(all, func(a, b reported) int { return int(a.at - b.at) })
	return all
}

// runs reports whether a command that holds the lock of by runs at a peer, for this fence.
func (c *commands) runs(by string, peer int, fence uint64) bool {
	return slices.ContainsFunc(c.of(by), func(r reported) bool { return !r.over && r.peer == peer && r.fence == fence })
}

// held returns the lives of the commands that by held until now.
func (c *commands) held(by string, now time.Duration) (all []span) {
	for _, r := range c.of(by) {
		if !r.over {
			r.to = now
		}
		all = append(all, span{r.peer, r.fence, r.at, r.to})
	}
	return all
}

// told returns when peers led by what -exec was told until now. killed has peers that tell nothing more.
func (c *commands) told(now time.Duration, killed map[int]time.Duration) (all []span) {
	for _, r := range c.of("-exec") {
		i := slices.IndexFunc(all, func(s span) bool { return s.peer == r.peer && s.fence == r.fence })
		switch {
		case r.event == "leads":
			all = append([]span{{r.peer, r.fence, r.at, now}}, all...) // the newest first
		case i < 0: // a run for a view that came before the one for leads
		case r.event == "ceased":
			all[i].to = r.at
		case r.leads && r.at > all[i].to:
			all[i].to = r.at
		}
	}
	for i := range all {
		if at, has := killed[all[i].peer]; has && all[i].to == now {
			all[i].to = max(all[i].from, at)
		}
	}
	return all
}
