package local

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/config"
	"memberly/peer/types"
)

// This test binary is also the program that Run starts for each host, if LOCAL_TEST_CHILD says how to
// end.
func TestMain(m *testing.M) {
	if how := os.Getenv("LOCAL_TEST_CHILD"); how != "" {
		os.Exit(play(how, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// play is a host's process: it prints its arguments and its hosts file, and ends.
func play(how string, args []string) int {
	file, err := os.ReadFile(hostsFileDescriptor)
	fmt.Printf("%s\n%q %v\n", strings.Join(args, " "), file, err)
	switch {
	case how == "crash" && slices.Contains(args, "-c"):
		fmt.Fprintln(os.Stderr, `{peer_id:3, view_id: 3, leader: 1, message:"crashing"}`)
		return 1
	case how == "fail" && slices.Contains(args, "-t"):
		fmt.Fprint(os.Stderr, "memberly: no end of line")
		return 1
	}
	return 0
}

func threeHosts() config.Config {
	return config.Config{Hosts: []types.Host{{Name: "one"}, {Name: "two"}, {Name: "three"}}, Local: true, KeyFile: "group.key",
		Delay: 2 * time.Second, Crash: 4 * time.Second, Drill: true, Times: true, Heartbeat: time.Second, Monitor: 3 * time.Second}
}

// Each host gets its own arguments, and the hosts file through a pipe. Its lines begin with its name, and
// its end decides the exit code.
func TestRun(t *testing.T) {
	for _, c := range []struct {
		how    string
		code   int
		stdout []string
		stderr string
	}{
		{"end", 0, []string{"one ended with code 0", "three ended with code 0"}, ""},
		{"crash", 0, []string{"one ended with code 0", "three exited with code 1"},
			"three | {peer_id:3, view_id: 3, leader: 1, message:\"crashing\"}\n"},
		{"fail", 1, []string{"one exited with code 1"}, "one   | memberly: no end of line\n"},
	} {
		t.Run(c.how, func(t *testing.T) {
			t.Setenv("LOCAL_TEST_CHILD", c.how)
			var stdout, stderr strings.Builder
			if code := Run(t.Context(), threeHosts(), &stdout, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			lines := strings.Split(stdout.String(), "\n")
			if lines[0] != "host   address          process" || !strings.HasPrefix(lines[3], "three  127.0.0.3        ") {
				t.Errorf("the table is\n%s", stdout.String())
			}
			file := `"one 127.0.0.1\ntwo 127.0.0.2\nthree 127.0.0.3\n" <nil>`
			for _, want := range append(c.stdout,
				"one   | -h /dev/fd/3 -n one -key group.key -times -t -heartbeat 1s -monitor 3s",
				"two   | -h /dev/fd/3 -n two -d 2 -key group.key -times -heartbeat 1s -monitor 3s",
				"three | -h /dev/fd/3 -n three -d 4 -c 4 -key group.key -times -heartbeat 1s -monitor 3s",
				"one   | "+file, "two   | "+file, "three | "+file) {
				if !slices.Contains(lines[4:], want) {
					t.Errorf("stdout lacks %q:\n%s", want, stdout.String())
				}
			}
			if stderr.String() != c.stderr {
				t.Errorf("stderr is %q, want %q", stderr.String(), c.stderr)
			}
		})
	}
}

// Hosts that are retired have no process, keep their ids, and are in the hosts file. They delay nobody, and the last of the
// others crashes.
func TestRunRetired(t *testing.T) {
	t.Setenv("LOCAL_TEST_CHILD", "end")
	c := threeHosts()
	c.Hosts = []types.Host{{Name: "one"}, {Name: "two-and-so-on", Retired: true}, {Name: "three"}, {Name: "four", Retired: true}}
	var stdout, stderr strings.Builder
	if code := Run(t.Context(), c, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
	lines := strings.Split(stdout.String(), "\n")
	for _, want := range []string{"one   | -h /dev/fd/3 -n one -key group.key -times -t -heartbeat 1s -monitor 3s",
		"three | -h /dev/fd/3 -n three -d 2 -c 4 -key group.key -times -heartbeat 1s -monitor 3s",
		`three | "one 127.0.0.1\n!two-and-so-on 127.0.0.2\nthree 127.0.0.3\n!four 127.0.0.4\n" <nil>`, "three ended with code 0"} {
		if !slices.Contains(lines, want) {
			t.Errorf("stdout lacks %q:\n%s", want, stdout.String())
		}
	}
	if !strings.HasPrefix(lines[2], "three  127.0.0.3  ") || strings.Contains(stdout.String(), "four   |") {
		t.Errorf("it starts other hosts:\n%s", stdout.String())
	}
}

// Run reports a program that does not exist, and leaves no process running.
func TestStartFails(t *testing.T) {
	t.Parallel()
	var stdout, stderr strings.Builder
	g := newGroup(threeHosts(), "/no/such/program", &stdout, &stderr)
	if err := g.start(); err == nil || !strings.Contains(err.Error(), "starting host one: ") {
		t.Errorf("the error is %v", err)
	}
}

// Only under `go run` does Run wait for its end, and the end of the context ends the wait.
func TestAwaitOrphaned(t *testing.T) {
	t.Setenv("GOCACHE", "/cache")
	for path, want := range map[string]bool{
		"/tmp/go-build1/b001/exe/memberly": true, "/root/.cache/go-build/0a/0a1b-d/memberly": true,
		"/cache/0a/0a1b-d/memberly": true, "/usr/local/bin/memberly": false,
	} {
		if got := underGoRun(path); got != want {
			t.Errorf("underGoRun(%q) = %t", path, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	awaitOrphaned(ctx)
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	many := make([]types.Host, 256)
	for _, c := range []struct {
		what  string
		hosts []types.Host
		want  string // of the last host
	}{
		{"none given", []types.Host{{Name: "one"}, {Name: "two"}}, "127.0.0.2"},
		{"many", many, "127.0.1.0"},
		{"some given", []types.Host{{Addr: netip.MustParseAddr("127.0.5.1")}, {}}, "127.0.0.2"},
		{"others given", []types.Host{{Addr: netip.MustParseAddr("127.0.5.1")}, {Addr: netip.MustParseAddr("10.0.0.1")}}, "127.0.0.2"},
		{"all given", []types.Host{{Addr: netip.MustParseAddr("127.0.5.1")}, {Addr: netip.MustParseAddr("127.0.5.9")}}, "127.0.5.9"},
	} {
		got := addresses(c.hosts)
		if last := got[len(got)-1].Addr.String(); len(got) != len(c.hosts) || last != c.want {
			t.Errorf("%s: the last of %d is at %s, want %s", c.what, len(got), last, c.want)
		}
	}
}

// Lines come out whole, however they come in. One without end does not fill the memory.
func TestLineWriter(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	var seen []string
	w := newStream(&out).writer("one | ", func(line []byte) { seen = append(seen, string(line)) })
	for _, part := range []string{"a", "b\nc\n\nd", "", "e"} {
		fmt.Fprint(w, part)
	}
	if got, want := out.String(), "one | ab\none | c\none | \n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	w.flush()
	w.flush()
	if !slices.Equal(seen, []string{"ab", "c", "", "de"}) {
		t.Errorf("saw %q", seen)
	}
	out.Reset()
	fmt.Fprint(w, strings.Repeat("x", maxLine))
	if got, want := out.Len(), len("one | \n")+maxLine; got != want {
		t.Errorf("wrote %d bytes of a long line, want %d", got, want)
	}
}

// Only terminals get colours.
func TestPrefix(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	g := newGroup(threeHosts(), "", &out, &out)
	if got, want := g.prefix(1, g.stdout), "one   | "; got != want {
		t.Errorf("prefix %q, want %q", got, want)
	}
	g.stdout.colour = true
	if got, want := g.prefix(2, g.stdout), "\x1b[32mtwo   | \x1b[0m"; got != want {
		t.Errorf("prefix %q, want %q", got, want)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	if isTerminal(write) {
		t.Error("a pipe is taken for a terminal")
	}
}
