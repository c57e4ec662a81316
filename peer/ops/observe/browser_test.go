package observe

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"memberly/peer/check/browser"
	"memberly/peer/handlers"
	"memberly/peer/types"
)

// crowd is peer one of n hosts, the leader, all well.
func crowd(n int) (*fake, Names) {
	names := []string{"alpha", "bravo", "charlie", "delta", "echo"}
	f := three()
	f.since = time.Now().Add(-time.Minute)
	f.log.Max = 100
	v := &f.status.View
	v.Members, v.Last, f.status.Hosts = nil, nil, nil
	for i := range n {
		if i >= len(names) {
			names = append(names, fmt.Sprintf("rack%d-node%02d.example", i/10, i+1))
		}
		v.Members = append(v.Members, types.ID(i+1))
		v.Last = append(v.Last, types.Past{Incarnation: 1})
		f.status.Hosts = append(f.status.Hosts, handlers.HostStatus{State: handlers.Present, Reported: true, Speaks: 2, Heard: time.Duration(i) * 10 * time.Millisecond})
	}
	f.status.Hosts[0].State = handlers.Self
	f.status.Reachable, f.status.Spare = n, handlers.Spare{Any: (n - 1) / 2, ExceptLeader: (n - 1) / 2}
	f.status.Listing = handlers.Listing{Hosts: make([]types.Host, n), Agreed: n}
	f.happens()
	return f, named(names...)
}

// happens has each kind of mark in the timeline.
func (f *fake) happens() {
	now := handlers.Instant{Wall: time.Now().UnixNano()}
	for _, e := range []handlers.Event{{Kind: handlers.Installed, Made: true, Asked: 1, View: 1, Members: []types.ID{1, 2, 3}, Took: time.Second},
		{Kind: handlers.Leads, Fence: 7}, {Kind: handlers.Failed, Host: 3, Silence: time.Second}, {Kind: handlers.Halted, Halt: handlers.NoQuorum, Awaited: []types.ID{3}},
		{Kind: handlers.Halted}, {Kind: handlers.Said, Text: "something else"}} {
		e.At = now
		f.log.Append(e)
	}
}

// lose makes a member of a crowd no member.
func (f *fake) lose(id types.ID, cause types.Cause) {
	f.status.View.Members = slices.DeleteFunc(f.status.View.Members, func(other types.ID) bool { return other == id })
	f.status.View.Last[id-1].Cause = cause
	f.status.Hosts[id-1] = handlers.HostStatus{Heard: handlers.Never}
	f.status.Reachable--
}

// troubled has every state of a host in a crowd of at least five, and a hosts file that differs.
func (f *fake) troubled() {
	hosts := f.status.Hosts
	n := len(hosts)
	f.lose(types.ID(n), types.Unreachable)
	hosts[n-2].State, hosts[n-2].Heard, hosts[0].NotHearing = handlers.Gone, 4*time.Second, []types.ID{types.ID(n - 1)}
	hosts[n-3].State, hosts[n-3].Heard = handlers.Silent, 2*time.Second
	hosts[n-4].State = handlers.Unanswered
	hosts[n-4].Reported = false
	f.status.Reachable--
	f.status.Listing.Differ = []types.ID{types.ID(n - 3)}
	if n > 12 {
		f.lose(types.ID(n-5), types.Left)
		f.lose(types.ID(n-6), types.Expelled)
		f.status.Listing.Hosts[n-8].Retired = true
		f.lose(types.ID(n-7), types.Left)
	}
}

// stopped has a crowd lose its quorum.
func (f *fake) stopped() {
	f.status.Halt, f.status.Quorate, f.status.Leads, f.status.Spare, f.lease = handlers.NoQuorum, false, false, handlers.Spare{}, handlers.Lease{}
	for i := range f.status.Hosts[1:] {
		if i > 0 {
			id := types.ID(i + 2)
			f.status.Awaited = append(f.status.Awaited, id)
			f.status.Hosts[id-1].State, f.status.Hosts[id-1].Heard = handlers.Gone, time.Minute
			f.status.Hosts[0].NotHearing = append(f.status.Hosts[0].NotHearing, id)
		}
	}
	f.status.Reachable = 2
}

// shelf serves the page of whatever fake is current.
type shelf struct {
	current atomic.Pointer[Server]
	*httptest.Server
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.current.Load().routes().ServeHTTP(w, r) }))
	t.Cleanup(s.CloseClientConnections)
	return s
}

func (s *shelf) put(f *fake, names Names) {
	s.current.Store(newServer(Config{Names: names, Monitor: time.Hour, Build: "v1"}, f))
}

// windows are what the page is seen in.
var windows = []struct {
	name          string
	width, height int
}{{"desktop", 1280, 800}, {"phone", 390, 844}}

// first are what an operator must see without scrolling.
var first = []string{"#state", "#facts > :nth-child(1)", "#facts > :nth-child(2)", "#facts > :nth-child(3)", "#facts > :nth-child(4)",
	"#host-rows > :nth-child(1) > :nth-child(3)"}

// In a real browser, for five hosts and for forty, well, in trouble and stopped, on a desktop and on a phone, in light and
// in dark: what matters is above the fold, every colour has contrast, and nothing but what scrolls is too wide.
func TestPageLooks(t *testing.T) {
	t.Parallel()
	b := browser.New(t)
	s := newShelf(t)
	for _, n := range []int{5, 40} {
		for _, state := range []string{"well", "trouble", "stopped"} {
			f, names := crowd(n)
			switch state {
			case "trouble":
				f.troubled()
			case "stopped":
				f.stopped()
			}
			s.put(f, names)
			for _, w := range windows {
				for _, scheme := range []string{"light", "dark"} {
					b.Look(w.width, w.height, scheme)
					b.Open(s.URL + "/")
					b.Above(first...)
					if n == 5 && w.name == "desktop" {
						b.Above("#host-rows > :nth-child(5)", "#timeline > :nth-child(3)", "#matrix")
					} else if w.name == "desktop" {
						b.Above("#host-rows > :nth-child(15)")
					}
					b.Fits()
					b.Contrast(6)
					b.Picture(fmt.Sprintf("%d-%s-%s-%s", n, state, w.name, scheme))
				}
			}
		}
	}
	b.Clean()
}

// The live region is empty at first, says a change once, and not how seconds go on; rows that change their place move; Tab
// goes from top to bottom, visibly; and a screen reader finds a name for each part.
func TestPageSpeaks(t *testing.T) {
	t.Parallel()
	b := browser.New(t)
	s := newShelf(t)
	f, names := crowd(40)
	s.put(f, names)
	b.Look(1280, 800, "light")
	b.Open(s.URL + "/")
	b.Until(`document.querySelector("#host-rows tr").dataset.key`, "1")
	b.Text(`new MutationObserver(() => {
		const text = document.getElementById("spoken").textContent;
		if (text) (window.saids ??= []).push(text);
	}).observe(document.getElementById("spoken"), { childList: true, characterData: true, subtree: true })`)
	for i := range 4 { // the status grows older: each time it says so, and with another number
		older, _ := crowd(40)
		older.status.Hosts[38].State = handlers.Gone
		s.current.Store(newServer(Config{Names: names, Monitor: time.Second}, &aged{older, time.Duration(60+i) * time.Second}))
		b.Awaits("state", fmt.Sprintf("has taken no step for %d.0 s", 60+i))
	}
	b.Until(`document.querySelector("#host-rows tr").dataset.key`, "39")
	b.Until(`[...document.querySelectorAll("#host-rows tr")].slice(1, 4).map(r => r.dataset.key).join()`, "1,2,3")
	b.Until(`window.saids?.length`, "1")
	b.Until(`document.getElementById("spoken").textContent`, "") // it is not there to be read twice
	want := []string{"Skip to the hosts", "Hosts", "What happened", "Which members hear each other", "status", "events", "metrics", "ready", "live"}
	if got := b.Tabs(len(want) + 1); !slices.Equal(got, want) {
		t.Errorf("Tab goes to %q, want %q", got, want)
	}
	found := b.Spoken()
	for _, want := range []string{"region State", "region Hosts", "region What happened", "table Those with problems first.", "heading Hosts",
		"term Leader", "term Quorum", "term Missing", "term Hosts file", "rowheader bravo", "columnheader Last heard"} {
		if !found[want] {
			t.Errorf("a screen reader finds no %s, but %v", want, slices.Sorted(maps.Keys(found)))
		}
	}
	b.Clean()
}

// aged is a peer whose status is old.
type aged struct {
	*fake
	old time.Duration
}

func (a *aged) Age(*handlers.Status) time.Duration { return a.old }
