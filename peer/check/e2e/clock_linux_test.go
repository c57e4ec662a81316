package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// This file sets the clock of the machine, and sets it right again whatever happens to the test: a process of its own does both,
// and the latter when the pipe from the test ends.

func init() { helpers["clock"] = keepClock }

// wallOffset returns by how much the wall clock is off monotonic.
func wallOffset() time.Duration { return time.Duration(time.Now().UnixNano()) - monotonic() }

// keepClock reads by how much the clock is to be wrong, a duration on each line, sets it, and answers with a line: empty, or what
// failed. At the end of its input it sets the clock right.
func keepClock([]string) int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	right := wallOffset()
	set := func(wrongBy time.Duration) error {
		to := syscall.NsecToTimeval(int64(monotonic() + right + wrongBy))
		return syscall.Settimeofday(&to)
	}
	code, touched := 0, false
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		by, err := time.ParseDuration(lines.Text())
		if err == nil {
			err = set(by)
		}
		if touched = touched || err == nil; err != nil {
			fmt.Println(err)
		} else {
			fmt.Println()
		}
	}
	if touched {
		if err := set(0); err != nil {
			code = 1
		}
	}
	return code
}

// wallClock is the clock of the machine, which a test may set.
type wallClock struct {
	*testing.T
	to   io.WriteCloser
	from *bufio.Reader
}

// newWallClock returns the clock, which is set right again when the test ends. It skips the test if nobody may set it.
func newWallClock(t *testing.T) *wallClock {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "clock")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what ends this test is not to end that process
	to, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	before := wallOffset()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		to.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("setting the clock right: %v", err)
		}
		if off := wallOffset() - before; off.Abs() > time.Second {
			t.Errorf("the clock is off by %v", off)
		}
	})
	c := &wallClock{T: t, to: to, from: bufio.NewReader(from)}
	if failure := c.set(0); failure != "" {
		t.Skip("the clock of this machine cannot be set: " + failure)
	}
	return c
}

// set has the clock be wrong by so much, and returns what failed.
func (c *wallClock) set(wrongBy time.Duration) (failure string) {
	c.Helper()
	fmt.Fprintln(c.to, wrongBy)
	line, err := c.from.ReadString('\n')
	if err != nil {
		c.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// The clock of the machine is stepped forwards, far back, and to where it was: no peer's lease ends. No other test of this
// package runs meanwhile.
func TestLeaseFaultsOfClock(t *testing.T) {
	var clock *wallClock
	step := func(g *trial, wrongBy time.Duration) {
		if failure := clock.set(wrongBy); failure != "" {
			g.Fatal(failure)
		}
	}
	f := leaseFault{what: "clock stepped by +10, -20, +10 s", lasts: 3 * time.Second, without: withoutLeader, steady: true,
		begin: func(g *trial) {
			clock = newWallClock(g.T)
			right := wallOffset()
			g.watch.wallMayBeOff(right-10*time.Second, right+10*time.Second)
			step(g, 10*time.Second)
			<-time.After(3 * time.Second)
			step(g, -10*time.Second)
		},
		end: func(g *trial) { step(g, 0) }}
	var table figuresTable
	f.run(t, &table)
	table.print(t)
}
