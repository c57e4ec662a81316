package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
)

// A state file that cannot be used is an error at the start, in one line, and stays as it is.
func TestStateRefused(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file, dir := s.HostsFile(t, "one", "two"), t.TempDir()
	path := filepath.Join(dir, "one")
	one := start(t, file, "one", "-state", path)
	one.awaitNotice("is new")
	start(t, file, "two", "-state", path).refuses(path, "it is used by another process")
	start(t, file, "one", "-state", path).refuses(path, "it is used by another process")
	one.signal(syscall.SIGTERM)
	if code := one.awaitExit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := append(bytes.Repeat([]byte{0xff}, len(good)-100), good[:100]...)
	for _, c := range []struct {
		what, host, hosts string
		content           []byte // nil: there is a folder
		want              string
	}{
		{"of another host", "two", file, good, `it is of host 1 ("one"), this is host 2 ("two")`},
		{"for hosts in another order", "one", s.HostsFile(t, "two", "one"), good, "it is for another hosts file"},
		{"for other names", "one", s.HostsFile(t, "one", "zwei"), good, "it is for another hosts file"},
		{"garbage", "one", file, torn, "neither of its two copies can be used"},
		{"zeros", "one", file, make([]byte, len(good)), "neither of its two copies can be used"},
		{"short", "one", file, good[:len(good)/2], "it is cut short"},
		{"some text", "one", file, []byte("one\ntwo\n"), "it is cut short"},
		{"long", "one", file, append(bytes.Clone(good), 0), "a state file has"},
		{"a folder", "one", file, nil, "it is a folder"},
	} {
		path := filepath.Join(t.TempDir(), "state")
		write := func() error { return os.WriteFile(path, c.content, 0o600) }
		if c.content == nil {
			write = func() error { return os.Mkdir(path, 0o700) }
		}
		if err := write(); err != nil {
			t.Fatal(err)
		}
		start(t, c.hosts, c.host, "-state", path).refuses(path, c.want)
		if now, _ := os.ReadFile(path); !bytes.Equal(now, c.content) {
			t.Errorf("%s: the file has changed", c.what)
		}
	}
	start(t, file, "one", "-state", filepath.Join(dir, "none", "state")).refuses("none/state", "no such file or directory")
}

// refuses waits until a start has failed, with exit code 1 and one line on stderr about this path, and nothing else.
func (d *daemon) refuses(path, want string) {
	d.t.Helper()
	code := d.awaitExit(patience)
	if line := d.stderr.String(); code != 1 || strings.Count(line, "\n") != 1 || !strings.Contains(line, path) || !strings.Contains(line, want) {
		d.t.Errorf("%s: exit code %d, stderr %q; want 1, one line with %q", d.name, code, line, want)
	}
	if said := d.stdout.String(); said != "" {
		d.t.Errorf("%s: stdout %q", d.name, said)
	}
}

// Of a state file with one damaged copy, the other is used if it is the newer one; else what was promised last is lost,
// and the peer does not start.
func TestStateDamaged(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file, path := s.HostsFile(t, "one"), filepath.Join(t.TempDir(), "one")
	one := start(t, file, "one", "-state", path)
	one.awaitRecord("memb_list")
	one.signal(syscall.SIGTERM)
	one.awaitExit(patience)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	started := 0
	for i := range 2 {
		bad := bytes.Clone(good)
		bad[i*len(bad)/2+30] ^= 1 // in its checksum
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		one := start(t, file, "one", "-state", path)
		if one.stderr.Await(patience, one.exited, func() bool { return contains("memb_list: [<1>]")(one.stderr.Lines()) }) {
			started++
			one.signal(syscall.SIGKILL)
			one.awaitExit(patience)
		} else {
			one.refuses(path, "the newest of its two copies has a wrong checksum: what this host stored last is lost")
		}
	}
	if started != 1 {
		t.Errorf("it started with %d of the two copies alone, want the newer one", started)
	}
}

// inFolder starts a host whose state file is in a folder with a file system of its own, that no other process sees.
func (g *storing) inFolder(id int, folder, options string) *daemon {
	g.Helper()
	if os.Getuid() != 0 {
		g.Skip("it needs root")
	}
	script := fmt.Sprintf("mount --make-rprivate / && mount -t tmpfs -o %s none %s && exec %s -h %s -n %s -http 8082 -state %s/state",
		options, folder, program, g.file, g.names[id-1], folder)
	g.runs[id-1] = launch(g.T, g.names[id-1], exec.Command("unshare", "-m", "sh", "-c", script))
	return g.runs[id-1]
}

// In a folder that is full, or that cannot be written to, no peer starts.
func TestStateNoRoom(t *testing.T) {
	t.Parallel()
	g := newStoring(t)
	g.inFolder(1, t.TempDir(), "size=64k").refuses("state", "no space left on device")
	g.inFolder(2, t.TempDir(), "ro").refuses("state", "read-only file system")
}

// filled makes every write to a state file on its own file system fail: the file has lost its room, and the rest is full.
// It returns what ends that.
func filled(t *testing.T, folder string) (end func()) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(folder, "state"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	filler := filepath.Join(folder, "filler")
	fill := func() error { return os.WriteFile(filler, make([]byte, 1<<20), 0o600) }
	if err := fill(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the file system is not full: %v", err)
	}
	const keepSize, punchHole = 1, 2
	if err := syscall.Fallocate(int(f.Fd()), keepSize|punchHole, 0, 1<<18); err != nil {
		t.Fatal(err)
	}
	if err := fill(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the file system is not full: %v", err)
	}
	return func() {
		if err := os.Remove(filler); err != nil {
			t.Error(err)
		}
	}
}

// A peer whose disk has become full says so and stays a member, but promises nothing and is not ready, until it can write
// again.
func TestStateDiskFull(t *testing.T) {
	t.Parallel()
	g, folder := newStoring(t), t.TempDir()
	g.start(1, 2, 3, 4)
	before, _ := g.agree(1, 2, 3, 4)
	full := g.inFolder(5, folder, "size=512k")
	leader := before.View.Leader
	others := slices.DeleteFunc([]int{1, 2, 3, 4}, func(id int) bool { return id == leader })
	g.agree(1, 2, 3, 4, 5)
	end := filled(t, fmt.Sprint("/proc/", full.cmd.Process.Pid, "/root", folder))
	g.kill(others[0])
	full.awaitNotice("Error writing state: ")
	at := fmt.Sprint(g.Host(5), ":8082")
	const words = "its own disk does not store what this peer must remember"
	fetch(t, at, "/ready", says(503, words))
	full.awaitNotice("Waiting for its own disk")
	var four standing
	within(t, "a view of four, whose leader leads", func() bool {
		s, ok := g.ask(leader)
		four = s
		return ok && s.Ready && s.Leads && len(s.View.Members) == 4
	})
	number := four.View.Number
	fetch(t, at, "/status", says(200, fmt.Sprint(`"number":`, number), `"ready":false`, `"why":"not storing"`))
	fetch(t, at, "/metrics", says(200, "\nmemberly_ready 0\n", fmt.Sprintf("\nmemberly_view_number %d\n", number)))
	fetch(t, at, "/", says(200, words, "Does not store."))
	if out, _, code := commandOf(t, "status", at); code != 0 || !strings.Contains(out, fmt.Sprint(" follows ", g.names[leader-1], " in view ", number)) || !strings.Contains(out, "\nnot ready: "+words) {
		t.Errorf("status: code %d, %q", code, out)
	}
	g.kill(others[1:]...) // now a quorum is the leader and the one with the full disk
	meanwhile(t, 4*time.Second, "its vote is missing, and its heartbeats come", func() bool {
		s, ok := g.ask(leader)
		return ok && s.View.Number == number && !contains(`"peer 5 `)(g.runs[leader-1].stderr.Lines())
	})
	end()
	full.awaitNotice("State is written again")
	g.agree(leader, 5)
	for _, line := range full.stderr.Lines() {
		if !strings.HasPrefix(line, "{peer_id:5, view_id: ") {
			t.Errorf("stderr has %q", line)
		}
	}
	if said := full.stdout.Lines(); len(said) != 4 {
		t.Errorf("it says %q, want that the file is new, that it cannot be written, that it waits for its disk, and that it can write again", said)
	}
}

// With -local each host has a state file of its own, and the group goes on when all are started again.
func TestStateLocal(t *testing.T) {
	t.Parallel()
	file, path := loopback.NewSubnet(t).HostsFile(t, "one", "two", "three"), filepath.Join(t.TempDir(), "state")
	last := -1
	for range 2 {
		group := launch(t, "-local", exec.Command(program, "-h", file, "-local", "-state", path))
		var views []int
		group.await(&group.stderr, "a view of three with a later number", func(lines []string) bool {
			views = nil
			for _, line := range lines {
				var peer, view int
				_, record, _ := strings.Cut(line, "| ")
				fmt.Sscanf(record, "{peer_id:%d, view_id: %d,", &peer, &view)
				if strings.Count(record, ",") == 5 && strings.Contains(record, "memb_list") {
					views = append(views, view)
				}
			}
			return len(views) >= 3 && slices.Max(views) >= last
		})
		last = slices.Max(views)
		group.signal(syscall.SIGKILL)
		group.awaitExit(patience)
	}
	for _, name := range []string{"one", "two", "three"} {
		if _, err := os.Stat(path + "." + name); err != nil {
			t.Error(err)
		}
	}
}
