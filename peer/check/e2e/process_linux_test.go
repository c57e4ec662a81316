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
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
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
