package observe

import (
	"fmt"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// A step is looked at when something happened, else only now and then, and not while the peer has stalled;
// that the group stands still, and goes on, is told once, and what the peer waits for is not told besides.
func TestFeed(t *testing.T) {
	t.Parallel()
	f, asked := newFeed(), 0
	st := handlers.Status{View: types.View{Number: 3}}
	step := func(s handlers.Step) {
		s.Status = func() *handlers.Status { asked++; now := st; return &now }
		f.stepped(&s)
	}
	now := time.Duration(0)
	for ; now < time.Second; now += time.Millisecond {
		step(handlers.Step{At: now})
	}
	if asked != 10 {
		t.Errorf("in a second it was looked at %d times, want 10", asked)
	}
	step(handlers.Step{At: now, Stalled: true, Events: []handlers.Event{{Kind: handlers.Failed}}})
	if asked != 10 {
		t.Error("it was looked at after a stall")
	}
	step(handlers.Step{At: now, Beats: true})
	step(handlers.Step{At: now, Events: []handlers.Event{{Kind: handlers.Installed, View: 3, Now: st.View}, {Kind: handlers.Waits}}})
	if asked != 12 || f.Status().View.Number != 3 {
		t.Errorf("it was looked at %d times, want 12; it shows %+v", asked, f.Status())
	}
	for _, st.Halt = range []handlers.Halt{handlers.NoQuorum, handlers.NoQuorum, handlers.Going} {
		now += refreshEvery
		step(handlers.Step{At: now})
	}
	events, _, _ := f.Events().After(1)
	if len(events) != 3 || events[0].View != 3 || events[0].Now.Number != 0 || events[1].Halt != handlers.NoQuorum || events[2].Halt != handlers.Going {
		t.Errorf("it tells of %+v, want of the view, a halt and its end", events)
	}
	v := types.View{Number: 4, Last: make([]types.Past, 2)}
	v.Last[0].Incarnation = 1
	step(handlers.Step{At: now, Events: []handlers.Event{{Kind: handlers.Installed, At: handlers.Instant{Wall: 5}, Now: v}}})
	v.Last = []types.Past{{Incarnation: 1}, {Incarnation: 2}}
	step(handlers.Step{At: now, Events: []handlers.Event{{Kind: handlers.Installed, At: handlers.Instant{Wall: 9}, Now: v}}})
	if a, b := f.Since(1), f.Since(2); a.UnixNano() != 5 || b.UnixNano() != 9 || !f.Since(3).IsZero() {
		t.Errorf("host 1 is a member since %v, host 2 since %v", a.UnixNano(), b.UnixNano())
	}
	for _, l := range []handlers.Lease{{Fence: 7, Until: now}, {Fence: 7, Until: now + 1}} {
		if step(handlers.Step{At: now, Stalled: true, Lease: l}); f.Lease() != l {
			t.Errorf("its lease is %+v, want that of the last step, %+v", f.Lease(), l)
		}
	}
	if age := f.Age(&handlers.Status{At: handlers.Instant{Run: now}}); age < 0 || age > time.Minute {
		t.Errorf("what was true at the last step is %v old", age)
	}
}

// Views in which only hosts change are counted by themselves: the protocol counts them as views without a removal.
func TestFeedCountsHosts(t *testing.T) {
	t.Parallel()
	f := newFeed()
	st := &handlers.Status{}
	st.Tally.Changes[types.Present], st.Tally.Changes[types.Left] = 5, 1
	for _, op := range []types.Operation{types.Grow, types.Retire, types.Grow, types.Add, types.Nothing} {
		f.stepped(&handlers.Step{Status: func() *handlers.Status { return st },
			Events: []handlers.Event{{Kind: handlers.Installed, Change: types.Change{Operation: op}}}})
	}
	if c := f.Views(); c.hostsAdded != 2 || c.hostsRetired != 1 || c.ofMembers[types.Present] != 2 || c.ofMembers[types.Left] != 1 {
		t.Errorf("it counts %+v", c)
	}
}

// An operator is told what the peer waits for, and what is wrong with other hosts; nothing else.
func TestNotices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		event handlers.Event
		want  string
	}{
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.Unfounded, Awaited: []types.ID{2, 3}},
			"Waiting to form a group: cannot tell whether these hosts run: two, three"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.NoGroup, Awaited: []types.ID{1, 2}},
			"Waiting to be let into the group; no answer from one, two"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.NoGroup},
			"Waiting to be let into the group; no host that runs is in one that can go on"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.NoNames, Awaited: []types.ID{2, 3}},
			"Waiting to form a group: the name service knows none of the other hosts: two, three; check their names in the hosts file, and the name service"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.NoQuorum, Awaited: []types.ID{2}},
			"Waiting for a quorum of the group; missing: two"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.Returning, Awaited: []types.ID{2}},
			"Waiting to be let into the group again, or to go on with the view that it has stored; no sign yet of two"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.NoVotes, Awaited: []types.ID{2, 3}},
			"Waiting to form a group, for which more than half of the hosts must agree; no vote from two, three"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.JoinsOnly, Awaited: []types.ID{2, 3}},
			"Waiting to be let into a group, and makes none itself (-join-only); no answer from two, three"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.JoinsOnly},
			"Waiting to be let into a group, and makes none itself (-join-only); no host that runs is in one that can go on"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.NoMaker, Awaited: []types.ID{3}},
			"Waiting to form a group, which is for three to do: the hosts have agreed on that"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.NoDisk},
			"Waiting for its own disk, which has not stored what this peer must remember: check the disk of its state file"},
		{handlers.Event{Kind: handlers.Waits, Halt: handlers.NotStoring},
			"Waiting for its own disk, which has not stored what this peer must remember: check the disk of its state file"},
		{handlers.Event{Kind: handlers.FilesDiffer, Host: 2},
			"The hosts file of two differs from the one here: use the same file everywhere, names in the same order"},
		{handlers.Event{Kind: handlers.RunsTwice, Host: 2},
			"two runs twice, at invalid IP and at invalid IP: stop one"},
		{handlers.Event{Kind: handlers.Unlisted, Host: 2},
			"two does not list this host yet: write this host's line into the hosts file there too, and send its peer SIGHUP or run memberly reload"},
		{handlers.Event{Kind: handlers.SelfRetired, Host: 1},
			"The group of one has retired this host, whose id is never used again: add a new line for it at the end of all hosts files"},
		{handlers.Event{Kind: handlers.HostsFile, Listing: &handlers.Listing{Agreed: 3, Wrong: 3, Ahead: []types.ID{4}}},
			`Host 3 has another name in the hosts file here, and the group has agreed on "three": correct that line. The hosts in use stay`},
		{handlers.Event{Kind: handlers.Failed, Host: 2}, ""},
		{handlers.Event{Kind: handlers.Installed}, ""},
	} {
		got := ""
		n := Notices{Names: named("one", "two", "three"), Say: func(format string, args ...any) { got += fmt.Sprintf(format, args...) }}
		n.Stepped(&handlers.Step{Events: []handlers.Event{c.event}})
		if got != c.want {
			t.Errorf("it says %q, want %q", got, c.want)
		}
	}
}
