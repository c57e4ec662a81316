package e2e

import (
	"fmt"
	"maps"
	"net/netip"
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

// This file starts daemons that ask name servers of the test: each daemon has a mount namespace of its own with
// another /etc/resolv.conf, which takes root.

// servers starts name servers on a subnet that know the hosts of a group, and returns them with the path of a
// resolv.conf that lists them in this order.
func servers(t *testing.T, s loopback.Subnet, names []string, habits ...loopback.Habit) ([]*loopback.NameServer, string) {
	t.Helper()
	needsUnshare(t, "-m")
	var all []*loopback.NameServer
	lines := "options edns0\n"
	for i, h := range habits {
		at := s.Host(200 + i)
		server := loopback.NewNameServer(t, netip.AddrPortFrom(at, 53))
		server.Become(h)
		for n, name := range names {
			server.Set(name, s.Host(n+1))
		}
		all = append(all, server)
		lines += fmt.Sprintln("nameserver", at)
	}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	return all, path
}

// needsUnshare skips a test where it may not have a namespace of this kind, an option of unshare.
func needsUnshare(t *testing.T, kind string) {
	t.Helper()
	if err := exec.Command("unshare", kind, "true").Run(); err != nil || os.Getuid() != 0 {
		t.Skip("this takes root and unshare")
	}
}

// startNamed starts a group of which each host's file has the address of that host alone, or
// runs a command in place of each peer.
func startNamed(t *testing.T, s loopback.Subnet, names []string, resolvConf string, command ...string) []*daemon {
	t.Helper()
	var daemons []*daemon
	for i, name := range names {
		lines := append([]string(nil), names...)
		lines[i] += " " + s.Host(i+1).String()
		file := loopback.WriteHostsFile(t, lines...)
		args := append([]string{"-m", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, resolvConf, program}, command...)
		daemons = append(daemons, launch(t, name, exec.Command("unshare", append(args, "-h", file, "-n", name)...)))
	}
	return daemons
}

// A group forms a few seconds late at most where the first name server is dead, which costs Go's resolver 5 s for
// each question, or where the name server never answers for IPv6.
func TestFormsWithBadNameServer(t *testing.T) {
	t.Parallel()
	names := []string{"one", "two", "three", "four", "five"}
	for what, habits := range map[string][]loopback.Habit{
		"well":           {{}},
		"first dead":     {{Silent: true}, {}},
		"no AAAA":        {{NoAAAA: true}},
		"late by 3 s":    {{Late: 3 * time.Second}},
		"loses a half":   {{Lose: 2}},
		"the first lies": {{Fails: true}, {}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := loopback.NewSubnet(t)
			_, resolvConf := servers(t, s, names, habits...)
			began := time.Now()
			daemons := startNamed(t, s, names, resolvConf)
			if habits[0].Lose == 0 {
				awaitView(daemons, len(names))
			} else {
				awaitSameView(daemons, len(names))
			}
			t.Logf("view %d after %v", len(names), time.Since(began).Round(10*time.Millisecond))
		})
	}
}

// awaitSameView waits until daemons have installed the view of this number, and all of them the same. Its leader may be any
// host: chance decides whose name is found first, and after 10 s in which the name of the first host was not found, the next
// host makes the group (rule 7).
func awaitSameView(daemons []*daemon, number int) {
	views := make(map[string]bool)
	for _, d := range daemons {
		d.t.Helper()
		about := fmt.Sprintf("view_id: %d, leader: ", number)
		d.awaitRecord(about)
		for _, line := range d.stderr.Lines() {
			if _, view, found := strings.Cut(line, about); found && strings.Contains(line, "memb_list") {
				views[view] = true
			}
		}
	}
	if len(views) != 1 {
		daemons[0].t.Errorf("%d views have the number %d: %v", len(views), number, slices.Sorted(maps.Keys(views)))
	}
}

// Once a group has run for a while, it needs no name service: a leader that is killed is followed at once.
func TestNameServiceGone(t *testing.T) {
	t.Parallel()
	names := []string{"one", "two", "three", "four", "five"}
	for what, habit := range map[string]loopback.Habit{"silent": {Silent: true}, "failing": {Fails: true}, "knows nobody": {NoName: true}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := loopback.NewSubnet(t)
			all, resolvConf := servers(t, s, names, loopback.Habit{})
			daemons := startNamed(t, s, names, resolvConf)
			awaitView(daemons, len(names))
			all[0].AwaitQuiet(t)
			all[0].Become(habit)
			began := time.Now()
			daemons[0].signal(syscall.SIGKILL)
			for _, d := range daemons[1:] {
				d.awaitRecord("view_id: 6, leader: 2, memb_list: [")
			}
			t.Logf("view 6 after %v", time.Since(began).Round(time.Millisecond))
			for _, d := range daemons[1:] {
				for _, line := range d.stderr.Lines() {
					if strings.Contains(line, "unreachable") && !strings.Contains(line, "peer 1 (leader)") {
						t.Errorf("%s holds a healthy host unreachable: %s", d.name, line)
					}
				}
			}
		})
	}
}

// Behind a first name server that is dead, doctors find the hosts, and warn that the name service is slow.
func TestDoctorsWithBadNameServer(t *testing.T) {
	t.Parallel()
	s, names := loopback.NewSubnet(t), []string{"one", "two"}
	_, resolvConf := servers(t, s, names, loopback.Habit{Silent: true}, loopback.Habit{})
	for _, d := range startNamed(t, s, names, resolvConf, "doctor") {
		d.awaitVerdict(0, "name: The name service took 5", "All is well, but the name service is slow.")
	}
}

// A doctor reports that its host has two addresses of the file. As it has not the one of its own line, it listens at all of
// them: in a network of its own, where it takes the ports of no other test.
func TestDoctorOwnAddress(t *testing.T) {
	t.Parallel()
	needsUnshare(t, "-n")
	file := loopback.WriteHostsFile(t, "one 192.0.2.1", "localhost")
	d := launch(t, "one", exec.Command("unshare", "-n", "sh", "-c", `ip link set lo up && exec "$0" "$@"`, program, "doctor", "-h", file, "-n", "one", "-for", "1s"))
	d.awaitVerdict(1, "at 192.0.2.1, which is no address of this machine", "which is this machine")
}
