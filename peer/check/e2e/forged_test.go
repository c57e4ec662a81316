package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
)

// island is a network namespace in which a group runs, with a forger who can reset its connections.
type island struct {
	*testing.T
	group *daemon
	pids  []int
}

// resets answers every TCP segment with a reset, and counts the heartbeats that pass.
const resets = `table inet forger {
	counter datagrams { }
	chain resets {
		type filter hook input priority 0
		tcp flags & rst == 0 counter reject with tcp reset
		udp dport 8081 counter name datagrams
	}
}`

// newIsland runs a sealed group of five in a network namespace, after the forger's rules.
func newIsland(t *testing.T, rules string, options ...string) *island {
	t.Helper()
	for _, tool := range []string{"unshare", "nsenter", "ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil || os.Getuid() != 0 {
			t.Skip("it needs root, unshare, nsenter, ip and nft")
		}
	}
	var lines []string
	for i, name := range []string{"one", "two", "three", "four", "five"} {
		lines = append(lines, fmt.Sprintf("%s 127.0.0.%d", name, i+1))
	}
	const script = `ip link set lo up && { [ -z "$1" ] || nft "$1"; } && shift && exec "$@"`
	args := []string{"-n", "sh", "-c", script, "sh", rules, program, "-h", loopback.WriteHostsFile(t, lines...),
		"-local", "-heartbeat", "500ms", "-monitor", "1s"}
	cmd := exec.Command("unshare", append(args, options...)...)
	g := &island{T: t, group: launch(t, "-local", cmd)}
	g.group.await(&g.group.stdout, "table of hosts", func(lines []string) bool { return len(lines) > 5 })
	for _, line := range g.group.stdout.Lines()[1:6] {
		fields := strings.Fields(line)
		pid, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil {
			t.Fatal(err)
		}
		g.pids = append(g.pids, pid)
	}
	return g
}

// nft runs nft in the namespace.
func (g *island) nft(rules string) string {
	g.Helper()
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(g.pids[0]), "-n", "nft", rules).CombinedOutput()
	if err != nil {
		g.Fatalf("nft %s: %v\n%s", rules, err, out)
	}
	return string(out)
}

// awaitDatagrams waits until so many datagrams have come through since the attack began.
func (g *island) awaitDatagrams(n int) {
	g.Helper()
	counted := regexp.MustCompile(`packets (\d+)`)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for {
		match := counted.FindStringSubmatch(g.nft("list counter inet forger datagrams"))
		if got, _ := strconv.Atoi(match[1]); got >= n {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			g.Fatalf("only %s of %d datagrams within %v", match[1], n, patience)
		}
	}
}

// records returns those written so far that contain text.
func (g *island) records(text string) []string {
	return slices.DeleteFunc(g.group.stderr.Lines(), func(line string) bool { return !strings.Contains(line, text) })
}

// awaitRecords waits for so many records with text.
func (g *island) awaitRecords(n int, text string) {
	g.Helper()
	g.group.await(&g.group.stderr, fmt.Sprint(n, " records with ", text), func([]string) bool { return len(g.records(text)) >= n })
}

// While every TCP segment of a sealed group is answered with a reset, nobody is removed, nobody becomes a
// second leader, and the view stays. Afterwards a member that is killed is removed, by one leader: the first one, unless a busy
// machine has ended its tenure.
func TestForgedResets(t *testing.T) {
	t.Parallel()
	g := newIsland(t, "", "-key", keyFile(t, newKeys(t, 1)...))
	g.awaitRecords(5, "view_id: 5, leader: ")
	before := len(g.group.stderr.Lines())
	g.nft(resets)
	g.awaitDatagrams(5 * 4 * 20) // the heartbeats of ten monitor intervals
	if after := g.group.stderr.Lines(); len(after) != before {
		t.Errorf("records during the attack: %q", after[before:])
	}
	g.nft("delete table inet forger")
	if err := syscall.Kill(g.pids[4], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.awaitRecords(4, "view_id: 6, leader: ")
	var installed []string
	for _, r := range g.records("view_id: 6, leader: ") {
		_, view, _ := strings.Cut(r, "view_id")
		installed = append(installed, view)
	}
	if len(installed) != 4 || len(slices.Compact(slices.Clone(installed))) != 1 || !strings.Contains(installed[0], "memb_list: [<") {
		t.Errorf("view 6 was %q", installed)
	}
	if lost := g.records("unreachable"); len(lost) != 4 || len(g.records(`"peer 5 unreachable"`)) != 4 {
		t.Errorf("unreachable were %q", lost)
	}
}

// Where a sealed group starts under such an attack, nobody makes a group of his own. Afterwards there is one.
func TestForgedResetsAtStart(t *testing.T) {
	t.Parallel()
	g := newIsland(t, resets, "-key", keyFile(t, newKeys(t, 1)...))
	g.awaitDatagrams(500)
	if made := g.group.stderr.Lines(); len(made) > 0 {
		t.Errorf("records during the attack: %q", made)
	}
	g.nft("delete table inet forger")
	g.awaitRecords(5, "view_id: 5, leader: ")
	if made := g.records("view_id: 1,"); len(made) != 1 {
		t.Errorf("groups were made: %q", made)
	}
}

// ask returns what a host says of itself, with -http; false if it does not answer.
func (g *island) ask(id int) (said standing, ok bool) {
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(g.pids[0]), "-n", program, "status", "-json", fmt.Sprintf("127.0.0.%d:8082", id)).Output()
	return said, err == nil && json.Unmarshal(out, &said) == nil
}

// agreed waits until all five are ready in one group and view that is stored, and returns it.
func (g *island) agreed() (first standing) {
	g.Helper()
	within(g.T, "all are ready in one stored view", func() bool {
		for id := 1; id <= 5; id++ {
			said, ok := g.ask(id)
			if id == 1 {
				first = said
			}
			if !ok || !said.Ready || said.Group != first.Group || said.View.Number != first.View.Number || len(said.View.Members) != 5 ||
				said.Peer.Stored != said.View.Number {
				return false
			}
		}
		return true
	})
	return first
}

// Where hosts with state files, and without keys, start under such an attack, no refusal makes a group: not at the first
// start, and not after a power cut. Afterwards there is one, and it goes on.
func TestForgedResetsWithState(t *testing.T) {
	t.Parallel()
	options := []string{"-state", filepath.Join(t.TempDir(), "state"), "-http", "8082"}
	g := newIsland(t, resets, options...)
	meanwhile(t, 6*time.Second, "no group is made", func() bool { return len(g.group.stderr.Lines()) == 0 })
	g.nft("delete table inet forger")
	before := g.agreed()
	if made := g.records("view_id: 1,"); len(made) != 1 {
		t.Errorf("groups were made: %q", made)
	}
	g.group.signal(syscall.SIGKILL)
	for _, pid := range g.pids {
		awaitGone(t, pid)
	}
	g = newIsland(t, resets, options...)
	meanwhile(t, 6*time.Second, "no view but the stored one is shown", func() bool {
		return !slices.ContainsFunc(g.records("memb_list"), func(line string) bool {
			return !strings.Contains(line, fmt.Sprintf("view_id: %d, ", before.View.Number))
		})
	})
	g.nft("delete table inet forger")
	if after := g.agreed(); after.Group != before.Group || after.View.Number < before.View.Number {
		t.Errorf("after the power cut: %v; before: %v", &after, &before)
	}
}
