package handlers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// voted is the second of five, in view 5, which has promised term 4 of peer 3 and accepted that 6 is added.
func voted(t testing.TB) *peer {
	p := storing(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Req, From: 1, Request: 2, Change: add(6)})
	p.undialed(1, types.Refusal)
	p.hear(msg{Kind: types.NewLeader, From: 3, Request: 10, Term: types.Term{Counter: 4, Peer: 3}})
	p.stored()
	return p
}

// Rule 9: a returned peer asks to join in a new incarnation. If nobody leads for a monitor interval, it is the member again
// that it was, and knows what it had promised and accepted.
func TestRule9Returns(t *testing.T) {
	t.Parallel()
	before := voted(t)
	p := restarted(t, conf{ID: 2}, before)
	p.stored()
	if p.Incarnation() <= before.Incarnation() {
		t.Errorf("it asks as incarnation %d, and was %d", p.Incarnation(), before.Incarnation())
	}
	want(t, "a PROBE", p.hear(msg{Kind: types.Probe, From: 3, Request: 5}), "STATE returned→3")
	p.term = types.Term{}
	p.pass(2199 * ms)
	want(t, "votes", p.hear(msg{Kind: types.NewLeader, From: 4, For: before.Incarnation(), Request: 5, Term: types.Term{Counter: 9, Peer: 4}}), "")
	want(t, "before", p.when("view 5 [1 2 3 4 5]"), "[]")
	p.pass(1 * ms)
	want(t, "after", p.when("view 5 [1 2 3 4 5]"), "[2.2s]")
	want(t, "its incarnation", fmt.Sprint(p.Incarnation()), fmt.Sprint(before.Incarnation()))
	p.stored()
	want(t, "a term below its promise", p.hear(msg{Kind: types.NewLeader, From: 4, Request: 6, Term: types.Term{Counter: 3, Peer: 4}}), "REFUSED promised→4")
	p.hear(msg{Kind: types.NewLeader, From: 4, Request: 7, Term: types.Term{Counter: 9, Peer: 4}})
	want(t, "above it: what it had accepted", p.stored(), "PENDINGRESPONSE ADD 6→4")
}

// Rule 9: while somebody leads, a returned peer waits to be let in.
func TestRule9ReturnsToALeader(t *testing.T) {
	t.Parallel()
	p := restarted(t, conf{ID: 2}, voted(t))
	p.stored()
	three := types.Term{Counter: 5, Peer: 3}
	for range 30 {
		p.hear(msg{Kind: types.State, From: 4, Standing: types.Joined, HasLeader: true, Term: three, Number: 7})
		p.pass(200 * ms)
	}
	want(t, "is a member", p.when("view 5 [1 2 3 4 5]"), "[]")
	next := viewOf(3, 3, 4, 5, 2)
	next.Number, next.Last[1].Incarnation = 9, p.Incarnation()
	p.hear(msg{Kind: types.NewView, From: 3, Request: 3, Number: 9, View: &next, Term: three})
	want(t, "is let in", p.when("view 9 [3 4 5 2]"), "[6s]")
	if got := p.stored(); !strings.HasSuffix(got, "OK→3") {
		t.Errorf("answers once that is stored: %s", got)
	}
}

// Rule 9: what is stored is older than what the group knows: it is not used. The lost incarnation is above the one in the file,
// and below that of this process, if the clock goes on.
func TestRule9OldState(t *testing.T) {
	t.Parallel()
	for what, last := range map[string]func(before, now types.Incarnation) types.Incarnation{
		"the next one":             func(before, _ types.Incarnation) types.Incarnation { return before + 1 },
		"the one before this":      func(_, now types.Incarnation) types.Incarnation { return now - 1 },
		"a later one than this is": func(_, now types.Incarnation) types.Incarnation { return now + 1000 },
	} {
		before := voted(t)
		p := restarted(t, conf{ID: 2, Salt: 1000}, before)
		p.stored()
		lost := last(before.Incarnation(), p.Incarnation())
		if lost <= before.Incarnation() || lost == p.Incarnation() {
			t.Fatalf("%s: %d is not lost", what, lost)
		}
		for range 30 {
			p.hear(msg{Kind: types.State, From: 3, Standing: types.Joined, Last: lost, Number: 9})
			p.pass(200 * ms)
			p.stored()
		}
		want(t, what+": it is the member again", p.when("view 5 [1 2 3 4 5]"), "[]")
		want(t, what+": it says so", p.when("old state"), "[0s]")
		want(t, what+": what is stored now", fmt.Sprint(p.save.Stored.View.Number), "0")
		if p.Incarnation() == lost {
			t.Errorf("%s: it is the lost incarnation", what)
		}
	}
}

// Rule 9: a lost incarnation above this process's stays lost when the process takes a still higher one to ask a leader.
func TestRule9LostStaysLost(t *testing.T) {
	t.Parallel()
	p := restarted(t, conf{ID: 2}, voted(t))
	p.stored()
	lost := p.Incarnation() + 1000
	p.hear(msg{Kind: types.State, From: 3, Standing: types.Joined, Leads: true, Term: types.Term{Counter: 9, Peer: 3}, Last: lost, Number: 9})
	p.stored()
	if p.Incarnation() <= lost {
		t.Fatalf("it asks as %d, and %d was let in", p.Incarnation(), lost)
	}
	for range 60 {
		p.hear(msg{Kind: types.State, From: 4, Standing: types.Joined, Last: lost, Number: 9})
		p.pass(200 * ms)
		p.stored()
	}
	if p.Incarnation() == lost {
		t.Error("it is the lost incarnation")
	}
	want(t, "it says so", p.when("old state"), "[0s]")
}

// Rule 9: a host that was let in and never knew becomes that member, if nobody leads: it has promised nothing as such.
func TestRule9NeverKnew(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 2, Stored: &types.Stored{Incarnation: 25, Lives: 1}})
	p.stored()
	for range 12 {
		p.hear(msg{Kind: types.State, From: 1, Standing: types.Joined, Last: 20, Number: 5})
		p.pass(200 * ms)
		p.stored()
	}
	want(t, "its incarnation", fmt.Sprint(p.Incarnation()), "20")
	v := viewOf(1, 1, 2, 3)
	p.log = nil
	p.hear(msg{Kind: types.NewView, From: 1, Term: types.Term{Counter: 1, Peer: 3}, View: &v})
	want(t, "is shown the view", p.when("view 5 [1 2 3]"), "[2.4s]")
}

// Rule 9: hosts that store and know of no group choose who makes it: a majority of all hosts has a say.
func TestRule9Founding(t *testing.T) {
	t.Parallel()
	first := func() *peer {
		p := fresh(t, conf{ID: 1, Listed: types.Numbered(5), Stored: &types.Stored{}})
		p.stored()
		return p
	}
	grant := func(p *peer, id types.ID, a types.Accepted) string {
		q := p.sent(id, types.NewLeader)
		return p.hear(msg{Kind: types.PendingResponse, From: id, Standing: types.Fresh, Request: q.Request, Term: q.Term, Change: a.Change, Accepted: a.Term})
	}
	accept := func(p *peer, id types.ID) string {
		q := p.sent(id, types.Req)
		return p.hear(msg{Kind: types.OK, From: id, Standing: types.Fresh, Request: q.Request, Term: q.Term, Change: q.Change, Accepted: q.Term})
	}
	p := first()
	want(t, "one of five", grant(p, 2, types.Accepted{}), "")
	want(t, "two of five, and itself", grant(p, 3, types.Accepted{}), "REQ ADD 1→2,3,4,5")
	accept(p, 2)
	p.stored()
	want(t, "chosen", accept(p, 3), "view 1 [1]; HEARTBEAT leads")
	want(t, "its fence", fmt.Sprint(p.fences), "[0s leads 4096]")

	p = first()
	grant(p, 2, types.Accepted{})
	want(t, "another was accepted", grant(p, 3, types.Accepted{Term: types.Term{Counter: 1, Peer: 4}, Change: add(4)}), "REQ ADD 4→2,3,4,5")
	accept(p, 2)
	p.stored()
	want(t, "another is chosen", accept(p, 3), "")
	p.log = nil
	p.pass(20 * time.Second)
	want(t, "it makes no bid any more", p.when("NEWLEADER→4"), "[]")
}

// Rule 9: a host keeps its vote on who makes the group over a crash.
func TestRule9FoundingVote(t *testing.T) {
	t.Parallel()
	bid := func(from types.ID, n uint64) msg {
		return msg{Kind: types.NewLeader, From: from, Standing: types.Fresh, Request: 5, Term: types.Term{Counter: n, Peer: from}}
	}
	p := fresh(t, conf{ID: 3, Listed: types.Numbered(5), Stored: &types.Stored{}})
	p.stored()
	p.hear(bid(1, 2))
	want(t, "it promises", p.stored(), "PENDINGRESPONSE→1")
	want(t, "and keeps that", p.hear(bid(2, 1)), "REFUSED promised→2")
	p.hear(msg{Kind: types.Req, From: 1, Standing: types.Fresh, Request: 6, Term: types.Term{Counter: 2, Peer: 1}, Change: add(1)})
	want(t, "it accepts", p.stored(), "OK ADD 1→1")
	q := restarted(t, conf{ID: 3, Listed: types.Numbered(5)}, p)
	q.stored()
	q.hear(bid(2, 3))
	if got := q.stored(); !strings.HasPrefix(got, "PENDINGRESPONSE ADD 1→2") {
		t.Errorf("another process remembers: %s", got)
	}
	q = restarted(t, conf{ID: 2}, voted(t))
	want(t, "a member of a group", q.hear(bid(3, 9)), "REFUSED a group exists→3")
	want(t, "one that stores nothing", fresh(t, conf{ID: 3, Listed: types.Numbered(5)}).hear(bid(1, 2)), "")
}
