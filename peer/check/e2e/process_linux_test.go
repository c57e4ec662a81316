package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"memberly/peer/check/loopback"
)

// As process 1, which it is in a container, a peer collects the processes that a command of -exec
// leaves behind.
func TestNoZombies(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	cmd := exec.Command(program, "-h", s.HostsFile(t, "one"), "-n", "one", "-exec",
		"for i in 1 2 3; do sleep 3600 >/dev/null 2>&1 & done")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	one := launch(t, "one", cmd)
	one.awaitRecord("view_id: 1,")
	children := func() (ids []int) {
		list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		for text := range strings.FieldsSeq(string(list)) {
			if id, err := strconv.Atoi(text); err == nil {
				ids = append(ids, id)
			}
		}
		return ids
	}
	within(t, "three processes that are left behind", func() bool { return len(children()) == 3 })
	for _, id := range children() {
		syscall.Kill(id, syscall.SIGKILL)
	}
	within(t, "their end, collected", func() bool { return len(children()) == 0 })
}

// A signal ends a peer that waits for a hosts file that is a pipe. A key file that is a pipe is not
// read again.
func TestPipes(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file, dir := s.HostsFile(t, "one"), t.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := exec.Command(program, "keygen", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	pipe := fifo(t)
	for _, args := range [][]string{{"-h", pipe}, {"-h", file, "-key", pipe}} {
		waits := launch(t, "waits", exec.Command(program, append(args, "-n", "one")...))
		var w *os.File // without which the peer would still wait to open the pipe, and with which it waits to read it
		within(t, "the pipe is opened", func() bool {
			w, err = os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
			return err == nil
		})
		waits.signal(syscall.SIGTERM)
		if code := waits.awaitExit(patience); code != 0 {
			t.Errorf("%q: exit code %d, want 0", args, code)
		}
		w.Close()
	}
	one := start(t, file, "one", "-key", pipe)
	if err := os.WriteFile(pipe, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	one.awaitRecord("view_id: 1,")
	one.signal(syscall.SIGHUP)
	one.awaitNotice("it is not a regular file, and was read once: restart the peer to change its keys; the keys in use stay")
}

// A signal ends a command that waits for a pipe: to open it, to read it, or to write it.
func TestPipesOfCommands(t *testing.T) {
	t.Parallel()
	file := loopback.NewSubnet(t).HostsFile(t, "one")
	hosts, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const record = "{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}\n"
	for _, c := range []struct {
		args  string // A and B stand for pipes
		first string // is written to A, so that the command goes on to B
	}{
		{"verify A B", record},
		{"doctor -h A -key B -n one", string(hosts)},
	} {
		for _, opened := range []bool{false, true} {
			t.Run(fmt.Sprint(c.args, ", opened ", opened), func(t *testing.T) {
				t.Parallel()
				a, b := fifo(t), fifo(t)
				args := strings.Fields(strings.NewReplacer("A", a, "B", b).Replace(c.args))
				waits := launch(t, args[0], exec.Command(program, args...))
				if err := os.WriteFile(a, []byte(c.first), 0); err != nil { // which waits for the reader
					t.Fatal(err)
				}
				if opened { // the command waits to read B, else to open it
					within(t, "the pipe is opened", func() bool {
						w, err := os.OpenFile(b, os.O_WRONLY|syscall.O_NONBLOCK, 0)
						if err == nil {
							t.Cleanup(func() { w.Close() })
						}
						return err == nil
					})
				}
				waits.signal(syscall.SIGTERM)
				code := waits.awaitExit(patience)
				said := waits.stderr.String()
				if opened && args[0] == "verify" { // it judges what it has read
					if code != 0 || said != "" {
						t.Errorf("exit code %d, %q, want 0 and nothing", code, said)
					}
				} else if code != 1 || !strings.HasPrefix(said, "memberly: "+args[0]+" did not end within 2s of a signal, ") {
					t.Errorf("exit code %d, %q, want 1 and why", code, said)
				}
			})
		}
	}
}

// fifo makes a named pipe, and returns its path.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
