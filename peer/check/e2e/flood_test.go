//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
)

// flooder builds, once, the program that floods peers. That is a role of peer/check/bench.
var flooder = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(program), "bench")
	out, err := exec.Command("go", "build", "-o", path, root+"/peer/check/bench").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("building the flooder: %w\n%s", err, out)
	}
	return path, err
})

// flood floods the first host of a hosts file until end is called. The messages are those of host name,
// and come from the address from.
func flood(t *testing.T, kind, file, name string, from, to netip.Addr) (end func()) {
	t.Helper()
	path, err := flooder()
	if err != nil {
		t.Fatal(err)
	}
	f := launch(t, "flood of "+kind, exec.Command(path, "flood", kind, file, name, from.String(), to.String()))
	return func() {
		f.signal(syscall.SIGKILL)
		f.awaitExit(patience)
	}
}

// While an unknown sender or a faulty host floods the leader, the group removes members that are
// killed, lets new ones join, and reports no healthy member unreachable. The leader's memory and CPU
// time stay bounded, except by connections, which the kernel must accept before the peer can close
// them. What it drops is counted. Without the limits, each of the bounds is exceeded by some flood
// (docs/performance.md).
func TestFloods(t *testing.T) {
	const (
		most = 30 << 10 // KiB; 14 are measured
		any  = 1
		few  = 0.5 // of a processor; 0.03 are measured
	)
	for _, c := range []struct {
		kind     string
		stranger bool
		dropped  string // a reason that must be counted; none where all that comes is read
		share    float64
	}{
		{"connections", true, "hurried", any},
		{"connections", false, "hurried", any},
		{"garbage", false, "malformed", any},
		{"drip", false, "crowded", few},
		{"probes", false, "insistent", few},
		{"joins", false, "insistent", few},
		{"states", false, "", few},
		{"noise", true, "stranger", few},
		{"noise", false, "racing", few},
		{"heartbeats", false, "racing", few},
	} {
		t.Run(c.kind+" of "+map[bool]string{false: "a host", true: "a stranger"}[c.stranger], func(t *testing.T) {
			s := loopback.NewSubnet(t)
			file := s.HostsFile(t, "one", "two", "three", "four", "five", "mad")
			at := s.Host(1).String() + ":8082"
			begin := func(name string, more ...string) *daemon {
				return start(t, file, name, append(more, "-heartbeat", "500ms", "-monitor", "1100ms")...)
			}
			one := begin("one", "-http", "8082")
			well := []*daemon{one, begin("two"), begin("three"), begin("four")}
			awaitMembers(well, true, 1, 2, 3, 4)
			from := s.Host(6)
			if c.stranger {
				from = s.Host(100)
			}
			began, used := time.Now(), cpu(t, one)
			end := flood(t, c.kind, file, "mad", from, s.Host(1))
			if c.dropped != "" {
				fetch(t, at, "/metrics", counts(c.dropped))
			} else {
				one.awaitNotice("Error: too many frames")
			}
			for range 3 {
				five := begin("five")
				awaitMembers(append(well, five), true, 1, 2, 3, 4, 5)
				five.signal(syscall.SIGKILL)
				five.awaitExit(patience)
				awaitMembers(well, false, 5)
			}
			fetch(t, at, "/metrics", beaten(3)) // so long that who was not heard would have been removed
			if kib := rss(t, one); kib > most {
				t.Errorf("the leader takes %d KiB of memory, want at most %d", kib, most)
			}
			if share := (cpu(t, one) - used).Seconds() / time.Since(began).Seconds(); share > c.share {
				t.Errorf("the leader takes %.2f of a processor, want at most %.2f", share, c.share)
			}
			end()
			for _, d := range well {
				lines := d.stderr.Lines()
				for id := 1; id <= 4; id++ {
					if contains(fmt.Sprintf(`message:"peer %d `, id))(lines) {
						t.Errorf("%s reported a healthy member unreachable", d.name)
					}
				}
			}
		})
	}
}

// counts requires that a reason was counted.
func counts(reason string) func(int, string) bool {
	return func(status int, body string) bool {
		_, value, ok := strings.Cut(body, fmt.Sprintf("memberly_dropped_total{reason=%q} ", reason))
		return ok && status == 200 && !strings.HasPrefix(value, "0\n")
	}
}

// beaten requires that this many more heartbeats were sent since its first look.
func beaten(more int) func(int, string) bool {
	first := -1
	return func(status int, body string) bool {
		sent := 0
		_, value, ok := strings.Cut(body, "\nmemberly_heartbeats_sent_total ")
		if ok && status == 200 {
			fmt.Sscan(value, &sent)
			if first < 0 {
				first = sent
			}
		}
		return first >= 0 && sent >= first+more
	}
}

// awaitMembers waits until the last views of daemons contain these hosts or, if in is false, lack them.
func awaitMembers(daemons []*daemon, in bool, hosts ...int) {
	for _, d := range daemons {
		d.t.Helper()
		d.await(&d.stderr, fmt.Sprintf("view with %v: %t", hosts, in), func(lines []string) bool {
			members := ""
			for _, line := range lines {
				if _, list, ok := strings.Cut(line, "memb_list: [<"); ok {
					members = "," + strings.TrimSuffix(list, ">]}") + ","
				}
			}
			for _, id := range hosts {
				if members == "" || strings.Contains(members, fmt.Sprintf(",%d,", id)) != in {
					return false
				}
			}
			return true
		})
	}
}

// rss returns the resident memory of a daemon in KiB.
func rss(t *testing.T, d *daemon) (kib int) {
	t.Helper()
	status, err := exec.Command("grep", "VmRSS", fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid)).Output()
	if err == nil {
		_, err = fmt.Sscanf(string(status), "VmRSS: %d kB", &kib)
	}
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

// cpu returns the CPU time of a daemon.
func cpu(t *testing.T, d *daemon) (all time.Duration) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", d.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		var ns time.Duration
		if stat, err := os.ReadFile(thread); err == nil { // else it has just ended
			fmt.Sscan(string(stat), &ns)
		}
		all += ns
	}
	return all
}

// Connections of strangers and of a silent host use up all files of a peer that may open few. It
// reports that and closes some, and its group works on, meanwhile and afterwards.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three", "silent")
	one := launch(t, "one", exec.Command("sh", "-c", `ulimit -n 40; exec "$0" "$@"`, program, "-h", file, "-n", "one"))
	well := []*daemon{one, start(t, file, "two")}
	awaitMembers(well, true, 1, 2)
	target := netip.AddrPortFrom(s.Host(1), 8080)
	for range 100 {
		for _, host := range []int{100, 4} {
			if _, err := tryFrom(t, s.Host(host), target); err != nil && !errors.Is(err, syscall.ECONNRESET) { // that is how it makes room
				t.Fatal(err)
			}
		}
	}
	one.awaitNotice("Error accepting TCP connection: ")
	began := time.Now()
	three := start(t, file, "three")
	awaitMembers(append(well, three), true, 1, 2, 3)
	three.signal(syscall.SIGKILL)
	awaitMembers(well, false, 3)
	t.Logf("a join and a removal took %v", time.Since(began))
	for _, d := range well {
		lines := d.stderr.Lines()
		if contains(`message:"peer 1 `)(lines) || contains(`message:"peer 2 `)(lines) {
			t.Errorf("%s reported a healthy member unreachable", d.name)
		}
	}
}
