package hook

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// quick is a limit that tests can wait for.
const quick = 300 * time.Millisecond

// long is one that no command here reaches.
const long = time.Minute

// reports keeps what was reported.
type reports struct {
	mu    sync.Mutex
	lines []string
}

func (r *reports) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *reports) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// hooked returns a hook of host two of three, and what it reports. FILE in the command is the
// path returned.
func hooked(t *testing.T, command string, limit time.Duration) (*Hook, string, *reports) {
	t.Helper()
	return hookedBy(t, command, limit, func() time.Duration { return 0 })
}

// hookedBy is hooked with a clock.
func hookedBy(t *testing.T, command string, limit time.Duration, now func() time.Duration) (*Hook, string, *reports) {
	t.Helper()
	path, r := filepath.Join(t.TempDir(), "file"), &reports{}
	c := Config{Self: 2, Names: types.NewNames(types.Host{Name: "one"}, types.Host{Name: "two"}, types.Host{Name: "three"}), Report: r.add,
		Cause: func(e *handlers.Event) string { return "is " + e.Change.Operation.String() }, Now: now, Command: strings.ReplaceAll(command, "FILE", path)}
	return newHook(c, limit), path, r
}

// installs is the step in which the peer installs a view.
func installs(number int64, leader types.ID, members ...types.ID) *handlers.Step {
	v := types.View{Group: types.Group{Made: 17, Maker: 1}, Number: number}
	return &handlers.Step{View: v, Lease: leased(leader), Events: []handlers.Event{
		{Kind: handlers.Installed, View: number, Leader: leader, Members: members, Now: v}}}
}

// leased is the lease of host two while it leads; it lasts until 1.5 s.
func leased(leader types.ID) handlers.Lease {
	if leader != 2 {
		return handlers.Lease{}
	}
	return handlers.Lease{Fence: 7, Until: 1500 * time.Millisecond}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// The interface, byte for byte: JSON on standard input, and the variables.
func TestInterface(t *testing.T) {
	t.Parallel()
	h, path, r := hooked(t, `case $MEMBERLY_EVENT in view|left) cat >>FILE; env | grep ^MEMBERLY_ | LC_ALL=C sort >>FILE;; esac`, long)
	h.Stepped(&handlers.Step{View: types.View{Number: 2}, Events: []handlers.Event{{Kind: handlers.Failed, Host: 3}}}) // no view
	step := installs(3, 2, 3, 2)
	step.Events[0].Change = types.Change{Operation: types.Grow, Member: types.Member{ID: 4}, Name: "four"}
	h.Stepped(step)
	h.Ended(true)
	if r.String() != "" {
		t.Errorf("reported %s", r)
	}
	const want = `{"version":1,"event":"view","peer":{"id":2,"name":"two"},"group":"17-1","view":3,"cause":"is GROW","host":{"id":4,"name":"four"},` +
		`"leader":{"id":2,"name":"two"},"leads":true,"fence":7,"lease_ms":1500,"members":[{"id":3,"name":"three"},{"id":2,"name":"two"}]}
MEMBERLY_CAUSE=is GROW
MEMBERLY_EVENT=view
MEMBERLY_FENCE=7
MEMBERLY_GROUP=17-1
MEMBERLY_HOST=4
MEMBERLY_HOST_NAME=four
MEMBERLY_LEADER=2
MEMBERLY_LEADER_NAME=two
MEMBERLY_LEADS=true
MEMBERLY_LEASE_MS=1500
MEMBERLY_MEMBERS=3,2
MEMBERLY_MEMBER_NAMES=three,two
MEMBERLY_PEER=2
MEMBERLY_PEER_NAME=two
MEMBERLY_VERSION=1
MEMBERLY_VIEW=3
`
	got := read(t, path)
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var last map[string]any
	line, _, _ := strings.Cut(strings.TrimPrefix(got, want), "\n")
	if err := json.Unmarshal([]byte(line), &last); err != nil || last["event"] != "left" || last["leads"] != false || last["cause"] != nil || last["host"] != nil {
		t.Errorf("after leaving it got %q, %v", line, err)
	}
}

// Every view runs, in order, and never two at once, however many come while one runs.
func TestInOrder(t *testing.T) {
	t.Parallel()
	h, path, r := hooked(t, `mkdir FILE.busy && echo $MEMBERLY_EVENT $MEMBERLY_VIEW >>FILE && rmdir FILE.busy`, long)
	want := ""
	for n := int64(1); n <= 30; n++ {
		h.Stepped(installs(n, 1, 1, 2))
		want += fmt.Sprintln("view", n)
	}
	h.Stepped(&handlers.Step{})
	h.Ended(true)
	if got := read(t, path); got != want+"out 30\nleft 30\n" || r.String() != "" {
		t.Errorf("ran\n%sreported %s", got, r)
	}
}

// What fails, and what takes too long with all that it started, is reported; the next runs.
func TestReports(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, command, want string }{
		{"fails", `echo no luck >&2; exit 3`, `Error running -exec for view 1: exit status 3: "no luck"`},
		{"is slow", `sleep 3600 & sleep 3600`, `Error running -exec for view 1: it took longer than 300ms and was killed`},
		{"ignores signals", `trap '' TERM INT; while :; do sleep 0.01; done`, `took longer than 300ms`},
		{"is not there", `/no/such/program`, "not found"},
		{"talks", `yes | head -c 1000000; exit 1`, `exit status 1: "y\ny\n`},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			h, path, r := hooked(t, `case $MEMBERLY_VIEW in 1) `+c.command+`;; *) echo $MEMBERLY_VIEW >>FILE;; esac`, quick)
			began := time.Now()
			h.Stepped(installs(1, 1, 1, 2))
			h.Stepped(installs(2, 1, 1, 2))
			if took := time.Since(began); took > quick/2 {
				t.Errorf("to be told took it %v", took)
			}
			for !strings.HasSuffix(read(t, path), "2\n") { // until the test's own limit
				<-time.After(10 * time.Millisecond)
			}
			h.Ended(true)
			if got := r.String(); !strings.Contains(got, c.want) || len(got) > 1000 {
				t.Errorf("reported\n%s, want %s", got, c.want)
			}
		})
	}
}

// A command that leaves something behind with its output open has not failed, and holds nothing up.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	h, path, r := hooked(t, `sleep 5 & echo $! $MEMBERLY_EVENT >>FILE`, long)
	h.Stepped(installs(1, 1, 1, 2))
	h.Ended(true)
	if got := read(t, path); strings.Count(got, "\n") != 2 || r.String() != "" {
		t.Errorf("ran %q, reported %s", got, r)
	}
}

// At the end, what waits has the limit together; what is skipped is reported, and the last run comes.
func TestEnd(t *testing.T) {
	t.Parallel()
	h, path, r := hooked(t, `case $MEMBERLY_EVENT in view) echo $$ >>FILE; sleep 3600;; *) echo left >>FILE;; esac`, quick)
	for n := range int64(20) {
		h.Stepped(installs(n+1, 1, 1, 2))
	}
	h.Ended(true)
	if got := read(t, path); !strings.HasSuffix(got, "\nleft\n") {
		t.Errorf("ran %q, want left at the end", got)
	}
	if got := r.String(); strings.Count(got, "views were skipped") != 1 {
		t.Errorf("reported\n%s\nwant once what was skipped", got)
	}
}

// After a crash nothing is waited for.
func TestCrash(t *testing.T) {
	t.Parallel()
	h, path, _ := hooked(t, `echo $MEMBERLY_EVENT >>FILE; sleep 3600`, long)
	h.Stepped(installs(1, 1, 1, 2))
	h.Stepped(installs(2, 1, 1, 2))
	h.Ended(false)
	if got := read(t, path); strings.Count(got, "\n") > 1 || strings.Contains(got, "left") {
		t.Errorf("ran %q", got)
	}
}

// The runs that wait are bounded: the oldest is dropped, and counted.
func TestBound(t *testing.T) {
	t.Parallel()
	h := Hook{Config: Config{Now: func() time.Duration { return 0 }, Cause: func(*handlers.Event) string { return "" }}} // that nothing runs
	h.waiting.Max = maxWaiting
	for n := range int64(maxWaiting + 10) {
		h.Stepped(installs(n+1, 1, 1, 2))
	}
	if n, dropped, _ := h.waiting.Take(); dropped != 10 || n.number != 11 {
		t.Errorf("view %d is the first that waits, %d dropped", n.number, dropped)
	}
}

// A peer that never held a view has left nothing; one that ends with its view lost runs the command once.
func TestNone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		steps []*handlers.Step
		want  string
	}{
		{[]*handlers.Step{{}}, ""},
		{[]*handlers.Step{installs(1, 1, 1), {}, {}}, "view\nout\nleft\n"},
		{[]*handlers.Step{installs(1, 1, 1), {Exit: true}}, "view\nleft\n"},
	} {
		h, path, _ := hooked(t, `echo $MEMBERLY_EVENT >>FILE`, long)
		for _, step := range c.steps {
			h.Stepped(step)
		}
		h.Ended(true)
		if got := read(t, path); got != c.want {
			t.Errorf("ran %q, want %q", got, c.want)
		}
	}
}
