//go:build !windows

package hold

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// This file is the supervisor: a process between the one that knows the lease, its keeper, and the command. It ends the
// command in time whatever becomes of its keeper: if that has died, the pipe of orders ends, and if that is frozen, no
// order comes that would move the end of the lease. For each run of the command there is one supervisor. It ends when
// all of the command has ended.

// supervises says whether this system has what Supervise needs.
const supervises = true

// stuckAfter is how long SIGKILL may take before the supervisor reports that it ends nothing.
const stuckAfter = time.Second

// restGrace is how long the rest of a command's process group may go on after SIGTERM once the command has ended.
const restGrace = time.Second

// Supervise runs the command argv until it ends or an order says so. It returns when nothing of it is left.
func Supervise(argv []string) int {
	runtime.LockOSThread() // on Linux the command gets SIGKILL when the thread that started it ends
	syscall.CloseOnExec(ordersFD)
	syscall.CloseOnExec(reportsFD)
	adopt()
	// Only the keeper ends this process. We catch these signals rather than ignore them: ignored signals are inherited.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	s := &supervisor{orders: make(chan order), ended: make(chan exit), reports: os.NewFile(reportsFD, "reports"),
		latest: math.MaxInt64}
	go s.read(os.NewFile(ordersFD, "orders"))
	s.order = <-s.orders
	if len(argv) == 0 || clock() >= s.order.terminate {
		return 0
	}
	if err := s.start(argv); err != nil {
		fmt.Fprintf(s.reports, reportFailed, startCode(err), err.Error())
		return 0
	}
	fmt.Fprintf(s.reports, reportStarted, s.pid)
	go s.wait()
	s.run()
	return 0
}

type supervisor struct {
	order   // the newest
	orders  chan order
	ended   chan exit
	reports *os.File
	pid     int           // of the command, and of its process group
	latest  time.Duration // when to kill whatever orders say
	killing time.Duration // since when; 0 if it is not
	stuck   bool          // that this ends nothing is reported
}

// exit is the end of a process.
type exit struct {
	pid    int
	status syscall.WaitStatus
}

// read passes orders on, and a zero order when there are no more.
func (s *supervisor) read(from io.Reader) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		var o order
		if _, err := fmt.Sscan(lines.Text(), &o.terminate, &o.kill); err != nil {
			break
		}
		s.orders <- o
	}
	s.orders <- order{}
}

// start starts the command in a process group of its own.
func (s *supervisor) start(argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	s.pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: attributes()})
	return err
}

// wait passes on the ends of the command and of the processes that it left to this one, until there are none.
func (s *supervisor) wait() {
	defer close(s.ended)
	for {
		var e exit
		var err error
		e.pid, err = syscall.Wait4(-1, &e.status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return
		default:
			s.ended <- e
		}
	}
}

// run carries out orders until nothing of the command is left.
func (s *supervisor) run() {
	var terminated, over bool // SIGTERM was sent; the command itself has ended
	for {
		now := clock()
		next := min(s.kill, s.latest)
		switch {
		case now >= next:
			s.insist(now)
			next = now + glance/10 // for processes that appear meanwhile
		case now >= s.terminate && !terminated:
			terminated = true
			s.latest = now + Patience
			syscall.Kill(-s.pid, syscall.SIGTERM)
			syscall.Kill(-s.pid, syscall.SIGCONT) // it may be stopped
		case !terminated:
			next = s.terminate
		}
		if over && s.gone() && now < s.kill { // what has left the group is not to go on either
			s.kill = 0
			continue
		}
		timer := time.NewTimer(untilAt(next))
		select {
		case o := <-s.orders:
			if s.order = o; over {
				s.limit(now)
			}
		case e, more := <-s.ended:
			if !more {
				if s.gone() {
					return
				}
				s.ended = nil // elsewhere than on Linux, others collect the rest
			} else if e.pid == s.pid {
				over = true
				fmt.Fprintf(s.reports, reportEnded, code(e.status), terminated || now >= s.terminate)
				s.limit(now)
			}
		case <-timer.C:
			if s.ended == nil && s.gone() {
				return
			}
		}
		timer.Stop()
	}
}

// insist kills all of the command once more, and reports once that this has gone on for too long.
func (s *supervisor) insist(now time.Duration) {
	why := s.killAll()
	if s.killing == 0 {
		s.killing = now
	}
	if !s.stuck && now >= s.killing+stuckAfter {
		s.stuck = true
		fmt.Fprintf(s.reports, reportStuck, s.pid, why)
	}
}

// limit has the rest of the command ended now.
func (s *supervisor) limit(now time.Duration) { s.order = order{now, min(s.kill, now+restGrace)} }

// gone reports whether no process of the command's group is left.
func (s *supervisor) gone() bool { return errors.Is(syscall.Kill(-s.pid, 0), syscall.ESRCH) }

// killGroup kills a process group, and reports whether nothing of it is left.
func killGroup(pid int) (gone bool) {
	return errors.Is(syscall.Kill(-pid, syscall.SIGKILL), syscall.ESRCH)
}

// killAll kills the command's process group, and what has left it, as far as the system tells. It returns what may keep them
// from ending.
func (s *supervisor) killAll() (why string) {
	why = "SIGKILL has no effect"
	kill := func(pid int) {
		if err := syscall.Kill(pid, syscall.SIGKILL); errors.Is(err, syscall.EPERM) {
			why = err.Error()
		}
	}
	kill(-s.pid)
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, name := range lists {
		list, _ := os.ReadFile(name)
		for text := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(text); err == nil {
				kill(pid)
			}
		}
	}
	return why
}

// code is the exit code of a process, as shells have it.
func code(s syscall.WaitStatus) int {
	if s.Signaled() {
		return bySignal + int(s.Signal())
	}
	return s.ExitStatus()
}
