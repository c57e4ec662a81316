package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
)

// This file supports tests of whole daemons: it builds the binary, starts processes on loopback
// addresses that no other test uses, and waits for their output.

// patience is how long a test waits for a condition. No test waits for a fixed time.
const patience = 20 * time.Second

// program is the path of the daemon, built once from the folder root.
var program string

const root = "../../.."

// helpers are what this test's binary does instead of testing when its first argument is one of these names.
var helpers = make(map[string]func(args []string) int)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if help := helpers[os.Args[1]]; help != nil {
			os.Exit(help(os.Args[2:]))
		}
	}
	// These tests wait more than they compute, so more of them than processors can run at once.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "memberly-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "memberly")
	if out, err := exec.Command("go", "build", "-o", program, root).CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building the daemon: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// daemon is a process of the real binary.
type daemon struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	stdout loopback.Output
	stderr loopback.Output
	exited chan struct{}
}

// start starts the host name of a hosts file.
func start(t *testing.T, hostsFile, name string, args ...string) *daemon {
	t.Helper()
	return launch(t, name, exec.Command(program, append([]string{"-h", hostsFile, "-n", name}, args...)...))
}

// launch starts any command, which is killed when the test ends.
func launch(t *testing.T, name string, cmd *exec.Cmd) *daemon {
	t.Helper()
	d := &daemon{t: t, name: name, cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &d.stdout, &d.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(d.exited)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-d.exited
		if t.Failed() {
			t.Logf("%s\nstdout:\n%sstderr:\n%s", d.name, d.stdout.String(), d.stderr.String())
		}
	})
	return d
}

// await waits until ok holds for the lines of o.
func (d *daemon) await(o *loopback.Output, what string, ok func(lines []string) bool) {
	d.t.Helper()
	if !o.Await(patience, d.exited, func() bool { return ok(o.Lines()) }) {
		d.t.Fatalf("%s: no %s within %v, or before its end", d.name, what, patience)
	}
}

// awaitRecord waits for a record that contains text.
func (d *daemon) awaitRecord(text string) {
	d.t.Helper()
	d.await(&d.stderr, text, contains(text))
}

// awaitNotice waits for a line on stdout that contains text.
func (d *daemon) awaitNotice(text string) {
	d.t.Helper()
	d.await(&d.stdout, text, contains(text))
}

func contains(text string) func([]string) bool {
	return func(lines []string) bool {
		return slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, text) })
	}
}

func (d *daemon) signal(s os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatalf("%s: %v", d.name, err)
	}
}

// awaitExit waits for the end of the process, and returns its exit code; -1 for a signal.
func (d *daemon) awaitExit(atMost time.Duration) int {
	d.t.Helper()
	select {
	case <-d.exited:
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(atMost):
		d.t.Fatalf("%s did not end within %v", d.name, atMost)
		return 0
	}
}

// awaitGone waits until no process has this id, apart from a zombie.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	within(t, fmt.Sprintf("the end of process %d", pid), func() bool { return !alive(pid) })
}

// within polls until holds returns true.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	_, rest, _ := bytes.Cut(status, []byte(") "))
	return !bytes.HasPrefix(rest, []byte("Z"))
}

// startAll starts a group with these hosts on a subnet of its own.
func startAll(t *testing.T, names ...string) (loopback.Subnet, []*daemon) {
	t.Helper()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, names...)
	var daemons []*daemon
	for _, name := range names {
		daemons = append(daemons, start(t, file, name))
	}
	return s, daemons
}

// awaitView waits until every one of daemons has installed the view of this number.
func awaitView(daemons []*daemon, number int) {
	for _, d := range daemons {
		d.t.Helper()
		d.awaitRecord(fmt.Sprintf("view_id: %d, leader: 1, memb_list: [", number))
	}
}

// While -d lasts, nothing is open.
func TestDelayOpensNothing(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	waiting := start(t, s.HostsFile(t, "one", "two"), "one", "-d", "3600")
	if _, err := net.Dial("tcp", net.JoinHostPort(s.Host(1).String(), "8080")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling a peer that waits: %v, want a refusal", err)
	}
	select {
	case <-waiting.exited:
		t.Error("the peer that waits has ended")
	default:
	}
}
