package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/types"
)

// nextVersion is the wire version of nextProgram.
const nextVersion = types.Version + 1

// nextProgram builds, once, the daemon with the next wire version: with one more field, and one more kind.
var nextProgram = sync.OnceValues(func() (string, error) {
	next := filepath.Join(filepath.Dir(program), "memberly-next")
	out, err := exec.Command("go", "build", "-tags", "memberly_next", "-o", next, root).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("building the next version: %w\n%s", err, out)
	}
	return next, err
})

// said is what a peer says of itself and its group.
type said struct {
	Group *struct {
		Made, Maker int64
		Wire        int `json:"wire_version"`
	}
	View *struct {
		Number  int
		Members []int
	}
	Leads   bool
	Stopped *struct{}
	Hosts   []struct {
		Wire int `json:"wire_version"`
	}
}

// upgrade is a group of five that are replaced one by one, and asked all the time what they say.
type upgrade struct {
	*testing.T
	file    string
	args    []string // HOST in them stands for the name of each host
	at      []string // where each serves
	all     []*daemon
	running []*daemon
	speaks  []int // the wire version of each

	mu      sync.Mutex
	newest  []*said       // what each said last; nil while it does not run
	group   [2]int64      // the group that all must be in
	highest []int         // view number of each host
	most    int           // the highest wire version that the group may have now
	without time.Duration // for how long nobody has led
	longest time.Duration // for how long nobody ever led
}

var upgradeNames = []string{"one", "two", "three", "four", "five"}

// begin starts the five with the present version, and the questions to them.
func begin(t *testing.T, args ...string) *upgrade {
	s := loopback.NewSubnet(t)
	n := len(upgradeNames)
	u := &upgrade{T: t, file: s.HostsFile(t, upgradeNames...), args: append(args, "-http", "8082"), speaks: make([]int, n),
		running: make([]*daemon, n), newest: make([]*said, n), highest: make([]int, n), most: types.Version}
	for i := range upgradeNames {
		u.at = append(u.at, fmt.Sprint(s.Host(i+1), ":8082"))
		u.launch(i, program, types.Version)
	}
	awaitView(u.running, n)
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for i := range upgradeNames {
		asking.Go(func() { u.ask(ctx, i) })
	}
	asking.Go(func() { u.time(ctx) })
	t.Cleanup(func() { cancel(); asking.Wait() })
	return u
}

// launch starts host i, which speaks this version.
func (u *upgrade) launch(i int, program string, version int) {
	args := []string{"-h", u.file, "-n", upgradeNames[i]}
	for _, arg := range u.args {
		args = append(args, strings.ReplaceAll(arg, "HOST", upgradeNames[i]))
	}
	d := launch(u.T, upgradeNames[i], exec.Command(program, args...))
	u.running[i], u.speaks[i] = d, version
	u.all = append(u.all, d)
}

// ask asks host i until ctx ends.
func (u *upgrade) ask(ctx context.Context, i int) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{}}
	for range ticks(ctx, 20*time.Millisecond) {
		a, err := client.Get("http://" + u.at[i] + "/status")
		if err != nil {
			continue
		}
		var now said
		err = json.NewDecoder(a.Body).Decode(&now)
		a.Body.Close()
		if err == nil {
			u.judge(i, &now)
		}
	}
}

// judge takes what host i says: there is one group, whose views have growing numbers and whose wire version is none
// that a member does not speak.
func (u *upgrade) judge(i int, now *said) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.newest[i] = now
	if now.Leads {
		u.without = 0
	}
	if now.View == nil || now.Group == nil {
		return
	}
	group := [2]int64{now.Group.Made, now.Group.Maker}
	if u.group == ([2]int64{}) {
		u.group = group
	}
	if group != u.group || now.View.Number < u.highest[i] || now.Group.Wire < types.FirstVersion || now.Group.Wire > u.most {
		u.Errorf("%s says view %d of group %v at wire version %d, after view %d of %v at %d at most", upgradeNames[i],
			now.View.Number, group, now.Group.Wire, u.highest[i], u.group, u.most)
	}
	u.highest[i] = max(u.highest[i], now.View.Number)
}

// ticks yields the time every d, until ctx ends.
func ticks(ctx context.Context, d time.Duration) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				if !yield(now) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// time counts for how long nobody leads. While this process does not run, that counts little.
func (u *upgrade) time(ctx context.Context) {
	before := time.Now()
	for now := range ticks(ctx, 10*time.Millisecond) {
		u.mu.Lock()
		u.without += min(now.Sub(before), 50*time.Millisecond)
		u.longest = max(u.longest, u.without)
		u.mu.Unlock()
		before = now
	}
}

// allow sets the highest wire version that the group may have from now on.
func (u *upgrade) allow(most int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.most = most
}

// agree waits until all five are in one view of all five, know which wire version each speaks, and that the group
// speaks the lowest.
func (u *upgrade) agree() {
	u.Helper()
	within(u.T, fmt.Sprintf("all agree, where they speak %v", u.speaks), func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		first := u.newest[0]
		for _, now := range u.newest {
			if now == nil || now.View == nil || now.Stopped != nil || len(now.View.Members) != len(u.newest) ||
				now.View.Number != first.View.Number || now.Group.Wire != slices.Min(u.speaks) {
				return false
			}
			for i, host := range now.Hosts {
				if host.Wire != u.speaks[i] {
					return false
				}
			}
		}
		return true
	})
}

// replace stops host i, starts it with another program, and waits until all agree.
func (u *upgrade) replace(i int, program string, version int) {
	u.Helper()
	u.knowsAll(i)
	u.running[i].signal(syscall.SIGTERM)
	if code := u.running[i].awaitExit(patience); code != 0 {
		u.Errorf("%s: exit code %d, want 0", upgradeNames[i], code)
	}
	u.mu.Lock()
	u.newest[i] = nil
	u.mu.Unlock()
	u.launch(i, program, version)
	u.agree()
}

// knowsAll checks that host i was sent no kind that it does not know.
func (u *upgrade) knowsAll(i int) {
	u.Helper()
	const name = `memberly_messages_received_total{kind="unknown"} `
	if body := fetch(u.T, u.at[i], "/metrics", says(200, name)); !strings.Contains(body, name+"0\n") {
		u.Errorf("%s was sent %v messages of kinds that it does not know", upgradeNames[i], metric(body, strings.TrimSpace(name)))
	}
}

// leader returns who leads.
func (u *upgrade) leader() (leader int) {
	u.Helper()
	within(u.T, "one leads", func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		leader = slices.IndexFunc(u.newest, func(s *said) bool { return s != nil && s.Leads })
		return leader >= 0
	})
	return leader
}

// end checks what all the processes wrote.
func (u *upgrade) end() {
	u.Helper()
	paths := []string{"verify"}
	for n, d := range u.all {
		lines := d.stdout.Lines()
		if records := d.stderr.Lines(); contains("Error")(lines) || contains("unreachable")(records) {
			u.Errorf("%s said %q, wrote %q", d.name, lines, records)
		}
		path := filepath.Join(u.TempDir(), fmt.Sprint(n, d.name))
		if err := os.WriteFile(path, []byte(d.stderr.String()), 0o600); err != nil {
			u.Fatal(err)
		}
		paths = append(paths, path)
	}
	if code, out, errs := execute(u.T, "", paths...); code != 0 {
		u.Errorf("verify: exit code %d, %s%s", code, out, errs)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.Logf("nobody led for %v at most", u.longest); u.longest > 2500*time.Millisecond {
		u.Errorf("nobody led for %v", u.longest)
	}
}

// A group goes on while its hosts are replaced one by one by those of the next wire version, and back. It has the
// lowest version of its members, and nobody is sent what it does not know.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"without keys", "with keys", "with state"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			next, err := nextProgram()
			if err != nil {
				t.Fatal(err)
			}
			var args []string
			switch what {
			case "with keys":
				args = []string{"-key", keyFile(t, newKeys(t, 1)...)}
			case "with state":
				args = []string{"-state", filepath.Join(t.TempDir(), "state-of-HOST")}
			}
			upgradeAndBack(begin(t, args...), next)
		})
	}
}

func upgradeAndBack(u *upgrade, next string) {
	u.agree()
	for i := len(upgradeNames) - 1; i >= 0; i-- { // the leader last
		if i == 0 {
			u.allow(nextVersion)
		}
		u.replace(i, next, nextVersion)
	}
	first := u.leader()
	fetch(u.T, u.at[first], "/metrics", func(_ int, body string) bool {
		return metric(body, `memberly_messages_received_total{kind="GREET"}`) > 8
	})
	for n := range upgradeNames { // the leader first
		u.replace((first+n)%len(upgradeNames), program, types.Version)
		u.allow(types.Version)
	}
	for i := range upgradeNames {
		u.knowsAll(i)
	}
	u.end()
}
