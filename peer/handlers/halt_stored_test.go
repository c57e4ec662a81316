package handlers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// halts tells what a peer waits for, and for whom.
func halts(p *peer) string {
	s := p.Status()
	return fmt.Sprint(s.Halt, " ", s.Awaited)
}

// A returned peer names the members of its stored view that it has not heard, first of all, and those that are missing
// for a quorum, once it is that member again.
func TestHaltOfReturned(t *testing.T) {
	t.Parallel()
	p := restarted(t, conf{ID: 2}, voted(t))
	p.stored()
	want(t, "it begins", halts(p), "returning [1 3 4 5]")
	if s := p.Status(); s.Standing != types.Returned || !s.Stores || s.Stored != 5 || s.View.Number != 0 {
		t.Errorf("its status is %+v", s)
	}
	p.hear(msg{Kind: types.Probe, From: 3, Request: 5})
	want(t, "it has heard 3", halts(p), "returning [1 4 5]")
	p.pass(2200 * ms)
	p.stored()
	for id := types.ID(1); id <= 5; id++ {
		p.undialed(id, types.Refusal)
	}
	p.stored()
	want(t, "it is a member again", halts(p), "no quorum [1 3 4 5]")
	p.pass(2200 * ms)
	want(t, "it says so", p.when("waits: no quorum [1 3 4 5]"), "[4.4s]")
	want(t, "a leader is known", halts(func() *peer {
		p := restarted(t, conf{ID: 2}, voted(t))
		p.stored()
		p.hear(msg{Kind: types.State, From: 4, Standing: types.Joined, HasLeader: true, Term: types.Term{Counter: 5, Peer: 3}, Number: 7})
		return p
	}()), "no group [3]")
}

// A host that founds names those whose answers are missing, then the one that is to make the group.
func TestHaltOfFounding(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 1, Listed: types.Numbered(5), Stored: &types.Stored{}})
	p.stored()
	want(t, "nobody has answered", halts(p), "no votes [2 3 4 5]")
	p.pass(2200 * ms)
	want(t, "it says so", p.when("waits: no votes [2 3 4 5]"), "[2.2s]")
	grant := func(id types.ID) {
		q := p.sent(id, types.NewLeader)
		p.hear(msg{Kind: types.PendingResponse, From: id, Standing: types.Fresh, Request: q.Request, Term: q.Term,
			Change: add(4), Accepted: types.Term{Counter: 1, Peer: 4}})
	}
	grant(2)
	want(t, "one has answered", halts(p), "no votes [3 4 5]")
	grant(3)
	for _, id := range []types.ID{2, 3} {
		q := p.sent(id, types.Req)
		p.hear(msg{Kind: types.OK, From: id, Standing: types.Fresh, Request: q.Request, Term: q.Term, Change: q.Change, Accepted: q.Term})
		p.stored()
	}
	want(t, "4 is to make it", halts(p), "no maker [4]")

	p = fresh(t, conf{ID: 5, Listed: types.Numbered(5), Stored: &types.Stored{}})
	p.stored()
	p.hear(msg{Kind: types.NewLeader, From: 1, Standing: types.Fresh, Request: 5, Term: types.Term{Counter: 2, Peer: 1}})
	want(t, "it has answered 1", halts(p), "no votes [2 3 4]")
}

// What waits for the disk is counted, and named as what a peer waits for after a while.
func TestHaltOfDisk(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 2, Listed: types.Numbered(3), Stored: &types.Stored{}})
	want(t, "it begins", fmt.Sprint(halts(p), p.Status().Storing), "no votes [1 3]0s")
	p.pass(2199 * ms)
	want(t, "after a while, its own answer is missing too", fmt.Sprint(halts(p), p.Status().Storing), "no votes [1 2 3]2.199s")
	p.pass(1 * ms)
	want(t, "it says so", p.when("waits: no disk []"), "[2.2s]")
	p.stored()
	want(t, "it is stored", fmt.Sprint(halts(p), p.Status().Storing), "no votes [1 3]0s")
	if took := p.Status().Tally.Stored; took.Count == 0 || took.Sum != 2200*ms {
		t.Errorf("writes took %v, %d of them", took.Sum, took.Count)
	}

	p = storing(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.undialed(1, types.Refusal) // it stands, and its term is to be stored
	p.pass(2200*ms, 3)
	want(t, "a candidate", halts(p), "no disk []")
	if s := p.Status(); s.Stored != 5 || s.Storing != 2200*ms {
		t.Errorf("view %d is stored, %v", s.Stored, s.Storing)
	}
}

// A member whose disk stores nothing says so too, though its group goes on: its vote is missing, and counts again once the
// disk writes. What matters more is said first.
func TestHaltOfMembersDisk(t *testing.T) {
	t.Parallel()
	five := viewOf(1, 1, 2, 3, 4, 5)
	follower := func() *peer {
		p := storing(t, conf{ID: 2}, five)
		p.hear(msg{Kind: types.Req, From: 1, Request: 2, Change: add(6)})
		return p
	}
	leader := func() *peer {
		p := storing(t, conf{ID: 1}, viewOf(2, 1, 2, 3, 4, 5))
		p.undialed(2, types.Refusal)
		p.stored()
		p.term = types.Term{Counter: 2, Peer: 1}
		p.reply(3, 4)
		p.reply(3, 4, 5)
		p.reply(3, 4, 5)
		return p
	}
	for _, c := range []struct {
		what     string
		p        *peer
		alive    []types.ID
		during   string
		can      handlers.Spare
		after    string
		canAfter handlers.Spare
		said     string
	}{
		{"a follower", follower(), []types.ID{1, 3, 4, 5}, "not storing []", handlers.Spare{Any: 1, ExceptLeader: 1},
			"going []", handlers.Spare{Any: 2, ExceptLeader: 2}, "[2.5s]"},
		{"a leader", leader(), []types.ID{3, 4, 5}, "not storing []", handlers.Spare{},
			"going []", handlers.Spare{Any: 1, ExceptLeader: 2}, "[2.2s]"},
		{"one without a quorum", follower(), []types.ID{1}, "no quorum [3 4 5]", handlers.Spare{},
			"no quorum [3 4 5]", handlers.Spare{}, "[]"},
	} {
		want(t, c.what+", at first", halts(c.p), "going []")
		leads := c.p.Status().Leads
		began := c.p.at
		c.p.pass(2100*ms, c.alive...)
		if !strings.HasPrefix(halts(c.p), "no quorum") {
			want(t, c.what+", a little before a monitor interval", halts(c.p), "going []")
		}
		c.p.pass(2*time.Second, c.alive...)
		want(t, c.what+", after that", halts(c.p), c.during)
		if s := c.p.Status(); s.Spare != c.can || s.Leads != leads || s.Storing != c.p.at-began {
			t.Errorf("%s: it leads: %t; could lose %+v; has waited for %v", c.what, s.Leads, s.Spare, s.Storing)
		}
		want(t, c.what+" says so", c.p.when("waits: not storing []"), c.said)
		c.p.stored()
		c.p.pass(time.Second, c.alive...)
		want(t, c.what+", once it is stored", halts(c.p), c.after)
		if s := c.p.Status(); s.Spare != c.canAfter || s.Leads != leads {
			t.Errorf("%s, once it is stored: it leads: %t; could lose %+v", c.what, s.Leads, s.Spare)
		}
	}
}

// The last but one to leave a group knows of the view without it, and returned it waits for the last: it says so, and who
// asks to join does not name a host that it has heard.
func TestHaltOfTheLastButOne(t *testing.T) {
	t.Parallel()
	two := viewOf(2, 3, 2)
	two.Last, two.Digest = two.Last[:3], types.Digest(types.Numbered(3))
	two.Term = types.Term{Counter: 2, Peer: 2}
	p := fresh(t, conf{ID: 2, Listed: types.Numbered(3), Stored: &types.Stored{Incarnation: 20, Lives: 1, View: two, Group: two.Group, Highest: 5, Counter: 2, Promised: two.Term,
		Accepted: types.Accepted{Term: two.Term, Change: types.Change{Operation: types.Del, Cause: types.Left, Member: types.Member{ID: 2, Incarnation: 20}}}}})
	for range 8 {
		p.stored()
		p.undialed(3, types.Refusal)
		p.pass(600 * ms)
	}
	want(t, "it waits for the last", halts(p), "no quorum [3]")
	p.pass(2200 * ms)
	if p.when("waits: no quorum [3]") == "[]" {
		t.Errorf("it does not say so: %s", story(p.log))
	}

	former := restarted(t, conf{ID: 2}, voted(t))
	former.stored()
	former.pass(2200 * ms)
	five := former.View()
	six := five.With(types.Change{Operation: types.Del, Cause: types.Left, Member: types.Member{ID: 2, Incarnation: former.Incarnation()}})
	former.stored()
	former.hear(msg{Kind: types.NewView, From: 3, Request: 3, Number: 6, View: &six, Term: types.Term{Counter: 9, Peer: 3}})
	want(t, "removed meanwhile", halts(former), "no group [3]")
	former.stored()
	former.pass(2200 * ms)
	former.hear(msg{Kind: types.Probe, From: 3, Request: 9})
	want(t, "and nobody leads", halts(former), "no group [1 4 5 6]")
}
