package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

const five = "one\ntwo\nthree\nfour\nfive\n"

// write returns the path of a new file with this content.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts.txt")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// on returns a function that returns this host name.
func on(name string) func() (string, error) {
	return func() (string, error) { return name, nil }
}

// unasked returns a function that fails the test if Parse calls it for the host name.
func unasked(t *testing.T) func() (string, error) {
	return func() (string, error) {
		t.Error("asked for the machine's host name")
		return "", errors.New("asked")
	}
}

// wants checks that err contains all of the words, on one line.
func wants(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") || len(err.Error()) > 500 {
		t.Errorf("error is no line for a person: %q", err)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	path := write(t, five)
	cases := []struct {
		args string
		want func(*Config) // what differs from the plain command line
	}{
		{"", func(*Config) {}},
		{"-d 2", func(c *Config) { c.Delay = 2 * time.Second }},
		{"-d 08 -c 0", func(c *Config) { c.Delay = 8 * time.Second }},
		{"-c=4 --d=0", func(c *Config) { c.Crash = 4 * time.Second }},
		{"-d 31536000", func(c *Config) { c.Delay = 365 * 24 * time.Hour }},
		{"-http 8082", func(c *Config) { c.HTTP = netip.MustParseAddrPort("127.0.0.1:8082") }},
		{"-http :8082", func(c *Config) { c.HTTP = netip.MustParseAddrPort("127.0.0.1:8082") }},
		{"-http [::]:8082", func(c *Config) { c.HTTP = netip.MustParseAddrPort("[::]:8082") }},
		{"-t", func(c *Config) { c.Drill = true }},
		{"-t=false -n two", func(c *Config) { c.ID, c.Name = 2, "two" }},
		{"-n FOUR", func(c *Config) { c.ID, c.Name = 4, "four" }},
		{"-reform", func(c *Config) { c.Reform = true }},
		{"-join-only", func(c *Config) { c.JoinOnly = true }},
		{"-hold true", func(c *Config) { c.Hold = "true" }},
		{"-hold true -hold-once", func(c *Config) { c.Hold, c.HoldOnce = "true", true }},
		{"-times", func(c *Config) { c.Times = true }},
		{"-exec true", func(c *Config) { c.Exec = "true" }},
		{"-heartbeat 50ms -monitor 100ms", func(c *Config) {
			c.Heartbeat, c.Monitor = 50*time.Millisecond, 100*time.Millisecond
		}},
		{"-monitor 1m0.5s", func(c *Config) { c.Monitor = 60500 * time.Millisecond }},
		{"-heartbeat 1h -monitor 24h", func(c *Config) { c.Heartbeat, c.Monitor = time.Hour, 24*time.Hour }},
		{"-local -d 2 -c 4 -t", func(c *Config) {
			c.Local, c.Delay, c.Crash, c.Drill = true, 2*time.Second, 4*time.Second, true
			c.ID, c.Name = 0, ""
		}},
	}
	for _, c := range cases {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			got, err := Parse(append([]string{"-h", path}, strings.Fields(c.args)...), on("one"))
			if err != nil {
				t.Fatal(err)
			}
			want := Config{HostsFile: path, Name: "one", ID: 1, Heartbeat: 1100 * time.Millisecond, Monitor: 2200 * time.Millisecond}
			for name := range strings.FieldsSeq(five) {
				want.Hosts = append(want.Hosts, types.Host{Name: name})
			}
			want.Digest = types.Digest(want.Hosts)
			c.want(&want)
			if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
				t.Errorf("got  %s\nwant %s", g, w)
			}
		})
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	path, three := write(t, five), write(t, "one\ntwo\nthree\n")
	cases := []struct {
		args string // F stands for a file of five hosts, T for one of three
		want string
	}{
		{"", "-h FILE"},
		{"-d 1", "-h FILE"},
		{"-h", "-h needs the hosts file; for help: memberly help"},
		{"-h F -heartbaet 1s", "did you mean -heartbeat?"},
		{"-h F -name one", "did you mean -n?"},
		{"-h F -key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "-key has a key itself: write it to a file"},
		{"-h=", "-h: give the path"},
		{"-h F -d", "-d"},
		{"-h F -d -1", `"-1" for flag -d: give whole seconds`},
		{"-h F -c -1", `"-1" for flag -c: give whole seconds`},
		{"-h F -d 1.5", "whole seconds"},
		{"-h F -d 2s", "whole seconds"},
		{"-h F -c soon", "whole seconds"},
		{"-h F -d=", "whole seconds"},
		{"-h F -d 31536001", "from 0 to 31536000"},
		{"-h F -c 99999999999999999999", "from 0 to 31536000"},
		{"-h F -t=perhaps", "-t"},
		{"-h F -t true", `unexpected argument "true"`},
		{"-h F one", `unexpected argument "one"`},
		{"-h F -- -t", `unexpected argument "-t"`},
		{"-version please", `unexpected argument "please"`},
		{"-h F -n=", "-n: give this host's name"},
		{"-h F -x", "-x"},
		{"-h F -http", "-http"},
		{"-h F -http localhost", "-http: give a port"},
		{"-h F -http 127.0.0.1", "-http: give a port"},
		{"-h F -http 10.0.0.1:0", "-http: give a port"},
		{"-h F -http 65536", "-http: give a port"},
		{"-h F -local -http 127.0.0.1:8082", "give the port alone"},
		{"-h F -hold=", "-hold: give the command"},
		{"-h F -t -join-only", "-t is for the host that makes the group"},
		{"-h F -local -join-only", "-join-only is for a host whose group runs elsewhere"},
		{"-h F -hold-once", "-hold-once is for the command of -hold"},
		{"-h F -exec=", "-exec: give the command"},
		{"-h F -key=", "-key: give the path of the key file"},
		{"-h F -key", "-key"},
		{"-h F -port 8080", "-port"},
		{"-h F -heartbeat 0s", "give a duration"},
		{"-h F -heartbeat -1s", "give a duration"},
		{"-h F -heartbeat 1", "with its unit"},
		{"-h F -heartbeat 1ns", "from 1ms to 1h"},
		{"-h F -heartbeat 2h", "from 1ms to 1h"},
		{"-h F -monitor 25h", "from 1ms to 24h"},
		{"-h F -monitor never", "give a duration"},
		{"-h F -heartbeat 2s", "-monitor 2.2s is less than twice -heartbeat 2s: make -monitor 4s or longer"},
		{"-h F -monitor 2.199999999s", "make -monitor 2.2s or longer"},
		{"-h F -heartbeat 1000001ns -monitor 2000001ns", "less than twice"},
		{"-h F -local -n one", "leave one of the two out"},
		{"-h F -t -n two", `for the first host, "one"`},
		{"-h T -t", "at least 4 hosts"},
		{"-h T -t -local", "at least 4 hosts"},
	}
	for _, c := range cases {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(c.args)
			for i, a := range args {
				switch a {
				case "F":
					args[i] = path
				case "T":
					args[i] = three
				}
			}
			got, err := Parse(args, on("one"))
			wants(t, err, c.want)
			if _, ok := errors.AsType[UsageError](err); !ok {
				t.Errorf("%T is no UsageError", err)
			}
			if got.HostsFile != "" || got.Hosts != nil {
				t.Errorf("got %+v with an error", got)
			}
		})
	}
}

// Parse reads the key file, with and without -local. A fault of it is no UsageError.
// Windows lacks what some flags need, and must say so before anything starts.
func TestSystems(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"-exec true", "-hold true", "-key group.key", "-local"} {
		c, err := parseFlags(append([]string{"-h", "hosts.txt"}, strings.Fields(args)...), func(string) (string, bool) { return "", false })
		if err != nil {
			t.Fatal(err)
		}
		flag, _, _ := strings.Cut(args, " ")
		wants(t, c.checkSystem("windows"), flag+" is not available on Windows", "another", "leave it out")
		if err := c.checkSystem("linux"); err != nil {
			t.Errorf("%s on Linux: %v", args, err)
		}
	}
	if err := (&Config{HostsFile: "hosts.txt", State: "state"}).checkSystem("windows"); err != nil {
		t.Error(err)
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	hosts, sound, bad := write(t, five), write(t, strings.Repeat("A", 43)+"=\n"), write(t, "secret\n")
	for _, local := range []string{"-local=false", "-local"} {
		c, err := Parse([]string{"-h", hosts, "-key", sound, local}, on("one"))
		if err != nil || c.KeyFile != sound || c.Keys.Len() != 1 {
			t.Errorf("%s: %d keys of %q, %v", local, c.Keys.Len(), c.KeyFile, err)
		}
		c, err = Parse([]string{"-h", hosts, "-key", bad, local}, on("one"))
		wants(t, err, fmt.Sprintf("key file %q: line 1: not a key", bad))
		if _, ok := errors.AsType[UsageError](err); ok || c.Hosts != nil {
			t.Errorf("%s: %+v, %v", local, c, err)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"-help", "--help"} {
		if _, err := Parse([]string{"-h", "nosuch", arg}, unasked(t)); !errors.Is(err, ErrHelp) {
			t.Errorf("%s: error %v, want ErrHelp", arg, err)
		}
	}
	if c, err := Parse([]string{"-version"}, unasked(t)); err != nil || !c.Version {
		t.Errorf("-version: %+v, %v", c, err)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	lines := strings.Split(Usage(), "\n")
	if len(lines) > 62 || lines[len(lines)-1] != "" {
		t.Errorf("the usage text has %d lines, and ends with %q", len(lines), lines[len(lines)-1])
	}
	for _, line := range lines {
		if len(line) > 80 || strings.TrimRight(line, " ") != line {
			t.Errorf("line is too wide, or ends with space: %q", line)
		}
	}
	for _, f := range []string{"-h FILE", "-d N", "-c N", "-t ", "-n NAME", "-join-only", "-hold-once", "-times", "-heartbeat D", "-monitor D", "-state FILE", "-key FILE", "-reform", "-exec COMMAND", "-hold COMMAND", "-http ADDR", "-local", "-version"} {
		if !strings.Contains(Usage(), "\n  "+f) {
			t.Errorf("the usage text does not explain %s", f)
		}
	}
}

func TestFindSelf(t *testing.T) {
	t.Parallel()
	cases := []struct {
		what, hosts, machine string
		option               string // -n
		state                bool
		want                 types.ID
		err                  string
	}{
		{what: "the same", hosts: "one two", machine: "two", want: 2},
		{what: "but for case", hosts: "one Two", machine: "tWO", want: 2},
		{what: "but for the last dot", hosts: "one two.org", machine: "two.org.", want: 2},
		{what: "machine's name is longer", hosts: "one two", machine: "two.example.org", want: 2},
		{what: "machine's name is shorter", hosts: "one.org two.example.org", machine: "two", want: 2},
		{what: "the same goes first", hosts: "two.a.org two two.b.org", machine: "two", want: 2},
		{what: "the same goes first, longer", hosts: "two two.a.org", machine: "two.a.org", want: 2},
		{what: "elsewhere", hosts: "one two.a.org", machine: "two.b.org", err: `this host, "two.b.org", is not in`},
		{what: "more than the first label", hosts: "two.a", machine: "two.a.org", err: "is not in"},
		{what: "half a label", hosts: "two", machine: "twofold.org", err: "is not in"},
		{what: "ambiguous", hosts: "two.a.org two.b.org", machine: "two", err: `could be "two.a.org" or "two.b.org"`},
		{what: "retired", hosts: "one !two three", machine: "two", err: `this host, "two", is retired in hosts file`},
		{what: "retired, with a state file", hosts: "one !two three", machine: "two", state: true, want: 2},
		{what: "retired, machine's name is longer", hosts: "one !two", machine: "two.org", err: `this host, "two.org", is retired in hosts file`},
		{what: "retired, machine's name is longer, with a state file", hosts: "one !two", machine: "two.org", state: true, want: 2},
		{what: "retired, machine's name is shorter, with a state file", hosts: "one !two.org", machine: "two", state: true, want: 2},
		{what: "retired, -n is no short form", hosts: "one !two.org", machine: "two.org", option: "two", state: true, err: "is not in"},
		{what: "retired, ambiguous", hosts: "one !two.a.org !two.b.org", machine: "two", state: true, err: `could be "two.a.org" or "two.b.org"`},
		{what: "retired twice", hosts: "one !two three !two", machine: "two", state: true, want: 4},
		{what: "retired twice, machine's name is shorter", hosts: "!two.org one !two.org", machine: "two", state: true, want: 3},
		{what: "retired, and listed again under a longer name", hosts: "!two one two.org", machine: "two", want: 3},
		{what: "retired, and listed again", hosts: "one !two three two", machine: "two", want: 4},
		{what: "not listed", hosts: "one two", machine: "six", err: `this host, "six", is not in hosts file`},
		{what: "no name", hosts: "one", machine: "", err: "is not in"},
		{what: "-n", hosts: "one two", machine: "one", option: "two", want: 2},
		{what: "-n is no short form", hosts: "one two.org", machine: "two.org", option: "two", err: `this host, "two", is not in`},
		{what: "-n is no long form", hosts: "one two", machine: "two", option: "two.org", err: "is not in"},
		{what: "-n with an address", hosts: "one fd00::2", machine: "one", option: "fd00:0::2", want: 2},
		{what: "an address has no first label", hosts: "10.0.0.1", machine: "10", err: "is not in"},
		{what: "nor has the machine's", hosts: "10", machine: "10.0.0.1", err: "is not in"},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			path := write(t, strings.ReplaceAll(c.hosts, " ", "\n"))
			args, hostname := []string{"-h", path}, on(c.machine)
			if c.option != "" {
				args, hostname = append(args, "-n", c.option), unasked(t)
			}
			if c.state {
				args = append(args, "-state", filepath.Join(t.TempDir(), "state"))
			}
			got, err := Parse(args, hostname)
			if c.err != "" {
				wants(t, err, c.err, "-n NAME", path, "to the file")
				return
			}
			if err != nil || got.ID != c.want || got.Name != got.Hosts[c.want-1].Name {
				t.Errorf("got id %d, name %q, %v; want id %d", got.ID, got.Name, err, c.want)
			}
		})
	}
}

func TestNoHostName(t *testing.T) {
	t.Parallel()
	path, failed := write(t, five), errors.New("kernel is out of names")
	_, err := Parse([]string{"-h", path}, func() (string, error) { return "", failed })
	wants(t, err, failed.Error(), "-n NAME", path)
	if !errors.Is(err, failed) {
		t.Errorf("%v does not wrap its cause", err)
	}
}

// With -local this host need not be listed. Parse keeps the file's addresses, because package local
// decides whether to use them.
func TestLocal(t *testing.T) {
	t.Parallel()
	c, err := Parse([]string{"-local", "-h", write(t, "one 10.0.0.1\n10.0.0.2\n")}, unasked(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := list(c.Hosts); got != "one=10.0.0.1 10.0.0.2=10.0.0.2" || c.ID != 0 || c.Name != "" {
		t.Errorf("hosts %s, id %d, name %q", got, c.ID, c.Name)
	}
}
