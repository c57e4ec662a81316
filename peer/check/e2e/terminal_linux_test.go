package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"memberly/peer/check/loopback"
)

// terminal is the side of a pseudoterminal on which a person sits.
type terminal struct {
	*os.File
	other  *os.File
	output loopback.Output
}

func newTerminal(t *testing.T, columns, lines uint16) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := &terminal{File: master}
	var number, locked int32
	m.control(t, syscall.TIOCGPTN, unsafe.Pointer(&number))
	m.control(t, syscall.TIOCSPTLCK, unsafe.Pointer(&locked))
	m.resize(t, columns, lines)
	if m.other, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.other.Close()
		m.Close()
	})
	go func() {
		for b := make([]byte, 4096); ; {
			n, err := m.Read(b)
			if err != nil {
				return
			}
			m.output.Write(b[:n])
		}
	}()
	return m
}

func (m *terminal) control(t *testing.T, request uintptr, value unsafe.Pointer) {
	t.Helper()
	raw, err := m.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(value)); errno != 0 {
			t.Fatalf("ioctl %#x: %v", request, errno)
		}
	})
}

func (m *terminal) resize(t *testing.T, columns, lines uint16) {
	t.Helper()
	m.control(t, syscall.TIOCSWINSZ, unsafe.Pointer(&[4]uint16{lines, columns}))
}

// watch starts `memberly status -watch` on the terminal.
func (m *terminal) watch(t *testing.T, at string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, "status", "-watch", at)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = m.other, m.other, m.other
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

// await waits until ok holds for what the terminal got.
func (m *terminal) await(t *testing.T, what string, ok func(string) bool) {
	t.Helper()
	if !m.output.Await(patience, nil, func() bool { return ok(m.output.String()) }) {
		t.Fatalf("no %s within %v: the terminal has %q", what, patience, m.output.String())
	}
}

// lastFrame returns the last whole frame of what a terminal got.
func lastFrame(got string) string {
	got = got[:strings.LastIndex(got, "\x1b[?25h")+1]
	return got[strings.LastIndex(got, "\x1b[H")+1:]
}

// On a terminal, -watch redraws in place, in its size as that changes, and Ctrl-C ends it with the cursor shown; without
// colours, or on one that cannot, as it should.
func TestWatchOnTerminal(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("host%02d", i+1))
	}
	start(t, s.HostsFile(t, names...), names[0], "-http", "8082")
	at := s.Host(1).String() + ":8082"

	m := newTerminal(t, 80, 24)
	cmd := m.watch(t, at, "TERM=xterm", "NO_COLOR=")
	m.await(t, "view, with 40 hosts in 24 lines", func(got string) bool {
		frame := lastFrame(got)
		return strings.Contains(frame, "host01 leads view 1") && strings.Count(frame, "\r\n") == 23 && strings.Contains(frame, "hidden, ")
	})
	m.resize(t, 80, 60)
	m.await(t, "all 40 hosts in 60 lines", func(got string) bool {
		return strings.Contains(lastFrame(got), "host40 ") && !strings.Contains(lastFrame(got), "hidden")
	})
	if got := m.output.String(); !strings.Contains(got, "\x1b[33m") {
		t.Error("there are no colours")
	}
	m.interrupt(t, cmd)
	m.await(t, "end of line", func(got string) bool { return strings.HasSuffix(got, "\r\n") })
	if got := m.output.String(); !strings.Contains(got[strings.LastIndex(got, "\x1b[?25l")+1:], "\x1b[?25h") || !strings.HasSuffix(got, "\r\n") {
		t.Errorf("in the end the terminal has %q", got[len(got)-200:])
	}

	m = newTerminal(t, 80, 24)
	cmd = m.watch(t, at, "TERM=xterm", "NO_COLOR=1")
	m.await(t, "frame", func(got string) bool { return strings.Contains(got, "\x1b[?25h") })
	if got := m.output.String(); strings.Contains(got, "\x1b[33m") {
		t.Errorf("with NO_COLOR it has colours: %q", got)
	}
	m.interrupt(t, cmd)

	m = newTerminal(t, 80, 24)
	cmd = m.watch(t, at, "TERM=dumb")
	m.await(t, "table", func(got string) bool { return strings.Contains(got, "host40") })
	if got := m.output.String(); strings.Contains(got, "\x1b") {
		t.Errorf("with TERM=dumb it has escapes: %q", got)
	}
	m.interrupt(t, cmd)
}

// interrupt presses Ctrl-C, which must end the command with 0.
func (m *terminal) interrupt(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	m.Write([]byte{3})
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after Ctrl-C: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Ctrl-C does not end it")
	}
}
