package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"memberly/peer/types"
)

func TestHostsFile(t *testing.T) {
	t.Parallel()
	cases := []struct {
		what, content string
		want          string // name=address of each host
	}{
		{"one host", "one", "one"},
		{"no last end of line", "one\ntwo", "one two"},
		{"blank lines and space", "\n  one \n\n \t\n\ttwo\t\n\n", "one two"},
		{"CRLF and byte order mark", "\ufeffone\r\n\r\ntwo 10.0.0.2\r\n", "one two=10.0.0.2"},
		{"byte order mark alone on its line", "\ufeff\none", "one"},
		{"addresses", "one 10.0.0.1\ntwo\t fd00::2\nthree\nfour fe80::4%eth0", "one=10.0.0.1 two=fd00::2 three four=fe80::4%eth0"},
		{"mapped address", "one ::ffff:10.0.0.1", "one=10.0.0.1"},
		{"loopback addresses", "one 127.0.0.1\ntwo 127.0.0.2", "one=127.0.0.1 two=127.0.0.2"},
		{"names of all kinds", "1\nUP\na-b_c\nx.example.org\ny.example.org.\n_z", "1 UP a-b_c x.example.org y.example.org. _z"},
		{"addresses for names", "10.0.0.1\nfd00::2\n10.0.0.3 10.0.0.4", "10.0.0.1=10.0.0.1 fd00::2=fd00::2 10.0.0.3=10.0.0.4"},
		{"a retired host", "one\n ! two 10.0.0.2 # broken\nthree", "one !two=10.0.0.2 three"},
		{"a name and address used again", "one\n!two 10.0.0.2\nthree\ntwo 10.0.0.2", "one !two=10.0.0.2 three two=10.0.0.2"},
		{"longest name", strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 126) + "a"},
		{"longest label", strings.Repeat("a", 63), strings.Repeat("a", 63)},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			hosts, err := parseHosts(c.content)
			if err != nil {
				t.Fatal(err)
			}
			if got := list(hosts); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// list returns hosts as the cases write them.
func list(hosts []types.Host) string {
	var all []string
	for _, h := range hosts {
		if h.Addr.IsValid() {
			h.Name += "=" + h.Addr.String()
		}
		if h.Retired {
			h.Name = "!" + h.Name
		}
		all = append(all, h.Name)
	}
	return strings.Join(all, " ")
}

func TestBadHostsFile(t *testing.T) {
	t.Parallel()
	cases := []struct {
		what, content, want string
	}{
		{"empty", "", "lists no host: write one host name per line"},
		{"blank", "\ufeff \r\n\n\t\n", "lists no host"},
		{"NUL", "one\n\x00\n", "line 2: not plain text"},
		{"control character", "one\ntw\x1bo\n", "line 2: not plain text"},
		{"no UTF-8", "one\n\ntwo\xff\n", "line 3: not plain text"},
		{"UTF-16", "\xff\xfeo\x00n\x00e\x00", "line 1: not plain text"},
		{"a program", "\x7fELF\x02\x01\x01", "line 1: not plain text"},
		{"a mark alone", "one\n ! # two", `line 2: "!" alone: write it before the name of the host that is retired`},
		{"a mark twice", "one\n!!two", `"!two" is not a host name`},
		{"all retired", "!one\n!two", "lists no host"},
		{"comments alone", "# hosts\n #one", "lists no host"},
		{"duplicate behind comments", "#\none\n# two\none # again", `line 4: host "one" is on line 2 already`},
		{"number of a zone", "one fe80::1%2", "the zone of \"fe80::1%2\" is a number: write the name of the interface"},
		{"too many columns", "one\ntwo 10.0.0.2 b", "line 2: 3 columns: write a host name and"},
		{"letters of elsewhere", "müller", `"müller" is not a host name: use letters`},
		{"slash", "one/two", "is not a host name"},
		{"comma", "one,two", "is not a host name"},
		{"port", "one:8080", "is not a host name"},
		{"option", "-n", "is not a host name"},
		{"dash at a label's end", "one-.org", "is not a host name"},
		{"dots", "one..two", "is not a host name"},
		{"dot", ".", "is not a host name"},
		{"long name", strings.Repeat("a.", 127) + "a", "is not a host name"},
		{"long label", strings.Repeat("a", 64), "is not a host name"},
		{"very long name", strings.Repeat("a", 1<<19), "is not a host name"},
		{"address gone wrong", "10.0.0.300", `"10.0.0.300" is not a host name`},
		{"bad address", "one 10.0.0.300", `line 1: "10.0.0.300" is not the IP address of a host`},
		{"address with port", "one 10.0.0.1:8080", "is not the IP address"},
		{"network", "one 10.0.0.0/24", "is not the IP address"},
		{"very long address", "one " + strings.Repeat("1", 1<<19), "is not the IP address"},
		{"very long zone", "one\nfe80::1%" + strings.Repeat("z", 1<<19), "is not a host name"},
		{"columns swapped", "10.0.0.1 one", `"one" is not the IP address of a host: write the name, then`},
		{"address of no host", "one 0.0.0.0", "is not the IP address of a host"},
		{"everybody's address", "one 255.255.255.255", "is not the IP address of a host"},
		{"a group's address", "one ff02::1", "is not the IP address of a host"},
		{"a group's address, mapped", "one ::ffff:224.0.0.1", "is not the IP address of a host"},
		{"address of no host as a name", "one\n::", "line 2: \"::\" is not the IP address"},
		{"duplicate name", "one\n\ntwo\none\n", `line 4: host "one" is on line 1 already: remove`},
		{"duplicate but for case", "one\nONE\n", `host "ONE" is on line 1 already`},
		{"duplicate but for a dot", "one.org\none.org.\n", "is on line 1 already"},
		{"duplicate address", "one 10.0.0.1\ntwo ::ffff:10.0.0.1\n", "line 2: address 10.0.0.1 is on line 1 already: give each host its own"},
		{"duplicate address as a name", "10.0.0.1\ntwo 10.0.0.1\n", "address 10.0.0.1 is on line 1 already"},
		{"duplicate address, spelt otherwise", "fd00::1\nfd00:0::1\n", `host "fd00:0::1" is on line 1 already`},
		{"too many hosts", numbered(types.MaxHosts + 1), "line 4097: more than 4096 hosts: list at most that many"},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			path := write(t, c.content)
			for _, local := range []bool{false, true} {
				_, err := Parse([]string{"-h", path, fmt.Sprintf("-local=%t", local)}, on("one"))
				wants(t, err, fmt.Sprintf("hosts file %q: ", path), c.want)
				if _, ok := errors.AsType[UsageError](err); ok {
					t.Errorf("%v is a UsageError", err)
				}
			}
		})
	}
	if hosts, err := parseHosts(numbered(types.MaxHosts)); err != nil || len(hosts) != types.MaxHosts {
		t.Errorf("%d hosts: got %d, %v", types.MaxHosts, len(hosts), err)
	}
}

// numbered returns a hosts file with n hosts.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "host%d\n", i)
	}
	return b.String()
}

func TestUnreadableHostsFile(t *testing.T) {
	t.Parallel()
	big := write(t, five)
	if err := os.Truncate(big, 10<<20); err != nil {
		t.Fatal(err)
	}
	cases := []struct{ what, path, want string }{
		{"missing", filepath.Join(t.TempDir(), "nosuch"), "no such file or directory: name a readable text file"},
		{"directory", t.TempDir(), "is a directory: name a readable text file"},
		{"10 MB", big, "larger than 1 MiB: name a text file"},
		{"endless", "/dev/zero", "larger than 1 MiB: name a text file"},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			_, err := Parse([]string{"-h", c.path}, unasked(t))
			unreadable(t, err, c.path, c.want)
		})
	}
}

// unreadable checks that err says of the hosts file at path what is wrong with it, and is not one of usage.
func unreadable(t *testing.T, err error, path, want string) {
	t.Helper()
	wants(t, err, fmt.Sprintf("hosts file %q: ", path), want)
	if _, ok := errors.AsType[UsageError](err); ok {
		t.Errorf("%v is a UsageError", err)
	}
}

// The file of a host that runs must still have it where it was.
func TestRereadHosts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, content, want string }{
		{"the same", "one\ntwo\nthree\n", ""},
		{"spelt otherwise", "one\nTWO. 10.0.0.2\nthree\n", ""},
		{"others changed", "# hosts\n!eins\ntwo\ndrei\nvier\n", ""},
		{"nothing after it", "one\ntwo\n", ""},
		{"a line before it", "zero\n\none\ntwo\n", `line 3: "one" is where this host, "two", was: keep the order of the lines`},
		{"it is gone", "one\nthree\n", `line 2: "three" is where this host, "two", was`},
		{"it is retired", "one\n\n!two\nthree", `line 3: this host, "two", is retired: end its peer, or remove the !`},
		{"too short", "one\n", `it lists 1 hosts, and this host, "two", was host 2: keep the line of every host, as !NAME`},
		{"retired, and added again", "one\n!two\ntwo\n", "line 2: this host"},
		{"broken", "one\ntwo\na,b\n", "line 3: \"a,b\" is not a host name"},
		{"empty", "", "lists no host"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			hosts, err := RereadHosts(write(t, c.content), 2, "two")
			if c.want == "" {
				if want, _ := parseHosts(c.content); err != nil || list(hosts) != list(want) {
					t.Errorf("got %s, %v", list(hosts), err)
				}
				return
			}
			wants(t, err, c.want)
		})
	}
	_, err := RereadHosts(filepath.Join(t.TempDir(), "none"), 2, "two")
	wants(t, err, "no such file or directory")
}

// A file of just 1 MiB is read, from a pipe as from a disk.
func TestHostsFileFromPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		defer w.Close()
		w.WriteString(five + strings.Repeat("\n", 1<<20-len(five)))
	}()
	c, err := Parse([]string{"-h", fmt.Sprintf("/dev/fd/%d", r.Fd())}, on("five"))
	if err != nil || len(c.Hosts) != 5 || c.ID != 5 {
		t.Errorf("got %d hosts, id %d, %v", len(c.Hosts), c.ID, err)
	}
}

// The digest goes by the names and their order, and not by how they are written.
func TestDigest(t *testing.T) {
	t.Parallel()
	of := func(content string) uint64 {
		hosts, err := parseHosts(content)
		if err != nil {
			t.Fatal(err)
		}
		return types.Digest(hosts)
	}
	plain := of("one\ntwo\n")
	for _, same := range []string{"ONE\ntwo", "one 10.0.0.1\r\n\r\n two.\r\n"} {
		if of(same) != plain {
			t.Errorf("digest of %q differs", same)
		}
	}
	for _, other := range []string{"two\none", "one", "one\ntwo\nthree", "onetwo"} {
		if of(other) == plain {
			t.Errorf("digest of %q does not differ", other)
		}
	}
}

func FuzzHostsFile(f *testing.F) {
	for _, seed := range []string{five, "\ufeffone 10.0.0.1\r\ntwo fd00::2%eth0\n", "::ffff:1.2.3.4\n1.2.3.4.\n", "a.\nb 0.0.0.0", "!0\n00\n!0 10.0.0.1\n0 10.0.0.1", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		hosts, err := parseHosts(content)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 1000 {
				t.Errorf("error is no line for a person: %q", err)
			}
			return
		}
		names, addrs := make(map[string]bool), make(map[netip.Addr]bool)
		var again strings.Builder
		for _, h := range hosts {
			fmt.Fprintln(&again, h)
			if h.Retired {
				continue // another may have its name and address
			}
			if names[types.NameKey(h.Name)] || addrs[h.Addr] {
				t.Errorf("%v is there twice", h)
			}
			names[types.NameKey(h.Name)] = true
			if h.Addr.IsValid() {
				addrs[h.Addr] = true
			}
		}
		if back, err := parseHosts(again.String()); err != nil || list(back) != list(hosts) {
			t.Errorf("%q reads back as %s, %v", again.String(), list(back), err)
		}
	})
}
