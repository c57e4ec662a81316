package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"memberly/peer/check/loopback"
)

// newKeys returns n new keys, as keygen prints them.
func newKeys(t *testing.T, n int) []string {
	t.Helper()
	var keys []string
	for range n {
		code, out, errs := execute(t, "", "keygen")
		if code != 0 {
			t.Fatalf("keygen: exit code %d, %s", code, errs)
		}
		keys = append(keys, strings.TrimSpace(out))
	}
	return keys
}

// keyFile writes a key file, and returns its path.
func keyFile(t *testing.T, keys ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "group.key")
	writeKeys(t, path, keys...)
	return path
}

func writeKeys(t *testing.T, path string, keys ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A group with keys forms, removes a member that is killed or frozen, and lets it join again.
func TestSealedGroup(t *testing.T) {
	t.Parallel()
	file, key := loopback.NewSubnet(t).HostsFile(t, "one", "two", "three"), keyFile(t, newKeys(t, 1)...)
	var daemons []*daemon
	for _, name := range []string{"one", "two", "three"} {
		daemons = append(daemons, start(t, file, name, "-key", key))
	}
	awaitView(daemons, 3)
	two, three := daemons[1], daemons[2]
	three.signal(syscall.SIGKILL)
	for _, d := range daemons[:2] {
		d.awaitRecord(`message:"peer 3 unreachable"`)
	}
	awaitView(daemons[:2], 4)
	daemons[2] = start(t, file, "three", "-key", key)
	awaitView(daemons, 5)
	two.signal(syscall.SIGSTOP)
	daemons[0].awaitRecord("view_id: 6, leader: 1, memb_list: [")
	two.signal(syscall.SIGCONT)
	two.awaitRecord("removed from the group")
	awaitView(daemons, 7)
	for _, d := range daemons {
		if lines := d.stdout.Lines(); contains("Error opening message")(lines) || contains("Error decoding")(lines) {
			t.Errorf("%s said %q", d.name, lines)
		}
	}
}

// The group keeps out a host with another key, with none, or with one where the group has none. Both
// sides report the remedy, once for each address. With the right key the host may join.
func TestKeptOut(t *testing.T) {
	t.Parallel()
	keys := newKeys(t, 2)
	right, wrong := []string{"-key", keyFile(t, keys[0])}, []string{"-key", keyFile(t, keys[1])}
	const (
		unsealed = "it is not sealed with a key, as all must be that comes here: start all with the same -key, or none"
		unopened = "no key here opens it: it was forged or changed, or its sender has other keys: give all the same -key"
		sealed   = "it is sealed with a key, and this peer has none: start all with the same -key, or none"
	)
	for _, c := range []struct {
		what         string
		group, guest []string
		told, says   string
	}{
		{"another key", right, wrong, unopened, unopened},
		{"no key", right, nil, unsealed, sealed},
		{"a key in a group without", nil, right, sealed, unsealed},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s := loopback.NewSubnet(t)
			file := s.HostsFile(t, "one", "two", "three")
			daemons := []*daemon{start(t, file, "one", c.group...), start(t, file, "two", c.group...)}
			awaitView(daemons, 2)
			three := start(t, file, "three", c.guest...)
			three.awaitNotice(fmt.Sprintf("%s (from %v)", c.says, s.Host(1)))
			three.awaitNotice("Waiting to be let into the group")
			for _, d := range daemons {
				d.awaitNotice(fmt.Sprintf("%s (from %v)", c.told, s.Host(3)))
				if n := d.countNotices("from"); n != len(c.group)/2+1 { // that keys were read is one
					lines := d.stdout.Lines()
					t.Errorf("%s said %q", d.name, lines)
				}
			}
			if n := three.countNotices(fmt.Sprintf("(from %v)", s.Host(1))); n != 1 {
				t.Errorf("three said %d lines of one, want 1", n)
			}
			three.signal(syscall.SIGTERM)
			three.awaitExit(patience)
			if lines := three.stderr.Lines(); len(lines) > 0 {
				t.Errorf("three wrote %q", lines)
			}
			awaitView(append(daemons, start(t, file, "three", c.group...)), 3)
		})
	}
}

// countNotices returns how many lines on stdout contain text.
func (d *daemon) countNotices(text string) int {
	lines := d.stdout.Lines()
	return len(slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, text) }))
}

// Changing the key of a running group in three steps loses no member, changes no view and drops
// nothing. In the end only the new key lets a host join.
func TestRotation(t *testing.T) {
	t.Parallel()
	for _, together := range []bool{false, true} {
		t.Run(map[bool]string{false: "host by host", true: "all at once"}[together], func(t *testing.T) {
			t.Parallel()
			rotate(t, together)
		})
	}
}

func rotate(t *testing.T, together bool) {
	names, keys := []string{"one", "two", "three"}, newKeys(t, 2)
	old, next := keys[0], keys[1]
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, append(names, "four")...)
	var daemons []*daemon
	var files []string
	for i, name := range names {
		files = append(files, keyFile(t, old))
		daemons = append(daemons, start(t, file, name, "-key", files[i], "-http", "8082"))
	}
	awaitView(daemons, 3)
	reads := 1
	for _, step := range [][]string{{old, next}, {next, old}, {next}} {
		reads++
		for i, d := range daemons {
			writeKeys(t, files[i], step...)
			d.signal(syscall.SIGHUP)
			if !together {
				d.awaitReads(reads)
			}
		}
		for i, d := range daemons {
			d.awaitReads(reads)
			heardAll(t, fmt.Sprintf("%v:8082", s.Host(i+1)), 3)
		}
	}
	writeKeys(t, files[0], "no key")
	daemons[0].signal(syscall.SIGHUP)
	daemons[0].awaitNotice("line 1: not a key: write 44 characters of base64, as memberly keygen prints them, or # before a comment; the keys in use stay")
	for i := range daemons {
		fetch(t, fmt.Sprintf("%v:8082", s.Host(i+1)), "/metrics", says(200, `reason="unopened"} 0`+"\n", `reason="unsealed"} 0`+"\n"))
	}
	late := start(t, file, "four", "-key", keyFile(t, old))
	late.awaitNotice("no key here opens it")
	late.signal(syscall.SIGTERM)
	late.awaitExit(patience)
	four := start(t, file, "four", "-key", keyFile(t, next))
	awaitView(append(daemons, four), 4)
	for _, d := range daemons {
		lines := d.stderr.Lines()
		if contains("message:")(lines) {
			t.Errorf("%s wrote %q", d.name, lines)
		}
	}
}

// awaitReads waits until keys were read n times.
func (d *daemon) awaitReads(n int) {
	d.t.Helper()
	d.await(&d.stdout, fmt.Sprintf("line of keys read, the %d.", n), func([]string) bool { return d.countNotices("Read ")-d.countNotices("hosts from ") == n })
}

// heardAll waits until a peer has heard each other member twice more, as its status shows, which is
// long enough to detect silent ones.
func heardAll(t *testing.T, at string, members int) {
	t.Helper()
	var first float64
	fetch(t, at, "/metrics", func(_ int, body string) bool {
		first = metric(body, "memberly_heartbeats_received_total")
		return true
	})
	fetch(t, at, "/metrics", func(_ int, body string) bool {
		return metric(body, "memberly_heartbeats_received_total") >= first+2*float64(members-1)
	})
	fetch(t, at, "/metrics", says(200, fmt.Sprintf("memberly_members_reachable %d\n", members)))
}

func metric(body, name string) (value float64) {
	_, rest, _ := strings.Cut(body, "\n"+name+" ")
	fmt.Sscan(rest, &value)
	return value
}

// SIGHUP to -local makes every host read its keys again. A peer reads its hosts file again, without keys too.
func TestHangup(t *testing.T) {
	t.Parallel()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // else what this starts ignores it, where nohup started this
	defer signal.Stop(hangups)
	keys, file := newKeys(t, 2), loopback.NewSubnet(t).HostsFile(t, "one", "two")
	key := keyFile(t, keys[0])
	group, _ := startLocal(t, exec.Command(program, "-h", file, "-local", "-key", key), 2)
	for _, name := range []string{"one", "two"} {
		group.awaitNotice(fmt.Sprintf("%s  | Read 1 key from %q, which seals and opens", name, key))
	}
	writeKeys(t, key, keys...)
	group.signal(syscall.SIGHUP)
	for _, name := range []string{"one", "two"} {
		group.awaitNotice(fmt.Sprintf("%s  | Read 2 keys from %q: the first seals, all open", name, key))
	}
	group.signal(syscall.SIGTERM)
	if code := group.awaitExit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	plain := start(t, file, "two")
	plain.awaitNotice("Waiting")
	plain.signal(syscall.SIGHUP)
	plain.awaitNotice(fmt.Sprintf("Read 2 hosts from %q: no change", file))
	plain.signal(syscall.SIGTERM)
	if code := plain.awaitExit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// Traffic of a group with keys cannot be read, and recordings of it are dropped when they are sent
// again.
func TestSealedOnTheWire(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "sealed"}[sealed], func(t *testing.T) {
			t.Parallel()
			var args []string
			if sealed {
				args = []string{"-key", keyFile(t, newKeys(t, 1)...)}
			}
			tapped(t, sealed, args)
		})
	}
}

func tapped(t *testing.T, sealed bool, args []string) {
	s := loopback.NewSubnet(t)
	w := newWiretap(t, s)
	one := start(t, w.ones, "one", args...)
	two := start(t, w.twos, "two", append(args, "-http", "8082")...)
	daemons := []*daemon{one, two}
	awaitView(daemons, 2)
	datagrams, streams := w.recorded(t)
	for _, b := range slices.Concat(datagrams, frames(t, streams)) {
		if readable(b) == sealed {
			t.Errorf("sealed is %v, and this came: %x", sealed, b)
		}
	}
	if !sealed {
		return
	}
	at := s.Host(2).String() + ":8082"
	fetch(t, at, "/metrics", says(200, `reason="replayed"} 0`+"\n", `reason="unopened"} 0`+"\n"))
	for _, b := range datagrams {
		w.toTwo(t, b)
	}
	fetch(t, at, "/metrics", func(_ int, body string) bool { return metric(body, `memberly_dropped_total{reason="replayed"}`) > 0 })
	two.awaitNotice(fmt.Sprintf("Error opening message: it is sealed, but came before, or too late: the network repeats datagrams, or an attacker does (from %v)", s.Host(11)))
	for _, b := range streams {
		c, err := net.DialTCP("tcp", &net.TCPAddr{IP: s.Host(11).AsSlice()}, &net.TCPAddr{IP: s.Host(2).AsSlice(), Port: 8080})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.Write(b)
	}
	fetch(t, at, "/metrics", says(200, fmt.Sprintf(`reason="unopened"} %d`+"\n", len(streams))))
	two.awaitNotice(fmt.Sprintf("Error opening message: no key here opens it: it was forged or changed, or its sender has other keys: give all the same -key (from %v)", s.Host(11)))
	for _, d := range daemons {
		if lines := d.stderr.Lines(); contains("message:")(lines) || contains("view_id: 3")(lines) {
			t.Errorf("%s wrote %q", d.name, lines)
		}
	}
}

// Doctors with the key find all well, among themselves and beside a group. A doctor with another key,
// with none, or with one where the group has none reports that, and not a missing answer.
func TestSealedDoctor(t *testing.T) {
	t.Parallel()
	keys := newKeys(t, 2)
	right, wrong := []string{"-key", keyFile(t, keys[0])}, []string{"-key", keyFile(t, keys[1])}
	for _, c := range []struct {
		what          string
		group, doctor []string
		code          int
		texts         []string
	}{
		{"the key", right, right, 0, []string{"one   ok    ok    ok      ok        ok      ok        -             -               peer, view 2", "All is well."}},
		{"another key", right, wrong, 1, []string{"one has another key than this doctor, or none: ", "               another key"}},
		{"no key", right, nil, 1, []string{"one has a key, and this doctor has none: give it -key FILE too", "               with a key"}},
		{"a key in a group without", nil, right, 1, []string{"one has no key, and this doctor has: start all with -key FILE", "               without a key"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			file := loopback.NewSubnet(t).HostsFile(t, "one", "two", "three")
			daemons := []*daemon{start(t, file, "one", c.group...), start(t, file, "two", c.group...)}
			awaitView(daemons, 2)
			d := diagnose(t, file, "three", append(c.doctor, "-for", "5s")...)
			d.awaitVerdict(c.code, c.texts...)
			if d.countNotices("does not answer") > 0 {
				t.Error("it reports a missing answer")
			}
			for _, p := range daemons {
				if records := p.stderr.Lines(); contains("unreachable")(records) {
					t.Errorf("%s noticed: %q", p.name, records)
				}
			}
		})
	}
	t.Run("doctors alone", func(t *testing.T) {
		t.Parallel()
		file := loopback.NewSubnet(t).HostsFile(t, "one", "two", "three", "four")
		odd := diagnose(t, file, "four", append(wrong, "-for", "4s")...)
		row := "ok    ok    ok      ok        ok      ok        -             -               doctor"
		for _, name := range []string{"one", "two", "three"} {
			defer diagnose(t, file, name, append(right, "-for", "4s")...).awaitVerdict(1, row, "four has another key than this doctor, or none: ")
		}
		odd.awaitVerdict(1, "one has another key than this doctor, or none: ", "three has another key than this doctor, or none: ")
	})
}
