package handlers_test

import (
	"strings"
	"testing"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// Rule 3: every receiver bears repetition. What is said twice is answered twice, and done once.
func TestRule3Twice(t *testing.T) {
	t.Parallel()
	for _, e := range errands {
		p, m := e.make(t)
		p.hear(m)
		p.log = nil
		p.hear(m)
		for _, d := range p.log {
			if d.m.Kind == 0 {
				t.Errorf("%s, twice: %s", e.name, d.text)
			}
		}
	}
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	next := msg{Kind: types.NewView, From: 1, Number: 6, Change: add(6)}
	want(t, "NEWVIEW", p.hear(next), "view 6 [1 2 3 6]; OK→1")
	want(t, "NEWVIEW again", p.hear(next), "OK→1")
	req := msg{Kind: types.Req, From: 1, Change: del(2, types.Left)}
	want(t, "REQ", p.hear(req), "OK DEL 2 left→1")
	want(t, "REQ again", p.hear(req), "OK DEL 2 left→1")
}

// Rule 1: a member accepts what a leader proposes whose term is not below its promise, and tells
// it, with the term, to every later one.
func TestRule1Accepts(t *testing.T) {
	t.Parallel()
	two, three := types.Term{Counter: 2, Peer: 2}, types.Term{Counter: 3, Peer: 1}
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(p.ceases(1))
	want(t, "REQ", p.hear(msg{Kind: types.Req, From: 2, Request: 8, Change: add(6), Term: two}), "OK ADD 6→2")
	if a := p.sent(2, types.OK); a.Request != 8 || a.Term != two || a.Accepted != two || a.Number != 5 {
		t.Errorf("OK %+v, want it for request 8, accepted in its term %v", a, two)
	}
	want(t, "REQ below it", p.hear(msg{Kind: types.Req, From: 1, Change: del(5, types.Left)}), "REFUSED promised→1")
	if a := p.sent(1, types.Refused); a.Term != two {
		t.Errorf("refused for %v, want the promise %v", a.Term, two)
	}
	want(t, "NEWLEADER", p.hear(msg{Kind: types.NewLeader, From: 2, Term: types.Term{Counter: 3, Peer: 2}}), "PENDINGRESPONSE ADD 6→2")
	want(t, "REQ in its term", p.hear(msg{Kind: types.Req, From: 1, Change: add(6), Term: three}), "REFUSED promised→1")
	if a := p.sent(2, types.PendingResponse); a.Accepted != two {
		t.Errorf("accepted in %v, want %v", a.Accepted, two)
	}
	p.hear(msg{Kind: types.NewView, From: 2, Number: 6, Change: add(6), Term: types.Term{Counter: 3, Peer: 2}})
	want(t, "in the next view nothing is pending", p.hear(msg{Kind: types.NewLeader, From: 2, Term: types.Term{Counter: 4, Peer: 2}}), "PENDINGRESPONSE→2")
}

// A REQ with a change that the view does not admit is refused.
func TestRule1Inadmissible(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]types.Change{"ADD of a member": add(2), "DEL of none": del(6, types.Left), "NOTHING": {}} {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
		want(t, name, p.hear(msg{Kind: types.Req, From: 1, Change: c}), "REFUSED promised→1")
	}
}

// NEWVIEW: with only the change it must fit; whole it need not. Only its leader's is answered.
func TestNewView(t *testing.T) {
	t.Parallel()
	later := viewOf(1, 1, 3, 2)
	later.Number = 9
	tests := []struct {
		name string
		m    msg
		want string
	}{
		{"by the change", msg{From: 1, Number: 6, Change: del(2, types.Left)}, "view 6 [1 3]; OK→1"},
		{"by a change that does not fit", msg{From: 1, Number: 6, Change: del(6, types.Left)}, "REFUSED behind→1"},
		{"by a change too far", msg{From: 1, Number: 7, Change: del(2, types.Left)}, "REFUSED behind→1"},
		{"whole, and far ahead", msg{From: 1, Number: 9, View: &later}, "view 9 [1 3 2]; OK→1"},
		{"whole, shown by another", msg{From: 2, Number: 9, View: &later, Term: types.Term{Counter: 1, Peer: 1}}, "view 9 [1 3 2]"},
		{"of this view", msg{From: 1}, "OK→1"},
		{"of this view, unanswered", msg{From: 1, Unanswered: true}, ""},
		{"of this view, unanswered, under a lower term", msg{From: 1, Unanswered: true, Term: types.Term{Peer: 1}}, ""},
		{"by the change, unanswered", msg{From: 1, Number: 6, Change: del(2, types.Left), Unanswered: true}, "view 6 [1 3]"},
		{"whole, unanswered", msg{From: 1, Number: 9, View: &later, Unanswered: true}, "view 9 [1 3 2]"},
		{"by a change too far, unanswered", msg{From: 1, Number: 7, Change: del(2, types.Left), Unanswered: true}, "REFUSED behind→1"},
		{"of this view, under a higher term", msg{From: 1, Term: types.Term{Counter: 2, Peer: 1}}, "OK→1"},
		{"of this view, under a higher term, of one that it does not back", msg{From: 2, Term: types.Term{Counter: 2, Peer: 2}}, "REFUSED has a leader→2; PROBE→1"},
		{"of this view, under a lower term", msg{From: 1, Term: types.Term{Peer: 1}}, "REFUSED promised→1"},
	}
	for _, tt := range tests {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
		tt.m.Kind = types.NewView
		want(t, tt.name, p.hear(tt.m), tt.want)
	}
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	p.hear(p.ceases(1))
	want(t, "of this view, under a higher term, when its leader has ceased",
		p.hear(msg{Kind: types.NewView, From: 2, Term: types.Term{Counter: 2, Peer: 2}}), "OK→2")
}

// A REQ may show the view that it is about, by the change that made it or whole: whoever can install that view does, and
// answers once, to the REQ.
func TestReqShows(t *testing.T) {
	t.Parallel()
	one := types.Term{Counter: 1, Peer: 1}
	six := viewOf(1, 1, 2, 3)
	six = six.With(add(5))
	six.Term = one
	without := six
	without = without.With(del(3, types.Unreachable))
	other := six
	other.Group.Made = 11
	lower := types.Term{Peer: 1}
	for _, tt := range []struct {
		name string
		m    msg
		want string
	}{
		{"by the change", msg{Number: 6, Made: add(5)}, "view 6 [1 2 3 5]; OK ADD 6→1"},
		{"whole", msg{Number: 6, View: &six}, "view 6 [1 2 3 5]; OK ADD 6→1"},
		{"nothing, of this view", msg{Number: 5}, "OK ADD 6→1"},
		{"this view", msg{Number: 5, Made: add(3)}, "OK ADD 6→1"},
		{"an earlier view", msg{Number: 4, Made: add(3)}, "NEWVIEW 5 [1 2 3]→1"},
		{"nothing, of the next view", msg{Number: 6}, "REFUSED behind→1"},
		{"by the change, to one who is too far behind", msg{Number: 7, Made: add(5)}, "REFUSED behind→1"},
		{"by a change that does not fit", msg{Number: 6, Made: del(5, types.Left)}, "REFUSED behind→1"},
		{"its own removal", msg{Number: 6, Made: del(3, types.Unreachable)}, "removed from the group"},
		{"whole, without it", msg{Number: 7, View: &without}, "removed from the group"},
		{"whole, of another group", msg{Number: 6, View: &other, Group: other.Group}, ""},
		{"under a lower term", msg{Number: 6, Made: add(5), Term: lower}, "view 6 [1 2 3 5]; REFUSED promised→1"},
		{"and proposes what the view does not admit", msg{Number: 6, Made: add(5), Change: add(5)}, "view 6 [1 2 3 5]; REFUSED promised→1"},
	} {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
		m := tt.m
		m.Kind, m.From, m.Request, m.Chosen = types.Req, 1, 7, one
		if m.Change == (types.Change{}) {
			m.Change = add(6)
		}
		want(t, tt.name, p.hear(m), tt.want)
		if !strings.Contains(tt.want, "OK") {
			continue
		}
		if a, v := p.sent(1, types.OK), p.View(); a.Request != 7 || a.Number != m.Number || a.Accepted != one || v.Number != m.Number {
			t.Errorf("%s: in view %d it answers %+v", tt.name, v.Number, a)
		}
		want(t, tt.name+", again", p.hear(m), "OK ADD 6→1")
	}

	p := fresh(t, conf{ID: 5})
	p.hear(msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true, Term: one})
	change, whole := msg{Kind: types.Req, From: 1, Number: 6, Request: 7, Change: add(6), Term: one, Chosen: one}, msg{}
	whole = change
	change.Made, whole.View = add(5), &six
	whole.View.Last = append([]types.Past(nil), six.Last...)
	whole.View.Last[4].Incarnation = p.Incarnation()
	want(t, "who asks to join, by the change", p.hear(change), "")
	want(t, "who asks to join, whole", p.hear(whole), "view 6 [1 2 3 5]; OK ADD 6→1")
}

// One message shows the view that a change of the leader's own has made, and proposes the next: by the change to who
// holds the view before, whole to who comes in.
func TestShowsAndProposes(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4))
	p.hear(msg{Kind: types.Join, From: 6})
	p.hear(msg{Kind: types.Join, From: 5})
	want(t, "both", p.reply(2, 3), "view 6 [1 2 3 4 6]; REQ ADD 5 after ADD 6→2,3,4; REQ ADD 5 after [1 2 3 4 6]→6")
	by, whole := p.sent(2, types.Req), p.sent(6, types.Req)
	if by.Made != add(6) || by.View != nil || by.Chosen != p.term || by.Number != 6 || by.Unanswered {
		t.Errorf("by the change: %+v", by)
	}
	if whole.Made != (types.Change{}) || whole.View.Number != 6 || whole.View.Term != p.term || whole.Chosen != p.term || whole.Request != by.Request {
		t.Errorf("whole: %+v", whole)
	}
	q := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4))
	by.For = q.Incarnation()
	want(t, "a member takes it", q.hear(by), "view 6 [1 2 3 4 6]; OK ADD 5→1")
	want(t, "one says that it is behind", p.hear(msg{Kind: types.Refused, From: 4, Number: 5, Reason: types.Behind}), "NEWVIEW 6 [1 2 3 4 6]→4")
	want(t, "nothing to propose: the view alone", p.reply(2, 3), "view 7 [1 2 3 4 6 5]; NEWVIEW 7 ADD 5→2,3; NEWVIEW 7 [1 2 3 4 6 5]→4; NEWVIEW 7 ADD 5→6; NEWVIEW 7 [1 2 3 4 6 5]→5")
	if m := p.sent(2, types.NewView); !m.Unanswered || m.Chosen != p.term {
		t.Errorf("it waits for answers: %+v", m)
	}

	p = leader(t, conf{Drill: true}, viewOf(1, 1, 2, 3, 4))
	p.hear(msg{Kind: types.Join, From: 6})
	p.hear(msg{Kind: types.Join, From: 5})
	want(t, "before a drill, NEWVIEW is answered", p.reply(2, 3),
		"view 6 [1 2 3 4 6]; NEWVIEW 6 ADD 6→2,3,4; NEWVIEW 6 [1 2 3 4 6]→6; REQ ADD 5→2,3,4,6")
}

// A member that learns that it was removed becomes fresh and asks to join, under a new
// incarnation (rule 6); one that was expelled stays out; one that leaves exits.
func TestRemoved(t *testing.T) {
	t.Parallel()
	const said = "removed from the group"
	tests := []struct {
		cause    types.Cause
		want     string
		standing types.Standing
		next     string // when it asks to join
	}{
		{types.Unreachable, said, types.Fresh, "[0s 200ms]"},
		{types.Restarted, said, types.Fresh, "[0s 200ms]"},
		{types.Expelled, said, types.Out, "[]"},
		{types.Left, "exit 0", types.Joined, "[]"},
	}
	for _, tt := range tests {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
		want(t, tt.cause.String(), p.hear(msg{Kind: types.NewView, From: 1, Number: 6, Change: del(3, tt.cause)}), tt.want)
		if p.Standing() != tt.standing {
			t.Errorf("%v: it is %v, want %v", tt.cause, p.Standing(), tt.standing)
		}
		p.pass(300 * ms)
		want(t, tt.cause.String()+", then", p.when("JOIN→1"), tt.next)
		if (p.Standing() == types.Fresh) != (p.Incarnation() > 30) {
			t.Errorf("%v: its incarnation is %d", tt.cause, p.Incarnation())
		}
	}
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	p.hear(msg{Kind: types.NewView, From: 1, Number: 6, Change: del(3, types.Expelled)})
	want(t, "PROBE of one that is out", p.hear(msg{Kind: types.Probe, From: 2}), "STATE out→2")
	want(t, "JOIN to one that is out", p.hear(msg{Kind: types.Join, From: 6}), "STATE out→6")
	want(t, "SIGTERM to one that is out", p.do(p.Leave), "exit 0")
}

// Section 5: LEAVE every 200 ms until the NEWVIEW without it comes, for a second at most.
func TestSection5Leave(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	want(t, "SIGTERM", p.do(p.Leave), "leaving; LEAVE→1")
	want(t, "again", p.do(p.Leave), "")
	p.pass(1500 * ms)
	if n := len(strings.Fields(p.when("LEAVE→1"))); n < 5 {
		t.Errorf("asks at %s, want every 200 ms", p.when("LEAVE→1"))
	}
	want(t, "exits", story(p.log[len(p.log)-1:]), "exit 0")

	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	p.do(p.Leave)
	want(t, "is taken out", p.hear(msg{Kind: types.NewView, From: 1, Number: 6, Change: del(3, types.Left)}), "exit 0")

	want(t, "a fresh peer", leave(fresh(t, conf{ID: 3})), "exit 0")
	want(t, "the only member", leave(fresh(t, conf{ID: 1, Listed: types.Numbered(1)})), "leaving; exit 0")
}

func leave(p *peer) string { return p.do(p.Leave) }

// Section 5: a leader that leaves proposes its own removal, and goes when a quorum of the view
// without it has answered; the next one stands at once.
func TestSection5LeaderLeaves(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4))
	want(t, "SIGTERM", p.do(p.Leave), "leaving; REQ DEL 1 left→2,3,4")
	want(t, "chosen by half with the leader", p.reply(2), "NEWVIEW 6 DEL 1 left→2,3,4")
	want(t, "half of three", p.reply(3, 3), "")
	want(t, "two of three", p.reply(2), "exit 0")

	p = leader(t, conf{}, viewOf(1, 1, 2, 3, 4))
	p.do(p.Leave)
	p.reply(2)
	p.pass(1500 * ms)
	want(t, "exits unanswered", p.when("exit 0"), "[1s]")

	p = leader(t, conf{}, viewOf(2, 1, 2, 3))
	p.undialed(3, types.Refusal)
	p.reply(2)
	p.reply(2)
	p.hear(msg{Kind: types.Leave, From: 2})
	want(t, "SIGTERM while the other is taken out", p.do(p.Leave), "leaving")
	want(t, "the only member left", p.reply(2), "view 7 [1]; NEWVIEW 7 [1]→2; exit 0")

	p = member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4))
	want(t, "the next", p.hear(msg{Kind: types.NewView, From: 1, Number: 6, Change: del(1, types.Left)}), "view 6 [2 3 4]; OK→1; NEWLEADER→3,4")
}

// A heartbeat every 1.1 s says what the member is.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.log = nil
	p.pass(3500*ms, 2, 3)
	want(t, "heartbeats", p.when("HEARTBEAT leads"), "[1.1s 2.2s 3.3s]")
	out := p.Tick(handlers.Instant{Run: epoch + 4400*ms})
	b := out.Heartbeat
	if b == nil || b.From != 1 || b.Incarnation != 10 || b.Group != p.View().Group || b.Number != 5 || b.Term != p.term {
		t.Errorf("heartbeat %+v", b)
	}
}
