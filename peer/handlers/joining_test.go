package handlers_test

import (
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// A fresh peer asks the hosts in turn, the next one after 200 ms or when one cannot be reached.
func TestAsksInTurn(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 3, Listed: types.Numbered(4)})
	p.pass(700 * ms)
	want(t, "asks 1", p.when("JOIN→1"), "[0s 600ms]")
	want(t, "asks 2", p.when("JOIN→2"), "[200ms]")
	want(t, "asks 4", p.when("JOIN→4"), "[400ms]")
	want(t, "unreachable", p.undialed(1, types.NoAnswer), "JOIN→2")
	want(t, "not who was asked last", p.undialed(1, types.Refusal), "")
	if m := p.sent(1, types.Join); m.Incarnation != 30 || m.Lines != 4 || m.Digest != types.Digest(p.Listed) || m.Group != (types.Group{}) {
		t.Errorf("JOIN %+v", m)
	}
}

// A fresh peer asks who is said to lead; of several groups, that of the earliest.
func TestInvited(t *testing.T) {
	t.Parallel()
	view := viewOf(1, 1, 2)
	tests := []struct {
		name string
		m    msg
		want string
	}{
		{"HEARTBEAT of a leader", msg{Kind: types.Heartbeat, From: 2, Leads: true}, "JOIN→2"},
		{"HEARTBEAT of another", msg{Kind: types.Heartbeat, From: 2}, ""},
		{"STATE of a leader", msg{Kind: types.State, From: 2, Standing: types.Joined, Leads: true}, "JOIN→2"},
		{"STATE that names the leader", msg{Kind: types.State, From: 2, Standing: types.Joined, HasLeader: true,
			Term: types.Term{Counter: 1, Peer: 4}}, "JOIN→4"},
		{"STATE without a leader", msg{Kind: types.State, From: 2, Standing: types.Joined}, ""},
		{"STATE of a fresh peer", msg{Kind: types.State, From: 2, Standing: types.Fresh}, ""},
		{"NEWVIEW without it", msg{Kind: types.NewView, From: 2, View: &view, Term: types.Term{Counter: 1, Peer: 4}}, "JOIN→4"},
		{"NEWVIEW by the change", msg{Kind: types.NewView, From: 2, Change: add(3)}, ""},
		{"STATE for an earlier life", msg{Kind: types.State, From: 2, For: 29, Standing: types.Joined, Leads: true}, ""},
	}
	for _, tt := range tests {
		want(t, tt.name, fresh(t, conf{ID: 3}).hear(tt.m), tt.want)
	}
	p := fresh(t, conf{ID: 3})
	lead := func(id types.ID, made types.Incarnation) msg {
		return msg{Kind: types.Heartbeat, From: id, Leads: true, Group: types.Group{Made: made, Maker: 1}}
	}
	want(t, "a group", p.hear(lead(2, 20)), "JOIN→2")
	want(t, "a later one", p.hear(lead(5, 21)), "")
	want(t, "an earlier one", p.hear(lead(4, 19)), "JOIN→4")
	later := lead(5, 19)
	later.Term = types.Term{Counter: 7, Peer: 5}
	want(t, "one that leads the same group under a later term", p.hear(later), "JOIN→5")
	want(t, "what the one before it said", p.hear(lead(4, 19)), "")
	p.pass(2400 * ms)
	if p.when("JOIN→2") == "[0s]" {
		t.Errorf("asks nobody else when nobody has said for 2.2 s who leads: %s", story(p.log))
	}
}

// An incarnation is above all that the group remembers of the host: by the salt, so that no two
// lives take the same.
func TestIncarnation(t *testing.T) {
	t.Parallel()
	past := viewOf(1, 1, 2)
	past.Last[2] = types.Past{Incarnation: 500, Cause: types.Unreachable}
	lead := types.Term{Counter: 1, Peer: 2}
	for name, m := range map[string]msg{
		"STATE":   {Kind: types.State, From: 2, Standing: types.Joined, Leads: true, HasLeader: true, Term: lead, Last: 500},
		"NEWVIEW": {Kind: types.NewView, From: 2, View: &past, Term: lead},
	} {
		p := fresh(t, conf{ID: 3, Salt: 7})
		want(t, name, p.hear(m), "JOIN→2")
		if p.Incarnation() != 508 {
			t.Errorf("%s: incarnation %d, want 508", name, p.Incarnation())
		}
	}
}

// A founder's incarnation is its clock's, where that is above all it was told: a process of the same
// host that starts a moment later must be above it.
func TestIncarnationOfAFounder(t *testing.T) {
	t.Parallel()
	const second = int64(time.Second)
	for _, tt := range []struct {
		name       string
		told, want types.Incarnation
	}{
		{"a host that started before it", types.Incarnation(second), types.Incarnation(3 * second)},
		{"a host whose clock is ahead", types.Incarnation(4 * second), types.Incarnation(4*second) + 8},
	} {
		h := handlers.New(conf{ID: 1, Listed: types.Numbered(2), Heartbeat: 1100 * ms, Monitor: 2200 * ms, Salt: 7})
		h.Start(handlers.Instant{Run: epoch, Wall: 2 * second})
		h.Message(handlers.Instant{Run: epoch + time.Second, Wall: 3 * second}, 2, &msg{Kind: types.State, From: 2,
			Incarnation: tt.told, For: h.Incarnation(), Standing: types.Fresh, Request: uint64(epoch)})
		if v := h.View(); v.Number != 1 || h.Incarnation() != tt.want || v.Group.Made != tt.want {
			t.Errorf("%s: view %d, incarnation %d, want %d", tt.name, v.Number, h.Incarnation(), tt.want)
		}
	}
}

// That its incarnation is too low, a fresh peer believes of the leader that it would join alone: what a
// straggler of another group says may come when it has been let in already.
func TestIncarnationToldByAnother(t *testing.T) {
	t.Parallel()
	past := viewOf(1, 1, 2)
	past.Last[2] = types.Past{Incarnation: 500, Cause: types.Unreachable}
	later := types.Group{Made: 99, Maker: 2}
	for name, m := range map[string]msg{
		"STATE of one that does not lead":   {Kind: types.State, From: 2, Standing: types.Joined, Last: 500},
		"NEWVIEW of one that does not lead": {Kind: types.NewView, From: 2, View: &past, Term: types.Term{Counter: 1, Peer: 1}},
		"STATE of a leader that it would not join": {Kind: types.State, From: 2, Standing: types.Joined, Group: later, Leads: true,
			HasLeader: true, Term: types.Term{Counter: 1, Peer: 2}, Last: 500},
	} {
		p := fresh(t, conf{ID: 3, Salt: 7})
		p.hear(msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true, HasLeader: true, Term: types.Term{Counter: 1, Peer: 1}})
		was := p.Incarnation()
		if p.hear(m); p.Incarnation() != was {
			t.Errorf("%s: it gives up incarnation %d for %d", name, was, p.Incarnation())
		}
	}
}

// A fresh peer installs the first view that holds it, and answers its leader.
func TestAdmitted(t *testing.T) {
	t.Parallel()
	v := viewOf(1, 1, 2, 3)
	lead := types.Term{Counter: 1, Peer: 1}
	want(t, "by the leader", fresh(t, conf{ID: 3}).hear(msg{Kind: types.NewView, From: 1, View: &v, Term: lead}), "view 5 [1 2 3]; OK→1")
	want(t, "by another", fresh(t, conf{ID: 3}).hear(msg{Kind: types.NewView, From: 2, View: &v, Term: lead}), "view 5 [1 2 3]")
}

// Rule 6: who goes over to another group.
func TestRule6Drawn(t *testing.T) {
	t.Parallel()
	led := func(*peer) {}
	leaderless := func(d time.Duration) func(*peer) {
		return func(p *peer) {
			p.term = types.Term{}
			p.pass(2200*ms+d, 1, 2)
		}
	}
	alone := func(d time.Duration) func(*peer) { return func(p *peer) { p.pass(2200*ms + d) } }
	earlier, later := types.Group{Made: 5, Maker: 6}, types.Group{Made: 50, Maker: 6}
	const goes = "leaving; JOIN→6"
	tests := []struct {
		name  string
		after func(*peer)
		group types.Group
		says  string
		want  string
	}{
		{"led, to an earlier group", led, earlier, "leads", goes},
		{"led, to an earlier group's member", led, earlier, "led", ""},
		{"led, to an earlier group without a leader", led, earlier, "", ""},
		{"led, to a later group", led, later, "leads", ""},
		{"without a leader for 9.9 s, to a later group", leaderless(9900 * ms), later, "leads", ""},
		{"without a leader for 10 s, to a later group", leaderless(10300 * ms), later, "leads", goes},
		{"without a leader for 10 s, to a later group's member", leaderless(10300 * ms), later, "led", ""},
		{"without a leader for 9.9 s, neither the earlier", leaderless(9900 * ms), earlier, "", ""},
		{"without a leader for 10 s, neither the earlier", leaderless(10300 * ms), earlier, "", "leaving"},
		{"without a leader for 10 s, neither the later", leaderless(10300 * ms), later, "", ""},
		{"without leader and quorum for 2.1 s, to a later group", alone(2100 * ms), later, "leads", ""},
		{"without leader and quorum for 2.2 s, to a later group", alone(2200 * ms), later, "leads", goes},
		{"leaving, to an earlier group", func(p *peer) { p.do(p.Leave) }, earlier, "leads", ""},
	}
	for _, tt := range tests {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
		tt.after(p)
		want(t, tt.name, p.hear(msg{Kind: types.State, From: 6, Standing: types.Joined, Group: tt.group,
			Leads: tt.says == "leads", HasLeader: tt.says != ""}), tt.want)
		if went := p.Standing() == types.Fresh; went != (tt.want != "") || went != (p.Incarnation() > 30) {
			t.Errorf("%s: it is %v in incarnation %d", tt.name, p.Standing(), p.Incarnation())
		}
	}
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	want(t, "a leader, to an earlier group", p.hear(msg{Kind: types.State, From: 6, Standing: types.Joined, Group: earlier,
		Leads: true, HasLeader: true}), goes)
}

// Rule 6: a heartbeat of another group is looked into by PROBE, every 0.2 s at most, over a new
// connection if the last PROBE went unanswered.
func TestRule6Strange(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	beat := msg{Kind: types.Heartbeat, From: 6, Group: types.Group{Made: 50, Maker: 6}}
	want(t, "of one that does not lead", p.hear(beat), "")
	beat.Leads = true
	want(t, "of a leader", p.hear(beat), "PROBE→6")
	p.pass(190*ms, 1, 2)
	want(t, "0.19 s later", p.hear(beat), "")
	p.pass(10*ms, 1, 2)
	want(t, "unanswered, 0.2 s later", p.hear(beat), "redial→6; PROBE→6")
	p.hear(msg{Kind: types.State, From: 6, Standing: types.Out})
	p.pass(200*ms, 1, 2)
	want(t, "answered", p.hear(beat), "PROBE→6")
}

// Rule 4: of another hosts file, it goes by the address; both sides say so once a minute.
func TestRule4FilesDiffer(t *testing.T) {
	t.Parallel()
	const notice = "2 files differ"
	for _, k := range []types.Kind{types.Join, types.Probe} {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
		m := msg{Kind: k, From: 900, Digest: 8, Standing: types.Fresh}
		want(t, k.String(), p.hearAt(2, m), notice+"; REFUSED hosts files differ→2")
		p.pass(59*time.Second, 1, 2)
		want(t, k.String()+" 59 s later", p.hearAt(2, m), "REFUSED hosts files differ→2")
		want(t, k.String()+" from another", p.hearAt(1, m), "1 files differ; REFUSED hosts files differ→1")
		p.pass(time.Second, 1, 2)
		want(t, k.String()+" a minute later", p.hearAt(2, m), notice+"; REFUSED hosts files differ→2")
	}
	p := fresh(t, conf{ID: 3})
	m := msg{Kind: types.Refused, From: 900, Reason: types.Differs, Digest: 8}
	want(t, "REFUSED", p.hearAt(2, m), notice)
	want(t, "REFUSED again", p.hearAt(2, m), "")
	m.For = 29
	want(t, "REFUSED for another life", p.hearAt(1, m), "")
}

// For whom a peer waits, it says after 2.2 s, and then once a minute.
func TestNotices(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 2, Listed: types.Numbered(3)})
	p.hear(msg{Kind: types.State, From: 3, Standing: types.Fresh})
	p.pass(63 * time.Second)
	want(t, "for a group", p.when("waits: no group [1 3]"), "[2.2s]")
	want(t, "for hosts", p.when("waits: unfounded [1 3]"), "[1m2.2s]")

	p = fresh(t, conf{ID: 1, Listed: types.Numbered(3)})
	p.ask(3*time.Second, hasNoName(2), hasNoName(3))
	want(t, "for names", p.when("waits: no names [2 3]"), "[2.2s]")

	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4))
	p.pass(5*time.Second, 2)
	want(t, "for a quorum", p.when("waits: no quorum [1 4]")[:len("[4.4")], "[4.4")
}
