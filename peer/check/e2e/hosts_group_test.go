package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
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
)

// This file supports tests of groups whose hosts change while they run (rule 10 of docs/protocol.md).

// hosted is a group in which each host has a hosts file of its own. Host n has address n of the subnet.
type hosted struct {
	*testing.T
	loopback.Subnet
	folder  string
	args    []string
	storing bool     // each host has a state file
	lines   []string // of the hosts file as it is to be; line n is that of host n
	runs    map[int]*daemon
	all     []*daemon // also those of earlier processes
}

func hostName(id int) string {
	numbers := []string{"one", "two", "three", "four", "five", "six", "seven", "eight"}
	if id > len(numbers) {
		return fmt.Sprint("host", id)
	}
	return numbers[id-1]
}

// newHosted makes a group of n hosts, that have no files yet.
func newHosted(t *testing.T, n int, args ...string) *hosted {
	t.Helper()
	g := &hosted{T: t, Subnet: loopback.NewSubnet(t), folder: t.TempDir(), args: args, runs: make(map[int]*daemon)}
	for range n {
		g.add()
	}
	return g
}

// add adds the next host to the hosts file as it is to be.
func (g *hosted) add() {
	n := len(g.lines) + 1
	g.lines = append(g.lines, fmt.Sprint(hostName(n), " ", g.Host(n)))
}

// retire marks a host in the hosts file as it is to be.
func (g *hosted) retire(id int) { g.lines[id-1] = "!" + g.lines[id-1] }

func (g *hosted) file(id int) string { return filepath.Join(g.folder, fmt.Sprint(id)) }

// at returns where a host serves.
func (g *hosted) at(id int) string { return fmt.Sprint(g.Host(id), ":8082") }

// edit writes the hosts file of each of these hosts as it is to be.
func (g *hosted) edit(ids ...int) {
	g.Helper()
	for _, id := range ids {
		g.write(id, g.lines...)
	}
}

// write replaces the hosts file of one host by these lines, at once: a process that is about to start may read it meanwhile.
func (g *hosted) write(id int, lines ...string) {
	g.Helper()
	whole := g.file(id) + ".new"
	if err := os.WriteFile(whole, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		g.Fatal(err)
	}
	if err := os.Rename(whole, g.file(id)); err != nil {
		g.Fatal(err)
	}
}

// begin starts hosts with their files as they are.
func (g *hosted) begin(ids ...int) {
	g.Helper()
	for _, id := range ids {
		args := append([]string{"-h", g.file(id), "-n", hostName(id), "-http", "8082"}, g.args...)
		if g.storing {
			args = append(args, "-state", g.state(id))
		}
		g.runs[id] = launch(g.T, fmt.Sprint("host ", id), exec.Command(program, args...))
		g.all = append(g.all, g.runs[id])
	}
}

func (g *hosted) state(id int) string { return g.file(id) + ".state" }

// found edits the files of the first n hosts, and starts them one after the other; with state, where one alone makes no group,
// the first of them together. It returns what the leader says in the end.
func (g *hosted) found(n int) (lead hostsSaid) {
	g.Helper()
	var ids []int
	for id := range n {
		ids = append(ids, id+1)
		g.edit(id + 1)
		g.begin(id + 1)
		if !g.storing || len(ids) > len(g.lines)/2 {
			lead = g.agree(len(g.lines), nil, ids...)
		}
	}
	return lead
}

// stop lets hosts leave, one after the other.
func (g *hosted) stop(ids ...int) {
	g.Helper()
	for _, id := range ids {
		g.runs[id].signal(syscall.SIGTERM)
		if code := g.runs[id].awaitExit(patience); code != 0 {
			g.Errorf("host %d: exit code %d, want 0", id, code)
		}
	}
}

func (g *hosted) hangup(ids ...int) {
	g.Helper()
	for _, id := range ids {
		g.runs[id].signal(syscall.SIGHUP)
	}
}

// hostsSaid is what these tests check of /status.
type hostsSaid struct {
	standing
	File struct {
		Settled bool
		Words   string
		Agreed  int
		Behind  []int
		Running []int
	} `json:"hosts_file"`
	Hosts []struct {
		ID      int
		Name    string
		Retired bool
		Agreed  bool
		State   string
	}
}

// client keeps its connections. An answer may take long on a busy machine.
var client = http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}

// ask returns what a host says of itself; false if it does not answer.
func (g *hosted) ask(id int) (s hostsSaid, ok bool) {
	a, err := client.Get("http://" + g.at(id) + "/status")
	if err != nil {
		return s, false
	}
	defer a.Body.Close()
	return s, json.NewDecoder(a.Body).Decode(&s) == nil
}

// agreed reports whether these hosts are ready, in one view with these members alone, and list n hosts, of which these are
// retired.
func (g *hosted) agreed(n int, retired []int, members []int) (lead hostsSaid, ok bool) {
	first := ""
	for _, id := range members {
		s, ok := g.ask(id)
		if first == "" {
			first = s.String()
		}
		var gone []int
		for _, h := range s.Hosts {
			if h.Retired {
				gone = append(gone, h.ID)
			}
		}
		if !ok || !s.Ready || s.String() != first || s.File.Agreed != n || !slices.Equal(gone, retired) ||
			!slices.Equal(slices.Sorted(slices.Values(s.View.Members)), members) {
			return lead, false
		}
		if s.Leads {
			lead = s
		}
	}
	return lead, lead.Leads
}

// agree waits until these hosts agree, and returns what the leader says.
func (g *hosted) agree(n int, retired []int, members ...int) (lead hostsSaid) {
	g.Helper()
	within(g.T, fmt.Sprint("one view of ", members, " with ", n, " hosts, without ", retired), func() (ok bool) {
		lead, ok = g.agreed(n, retired, members)
		return ok
	})
	return lead
}

// unmoved checks for a while that the group stays in this view.
func (g *hosted) unmoved(d time.Duration, lead *hostsSaid, ids ...int) {
	g.Helper()
	meanwhile(g.T, d, fmt.Sprint(ids, " stay in ", lead), func() bool {
		return !slices.ContainsFunc(ids, func(id int) bool {
			s, ok := g.ask(id)
			return !ok || !s.Ready || s.String() != lead.String() || s.File.Agreed != lead.File.Agreed
		})
	})
}

// idle checks for a while that a host is in no group, and never was.
func (g *hosted) idle(d time.Duration, ids ...int) {
	g.Helper()
	meanwhile(g.T, d, fmt.Sprint(ids, " are in no group"), func() bool {
		return !slices.ContainsFunc(ids, func(id int) bool { return len(g.runs[id].stderr.Lines()) > 0 })
	})
}

// says waits until hosts have said each of these on stdout.
func (g *hosted) says(ids []int, texts ...string) {
	g.Helper()
	for _, id := range ids {
		for _, text := range texts {
			g.runs[id].awaitNotice(text)
		}
	}
}

// lookout asks hosts every 10 ms whether they are ready, and what they are.
type lookout struct {
	*hosted
	leader int
	fence  uint64
	ctx    context.Context
	cancel context.CancelFunc
	asking sync.WaitGroup
	mu     sync.Mutex
	on     map[int]context.CancelFunc // the hosts that are asked
	asked  int
}

// look begins to ask hosts, of which this one leads.
func (g *hosted) look(lead *hostsSaid, ids ...int) *lookout {
	l := &lookout{hosted: g, leader: lead.View.Leader, fence: lead.Fence, on: make(map[int]context.CancelFunc)}
	l.ctx, l.cancel = context.WithCancel(g.Context())
	g.Cleanup(l.end)
	l.at(ids...)
	return l
}

// at begins to ask these hosts too.
func (l *lookout) at(ids ...int) {
	for _, id := range ids {
		ctx, cancel := context.WithCancel(l.ctx)
		l.on[id] = cancel
		l.asking.Go(func() { l.ask(ctx, id) })
	}
}

// not ceases to ask this host.
func (l *lookout) not(id int) { l.on[id]() }

func (l *lookout) end() {
	l.cancel()
	l.asking.Wait()
}

func (l *lookout) ask(ctx context.Context, id int) {
	number := int64(0)
	for range ticks(ctx, 10*time.Millisecond) {
		status, answer := l.get(ctx, id, "/ready")
		var s hostsSaid
		code, text := l.get(ctx, id, "/status")
		if ctx.Err() != nil {
			return
		}
		if status != http.StatusOK {
			l.Errorf("host %d is not ready: %d, %s", id, status, answer)
		}
		if err := json.Unmarshal([]byte(text), &s); code != http.StatusOK || err != nil {
			l.Errorf("host %d does not say what it is: %d, %v", id, code, err)
		}
		if !s.Ready || s.View.Leader != l.leader || s.Leads != (id == l.leader) || s.Leads && s.Fence != l.fence || s.View.Number < number {
			l.Errorf("host %d, in view %d before, says %+v; the leader is %d with fence %d", id, number, s.standing, l.leader, l.fence)
		}
		number = s.View.Number
		l.mu.Lock()
		l.asked++
		l.mu.Unlock()
	}
}

// get returns a host's answer, or why there is none.
func (l *lookout) get(ctx context.Context, id int, path string) (code int, text string) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.hosted.at(id)+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	a, err := client.Do(q)
	if err != nil {
		return 0, err.Error()
	}
	defer a.Body.Close()
	b, _ := io.ReadAll(a.Body)
	return a.StatusCode, string(b)
}

// viewsAgree checks the records of all processes: each has its host's id and shows each view once, without a gap from its first
// to its last, and all show the same views.
func (g *hosted) viewsAgree() {
	g.Helper()
	views := make(map[int]string)
	for _, d := range g.all {
		var id, latest int
		fmt.Sscanf(d.name, "host %d", &id)
		for _, line := range d.stderr.Lines() {
			var peer, number int
			fmt.Sscanf(line, "{peer_id:%d, view_id: %d,", &peer, &number)
			if peer != id {
				g.Errorf("%s wrote %s", d.name, line)
			}
			if !strings.Contains(line, "memb_list") {
				continue
			}
			if latest > 0 && number != latest+1 {
				g.Errorf("%s wrote %s after view %d", d.name, line, latest)
			}
			latest = number
			_, view, _ := strings.Cut(line, ", ")
			if views[number] == "" {
				views[number] = view
			}
			if views[number] != view {
				g.Errorf("%s wrote %s, another one %s", d.name, view, views[number])
			}
		}
	}
	for i, number := range slices.Sorted(maps.Keys(views)) {
		if number != i+1 {
			g.Errorf("no record has view %d", i+1)
			break
		}
	}
}

// bothKeys runs a test without keys and with them.
func bothKeys(t *testing.T, test func(t *testing.T, args ...string)) {
	for _, what := range []string{"without keys", "with keys"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var args []string
			if what == "with keys" {
				args = []string{"-key", keyFile(t, newKeys(t, 1)...)}
			}
			test(t, args...)
		})
	}
}
