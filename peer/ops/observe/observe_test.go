package observe

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"memberly/peer/datastructures"
	"memberly/peer/handlers"
	"memberly/peer/types"
)

// fake is a peer that shows what the test says.
type fake struct {
	status *handlers.Status
	age    time.Duration
	since  time.Time
	lease  handlers.Lease
	now    time.Duration
	views  viewCounts
	log    datastructures.SafeRing[handlers.Event]
}

func (f *fake) Status() *handlers.Status                         { return f.status }
func (f *fake) Views() viewCounts                                { return f.views.of(&f.status.Tally) }
func (f *fake) Age(*handlers.Status) time.Duration               { return f.age }
func (f *fake) Lease() handlers.Lease                            { return f.lease }
func (f *fake) Changes() <-chan struct{}                         { return nil }
func (f *fake) Now() time.Duration                               { return f.now }
func (f *fake) Ended() <-chan struct{}                           { return nil }
func (f *fake) Since(types.ID) time.Time                         { return f.since }
func (f *fake) Events() *datastructures.SafeRing[handlers.Event] { return &f.log }
func (f *fake) DropsByName() map[string]uint64                   { return map[string]uint64{"no member": 3} }
func (f *fake) Addresses(id types.ID) []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(id)})}
}

// crowded is a peer that counts how many ask for the addresses of its hosts at once.
type crowded struct {
	*fake
	asking, most atomic.Int32
}

func (c *crowded) Addresses(types.ID) []netip.Addr {
	c.most.Store(max(c.most.Load(), c.asking.Add(1)))
	runtime.Gosched()
	c.asking.Add(-1)
	return nil
}

// named returns the names of hosts that are called so.
func named(names ...string) Names {
	var hosts []types.Host
	for _, name := range names {
		hosts = append(hosts, types.Host{Name: name})
	}
	return Names{types.NewNames(hosts...)}
}

// However many ask at once, one answer is made at a time; and who does not read its own holds up
// no other.
func TestOneAnswerAtATime(t *testing.T) {
	t.Parallel()
	c := &crowded{fake: three()}
	c.status.Hosts = append(c.status.Hosts, make([]handlers.HostStatus, 97)...)
	h := newServer(Config{Names: named(make([]string, 100)...)}, c).routes()
	var clients sync.WaitGroup
	for range 120 {
		clients.Go(func() {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://localhost/", nil))
		})
	}
	clients.Wait()
	if most := c.most.Load(); most != 1 {
		t.Errorf("%d answers were made at once, want 1", most)
	}
	stuck := stuckWriter{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
	clients.Go(func() { h.ServeHTTP(stuck, httptest.NewRequest(http.MethodGet, "http://localhost/", nil)) })
	<-stuck.writes
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://localhost/status", nil))
	close(stuck.reads)
	clients.Wait()
}

// stuckWriter is a client that does not read until reads is closed.
type stuckWriter struct {
	*httptest.ResponseRecorder
	writes, reads chan struct{}
}

func (w stuckWriter) Write(b []byte) (int, error) {
	close(w.writes)
	<-w.reads
	return len(b), nil
}

// three is peer one of three, the leader, whose lease lasts 1.5 s more. two does not hear three, and three is not in touch.
func three() *fake {
	f := &fake{status: &handlers.Status{At: handlers.Instant{Run: time.Hour, Wall: 1e18}, ID: 1, Standing: types.Joined,
		View: types.View{Group: types.Group{Made: 5, Maker: 1}, Number: 3, Leader: 1, Members: []types.ID{1, 2, 3},
			Last: []types.Past{{Incarnation: 5}, {Incarnation: 6}, {Incarnation: 7}}},
		Reachable: 3, Quorate: true, Follows: 1, Leads: true, Wire: 2, Spare: handlers.Spare{Any: 1, ExceptLeader: 1},
		Hosts: []handlers.HostStatus{{State: handlers.Self, Speaks: 3, Reported: true}, {State: handlers.Present, Speaks: 2, Heard: time.Second, Reported: true,
			NotHearing: []types.ID{3}}, {State: handlers.Present, Heard: 1500 * time.Millisecond}},
		Listing: handlers.Listing{Hosts: make([]types.Host, 3), Agreed: 3},
	}}
	f.lease, f.now = handlers.Lease{Fence: 7, Until: time.Hour}, time.Hour-1500*time.Millisecond
	f.log.Max = 4
	return f
}

func serve(t *testing.T, f *fake) (*Server, *httptest.Server) {
	t.Helper()
	s := newServer(Config{Names: named("one", "two", "th<ree"), Monitor: 2200 * time.Millisecond, Build: "v1"}, f)
	h := httptest.NewServer(s.routes())
	t.Cleanup(h.Close)
	return s, h
}

func get(t *testing.T, h *httptest.Server, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.Config.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
	return w.Code, w.Body.String()
}

// The JSON is an interface: its names and their meaning are pinned here.
func TestStatusJSON(t *testing.T) {
	t.Parallel()
	_, h := serve(t, three())
	_, got := get(t, h, "/status")
	got = regexp.MustCompile(`"time":"[^"]*"`).ReplaceAllString(got, `"time":""`)
	const want = `{"version":1,"time":"","summary":"one leads view 3 with 3 members","ready":true,` +
		`"peer":{"id":1,"name":"one","standing":"member","incarnation":0,"stores":false,"stored_view":0,"storing_ms":0},"group":{"made":5,"maker":1,"wire_version":2},` +
		`"view":{"number":3,"leader":1,"members":[1,2,3],"quorum":2,"reachable":3,"quorum_reachable":true},` +
		`"follows":1,"leads":true,"fence":7,"lease_ms":1500,"stopped":null,"can_lose":{"any":1,"sparing_leader":1,"single":[1,2,3],"words":"any 1 at once"},"missing":[],` +
		`"hosts_file":{"settled":true,"words":"","agreed":3,"ahead":[],"behind":[],"wrong":0,"differ":[],"running":[],"bound":false},` +
		`"hosts":[{"id":1,"name":"one","addresses":["10.0.0.1"],"state":"self","member":true,"heard_seconds_ago":null,"does_not_hear":[],"wire_version":3,"retired":false,"agreed":true,"ahead":false,"behind":false},` +
		`{"id":2,"name":"two","addresses":["10.0.0.2"],"state":"present","member":true,"heard_seconds_ago":1,"does_not_hear":[3],"wire_version":2,"retired":false,"agreed":true,"ahead":false,"behind":false},` +
		`{"id":3,"name":"th\u003cree","addresses":["10.0.0.3"],"state":"present","member":true,"heard_seconds_ago":1.5,"does_not_hear":null,"wire_version":0,"retired":false,"agreed":true,"ahead":false,"behind":false}]}` + "\n"
	if got != want {
		t.Errorf("it serves\n%s, want\n%s", got, want)
	}
}

// Whatever its last step found, a peer says that it leads only while its lease lasts at the moment of saying so.
func TestLeadsByTheClock(t *testing.T) {
	t.Parallel()
	leads := []struct{ path, words string }{
		{"/status", `"leads":true,"fence":7,"lease_ms":1,`}, {"/status", "one leads view 3"}, {"/ready", "ok"},
		{"/metrics", "memberly_leads 1\n"}, {"/metrics", "memberly_fence 7\n"},
		{"/", "<dd>one, fence 7</dd>"}, {"/", `<b class="tag">leader</b>`},
	}
	for _, c := range []struct {
		what   string
		change func(*fake)
		want   bool
	}{
		{"the lease lasts", func(*fake) {}, true},
		{"it has just ended", func(f *fake) { f.now = f.lease.Until }, false},
		{"it was given up", func(f *fake) { f.lease.Resigned = true }, false},
		{"there is none", func(f *fake) { f.lease = handlers.Lease{} }, false},
	} {
		f := three()
		f.now = f.lease.Until - time.Millisecond
		c.change(f)
		s, h := serve(t, f)
		for _, says := range leads {
			if _, got := get(t, h, says.path); strings.Contains(got, says.words) != c.want {
				t.Errorf("%s: %s says %q: %t, want %t:\n%s", c.what, says.path, says.words, !c.want, c.want, got)
			}
		}
		if table := string(tabulate(s.report())); strings.Contains(table, "leads") != c.want {
			t.Errorf("%s: the table is\n%s", c.what, table)
		}
		for kind, want := range map[handlers.EventKind]string{
			handlers.Leads:  fmt.Sprintf(`"fence":7,"lease_ms":%d`, map[bool]int{true: 1}[c.want]),
			handlers.Ceased: `"fence":7}`,
		} {
			line, err := json.Marshal(s.event(&handlers.Event{Kind: kind, Fence: 7}, 1))
			if err != nil || !strings.Contains(string(line), want) || !strings.Contains(string(line), `"event":"`+kind.String()+`"`) {
				t.Errorf("%s: a %v event is %s, %v; want %s", c.what, kind, line, err, want)
			}
		}
	}
	s, _ := serve(t, three())
	old, err := json.Marshal(s.event(&handlers.Event{Kind: handlers.Leads, Fence: 6}, 1))
	if err != nil || !strings.Contains(string(old), `"fence":6,"lease_ms":0`) {
		t.Errorf("of an earlier lease it tells %s, %v", old, err)
	}
}

// What is a list is one when it is empty, too: before the first step, and of a halt that waits
// for nobody.
func TestEmptyLists(t *testing.T) {
	t.Parallel()
	f := three()
	f.status = nil
	s, h := serve(t, f)
	_, got := get(t, h, "/status")
	for _, want := range []string{`"single":[]`, `"hosts":[]`, `"standing":"fresh"`} {
		if !strings.Contains(got, want) {
			t.Errorf("before the first step it serves %s, want %s", got, want)
		}
	}
	for kind, want := range map[handlers.EventKind]bool{handlers.Halted: true, handlers.Said: false} {
		line, err := json.Marshal(s.event(&handlers.Event{Kind: kind, Halt: handlers.LeavesView}, 1))
		if err != nil || strings.Contains(string(line), `"waits_for":[]`) != want {
			t.Errorf("a %v event is %s: %v", kind, line, err)
		}
	}
}

// /ready and /live tell a peer that cannot go on, or takes no steps, from one that does.
func TestReadyAndLive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what        string
		change      func(*fake)
		ready, live int
		words       string
	}{
		{"well", func(*fake) {}, 200, 200, "ok"},
		{"no quorum", func(f *fake) { f.status.Halt, f.status.Awaited = handlers.NoQuorum, []types.ID{2, 3} }, 503, 200, "two, th<ree"},
		{"no leader", func(f *fake) { f.status.Halt = handlers.NoLeader }, 503, 200, "no member leads"},
		{"its disk does not store", func(f *fake) { f.status.Halt = handlers.NotStoring }, 503, 200, "its own disk does not store"},
		{"its lease has ended", func(f *fake) { f.now = f.lease.Until }, 503, 200, "its lease as leader has ended"},
		{"has resigned", func(f *fake) { f.lease.Resigned = true }, 503, 200, "about to leave"},
		{"frozen", func(f *fake) { f.age = 3 * time.Second }, 503, 200, "no step for 3.0 s"},
		{"dead", func(f *fake) { f.age = time.Minute }, 503, 503, "no step for 60.0 s"},
		{"not begun", func(f *fake) { f.status = nil }, 503, 503, "still starting"},
	} {
		f := three()
		c.change(f)
		_, h := serve(t, f)
		ready, words := get(t, h, "/ready")
		if live, _ := get(t, h, "/live"); ready != c.ready || live != c.live || !strings.Contains(words, c.words) {
			t.Errorf("%s: ready %d (%q), live %d, want %d (%q), %d", c.what, ready, words, live, c.ready, c.words, c.live)
		}
	}
}

// Hosts of the file that are no members are named, with the time since when; the page is amber.
func TestMissing(t *testing.T) {
	t.Parallel()
	f := three()
	today := time.Now()
	f.since = time.Date(today.Year(), today.Month(), today.Day(), 12, 1, 0, 0, time.Local)
	f.status.View.Members = []types.ID{1, 3}
	f.status.View.Last[1].Cause = types.Unreachable
	f.status.Hosts[1] = handlers.HostStatus{Heard: handlers.Never}
	_, h := serve(t, f)
	const want = "one leads view 3 with 2 of 3 hosts; two is missing since 12:01"
	if _, got := get(t, h, "/status"); !strings.Contains(got, want) || !strings.Contains(got, `"missing":[{"id":2,"name":"two","state":"removed","since":"`) {
		t.Errorf("it serves %s", got)
	}
	if _, got := get(t, h, "/"); !strings.Contains(got, want) || !strings.Contains(got, `id="state" data-live class="unsure"`) {
		t.Errorf("the page is %s", got)
	}
	f.status.View.Last[1].Cause = types.Left
	f.since = f.since.AddDate(-1, 0, 0)
	if _, got := get(t, h, "/status"); !strings.Contains(got, "; two left at "+f.since.Format("2006-01-02")+" 12:01") {
		t.Errorf("of one that left it serves %s", got)
	}
}

// In a large group the columns of the matrix have ids above them.
func TestPageOfForty(t *testing.T) {
	t.Parallel()
	f, names := three(), make([]string, 40)
	f.status.View.Members, f.status.View.Last, f.status.Hosts = nil, nil, nil
	for i := range names {
		names[i] = fmt.Sprintf("host-with-a-long-name-%d", i+1)
		f.status.View.Members = append(f.status.View.Members, types.ID(i+1))
		f.status.View.Last = append(f.status.View.Last, types.Past{Incarnation: 1})
		f.status.Hosts = append(f.status.Hosts, handlers.HostStatus{State: handlers.Present, Reported: true})
	}
	w := httptest.NewRecorder()
	newServer(Config{Names: named(names...)}, f).routes().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/", nil))
	if got := w.Body.String(); !strings.Contains(got, `title="40 host-with-a-long-name-40">40</th>`) {
		t.Errorf("the page is %s", got)
	}
}

// The page and the table show which wire version each host speaks, and the page that of the group.
func TestShowsWire(t *testing.T) {
	t.Parallel()
	f := three()
	s, h := serve(t, f)
	if _, got := get(t, h, "/"); !strings.Contains(got, "<dt>Wire version</dt><dd>2</dd>") || !strings.Contains(got, "<td>10.0.0.1</td><td>3</td>") ||
		!strings.Contains(got, "<td>10.0.0.3</td><td>–</td>") {
		t.Errorf("the page is %s", got)
	}
	if table := string(tabulate(s.report())); !regexp.MustCompile(`(?m)^1 +one +self, leads +3 +- (.|\n)*^3 +th<ree +present +- +1\.5 s ago `).MatchString(table) {
		t.Errorf("the table is\n%s", table)
	}
	f.status.Standing = types.Fresh
	if _, got := get(t, h, "/"); !strings.Contains(got, "<dt>Wire version</dt><dd>–</dd>") {
		t.Errorf("without a view the page is %s", got)
	}
}

// A peer that is leaving says so, and nothing of a group that stands still: the group goes on.
func TestLeaving(t *testing.T) {
	t.Parallel()
	f := three()
	f.lease = handlers.Lease{}
	f.status.Leads, f.status.Follows, f.status.Halt, f.status.Spare = false, 2, handlers.LeavesView, handlers.Spare{}
	f.log.Append(handlers.Event{Kind: handlers.Halted, Halt: handlers.LeavesView})
	s, h := serve(t, f)
	r := s.report()
	if r.Summary != "one is leaving view 3 with 3 members" || r.CanLose.Words != "it is leaving the group" || len(r.CanLose.Single) > 0 {
		t.Errorf("it says %q, and %+v could be lost", r.Summary, r.CanLose)
	}
	for _, not := range []string{"cannot make progress", "Cannot make progress", "none"} {
		if _, page := get(t, h, "/"); strings.Contains(page, not) {
			t.Errorf("its page says %q", not)
		}
	}
	if table := string(tabulate(r)); !strings.Contains(table, "present, leads") {
		t.Errorf("its table has no leader:\n%s", table)
	}
}

// Every line of /metrics is a comment or a sample, and every sample's family is declared once.
func TestMetricsFormat(t *testing.T) {
	t.Parallel()
	f := three()
	f.status.Tally.Led, f.status.Tally.Stalls, f.status.Tally.Stood = 6, 2, 1250*time.Millisecond
	f.status.Tally.Received[0], f.status.Tally.Received[types.Probe] = 4, 5
	f.status.Tally.Silence.Counts[3], f.status.Tally.Silence.Count, f.status.Tally.Silence.Sum = 2, 3, 5*time.Second
	f.status.Tally.Changes[types.Present], f.status.Tally.Changes[types.Left] = 9, 1
	f.views.hostsAdded, f.views.hostsRetired = 2, 1
	f.status.Listing = handlers.Listing{Hosts: []types.Host{{}, {Retired: true}, {}, {}}, Agreed: 3, Ahead: []types.ID{4}}
	_, h := serve(t, f)
	_, text := get(t, h, "/metrics")
	sample := regexp.MustCompile(`^(memberly_[a-z_]+?)(_bucket|_sum|_count)?(\{([a-z_]+="[^"]*",?)+\})? [0-9.e+-]+$`)
	kinds := make(map[string]bool)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			if kinds[name] {
				t.Errorf("%s is declared twice", name)
			}
			kinds[name] = true
		} else if m := sample.FindStringSubmatch(line); !strings.HasPrefix(line, "# HELP ") && (m == nil || !kinds[m[1]]) {
			t.Errorf("%q is no sample of a declared family", line)
		}
	}
	for _, want := range []string{"memberly_ready 1\n", "memberly_leads 1\n", "memberly_fence 7\n", "memberly_lease_seconds 1.5\n", "memberly_view_number 3\n", "memberly_wire_version 2\n",
		`memberly_messages_received_total{kind="unknown"} 4` + "\n", `memberly_messages_received_total{kind="PROBE"} 5` + "\n", `memberly_dropped_total{reason="no_member"} 3` + "\n",
		"memberly_leaderships_total 6\n", "memberly_stalls_total 2\n", "memberly_stalled_seconds_total 1.25\n",
		`memberly_hosts{state="agreed"} 2` + "\n", `memberly_hosts{state="retired"} 1` + "\n", `memberly_hosts{state="proposed"} 1` + "\n", "memberly_hosts_file_settled 0\n",
		`memberly_views_total{cause="added"} 6` + "\n", `memberly_views_total{cause="left"} 1` + "\n", `memberly_views_total{cause="host_added"} 2` + "\n", `memberly_views_total{cause="host_retired"} 1` + "\n",
		`memberly_failure_detection_seconds_bucket{le="0.1"} 2` + "\n", `memberly_failure_detection_seconds_bucket{le="+Inf"} 3` + "\n",
		"memberly_failure_detection_seconds_sum 5\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// A peer with -state shows what it has stored, and for how long its disk has kept it waiting; one without shows nothing.
func TestStores(t *testing.T) {
	t.Parallel()
	shown := func(f *fake) (all string) {
		s, h := serve(t, f)
		for _, path := range []string{"/status", "/metrics", "/"} {
			_, text := get(t, h, path)
			all += text
		}
		return all + string(tabulate(s.report()))
	}
	f := three()
	for _, not := range []string{"stored_view ", "store_seconds", "storing_seconds", "Stored</dt>", "stored: "} {
		if got := shown(f); strings.Contains(got, not) {
			t.Errorf("without -state it shows %q", not)
		}
	}
	f.status.Stores, f.status.Stored, f.status.Storing = true, 2, 1250*time.Millisecond
	f.status.Tally.Stored.Count, f.status.Tally.Stored.Sum = 2, 3*time.Second
	got := shown(f)
	for _, want := range []string{`"stores":true,"stored_view":2,"storing_ms":1250}`, "\nmemberly_stored_view 2\n", "\nmemberly_storing_seconds 1.25\n",
		"\nmemberly_store_seconds_sum 3\n", "<dt>Stored</dt><dd>view 2; more has been waiting for the disk for 1 s</dd>",
		"\nstored: view 2; more has been waiting for the disk for 1 s\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	f.status.Halt = handlers.NotStoring
	f.log.Append(handlers.Event{Kind: handlers.Halted, Halt: handlers.NotStoring})
	words := "its own disk does not store what this peer must remember, so the group may go on, but without its vote: check the disk of its state file"
	got = shown(f)
	for _, want := range []string{"one leads view 3 with 3 members\nnot ready: " + words, `"ready":false,"reason":"` + words, `"stopped":{"why":"not storing","words":"` + words + `","waits_for":[]}`,
		"\nmemberly_ready 0\n", "\nmemberly_leads 1\n", "Does not store.", "self, leads  "} {
		if !strings.Contains(got, want) {
			t.Errorf("of a leader whose disk stalls: %q is not in\n%s", want, got)
		}
	}
	f.status.Leads, f.status.Follows, f.lease = false, 2, handlers.Lease{}
	if got := shown(f); !strings.Contains(got, "one follows two in view 3 with 3 members\nnot ready: its own disk") || !strings.Contains(got, "present, leads  ") {
		t.Errorf("of a follower whose disk stalls it shows\n%s", got)
	}
	f.status.Storing, f.status.Stored = 20*time.Millisecond, 0
	f.status.Standing, f.status.View, f.status.Halt, f.status.Awaited = types.Fresh, types.View{}, handlers.NoVotes, []types.ID{2}
	if got := shown(f); !strings.Contains(got, "\nstored: no view\n") || !strings.Contains(got, `"why":"no votes"`) || !strings.Contains(got, `"waits_for":[2]`) {
		t.Errorf("of one that founds it shows\n%s", got)
	}
	f.status.Standing, f.status.Stored, f.status.Halt = types.Returned, 7, handlers.Returning
	for _, want := range []string{`"standing":"returned"`, "one has returned, and has view 7 stored", `"why":"returning"`, "memberly_stored_view 7"} {
		if got := shown(f); !strings.Contains(got, want) {
			t.Errorf("of one that has returned it shows no %q in\n%s", want, got)
		}
	}
}

// A time has its zone, and its date unless it is today.
func TestClock(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 5, 6, 23, 59, 59, 123e6, time.FixedZone("CEST", 7200))
	for now, want := range map[time.Time]string{
		at.Add(500 * time.Millisecond): "23:59:59.123 CEST",
		at.Add(time.Second):            "2024-05-06 23:59:59.123 CEST",
	} {
		if got := clock(at, now); got != want {
			t.Errorf("at %v it shows %s, want %s", now, got, want)
		}
	}
	f := three()
	f.log.Append(handlers.Event{Kind: handlers.Said, At: handlers.Instant{Wall: at.UnixNano()}})
	_, h := serve(t, f)
	if _, page := get(t, h, "/"); !strings.Contains(page, at.Local().Format(">2006-01-02 15:04:05.000 MST<")) {
		t.Error("the page does not show when something was")
	}
}

// The page shows a one-way link, and escapes what it shows.
func TestPageMatrix(t *testing.T) {
	t.Parallel()
	_, h := serve(t, three())
	_, page := get(t, h, "/")
	for _, want := range []string{"two does not hear th&lt;ree", "unknown whether th&lt;ree hears two", "hears th&lt;ree"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if strings.Contains(page, "<ree") || strings.Contains(page, "ZgotmplZ") {
		t.Error("the page does not escape names")
	}
	if marks := strings.Count(page, `class="no"`); marks != 1 {
		t.Errorf("%d links are shown as broken, want 1", marks)
	}
}

// A page without a status yet, and one of a peer that holds no view, are pages too.
func TestPageWithoutView(t *testing.T) {
	t.Parallel()
	for _, status := range []*handlers.Status{nil, {ID: 1, Standing: types.Fresh, Halt: handlers.NoGroup, Hosts: make([]handlers.HostStatus, 3)}} {
		f := three()
		f.status = status
		_, h := serve(t, f)
		if code, page := get(t, h, "/"); code != 200 || !strings.HasSuffix(page, "</html>\n") {
			t.Errorf("of %+v it serves %d %q", status, code, page)
		}
	}
}

// reader reads events as a browser does.
type reader struct {
	t     *testing.T
	body  io.Closer
	lines *bufio.Scanner
	last  string // id
}

func read(t *testing.T, h *httptest.Server, last string) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	q, _ := http.NewRequestWithContext(ctx, http.MethodGet, h.URL+"/events", nil)
	if last != "" {
		q.Header.Set("Last-Event-ID", last)
	}
	a, err := h.Client().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Body.Close() })
	return &reader{t: t, body: a.Body, lines: bufio.NewScanner(a.Body)}
}

func (r *reader) next() (e eventJSON) {
	r.t.Helper()
	for r.lines.Scan() {
		if id, ok := strings.CutPrefix(r.lines.Text(), "id: "); ok {
			r.last = id
		}
		if line, ok := strings.CutPrefix(r.lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.ID != r.last {
				r.t.Fatalf("%s: %v", line, err)
			}
			return e
		}
	}
	r.t.Fatal("the stream ended", r.lines.Err())
	return e
}

// Who comes late gets what is kept, who comes back what it missed, once each; and who was away
// for too long, or knew another process, is told that it missed something.
func TestEvents(t *testing.T) {
	t.Parallel()
	f := three()
	say := func(texts ...string) {
		for _, text := range texts {
			f.log.Append(handlers.Event{Kind: handlers.Said, Text: text})
		}
	}
	_, h := serve(t, f)
	say("a", "b")
	first := read(t, h, "")
	expect := func(r *reader, words ...string) {
		t.Helper()
		for _, want := range words {
			if got := r.next(); got.Words != want {
				t.Errorf("%q came, want %q", got.Words, want)
			}
		}
	}
	expect(first, "a", "b")
	say("c")
	expect(first, "c")
	b := strings.TrimSuffix(first.last, "3") + "2"
	expect(read(t, h, b), "c")
	const restarted = "events were missed: the peer was restarted"
	expect(read(t, h, "another-2"), restarted, "a", "b", "c")
	expect(read(t, h, strings.TrimSuffix(b, "2")+"4"), restarted, "a", "b", "c")
	expect(read(t, h, "nonsense"), restarted, "a", "b", "c")
	say("d", "e", "f", "g")
	expect(read(t, h, b), "1 events were missed: they are kept no longer", "d", "e", "f", "g")
	expect(first, "d", "e", "f", "g")
	expect(read(t, h, strings.TrimSuffix(b, "2")+"0"), "3 events were missed: they are kept no longer", "d", "e", "f", "g")
	expect(read(t, h, ""), "d", "e", "f", "g")
	expect(read(t, h, "another-2"), restarted, "d", "e", "f", "g")
}

// Who reads events may be many, but not too many: for one more the oldest is ended, and for that
// one none if somebody has gone.
func TestMostReaders(t *testing.T) {
	t.Parallel()
	f := three()
	s, h := serve(t, f)
	var all []*reader
	enter := func() {
		t.Helper()
		r := read(t, h, "")
		r.lines.Scan() // it is in
		all = append(all, r)
	}
	for range maxReaders + 1 {
		enter()
	}
	for all[0].lines.Scan() {
	}
	if err := all[0].lines.Err(); err != nil {
		t.Errorf("the oldest reader is ended by %v", err)
	}
	all[1].body.Close()
	timeout := time.After(20 * time.Second)
	for left := false; !left; {
		s.readers.mu.Lock()
		left = len(s.readers.all) < maxReaders
		s.readers.mu.Unlock()
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			t.Fatal("the place of one who has gone does not come back")
		}
	}
	enter()
	f.log.Append(handlers.Event{Kind: handlers.Said, Text: "a"})
	for i, r := range all[2:] {
		if got := r.next(); got.Words != "a" {
			t.Errorf("reader %d gets %q", i+2, got.Words)
		}
	}
}

// The words of what made a view.
func TestEventWords(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, three())
	del := func(c types.Cause) types.Change {
		return types.Change{Operation: types.Del, Member: types.Member{ID: 2}, Cause: c}
	}
	for _, c := range []struct {
		event       handlers.Event
		cause, want string
	}{
		{handlers.Event{Made: true, Asked: 1, Took: handlers.Never}, "made", "one made the group"},
		{handlers.Event{Asked: 1, Took: 2 * time.Second}, "joined", "one asked to join, and was let in; took 2.0 s"},
		{handlers.Event{Took: handlers.Never}, "several", "views in between were missed"},
		{handlers.Event{Change: types.Change{Operation: types.Add, Member: types.Member{ID: 2}}, Asked: 2, Answers: 3, Needed: 2,
			Took: 12 * time.Millisecond}, "added", "two asked to join; 3 answers, 2 needed; took 12 ms"},
		{handlers.Event{Change: del(types.Left), Asked: 2, Took: handlers.Never}, "left", "two asked to leave"},
		{handlers.Event{Change: del(types.Unreachable), Asked: 1, Took: handlers.Never}, "unreachable", "two was unreachable; removed by one"},
		{handlers.Event{Change: del(types.Restarted), Asked: 1, Took: handlers.Never}, "restarted", "two was restarted; removed by one"},
		{handlers.Event{Change: del(types.Expelled), Asked: 1, Took: handlers.Never}, "expelled", "two was expelled; removed by one"},
		{handlers.Event{Change: types.Change{Operation: types.Grow, Member: types.Member{ID: 6}, Name: "six"}, Asked: 1, Answers: 3, Needed: 2,
			Took: 12 * time.Millisecond}, "host added", "six was added as host 6; 3 answers, 2 needed; took 12 ms"},
		{handlers.Event{Change: types.Change{Operation: types.Retire, Member: types.Member{ID: 2}}, Asked: 1, Took: handlers.Never}, "host retired", "two was retired"},
	} {
		c.event.Kind = handlers.Installed
		got := s.event(&c.event, 1)
		if got.Words != c.want || got.Cause != c.cause {
			t.Errorf("%q (%s), want %q (%s)", got.Words, got.Cause, c.want, c.cause)
		}
	}
}

// The commands say what they are asked, and exit as they should.
func TestCommands(t *testing.T) {
	t.Parallel()
	f := three()
	_, h := serve(t, f)
	at := strings.TrimPrefix(h.URL, "http://")
	f2 := three()
	f2.status.Halt, f2.status.Quorate = handlers.NoQuorum, false
	_, h2 := serve(t, f2)
	stopped := strings.TrimPrefix(h2.URL, "http://")
	none := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(none.Close)
	stranger := strings.TrimPrefix(none.URL, "http://")
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"version":1,"hosts":[{"id":1,"name":"one","does_not_hear":[0,1,7]}]}`)
	}))
	t.Cleanup(odd.Close)
	foreign := strings.TrimPrefix(odd.URL, "http://")
	for _, c := range []struct {
		name string
		args string
		code int
		want string // in stdout, or in stderr if the code is not 0
	}{
		{"status", at, yes, "one leads view 3 with 3 members: ready\n"},
		{"status", at, yes, "2   two     present      2     1.0 s ago   10.0.0.2  th<ree\n"},
		{"status", "-json " + at, yes, `{"version":1,`},
		{"status", stopped, yes, "not ready: it waits for a quorum"},
		{"status", stranger, no, "is not a peer"},
		{"status", foreign, yes, "one\n"},
		{"ready", foreign, no, "is not a peer"},
		{"status", "127.0.0.1:1", no, "connection refused: start the peer with -http 1, if it runs without\n"},
		{"status", "nowhere", misuse, "Usage: memberly status"},
		{"status", at + " " + at, misuse, "one address"},
		{"status", "-help", yes, "Usage: memberly status"},
		{"ready", at, yes, "ok\n"},
		{"ready", "-watch " + at, misuse, "Usage: memberly ready"},
		{"ready", "127.0.0.1:1", no, "refused: start the peer with -http 1, if it runs without\n"},
	} {
		var stdout, stderr strings.Builder
		run := map[string]func() int{
			"status": func() int { return RunStatus(t.Context(), strings.Fields(c.args), nil, &stdout, &stderr) },
			"ready":  func() int { return RunReady(t.Context(), strings.Fields(c.args), nil, &stdout, &stderr) },
		}[c.name]
		code, got := run(), stdout.String()
		if c.code != yes {
			got = stderr.String()
		}
		if code != c.code || !strings.Contains(got, c.want) {
			t.Errorf("%s %s: code %d, %q, want %d, %q", c.name, c.args, code, got, c.code, c.want)
		}
	}
	var stdout strings.Builder
	if code := RunReady(t.Context(), []string{stopped}, nil, &stdout, &stdout); code != no || !strings.Contains(stdout.String(), "for a quorum") {
		t.Errorf("ready: code %d, %q", code, stdout.String())
	}
}

// -watch shows what changes, and not how long ago something was heard.
func TestWatch(t *testing.T) {
	t.Parallel()
	var current atomic.Pointer[fake]
	current.Store(three())
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		newServer(Config{Names: named("one", "two", "three"), Monitor: time.Minute}, current.Load()).routes().ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	ctx, cancel := context.WithCancel(t.Context())
	shown := make(writes, 100)
	done := make(chan int)
	go func() {
		done <- RunStatus(ctx, []string{"-watch", strings.TrimPrefix(h.URL, "http://")}, nil, shown, shown)
	}()
	<-shown
	older := three()
	older.status.Hosts[1].Heard = time.Minute
	current.Store(older)
	changed := three()
	changed.status.View.Number = 4
	current.Store(changed)
	if got := <-shown; !strings.Contains(got, "view 4") {
		t.Errorf("it shows %q, want view 4", got)
	}
	cancel()
	if code := <-done; code != yes {
		t.Errorf("exit code %d", code)
	}
}

// With -json, stdout has JSON alone: that the peer is gone is told on stderr.
func TestWatchJSON(t *testing.T) {
	t.Parallel()
	_, h := serve(t, three())
	stdout, stderr := make(writes, 100), make(writes, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		done <- RunStatus(ctx, []string{"-json", "-watch", strings.TrimPrefix(h.URL, "http://")}, nil, stdout, stderr)
	}()
	if got := <-stdout; !strings.HasPrefix(got, "{") {
		t.Errorf("stdout has %q", got)
	}
	h.Close()
	select {
	case got := <-stderr:
		if !strings.Contains(got, "no answer from") {
			t.Errorf("stderr has %q", got)
		}
	case got := <-stdout:
		t.Errorf("stdout has %q", got)
	}
	cancel()
	<-done
}

// writes hands on each text that is written.
type writes chan string

func (w writes) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

// JSON is shown without what moves the cursor, and stays the same JSON.
func TestPrintableJSON(t *testing.T) {
	t.Parallel()
	if got := string(printableJSON([]byte("{\"a\":\"\u202e\u009b\U000e0001\",\r\t\"b\": 1}\n"))); got != `{"a":"\u202e\u009b\udb40\udc01","b": 1}`+"\n" {
		t.Errorf("it shows %q", got)
	}
}

// What a hostile server answers is shown without harm, is bounded, and leads nowhere else.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	const harm = "\x1b]0;owned\a\u202e\u009b31m"
	long := strings.Repeat("x", 1<<20)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it follows a redirect") }))
	t.Cleanup(elsewhere.Close)
	for _, c := range []struct {
		what   string
		answer statusJSON
	}{
		{"escapes", statusJSON{Version: jsonVersion, Summary: harm, Reason: harm, File: fileJSON{Words: harm}, CanLose: lossJSON{Words: harm},
			Hosts: []hostJSON{{ID: 1, Name: harm, State: harm, Addresses: []string{harm}, DoesNotHear: []types.ID{1}}}}},
		{"long texts", statusJSON{Version: jsonVersion, Summary: long, Hosts: []hostJSON{{ID: 1, Name: long, State: "a", Addresses: []string{long}}}}},
		{"long lists", statusJSON{Version: jsonVersion, Hosts: []hostJSON{{ID: 1, Name: "\xff" + long[:1000], DoesNotHear: slices.Repeat([]types.ID{1}, types.MaxHosts)}}}},
	} {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ready" {
				http.Redirect(w, r, elsewhere.URL, http.StatusFound)
				return
			}
			json.NewEncoder(w).Encode(c.answer)
		}))
		t.Cleanup(h.Close)
		for _, args := range [][]string{{h.URL[len("http://"):]}, {"-json", h.URL[len("http://"):]}} {
			var stdout, stderr strings.Builder
			code := RunStatus(t.Context(), args, nil, &stdout, &stderr)
			if code != yes || strings.ContainsFunc(stdout.String(), func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) ||
				len(args) == 1 && stdout.Len() > 20_000 {
				t.Errorf("%s, %q: code %d, %d bytes, %q", c.what, args, code, stdout.Len(), stdout.String()[:min(300, stdout.Len())])
			}
		}
		var out strings.Builder
		if code := RunReady(t.Context(), []string{h.URL[len("http://"):]}, nil, &out, &out); code != no {
			t.Errorf("ready, redirected: code %d, %q", code, out.String())
		}
	}
}

// What an answer costs is bounded before it is decoded: whatever it says, and however often.
func TestAnswerCostsLittle(t *testing.T) {
	const most = 40 << 20
	fill := func(before, part, after string) string {
		n := (maxAnswer - len(before) - len(after)) / (len(part) + 1)
		return before + strings.Repeat(part+",", n-1) + part + after
	}
	list := func(part string, n int) string { return "[" + strings.Repeat(part+",", n-1) + part + "]" }
	for what, answer := range map[string]string{
		"hosts":           fill(`{"version":1,"hosts":[`, "{}", "]}"),
		"lists of hosts":  fill(`{"version":1,`, `"hosts":`+list("{}", 1000), "}"),
		"missing":         fill(`{"version":1,"missing":[`, "{}", "]}"),
		"members":         fill(`{"version":1,"view":{"members":[`, "1", "]}}"),
		"views":           fill(`{"version":1,`, `"view":{"members":[1]},"view":null`, "}"),
		"waits for":       fill(`{"version":1,"stopped":{"waits_for":[`, "1", "]}}"),
		"single":          fill(`{"version":1,"can_lose":{"single":[`, "1", "]}}"),
		"addresses":       fill(`{"version":1,"hosts":[{"addresses":[`, `""`, "]}]}"),
		"does not hear":   fill(`{"version":1,"hosts":[`, `{"does_not_hear":`+list("1", 1000)+"}", "]}"),
		"many addresses":  fill(`{"version":1,"hosts":[`, `{"addresses":`+list(`""`, 1000)+"}", "]}"),
		"many keys":       fill(`{"version":1,`, `"\u0061":0`, "}"),
		"no key at all":   fill(`{"version":1,`, `"":0`, "}"),
		"deep":            `{"version":1,"a":` + strings.Repeat("[", maxAnswer-100),
		"deep and closed": `{"version":1,"a":` + strings.Repeat("[", maxAnswer/2-100) + strings.Repeat("]", maxAnswer/2-100) + "}",
		"deep objects":    `{"version":1,"hosts":` + strings.Repeat(`{"a":`, maxAnswer/5-100),
		"a long text":     `{"version":1,"summary":"` + strings.Repeat("x", maxAnswer-100) + `"}`,
	} {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) }))
		for _, args := range [][]string{{h.URL[len("http://"):]}, {"-json", h.URL[len("http://"):]}} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			RunStatus(t.Context(), args, nil, io.Discard, io.Discard)
			runtime.ReadMemStats(&after)
			if cost := after.TotalAlloc - before.TotalAlloc; cost > most {
				t.Errorf("%s, %q: it costs %d MB, want at most %d", what, args, cost>>20, most>>20)
			}
		}
		h.Close()
	}
}

// The largest answer of a peer is decoded: all hosts of the largest file, each with what it does not hear.
func TestLargestAnswer(t *testing.T) {
	t.Parallel()
	r := statusJSON{Version: jsonVersion, View: &viewJSON{}, Stopped: &stopJSON{}}
	for id := range types.ID(types.MaxHosts) {
		r.View.Members = append(r.View.Members, id+1)
		r.Stopped.WaitsFor = append(r.Stopped.WaitsFor, id+1)
		r.CanLose.Single = append(r.CanLose.Single, id+1)
		r.Missing = append(r.Missing, missingJSON{ID: id + 1})
		r.Hosts = append(r.Hosts, hostJSON{ID: id + 1, Name: "host\\\",[", Addresses: []string{"10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"},
			DoesNotHear: slices.Repeat([]types.ID{types.MaxHosts}, handlers.MaxNamed)})
	}
	r.File = fileJSON{Ahead: r.View.Members, Behind: r.View.Members, Differ: r.View.Members, Running: r.View.Members}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, &r) }))
	t.Cleanup(h.Close)
	var stdout, stderr strings.Builder
	if code := RunStatus(t.Context(), []string{h.URL[len("http://"):]}, nil, &stdout, &stderr); code != yes || strings.Count(stdout.String(), "\n") < types.MaxHosts {
		t.Errorf("code %d, %d bytes, %s", code, stdout.Len(), stderr.String())
	}
}
