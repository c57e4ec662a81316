package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
)

func TestSingleHost(t *testing.T) {
	t.Parallel()
	_, daemons := startAll(t, "one")
	one := daemons[0]
	one.awaitRecord("{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}")
	one.signal(syscall.SIGTERM)
	if code := one.awaitExit(patience); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// Peers that start long before the first host report which host they wait for, and form a group when it
// starts.
func TestFirstHostLast(t *testing.T) {
	t.Parallel()
	names := []string{"one", "two", "three", "four", "five"}
	file := loopback.NewSubnet(t).HostsFile(t, names...)
	var daemons []*daemon
	for _, name := range names[1:] {
		daemons = append(daemons, start(t, file, name))
	}
	for _, d := range daemons {
		d.awaitNotice("Waiting")
	}
	daemons = append(daemons, start(t, file, "one"))
	awaitView(daemons, 5)
	want := last(daemons[0])
	for _, d := range daemons {
		if got := last(d); got != want {
			t.Errorf("%s holds %s, another %s", d.name, got, want)
		}
	}
}

// last returns the view in d's last record.
func last(d *daemon) string {
	lines := d.stderr.Lines()
	_, view, _ := strings.Cut(lines[len(lines)-1], ", ")
	return view
}

// A peer that leaves is removed without being reported unreachable. A second signal changes nothing.
func TestLeaving(t *testing.T) {
	t.Parallel()
	_, daemons := startAll(t, "one", "two", "three")
	awaitView(daemons, 3)
	leaver := daemons[2]
	leaver.signal(syscall.SIGINT)
	leaver.cmd.Process.Signal(syscall.SIGINT) // it may have gone
	if code := leaver.awaitExit(3 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	awaitView(daemons[:2], 4)
	for _, d := range daemons {
		if lines := d.stderr.Lines(); contains("unreachable")(lines) {
			t.Errorf("%s wrote %s", d.name, strings.Join(lines, "\n"))
		}
	}
}

// The next peer succeeds a leader that is killed, and the old leader joins again when it restarts.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three")
	daemons := []*daemon{start(t, file, "one"), start(t, file, "two"), start(t, file, "three")}
	awaitView(daemons, 3)
	daemons[0].signal(syscall.SIGKILL)
	for _, d := range daemons[1:] {
		d.awaitRecord(`message:"peer 1 (leader) unreachable"`)
		d.awaitRecord("view_id: 4, leader: 2, memb_list: [")
	}
	daemons[0].awaitExit(patience)
	again := start(t, file, "one")
	for _, d := range append(daemons[1:], again) {
		d.awaitRecord("view_id: 5, leader: 2, memb_list: [")
	}
}

// A frozen peer is removed. When it resumes, it learns of that and joins again.
func TestFrozen(t *testing.T) {
	t.Parallel()
	_, daemons := startAll(t, "one", "two", "three")
	awaitView(daemons, 3)
	frozen := daemons[2]
	frozen.signal(syscall.SIGSTOP)
	awaitView(daemons[:2], 4)
	frozen.signal(syscall.SIGCONT)
	frozen.awaitRecord("removed from the group")
	awaitView(daemons, 5)
}

// A large group, which limits how fast it reads heartbeats, forms, hears all members, and removes those
// that it does not hear. All peers are on this machine, so this tests only the number of heartbeats.
func TestLargeGroup(t *testing.T) {
	t.Parallel()
	const size = 36
	var names []string
	for i := range size {
		names = append(names, fmt.Sprintf("host%d", i+1))
	}
	_, daemons := startAll(t, names...)
	awaitView(daemons, size)
	daemons[size-1].signal(syscall.SIGKILL)
	awaitView(daemons[:size-1], size+1)
	daemons[size-2].signal(syscall.SIGSTOP)
	awaitView(daemons[:size-2], size+2)
	for _, d := range daemons[:size-2] {
		lines := d.stderr.Lines()
		for _, line := range lines {
			if strings.Contains(line, "unreachable") && !strings.Contains(line, "peer 35 ") && !strings.Contains(line, "peer 36 ") {
				t.Errorf("%s calls one unreachable that was well: %s", d.name, line)
			}
		}
	}
}

// Hosts whose files differ form no group. Both sides report it once, although each asks many times.
// three listens and never answers, so that neither of them founds a group alone.
func TestFilesDiffer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		two  string // the names in two's file, in their order; one's are one, two, three
		one  string // what two calls one
	}{
		{"in their order", "two one three", "one"},
		{"longer, two's id being none of one's", "zero one three two", "one"},
		{"in a name", "uno two three", "uno"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s := loopback.NewSubnet(t)
			places := map[string]int{"one": 1, "uno": 1, "two": 2, "three": 3, "zero": 4}
			var lines []string
			for name := range strings.FieldsSeq(c.two) {
				lines = append(lines, fmt.Sprint(name, " ", s.Host(places[name])))
			}
			loopback.Occupy(t, "tcp", net.JoinHostPort(s.Host(3).String(), "8080"))
			one := start(t, s.HostsFile(t, "one", "two", "three"), "one")
			two := start(t, loopback.WriteHostsFile(t, lines...), "two")
			for _, d := range []*daemon{one, two} {
				d.awaitNotice("The hosts file of ")
				d.awaitNotice("Waiting to ")
			}
			one.saidOnce("The hosts file of two differs from the one here: ")
			two.saidOnce("The hosts file of " + c.one + " differs from the one here: ")
		})
	}
}

// saidOnce checks that d printed this once, besides the line about the hosts that it waits for, and
// that it is in no group.
func (d *daemon) saidOnce(text string) {
	d.t.Helper()
	lines := d.stdout.Lines()
	if len(lines) != 2 || !contains(text)(lines) {
		d.t.Errorf("%s said %q, want one line about the hosts it waits for, and one with %q", d.name, lines, text)
	}
	if records := d.stderr.Lines(); len(records) > 0 {
		d.t.Errorf("%s wrote %q", d.name, records)
	}
}

// Unknown senders on TCP and UDP, hundreds of slow and silent ones, and all kinds of garbage do not
// disturb the group, and each address is reported once.
func TestStrangers(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three")
	daemons := []*daemon{start(t, file, "one"), start(t, file, "two")}
	awaitView(daemons, 2)
	one, target := daemons[0], netip.AddrPortFrom(s.Host(1), 8080)
	const silent, garbler, liar, neighbour = 200, 201, 202, 3
	for range 300 {
		dialFrom(t, s.Host(silent), target)
		dialFrom(t, s.Host(neighbour), target) // the address of a host, that does not run yet
	}
	for _, b := range garbage() {
		dialFrom(t, s.Host(garbler), target).Write(b)
		dialFrom(t, s.Host(neighbour), target).Write(b)
		datagram(t, s.Host(garbler), netip.AddrPortFrom(s.Host(1), 8081), b)
		datagram(t, s.Host(neighbour), netip.AddrPortFrom(s.Host(1), 8081), b)
	}
	dialFrom(t, s.Host(liar), target).Write(frame(3, 1, 9, 0, 2)) // says that it is two
	dialFrom(t, s.Host(neighbour), target).Write(frame(4, 1, 2, 0, 77))
	three := start(t, file, "three")
	awaitView(append(daemons, three), 3)
	one.awaitNotice("Error decoding byte array to integers: ")
	one.awaitNotice("Error: member ID not found in peerIdToName map")
	for _, stranger := range []int{silent, garbler, liar} {
		from := fmt.Sprintf("(from %v)", s.Host(stranger))
		one.awaitNotice(from)
		lines := one.stdout.Lines()
		lines = slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, from) })
		if len(lines) != 1 || !strings.HasPrefix(lines[0], "Error getting hostname from address: ") {
			t.Errorf("of stranger %v it says %q, want one line", s.Host(stranger), lines)
		}
	}
	if lines := one.stderr.Lines(); contains("unreachable")(lines) {
		t.Errorf("it wrote %s", strings.Join(lines, "\n"))
	}
}

// frame returns a frame that claims a length.
func frame(length uint32, b ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, length), b...)
}

func garbage() [][]byte {
	return [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: one\r\n\r\n"),
		frame(0),
		frame(1<<32-1, make([]byte, 100)...),
		frame(4, 1, 99, 0, 1),            // no such kind
		frame(8, 2, 1, 0, 0, 0, 0, 0, 0), // from host 0
		frame(4, 2, 1, 0, 1),             // another version
		frame(40, make([]byte, 40)...),   // no version
		frame(1<<16, make([]byte, 9)...), // never whole
		slices.Repeat([]byte{0xff}, 1400),
	}
}

// dialFrom opens a connection that lasts until the test ends.
func dialFrom(t *testing.T, from netip.Addr, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := tryFrom(t, from, to)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryFrom(t *testing.T, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	c, err := net.DialTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.TCPAddrFromAddrPort(to))
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func datagram(t *testing.T, from netip.Addr, to netip.AddrPort, b []byte) {
	t.Helper()
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(b)
}

// startLocal starts -local, and returns its process and those of its hosts once all have installed the
// view of all.
func startLocal(t *testing.T, cmd *exec.Cmd, hosts int) (*daemon, []int) {
	t.Helper()
	group := launch(t, "-local", cmd)
	group.await(&group.stdout, "table of hosts", func(lines []string) bool { return len(lines) > hosts })
	all := fmt.Sprintf("view_id: %d, leader: 1, memb_list: [", hosts)
	group.await(&group.stderr, "all of them in a view", func(lines []string) bool {
		return len(slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, all) })) == hosts
	})
	var pids []int
	lines := group.stdout.Lines()
	for _, line := range lines[1 : 1+hosts] {
		var name, addr string
		var pid int
		if _, err := fmt.Sscan(line, &name, &addr, &pid); err != nil {
			t.Fatalf("%q is no line of the table of hosts: %v", line, err)
		}
		pids = append(pids, pid)
	}
	return group, pids
}

// However -local ends, its hosts end too: by Ctrl-C while one of them is frozen, by SIGKILL, or by
// SIGKILL of its `go run`.
func TestLocalLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what    string
		command []string
		signal  os.Signal
		code    int
	}{
		{"interrupt", []string{program}, os.Interrupt, 0},
		{"kill", []string{program}, os.Kill, -1},
		{"kill go run", []string{"go", "run", root}, os.Kill, -1},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			file := loopback.NewSubnet(t).HostsFile(t, "one", "two", "three")
			// go run builds first, which takes as long as it takes, and keeps the result for the second time.
			if out, err := exec.Command(c.command[0], append(c.command[1:], "-version")...).CombinedOutput(); err != nil {
				t.Fatalf("%q -version: %v\n%s", c.command, err, out)
			}
			args := append(c.command[1:], "-h", file, "-local")
			group, pids := startLocal(t, exec.Command(c.command[0], args...), 3)
			if err := syscall.Kill(pids[1], syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			group.signal(c.signal)
			for _, pid := range pids {
				awaitGone(t, pid)
			}
			if code := group.awaitExit(patience); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
		})
	}
}

// A host that crashes as ordered is no failure. The output shows its other arguments.
func TestLocalCrash(t *testing.T) {
	t.Parallel()
	file := loopback.NewSubnet(t).HostsFile(t, "one", "two")
	group, _ := startLocal(t, exec.Command(program, "-h", file, "-local", "-c", "2"), 2)
	group.awaitNotice("two exited with code 1")
	group.awaitRecord(`one  | {peer_id:1, view_id: 2, leader: 1, message:"peer 2 unreachable"}`)
	group.awaitRecord(`one  | {peer_id:1, view_id: 3, leader: 1, memb_list: [<1>]}`)
	group.signal(syscall.SIGTERM)
	if code := group.awaitExit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// -local reports a host that cannot start, and fails.
func TestLocalPortTaken(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	loopback.Occupy(t, "tcp", net.JoinHostPort(s.Host(2).String(), "8080"))
	group := launch(t, "-local", exec.Command(program, "-h", s.HostsFile(t, "one", "two"), "-local"))
	group.awaitNotice("two  | Error starting TCP listener: ")
	group.awaitNotice("two exited with code 1")
	group.awaitRecord("two  | memberly: port 8080 is in use")
	group.signal(syscall.SIGTERM)
	if code := group.awaitExit(patience); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
}

// A host whose own file gives it another address than the files of the others is not let in. Both sides say in which
// address the files differ; the group goes on.
func TestAddressesDiffer(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprint("sealed ", sealed), func(t *testing.T) {
			t.Parallel()
			s := loopback.NewSubnet(t)
			line := func(name string, n int) string { return fmt.Sprint(name, " ", s.Host(n)) }
			here := loopback.WriteHostsFile(t, line("one", 1), line("two", 2), line("three", 3))
			there := loopback.WriteHostsFile(t, line("one", 1), line("two", 2), line("three", 33))
			var args []string
			if sealed {
				args = []string{"-key", keyFile(t, newKeys(t, 1)...)}
			}
			one, two := start(t, here, "one", args...), start(t, here, "two", args...)
			awaitView([]*daemon{one, two}, 2)
			three := start(t, there, "three", args...)
			one.awaitNotice(fmt.Sprintf("three is at %v by the hosts file here, but its messages arrive from %v: ", s.Host(3), s.Host(33)))
			three.awaitNotice(fmt.Sprintf(" has this host, three, at %v, but its messages arrive there from %v: ", s.Host(3), s.Host(33)))
			three.awaitNotice("Waiting")
			for _, d := range []*daemon{one, two, three} {
				if got := d.stdout.String(); strings.Contains(got, "Error") || strings.Count(got, "messages arrive") > 1 {
					t.Errorf("%s says %s", d.name, got)
				}
			}
		})
	}
}
