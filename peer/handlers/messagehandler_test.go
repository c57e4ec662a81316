package handlers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// An errand is a peer, and a message that makes it do something.
type errand struct {
	name string
	make func(t testing.TB) (*peer, msg)
}

var errands = []errand{
	{"REQ", toMember(msg{Kind: types.Req, From: 1, Change: add(6)})},
	{"NEWVIEW", toMember(msg{Kind: types.NewView, From: 1, Number: 6, Change: add(6)})},
	{"NEWLEADER", toMember(msg{Kind: types.NewLeader, From: 2, Term: types.Term{Counter: 2, Peer: 2}})},
	{"LEAVE", toLeader(msg{Kind: types.Leave, From: 2})},
	{"REFUSED", toLeader(msg{Kind: types.Refused, From: 2, Number: 4, Reason: types.Behind})},
	{"OK", func(t testing.TB) (*peer, msg) {
		p, m := toLeader(msg{Kind: types.Leave, From: 2})(t)
		p.hear(m)
		return p, p.answer(2)
	}},
	{"PENDINGRESPONSE", func(t testing.TB) (*peer, msg) {
		p := candidate(t, conf{}, viewOf(1, 1, 2, 3))
		return p, p.answer(2)
	}},
}

func toMember(m msg) func(testing.TB) (*peer, msg) {
	return func(t testing.TB) (*peer, msg) { return member(t, conf{ID: 3}, viewOf(1, 1, 2, 3)), m }
}

func toLeader(m msg) func(testing.TB) (*peer, msg) {
	return func(t testing.TB) (*peer, msg) { return leader(t, conf{}, viewOf(1, 1, 2, 3)), m }
}

// Rule 4: what is of another group, for another incarnation, of one that is over, or from
// another's address, is dropped.
func TestRule4Dropped(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name  string
		spoil func(m *msg, remote *types.ID)
	}{
		{"other group", func(m *msg, _ *types.ID) { m.Group = types.Group{Made: 9, Maker: 2} }},
		{"for another incarnation", func(m *msg, _ *types.ID) { m.For = 5 }},
		{"of a lower incarnation", func(m *msg, _ *types.ID) { m.Incarnation = 5 }},
		{"of a higher incarnation", func(m *msg, _ *types.ID) { m.Incarnation = 99 }},
		{"from another's address", func(_ *msg, remote *types.ID) { *remote = 4 }},
		{"of a host that the file lacks", func(m *msg, remote *types.ID) { m.From, *remote = 7, 7 }},
	}
	for _, e := range errands {
		p, m := e.make(t)
		if did := p.hear(m); did == "" {
			t.Errorf("%s as it should be does nothing", e.name)
		}
		for _, f := range faults {
			if e.name == "NEWVIEW" && f.name == "of a higher incarnation" {
				continue // just the one that is behind has not heard of it yet
			}
			p, m := e.make(t)
			remote := m.From
			f.spoil(&m, &remote)
			want(t, e.name+" "+f.name, p.hearAt(remote, m), "")
			if p.View().Number != 5 {
				t.Errorf("%s %s moves it to view %d", e.name, f.name, p.View().Number)
			}
		}
	}
}

// What is dropped as it is for another incarnation is told the caller, and nothing else is.
func TestMisled(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 3})
	was := p.Incarnation()
	p.hear(msg{Kind: types.State, From: 2, Standing: types.Joined, Leads: true, HasLeader: true, Last: was + 5})
	for off, late := range map[types.Incarnation]bool{-1: false, 0: true, 5: true, p.Incarnation() - was + 1: false} {
		m := msg{Kind: types.State, From: 2, Incarnation: 20, For: was + off}
		if out := p.Message(handlers.Instant{Run: epoch}, 2, &m); !out.Misled || out.Late != late {
			t.Errorf("for its first incarnation and %d: misled is %v, late %v", off, out.Misled, out.Late)
		}
	}
	for _, kind := range []types.Kind{types.Req, types.NewView, types.NewLeader, types.OK, types.Leave, types.State, types.Refused} {
		for _, reason := range []types.Reason{types.Promised, types.Differs} {
			for _, off := range []types.Incarnation{0, 1} {
				p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
				m := msg{Kind: kind, From: 2, Incarnation: 20, For: p.Incarnation() + off, Reason: reason}
				if out := p.Message(handlers.Instant{Run: epoch}, 2, &m); out.Misled != (off != 0) {
					t.Errorf("%v for its incarnation and %d: misled is %v", kind, off, out.Misled)
				}
				if out := p.Tick(handlers.Instant{Run: epoch}); out.Misled {
					t.Error("the next step says so too")
				}
			}
		}
	}
}

// Rule 4: one with a later view answers with it and nothing else, one with an earlier view says so.
func TestRule4AboutOneView(t *testing.T) {
	t.Parallel()
	const shown = "NEWVIEW 5 [1 2 3]→"
	tests := []struct {
		name string
		kind types.Kind
		view int64
		want string
	}{
		{"REQ of an earlier view", types.Req, 4, shown + "2"},
		{"REQ of a later view", types.Req, 6, "REFUSED behind→2"},
		{"NEWLEADER of an earlier view", types.NewLeader, 4, shown + "2"},
		{"NEWLEADER of a later view", types.NewLeader, 6, "REFUSED behind→2"},
		{"LEAVE of an earlier view", types.Leave, 4, shown + "2"},
		{"LEAVE of a later view", types.Leave, 6, "REFUSED behind→2"},
		{"NEWVIEW of an earlier view", types.NewView, 4, shown + "2"},
		{"OK of an earlier view", types.OK, 4, ""},
		{"OK of a later view", types.OK, 6, ""},
		{"PROBE from one that is behind", types.Probe, 4, "STATE member led→2; " + shown + "2"},
		{"PROBE from one that is ahead", types.Probe, 6, "STATE member led→2"},
		{"HEARTBEAT from one that is behind", types.Heartbeat, 4, ""},
		{"JOIN of a member", types.Join, 0, shown + "2"},
	}
	for _, tt := range tests {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
		want(t, tt.name, p.hear(msg{Kind: tt.kind, From: 2, Number: tt.view, Change: add(6), Term: types.Term{Counter: 2, Peer: 2}}), tt.want)
	}
}

// Rule 4: an incarnation below the last known may ask, for it can be the one that lives; it is
// told the last.
func TestRule4LowerIncarnationAsks(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	for _, k := range []types.Kind{types.Join, types.Probe} {
		want(t, k.String(), p.hear(msg{Kind: k, From: 2, Incarnation: 5}), "STATE member leads→2")
		if s := p.sent(2, types.State); s.Last != 20 || s.For != 5 {
			t.Errorf("%v of incarnation 5 is answered for %d: the last was %d; want 5, 20", k, s.For, s.Last)
		}
	}
	want(t, "HEARTBEAT", p.hear(msg{Kind: types.Heartbeat, From: 2, Incarnation: 5}), "redial→2; NEWVIEW 5 [1 2 3]→2")
}

// Rule 4: a promise lasts through all views of a group.
func TestRule4PromiseLasts(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.undialed(1, types.Refusal) // it stands, under term 2
	want(t, "the view of an older term", p.hear(msg{Kind: types.NewView, From: 1, Number: 6, Change: add(6)}),
		"view 6 [1 2 3 6]; redial→1; PROBE→1; NEWLEADER→3,6; REFUSED promised→1")
	want(t, "REQ of an older term", p.hear(msg{Kind: types.Req, From: 1, Change: del(6, types.Left)}), "REFUSED promised→1")
}

// Section 5: -c is a crash, with no farewell.
func TestSection5Crash(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	want(t, "-c", p.do(p.Crash), "crashing; exit 1")
}

// The seconds of the design scale with -monitor and -heartbeat, but for the pauses of what is sent
// again, where -monitor is longer than usual.
func TestScale(t *testing.T) {
	t.Parallel()
	play := func(scale time.Duration, retries bool) (log []string) {
		p := member(t, conf{ID: 2, Heartbeat: 11 * scale * ms, Monitor: 22 * scale * ms}, viewOf(1, 1, 2, 3))
		p.pass(10*scale*ms, 1, 3)
		p.pass(90*scale*ms, 3)
		p.do(p.Leave)
		p.pass(20 * scale * ms)
		seen := map[string]bool{}
		for _, d := range p.log {
			if again := seen[d.text]; retries || !again && d.m.Kind != types.Probe && !strings.HasPrefix(d.text, "redial") && !p.over {
				log = append(log, fmt.Sprint((d.at*100/scale).Round(ms), " ", d.text))
			}
			seen[d.text] = true
		}
		return log
	}
	want(t, "ten times as fast", fmt.Sprint(play(10, true)), fmt.Sprint(play(100, true)))
	want(t, "ten times as slow, retries aside", fmt.Sprint(play(1000, false)), fmt.Sprint(play(100, false)))
}

// However long -monitor is, what is not answered is sent again every 0.2 s, over a new connection from
// 0.5 s on, and a peer that leaves takes a second at most.
func TestRetriesInRealTime(t *testing.T) {
	t.Parallel()
	slow := conf{Heartbeat: 30 * time.Minute, Monitor: time.Hour}
	slow.ID = 2
	p := fresh(t, slow)
	p.hear(msg{Kind: types.State, From: 3, Standing: types.Joined, HasLeader: true, Term: types.Term{Counter: 1, Peer: 3}})
	p.log = nil
	p.pass(time.Second)
	want(t, "JOIN", p.when("JOIN→3"), "[200ms 400ms 600ms 800ms 1s]")
	want(t, "anew", p.when("redial→3"), "[400ms 600ms 800ms 1s]")
	p = leader(t, slow, viewOf(1, 1, 2, 3))
	p.hear(msg{Kind: types.Join, From: 6})
	p.pass(900 * ms)
	want(t, "REQ", p.when("REQ ADD 6→3"), "[0s 200ms 400ms 600ms 800ms]")
	want(t, "anew", p.when("redial→3"), "[600ms 800ms]")
	p = member(t, conf{ID: 3, Heartbeat: slow.Heartbeat, Monitor: slow.Monitor}, viewOf(1, 1, 2, 3))
	p.do(p.Leave)
	p.pass(2 * time.Second)
	want(t, "exits", p.when("exit 0"), "[1s]")
}

// In the steady state, a heartbeat heard costs no memory, and one sent next to none.
func TestAllocations(t *testing.T) {
	for name, p := range map[string]*peer{
		"leader": leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5)),
		"member": member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5)),
	} {
		now := handlers.Instant{Run: epoch}
		beat, all := p.steady(3), []*msg{}
		for id := types.ID(1); id <= 5; id++ {
			if id != p.ID {
				all = append(all, p.steady(id))
			}
		}
		heard := testing.AllocsPerRun(1000, func() {
			now.Run += 100 * time.Microsecond
			p.Message(now, 3, beat)
		})
		sent := 0
		ticks := testing.AllocsPerRun(1000, func() {
			now.Run += 100 * ms
			for _, m := range all {
				p.Message(now, m.From, m)
			}
			if b := p.Tick(now).Heartbeat; b != nil {
				sent++
				for _, m := range all {
					m.Heard = b.Request // each follows at once
				}
			}
		})
		if leads := name == "leader"; p.Leads() != leads {
			t.Errorf("%s: it leads is %v", name, p.Leads())
		}
		if heard > 0 || ticks > 0 || sent < 50 {
			t.Errorf("%s: %v allocations for a heartbeat heard, %v for a tick, with %d heartbeats sent", name, heard, ticks, sent)
		}
	}
}

// steady is a heartbeat of id that is no news to p.
func (p *peer) steady(id types.ID) *msg {
	v := p.View()
	return &msg{Kind: types.Heartbeat, From: id, Incarnation: v.Incarnation(id), Group: v.Group, Number: v.Number,
		Term: p.term, Leads: id == p.term.Peer, File: types.FileDigest(p.Listed)}
}

// BenchmarkStep is a step of the leader of a group of so many: in the steady state, and while it
// waits for the answers to a REQ.
func BenchmarkStep(b *testing.B) {
	for _, n := range []int{5, 100, 1000} {
		members := make([]types.ID, n)
		for i := range members {
			members[i] = types.ID(i + 1)
		}
		p := leader(b, conf{Listed: types.Numbered(max(n, 6))}, viewOf(1, members...))
		now := handlers.Instant{Run: epoch}
		run := func(name string, step func()) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					step()
				}
			})
		}
		beat := p.steady(3)
		run("HEARTBEAT", func() { p.Message(now, 3, beat) })
		run("tick", func() { p.Tick(now) })
		p.hear(msg{Kind: types.Leave, From: 5})
		q := p.sent(3, types.Req)
		ok := &msg{Kind: types.OK, From: 3, Incarnation: 30, For: 10, Group: q.Group, Number: q.Number, Request: q.Request,
			Term: q.Term, Change: q.Change, Accepted: q.Term}
		run("OK", func() { p.Message(now, 3, ok) })
	}
}
