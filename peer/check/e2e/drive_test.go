package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/types"
)

// appending returns a command that appends its input to a file, apart from what it is told of leading.
func appending(path string) string {
	return fmt.Sprintf(`case $MEMBERLY_EVENT in leads|ceased) exit;; esac; read -r line; echo "$line" >>%s`, path)
}

// hookRun is the part of -exec's input that these tests check.
type hookRun struct {
	Event   string
	View    int
	Members []struct{ Name string }
}

// hookRuns reads a file that appending wrote.
func hookRuns(t *testing.T, path string) []hookRun {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []hookRun
	for line := range strings.Lines(string(content)) {
		var one hookRun
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}

// -exec runs for every view in order, and at last when the peer has left, but not at a crash.
func TestExec(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file, path := s.HostsFile(t, "one", "two"), filepath.Join(t.TempDir(), "told")
	one := start(t, file, "one", "-exec", appending(path))
	one.awaitRecord("memb_list: [<1>]")
	two := start(t, file, "two", "-c", "1", "-exec", appending(path+".two"))
	if code := two.awaitExit(patience); code != 1 {
		t.Errorf("two ended with code %d, want 1", code)
	}
	for _, r := range hookRuns(t, path+".two") {
		if r.Event != "view" {
			t.Errorf("the command of a peer that crashed was told %+v", r)
		}
	}
	one.awaitRecord("view_id: 3, leader: 1, memb_list: [<1>]}")
	one.signal(syscall.SIGTERM)
	if code := one.awaitExit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	var views []string
	for _, r := range hookRuns(t, path) {
		views = append(views, fmt.Sprint(r.Event, " ", r.View))
	}
	records := one.stderr.Lines()
	var want []string
	for _, r := range records {
		var peer, view int
		if _, err := fmt.Sscanf(r, "{peer_id:%d, view_id: %d,", &peer, &view); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(r, "memb_list") {
			want = append(want, fmt.Sprint("view ", view))
		} else if strings.Contains(r, "leaving") {
			want = append(want, fmt.Sprint("left ", view))
		}
	}
	if fmt.Sprint(views) != fmt.Sprint(want) {
		t.Errorf("the command was told %v, the records are %v", views, want)
	}
	if lines := one.stdout.Lines(); contains("-exec")(lines) {
		t.Errorf("stdout says %q", lines)
	}
}

// When the leader gets SIGTERM, its command for leads is ended and that for ceased runs before it leaves the group, and
// the next one leads after that, with a larger fence. The monitor interval is so long that no lease ends for another reason.
func TestExecLeads(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file, path := s.HostsFile(t, "one", "two", "three"), filepath.Join(t.TempDir(), "told")
	command := fmt.Sprintf(`case $MEMBERLY_EVENT in
		leads) trap "echo $MEMBERLY_PEER ends >>%[1]s; exit" TERM; echo $MEMBERLY_PEER leads $MEMBERLY_FENCE $MEMBERLY_LEADS >>%[1]s; sleep 3600 & wait;;
		ceased) sleep 0.3; echo $MEMBERLY_PEER ceased $MEMBERLY_FENCE $MEMBERLY_LEADS >>%[1]s;; esac`, path)
	var daemons []*daemon
	for _, name := range []string{"one", "two", "three"} {
		daemons = append(daemons, start(t, file, name, "-exec", command, "-heartbeat", "5s", "-monitor", "10s"))
	}
	awaitView(daemons, 3)
	var lines []string
	told := func(n int) func() bool {
		return func() bool {
			content, err := os.ReadFile(path)
			lines = strings.Split(strings.TrimSpace(string(content)), "\n")
			return err == nil && len(lines) >= n && strings.HasSuffix(lines[n-1], " true")
		}
	}
	within(t, "the first one leads", told(1))
	daemons[0].signal(syscall.SIGTERM)
	within(t, "the next one leads", told(4))
	var fences [3]uint64
	for i, form := range []string{"1 leads %d true", "1 ceased %d false", "2 leads %d true"} {
		if n, err := fmt.Sscanf(lines[[]int{0, 2, 3}[i]], form, &fences[i]); n != 1 {
			t.Fatalf("%q does not have the form %q: %v", lines, form, err)
		}
	}
	if lines[1] != "1 ends" || fences[0] == 0 || fences[1] != fences[0] || fences[2] <= fences[0] {
		t.Errorf("the commands were told %q", lines)
	}
	if code := daemons[0].awaitExit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A command that hangs or fails delays nothing, and stdout reports the failure.
func TestExecTroubles(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two")
	one := start(t, file, "one", "-exec", "sleep 3600")
	two := start(t, file, "two", "-exec", "echo no luck; exit 7")
	awaitView([]*daemon{one, two}, 2)
	two.awaitNotice(`Error running -exec for view 2: exit status 7: "no luck"`)
	two.signal(syscall.SIGTERM)
	if code := two.awaitExit(3 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	one.awaitRecord("view_id: 3, leader: 1, memb_list: [<1>]")
	if lines := one.stderr.Lines(); contains("unreachable")(lines) {
		t.Errorf("it wrote %q", lines)
	}
	one.awaitNotice("Error running -exec for view 1: it took longer than 10s and was killed")
}

// diagnose starts `memberly doctor` for a host.
func diagnose(t *testing.T, file, name string, args ...string) *daemon {
	t.Helper()
	return launch(t, name, exec.Command(program, append([]string{"doctor", "-h", file, "-n", name}, args...)...))
}

// awaitVerdict waits for a doctor's end, and checks its report and exit code. It ignores stalls, which
// come from a busy machine.
func (d *daemon) awaitVerdict(code int, texts ...string) {
	d.t.Helper()
	got := d.awaitExit(patience)
	lines := d.stdout.Lines()
	if contains("  clock: This process did not run")(lines) {
		d.t.Logf("%s found a stall", d.name)
	} else if got != code {
		d.t.Errorf("%s: exit code %d, want %d", d.name, got, code)
	}
	for _, text := range texts {
		if !contains(text)(lines) {
			d.t.Errorf("%s does not say %q:\n%s", d.name, text, strings.Join(lines, "\n"))
		}
	}
}

// Doctors on all hosts find all well, or report that a hosts file differs.
func TestDoctors(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file, other := s.HostsFile(t, "one", "two", "three"), s.HostsFile(t, "one", "two", "THREE.example.org")
	row := "ok    ok    ok      ok        ok      ok        -             -               doctor"
	one, two := diagnose(t, file, "one", "-for", "3s"), diagnose(t, file, "two", "-for", "3s")
	three := diagnose(t, other, "three.example.org", "-for", "3s")
	one.awaitVerdict(1, "two    "+row, "three has another hosts file: ")
	two.awaitVerdict(1, "one    "+row, "three has another hosts file: ")
	three.awaitVerdict(1, "one has another hosts file: ")
	again := []*daemon{diagnose(t, file, "one", "-for", "3s"), diagnose(t, file, "two", "-for", "3s"), diagnose(t, file, "three", "-for", "3s")}
	for _, d := range again {
		d.awaitVerdict(0, row)
	}
}

// A running group answers a doctor and is not disturbed. On a host with a peer, the doctor finds the
// ports in use. A stranger that listens on a peer's port is no peer.
func TestDoctorBesideGroup(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three", "four")
	daemons := []*daemon{start(t, file, "one"), start(t, file, "two")}
	awaitView(daemons, 2)
	loopback.Occupy(t, "tcp", net.JoinHostPort(s.Host(4).String(), "8080"))
	three := diagnose(t, file, "three", "-for", "5s")
	three.awaitVerdict(1, "one   ok    ok    ok      ok        ok      ok        -             -               peer, view 2",
		"four accepts connections to TCP 8080, but does not answer: ")
	diagnose(t, file, "two", "-for", "1s").awaitVerdict(1, "TCP 8080 is in use here", "Nothing listens on TCP 8080 of three")
	other := s.HostsFile(t, "one", "zwei", "three", "four") // all that is asked is peers, with another file: it ends when the time is over
	diagnose(t, other, "zwei", "-for", "1s").awaitVerdict(1, "one has another hosts file")
	for _, d := range daemons {
		lines := d.stdout.Lines()
		if records := d.stderr.Lines(); contains("unreachable")(records) || len(lines) > 0 {
			t.Errorf("%s noticed: %q, %q", d.name, lines, records)
		}
	}
}

// olderProgram builds the daemon with wire version 1, the last in which a peer accepts no other.
func olderProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	replaced := make(map[string]string)
	for _, e := range [][3]string{{"version.go", "const Version = 2", "const Version = 1"}, {"wire.go", "const FirstVersion = 2", "const FirstVersion = 1"},
		{"wire.go", "if c.spoken < FirstVersion {", "if c.spoken != Version {"}} {
		path, err := filepath.Abs("../../types/" + e[0])
		if err != nil {
			t.Fatal(err)
		}
		from := cmp.Or(replaced[path], path)
		source, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(source), e[1]) {
			t.Fatalf("%s has no %q to change", e[0], e[1])
		}
		replaced[path] = filepath.Join(dir, e[0])
		if err := os.WriteFile(replaced[path], []byte(strings.Replace(string(source), e[1], e[2], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(dir, "memberly")
	if out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", older, root).CombinedOutput(); err != nil {
		t.Fatalf("building it: %v\n%s", err, out)
	}
	return older
}

// A host of another wire version is refused. Both sides and the doctor of either report that, and the
// group works on. With the right release the host may join.
func TestOtherVersion(t *testing.T) {
	t.Parallel()
	older := olderProgram(t)
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three")
	daemons := []*daemon{start(t, file, "one"), start(t, file, "two")}
	awaitView(daemons, 2)
	three := launch(t, "three", exec.Command(older, "-h", file, "-n", "three"))
	refusal := "unknown wire version %d, this peer speaks %d and later: run the same release on all hosts (from %v)"
	for _, d := range daemons {
		d.awaitNotice(fmt.Sprintf(refusal, types.FirstVersion-1, types.FirstVersion, s.Host(3)))
	}
	three.awaitNotice(fmt.Sprintf(refusal, types.Version, types.FirstVersion-1, s.Host(1)))
	three.awaitNotice("Waiting to be let into the group")
	three.signal(syscall.SIGTERM)
	if code := three.awaitExit(3 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	launch(t, "three", exec.Command(older, "doctor", "-h", file, "-n", "three", "-for", "4s")). // heartbeats come
													awaitVerdict(1, "one runs another release: ")
	for _, d := range daemons {
		lines := d.stdout.Lines()
		if records := d.stderr.Lines(); len(lines) != 1 || contains("unreachable")(records) {
			t.Errorf("%s said %q, wrote %q", d.name, lines, records)
		}
	}
	awaitView(append(daemons, start(t, file, "three")), 3)
}

// A group can be upgraded host by host: each one leaves and joins again, and no peer reports another
// unreachable.
func TestHostByHost(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three")
	names := []string{"one", "two", "three"}
	var running []*daemon
	for _, name := range names {
		running = append(running, start(t, file, name))
	}
	awaitView(running, 3)
	all := running
	for i := len(names) - 1; i >= 0; i-- { // the leader last
		running[i].signal(syscall.SIGTERM)
		if code := running[i].awaitExit(patience); code != 0 {
			t.Fatalf("exit code %d, want 0", code)
		}
		running[i] = start(t, file, names[i])
		all = append(all, running[i])
		for _, d := range running {
			d.awaitRecord(fmt.Sprintf("view_id: %d, ", 3+2*(len(names)-i)))
		}
	}
	for _, d := range all {
		if records := d.stderr.Lines(); contains("unreachable")(records) {
			t.Errorf("%s wrote %q", d.name, records)
		}
	}
}
