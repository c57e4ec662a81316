package handlers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// storing is a peer with an empty state file, which the leader of v has just let in.
func storing(t testing.TB, c conf, v types.View) *peer {
	c.Stored = &types.Stored{}
	p := fresh(t, c)
	p.stored()
	p.term = types.Term{Counter: 1, Peer: v.Leader}
	p.hear(msg{Kind: types.NewView, From: v.Leader, Request: 1, View: &v})
	p.stored()
	p.log = nil
	return p
}

// restarted is a new process on the host of p.
func restarted(t testing.TB, c conf, p *peer) *peer {
	s := p.save.Stored
	c.Stored = &s
	q := fresh(t, c)
	q.at, q.term = 0, p.term
	return q
}

// Rule 9: what others rely on waits until it is stored, and nothing else does. Who asks again meanwhile is told so.
func TestRule9StoresBeforeItAnswers(t *testing.T) {
	t.Parallel()
	five, two := viewOf(1, 1, 2, 3, 4, 5), types.Term{Counter: 2, Peer: 3}
	p := storing(t, conf{ID: 2}, five)
	req := msg{Kind: types.Req, From: 1, Request: 2, Change: add(6)}
	want(t, "a REQ", p.hear(req), "")
	want(t, "what is stored", fmt.Sprint(p.save.Stored.Accepted.Change.Member.ID, p.save.Stored.View.Number), "6 5")
	want(t, "it again", p.hear(req), "REFUSED is storing→1")
	want(t, "a PROBE", p.hear(msg{Kind: types.Probe, From: 3, Request: 5}), "STATE member led→3")
	want(t, "it is stored", p.stored(), "OK ADD 6→1")
	want(t, "it again", p.hear(req), "OK ADD 6→1")

	p.undialed(1, types.Refusal)
	p.hear(msg{Kind: types.NewLeader, From: 3, Request: 9, PreVote: true, Term: two})
	want(t, "a NEWLEADER", p.hear(msg{Kind: types.NewLeader, From: 3, Request: 10, Term: two}), "")
	want(t, "the promise is stored", fmt.Sprint(p.save.Stored.Promised), "{2 3}")
	if got := p.stored(); !strings.HasSuffix(got, "PENDINGRESPONSE ADD 6→3") {
		t.Errorf("the promise is stored: %s", got)
	}
	p = storing(t, conf{ID: 2}, five)
	want(t, "a candidate", p.undialed(1, types.Refusal), "peer 1 (leader) unreachable")
	want(t, "asks once its term is stored", p.stored(), "NEWLEADER→3,4,5")

	p = fresh(t, conf{ID: 2, Stored: &types.Stored{}})
	want(t, "JOIN waits for the incarnation", story(p.log), "")
	if got := p.stored(); !strings.HasPrefix(got, "JOIN→1") {
		t.Errorf("JOIN waits for the incarnation: %s", got)
	}
}

// Rule 9: a view is stored soon, though nobody waits for it, and with what comes next.
func TestRule9StoresViews(t *testing.T) {
	t.Parallel()
	p := storing(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Req, From: 1, Request: 2, Change: add(6)})
	p.stored()
	n := p.save.Number
	want(t, "the view", p.hear(msg{Kind: types.NewView, From: 1, Request: 3, Number: 6, Change: add(6), Chosen: p.term}), "view 6 [1 2 3 4 5 6]; OK→1")
	if p.save.Number != n {
		t.Error("it is stored at once")
	}
	p.pass(15 * ms)
	if got := p.save; got.Number != n+1 || got.Stored.View.Number != 6 {
		t.Errorf("after 15 ms it has asked to store view %d", got.Stored.View.Number)
	}
}

// Rule 9: the vote of a leader or candidate itself counts once it is stored, and not before.
func TestRule9OwnVote(t *testing.T) {
	t.Parallel()
	leads := func() *peer {
		p := storing(t, conf{ID: 1}, viewOf(2, 1, 2, 3))
		p.undialed(2, types.Refusal)
		p.stored()
		p.term = types.Term{Counter: 2, Peer: 1}
		p.reply(3)
		return p
	}
	p := leads()
	want(t, "it proposes what it finds", p.when("REQ DEL 2 unreachable→3"), "[0s]")
	want(t, "one of three, and its own vote is not stored", p.reply(3), "")
	want(t, "its own vote is stored", p.stored(), "view 6 [1 3]; NEWVIEW 6 DEL 2 unreachable→3")
	p = leads()
	want(t, "its own vote is stored", p.stored(), "")
	want(t, "and one of three", p.reply(3), "view 6 [1 3]; NEWVIEW 6 DEL 2 unreachable→3")

	p = fresh(t, conf{ID: 1, Listed: types.Numbered(1), Stored: &types.Stored{}})
	want(t, "the only host of all", p.when("view 1 [1]"), "[]")
	p.stored()
	p.stored()
	want(t, "has stored that it makes the group", p.when("view 1 [1]"), "[0s]")
}

// Rule 9: with a slow disk little waits, and what waits is bounded.
func TestRule9HeldIsBounded(t *testing.T) {
	t.Parallel()
	p := storing(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	for i := range 1000 {
		p.hear(msg{Kind: types.Req, From: 1, Request: uint64(i + 2), Change: add(6)})
	}
	p.log = nil
	p.stored()
	n := len(p.log)
	if n != 24 {
		t.Errorf("of 1000 answers %d have waited, want 4 for each host", n)
	}
}

// Rule 9: a leader whose members' disks stall does not think that they are gone.
func TestRule9StallingDiskIsNoSilence(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.hear(msg{Kind: types.Join, From: 6})
	q := p.sent(2, types.Req)
	for range 15 {
		for _, id := range []types.ID{2, 3} {
			p.hear(msg{Kind: types.Refused, From: id, Request: q.Request, Reason: types.Storing})
		}
		p.pass(200*ms, 2, 3)
	}
	for _, d := range p.log {
		if strings.Contains(d.text, "unreachable") {
			t.Fatalf("after %v: %s", d.at, d.text)
		}
	}
}

// Rule 9: what is stored is ahead of the clock, so that no moment of a later process is one of this.
func TestRule9Clock(t *testing.T) {
	t.Parallel()
	p := storing(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	for range 100 {
		p.pass(time.Minute, 1, 3, 4, 5)
		p.stored()
		if ahead := p.save.Stored.Clock - (epoch + p.at); ahead < 25*time.Minute || ahead > time.Hour {
			t.Fatalf("after %v what is stored is %v ahead", p.at, ahead)
		}
	}
}

// Rule 9: an answer waits for what it says to be stored, and not for what comes after that.
func TestRule9WaitsForItsOwn(t *testing.T) {
	t.Parallel()
	p := storing(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Req, From: 1, Request: 2, Change: add(6)})
	accepted := p.save.Number
	p.hear(msg{Kind: types.NewView, From: 1, Request: 3, Number: 6, Change: add(6), Chosen: p.term, Unanswered: true})
	p.pass(15 * ms)
	if p.save.Number == accepted {
		t.Fatal("the view is not asked to be stored")
	}
	want(t, "the acceptance is stored, and the view is not", p.do(func(now handlers.Instant) *handlers.Output { return p.Saved(now, accepted) }), "OK ADD 6→1")
	want(t, "the view is stored", p.stored(), "")
}
