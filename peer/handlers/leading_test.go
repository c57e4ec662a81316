package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// candidate is peer 1 that was shown v by a member which does not lead, and that the others would grant the lead: it
// asks for it, in term 2.
func candidate(t testing.TB, c conf, v types.View) *peer {
	p := preCandidate(t, c, v)
	for _, id := range v.Members {
		if id != 1 && p.sent(id, types.NewLeader).PreVote {
			p.reply(id)
		}
	}
	return p
}

// preCandidate is peer 1 that was shown v by a member which does not lead: it asks whether it would be granted the lead.
func preCandidate(t testing.TB, c conf, v types.View) *peer {
	c.ID = 1
	p := fresh(t, c)
	p.hear(msg{Kind: types.NewView, From: slices.Max(v.Members), View: &v, Term: types.Term{Counter: 1, Peer: v.Leader}})
	p.term = types.Term{Counter: 2, Peer: 1}
	return p
}

// leader is a candidate that all others granted the lead, and that has no more to do.
func leader(t testing.TB, c conf, v types.View) *peer {
	p := candidate(t, c, v)
	others := slices.DeleteFunc(slices.Clone(v.Members), func(id types.ID) bool { return id == 1 })
	for range 2 {
		p.reply(others...)
	}
	return p
}

// answer is what id, if it agrees, answers to what it was last asked.
func (p *peer) answer(id types.ID) msg {
	p.t.Helper()
	q := p.sent(id, types.NewLeader, types.NewView, types.Req)
	a := msg{Kind: types.OK, From: id, Number: q.Number, Request: q.Request, Term: q.Term}
	switch q.Kind {
	case types.NewLeader:
		a.Kind = types.PendingResponse
	case types.Req:
		a.Change, a.Accepted = q.Change, q.Term
	}
	return a
}

// reply lets these answer, and tells what the peer does.
func (p *peer) reply(ids ...types.ID) string {
	p.t.Helper()
	var did []string
	for _, id := range ids {
		if s := p.hear(p.answer(id)); s != "" {
			did = append(did, s)
		}
	}
	return strings.Join(did, " | ")
}

// Rule 1: a leader proposes what was pending first, and for each view only once a quorum of that
// view has answered in its term.
func TestRule1Prepared(t *testing.T) {
	t.Parallel()
	p := candidate(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	older, newer := p.answer(2), p.answer(3)
	older.Change, older.Accepted = del(5, types.Left), types.Term{Counter: 1, Peer: 4}
	newer.Change, newer.Accepted = add(6), types.Term{Counter: 1, Peer: 5}
	want(t, "one of five", p.hear(older), "")
	want(t, "two of five: what was accepted in the highest term", p.hear(newer), "REQ ADD 6→2,3,4,5; HEARTBEAT leads")
	p.hear(msg{Kind: types.Leave, From: 5})
	want(t, "chosen", p.reply(2, 3), "view 6 [1 2 3 4 5 6]; NEWVIEW 6 ADD 6→2,3,4,5; NEWVIEW 6 [1 2 3 4 5 6]→6")
	want(t, "answered by two of six", p.reply(2), "")
	late := p.answer(4)
	late.Change, late.Accepted = del(2, types.Left), types.Term{Counter: 1, Peer: 3}
	want(t, "what it learns so is pending, too", p.hear(late), "REQ DEL 2 left→2,3,4,5,6")
}

// Rule 1: one change for each view and term; and only while a quorum is reachable.
func TestRule1OneChange(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	want(t, "JOIN", p.hear(msg{Kind: types.Join, From: 6}), "REQ ADD 6→2,3")
	want(t, "another", p.hear(msg{Kind: types.Join, From: 5}), "")
	want(t, "LEAVE", p.hear(msg{Kind: types.Leave, From: 3}), "")
	p.undialed(2, types.Refusal)
	want(t, "no quorum", p.undialed(3, types.Refusal), "peer 3 unreachable")
	p.pass(time.Second)
	want(t, "proposes", p.when("REQ DEL 2 unreachable→2"), "[]")
	want(t, "JOIN, when it does not lead", p.hear(msg{Kind: types.Join, From: 4}), "STATE member→4")
}

// Rule 2: an OK counts only for its own request, term and view, if it accepted just that; one to
// a NEWVIEW never counts for a REQ.
func TestRule2Counts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		spoil  func(p *peer, m *msg)
		chosen bool
	}{
		{"as it should be", func(*peer, *msg) {}, true},
		{"another request", func(_ *peer, m *msg) { m.Request-- }, false},
		{"another term", func(_ *peer, m *msg) { m.Term.Counter-- }, false},
		{"another view", func(_ *peer, m *msg) { m.Number++ }, false},
		{"another change", func(_ *peer, m *msg) { m.Change = add(5) }, false},
		{"accepted in another term", func(_ *peer, m *msg) { m.Accepted.Counter-- }, false},
		{"PENDINGRESPONSE", func(_ *peer, m *msg) { m.Kind = types.PendingResponse }, false},
		{"from another life", func(_ *peer, m *msg) { m.Incarnation = 21 }, false},
		{"from one that is no member", func(_ *peer, m *msg) { m.From = 5 }, false},
		{"to the NEWVIEW", func(p *peer, m *msg) { m.Request = p.sent(2, types.NewView).Request }, false},
	}
	for _, tt := range tests {
		p := leader(t, conf{}, viewOf(1, 1, 2, 3))
		p.hear(msg{Kind: types.Join, From: 6})
		m := p.answer(2)
		tt.spoil(p, &m)
		if p.hear(m); (p.View().Number == 6) != tt.chosen {
			t.Errorf("OK, %s: view %d, chosen should be %v", tt.name, p.View().Number, tt.chosen)
		}
	}
}

// Rule 2: a quorum is more than half, or half with the view's leader.
func TestRule2Quorum(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		view types.View
		oks  []types.ID
		want bool
	}{
		{"two of three", viewOf(1, 1, 2, 3), []types.ID{3}, true},
		{"one of three", viewOf(1, 1, 2, 3), nil, false},
		{"half with the leader", viewOf(1, 1, 2, 3, 4), []types.ID{4}, true},
		{"half without the view's leader", viewOf(2, 2, 1, 3, 4), []types.ID{3}, false},
		{"half with the view's leader", viewOf(2, 2, 1, 3, 4), []types.ID{2}, true},
		{"two of five, one of them twice", viewOf(1, 1, 2, 3, 4, 5), []types.ID{2, 2}, false},
		{"three of five", viewOf(1, 1, 2, 3, 4, 5), []types.ID{2, 5}, true},
		{"the leader of two", viewOf(1, 1, 2), nil, true},
	}
	for _, tt := range tests {
		p := leader(t, conf{}, tt.view)
		p.hear(msg{Kind: types.Join, From: 6})
		if p.reply(tt.oks...); (p.View().Number == 6) != tt.want {
			t.Errorf("%s: view %d, chosen should be %v", tt.name, p.View().Number, tt.want)
		}
	}
}

// Rule 2: JOIN is queued behind failures and leavers.
func TestRule2Queue(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Leave, From: 5})
	p.hear(msg{Kind: types.Join, From: 6})
	p.hear(msg{Kind: types.Leave, From: 4})
	p.undialed(3, types.Refusal)
	want(t, "first, and then the failed, with the view of the first", p.reply(2, 4),
		"view 6 [1 2 3 4]; NEWVIEW 6 [1 2 3 4]→5; REQ DEL 3 unreachable after DEL 5→2,4")
	want(t, "then the leaver", p.reply(2), "view 7 [1 2 4]; REQ DEL 4 left after DEL 3→2,4")
	want(t, "then who asks to join; of [1 2] the leader is a quorum", p.reply(2),
		"view 8 [1 2]; view 9 [1 2 6]; NEWVIEW 8 [1 2]→4; REQ ADD 6 after DEL 4→2; NEWVIEW 9 ADD 6→2; NEWVIEW 9 [1 2 6]→6")
}

// Rule 2: before the ADD comes the DEL of an earlier incarnation, once a PROBE has shown that it
// is gone. A JOIN is forgotten after 2.2 s unless it is asked again.
func TestRule2Restarted(t *testing.T) {
	t.Parallel()
	join := msg{Kind: types.Join, From: 3, Incarnation: 31}
	tests := []struct {
		name string
		wait time.Duration
		join []msg // after the wait
		want int64
	}{
		{"asked just now", 10 * ms, nil, 7},
		{"asked 2.1 s ago", 2100 * ms, nil, 7},
		{"forgotten", 2200 * ms, nil, 6},
		{"asked again", 2200 * ms, []msg{join}, 7},
	}
	for _, tt := range tests {
		p := leader(t, conf{}, viewOf(1, 1, 2, 3))
		want(t, "JOIN", p.hear(join), "PROBE→3")
		p.pass(tt.wait, 2, 3)
		for _, m := range tt.join {
			p.hear(m)
		}
		want(t, "removed by a JOIN alone", p.when("peer 3 unreachable"), "[]")
		p.hear(msg{Kind: types.State, From: 3, Incarnation: 31, Standing: types.Fresh})
		p.reply(2)
		if v := p.View(); v.Number != tt.want || v.Number == 7 && v.Incarnation(3) != 31 {
			t.Errorf("%s: view %d %v, want %d", tt.name, v.Number, v.Members, tt.want)
		}
	}
}

// A leader says nothing to a JOIN that it queues, and STATE if it is asked again; others say who leads.
func TestJoinAnswered(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	join := msg{Kind: types.Join, From: 6}
	want(t, "first", p.hear(join), "REQ ADD 6→2,3")
	want(t, "again", p.hear(join), "STATE member leads→6")
	want(t, "chosen", p.reply(2), "view 6 [1 2 3 6]; NEWVIEW 6 ADD 6→2,3; NEWVIEW 6 [1 2 3 6]→6")
	p = member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	want(t, "a member", p.hear(join), "STATE member led→6")
	if got := p.sent(6, types.State).Term; got.Peer != 1 {
		t.Errorf("the member says that %d leads, want 1", got.Peer)
	}
}

// Rule 3: what is not answered is sent again every 200 ms, from 0.5 s on over a new connection.
func TestRule3Again(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.hear(msg{Kind: types.Join, From: 6})
	p.pass(900*ms, 2, 3)
	want(t, "REQ", p.when("REQ ADD 6→3"), "[0s 200ms 400ms 600ms 800ms]")
	want(t, "anew", p.when("redial→3"), "[600ms 800ms]")
	p.reply(2)
	if m := p.sent(3, types.NewView); !m.Unanswered {
		t.Errorf("its NEWVIEW waits for answers: %+v", m)
	}
	p.log = nil
	p.pass(500*ms, 2, 3)
	want(t, "NEWVIEW that needs no answer", p.when("NEWVIEW 6 ADD 6→3"), "[]")

	p = candidate(t, conf{}, viewOf(1, 1, 2, 3))
	a := p.answer(2)
	a.Change, a.Accepted = add(6), types.Term{Counter: 1, Peer: 1}
	p.hear(a)
	p.hear(p.beat(3))
	p.reply(2)
	if m := p.sent(3, types.NewView); m.Unanswered {
		t.Errorf("its NEWVIEW of what another leader proposed needs no answer: %+v", m)
	}
	p.reply(2)
	p.log = nil
	p.pass(500*ms, 2, 3)
	want(t, "NEWVIEW to one that answered", p.when("NEWVIEW 6 ADD 6→2"), "[]")
	want(t, "NEWVIEW to one that did not", p.when("NEWVIEW 6 ADD 6→3"), "[200ms 400ms]")
}

// Rule 4: one that says that it is behind is shown the view, and a heartbeat of one that is, or
// is no member, too, over a new connection.
func TestRule4Behind(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.hear(msg{Kind: types.Join, From: 6})
	p.reply(2)
	want(t, "REFUSED behind", p.hear(msg{Kind: types.Refused, From: 2, Number: 5, Reason: types.Behind}), "NEWVIEW 6 [1 2 3 6]→2")
	want(t, "its answer", p.reply(2, 3, 6), "")
	p.hear(msg{Kind: types.Leave, From: 2})
	want(t, "removed", p.reply(3), "view 7 [1 3 6]; NEWVIEW 7 [1 3 6]→2; NEWVIEW 7 DEL 2 left→3,6")
	want(t, "its heartbeat", p.hear(msg{Kind: types.Heartbeat, From: 2, Number: 6}), "redial→2; NEWVIEW 7 [1 3 6]→2")
}

// Rule 4: a view that nobody need answer is shown again to a member whose heartbeat says that it is behind, from
// 0.2 s after the view on: before that, the first message may be under way.
func TestRule4ShownAgain(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} { // 4 has got the REQ, or not even that
		p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
		p.hear(msg{Kind: types.Join, From: 6})
		if answers {
			p.reply(4)
		}
		p.reply(2, 3)
		behind := func() string { m := p.beat(4); m.Number = 5; return p.hear(m) }
		want(t, "at once", behind(), "")
		p.pass(199*ms, 2, 3)
		want(t, "after 0.199 s", behind(), "")
		p.pass(ms, 2, 3)
		want(t, fmt.Sprint("after 0.2 s, having answered the REQ: ", answers), behind(), "redial→4; NEWVIEW 6 [1 2 3 4 5 6]→4")
		want(t, "its answer", p.reply(4), "")
		want(t, "it holds the view", p.hear(p.beat(4)), "")
	}
}

// A JOIN with another -monitor is refused, which is told once a minute at most; only the leader looks.
func TestJoinMonitor(t *testing.T) {
	t.Parallel()
	other := msg{Kind: types.Join, From: 6, Monitor: 2201 * ms}
	const refused = "REFUSED -monitor differs→6"
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	want(t, "first", p.hear(other), "6 monitor differs; "+refused)
	if m := p.sent(6, types.Refused); m.For != 60 {
		t.Errorf("the refusal is for incarnation %d", m.For)
	}
	want(t, "again", p.hear(other), refused)
	p.pass(59900*ms, 2, 3)
	want(t, "within a minute", p.hear(other), refused)
	want(t, "another host's", p.hear(msg{Kind: types.Join, From: 5, Monitor: ms}), "5 monitor differs; REFUSED -monitor differs→5")
	p.pass(100*ms, 2, 3)
	want(t, "after a minute", p.hear(other), "6 monitor differs; "+refused)
	if v := p.View(); v.Number != 5 {
		t.Errorf("view %d %v, want no other", v.Number, v.Members)
	}
	want(t, "with the same", p.hear(msg{Kind: types.Join, From: 6}), "REQ ADD 6→2,3")
	want(t, "a follower", member(t, conf{ID: 2}, viewOf(1, 1, 2, 3)).hear(other), "STATE member led→6")

	p = fresh(t, conf{ID: 6})
	m := msg{Kind: types.Refused, From: 1, Reason: types.Settings}
	want(t, "who is refused says so", p.hear(m), "1 monitor differs")
	want(t, "not again", p.hear(m), "")
}

// Rule 5: a leader whose REQ has waited for 2.2 s for a quorum does not lead, nor say so.
func TestRule5LeadsNoMore(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Join, From: 6})
	p.pass(2100*ms, 2, 3, 4, 5)
	if !p.Leads() {
		t.Error("does not lead after 2.1 s")
	}
	p.pass(1300*ms, 2, 3, 4, 5)
	if p.Leads() || p.last() == "HEARTBEAT leads" {
		t.Error("leads after 2.2 s without an answer")
	}
	want(t, "says so", p.when("HEARTBEAT leads"), "[0s 1.1s]")
}

// Section 6: the leader asks all but the second and the last to expel the last, and crashes when
// all of these, not just a quorum, have accepted.
func TestSection6Drill(t *testing.T) {
	t.Parallel()
	p := candidate(t, conf{Drill: true}, viewOf(1, 1, 2, 3, 4, 5, 6))
	want(t, "leads", p.reply(2, 3), "NEWVIEW 5→2,3; NEWVIEW 5 [1 2 3 4 5 6]→4,5,6; HEARTBEAT leads")
	want(t, "before all hold the view", p.reply(2, 3, 4, 5), "")
	want(t, "asks", p.reply(6), "REQ DEL 6 expelled→3,4,5")
	want(t, "two of three", p.reply(3, 4), "")
	want(t, "one of them again", p.reply(4), "")
	want(t, "all", p.reply(5), "crashing; exit 1")
	if n := p.View().Number; n != 5 {
		t.Errorf("it installed view %d", n)
	}
	p = leader(t, conf{Drill: true}, viewOf(1, 1, 2, 3, 4, 5))
	want(t, "while a host is no member", p.when("REQ DEL 6 expelled→3"), "[]")
}

// Section 6: if somebody really fails meanwhile, the drill is off, and the removal is made.
func TestSection6DrillCalledOff(t *testing.T) {
	t.Parallel()
	p := candidate(t, conf{Drill: true}, viewOf(1, 1, 2, 3, 4, 5, 6))
	p.reply(2, 3)
	p.reply(2, 3, 4, 5, 6)
	p.reply(3, 4)
	want(t, "really", p.undialed(5, types.Refusal), "peer 5 unreachable")
	p.pass(500*ms, 2, 3, 4, 6)
	want(t, "goes on with the removal", p.when("view 6 [1 2 3 4 5]"), "[0s]")
	want(t, "and with that of who failed", fmt.Sprint(p.first("REQ DEL 5 unreachable after DEL 6→2")), "0s")
	want(t, "as usual", p.reply(2, 3), "view 7 [1 2 3 4]; NEWVIEW 7 DEL 5 unreachable→2,3,4")
	want(t, "crashes", p.when("crashing"), "[]")
}

// last tells the last thing that the peer did.
func (p *peer) last() string { return story(p.log[len(p.log)-1:]) }

// All copies of a request name the same failures: an old one may come late.
func TestCopiesNameTheSame(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Join, From: 6})
	p.undialed(5, types.Refusal)
	p.pass(300*ms, 2, 3, 4)
	if named := p.sent(2, types.Req).Unreachable; len(named) > 0 {
		t.Errorf("a copy of the REQ names %v, the first named nobody", named)
	}
}
