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
		"[ $MEMBERLY_EVENT = ceased ] || for i in 1 2 3; do sleep 3600 >/dev/null 2>&1 & done")
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
	within(t, "three processes that are left behind by each run", func() bool { return len(children()) == 6 })
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

// Whatever holds keys is not dumpable: the system writes no core of it, and no other process of its user reads its
// memory. What holds none is.
func TestNoCores(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file, key := s.HostsFile(t, "one", "two"), keyFile(t, newKeys(t, 1)...)
	full := fifo(t) // in which nothing fits, so that keygen does not end
	w, err := os.OpenFile(full, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Write(func(fd uintptr) bool {
		for buf := make([]byte, 4096); err == nil; _, err = syscall.Write(int(fd), buf) {
		}
		return true
	})
	for _, c := range []struct {
		args     string
		says     string // once it has what keys there are; "" for keygen, which says nothing
		dumpable bool
	}{
		{"-h " + file + " -n one", "view_id: 1,", true},
		{"-h " + file + " -n one -key " + key, "view_id: 1,", false},
		{"-local -h " + file, "host ", true},
		{"-local -h " + file + " --key=" + key, "host ", false},
		{"doctor -for 1h -n one -h " + file, "Asking", true},
		{"doctor -for 1h -n one -h " + file + " -key " + key, "Asking", false},
		{"keygen", "", false},
	} {
		t.Run(c.args, func(t *testing.T) {
			cmd := exec.Command(program, strings.Fields(c.args)...)
			if c.says == "" {
				cmd = exec.Command("sh", "-c", `exec "$0" "$@" >"`+full+`"`, program, c.args)
			}
			if os.Getuid() == 0 { // with a group that is not root's, so that the owner shows
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Gid: 1}}
			}
			d := launch(t, c.args, cmd)
			if c.says != "" {
				within(t, c.says, func() bool { return strings.Contains(d.stdout.String()+d.stderr.String(), c.says) })
				if got := dumpable(t, cmd.Process.Pid); got != c.dumpable {
					t.Errorf("dumpable: %v, want %v", got, c.dumpable)
				}
			} else {
				within(t, "it is not dumpable", func() bool { return !dumpable(t, cmd.Process.Pid) })
			}
			d.signal(syscall.SIGTERM)
			d.awaitExit(patience)
		})
	}
}

// dumpable reports whether a process is: else what /proc has of it belongs to root and root's group.
func dumpable(t *testing.T, pid int) bool {
	t.Helper()
	about, err := os.Stat(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	owner := about.Sys().(*syscall.Stat_t)
	return owner.Uid != 0 || owner.Gid != 0
}
