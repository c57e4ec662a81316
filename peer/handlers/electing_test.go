package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// newLeader is a NEWLEADER of from, under term 2.
func newLeader(from types.ID, unreachable ...types.ID) msg {
	return msg{Kind: types.NewLeader, From: from, Request: 3, Term: types.Term{Counter: 2, Peer: from}, Unreachable: unreachable}
}

// Rule 5: when there is no leader, the reachable member of lowest id stands at once, each
// further one 2.2 s later; nobody without a quorum, or who leaves.
func TestRule5WhoStandsWhen(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		id   types.ID
		gone []types.ID
		want string
	}{
		{"the next one, at once", 2, []types.ID{1}, "[0s"},
		{"the one after that", 3, []types.ID{1}, "[2.2s"},
		{"the last of four", 5, []types.ID{1}, "[6.6s"},
		{"the next reachable one, at once", 3, []types.ID{1, 2}, "[0s"},
		{"one that has a leader", 2, []types.ID{3}, "[]"},
		{"one without a quorum", 2, []types.ID{3, 4, 1}, "[]"},
	}
	for _, tt := range tests {
		p := member(t, conf{ID: tt.id}, viewOf(1, 1, 2, 3, 4, 5))
		alive := []types.ID{1, 2, 3, 4, 5}
		alive[tt.id-1] = 0
		for _, id := range tt.gone {
			p.undialed(id, types.Refusal)
			alive[id-1] = 0
		}
		p.pass(7*time.Second, alive...)
		if got := p.when("NEWLEADER→4"); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s stands at %s, want %s", tt.name, got, tt.want)
		}
	}
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.do(p.Leave)
	want(t, "one that leaves", p.undialed(1, types.Refusal), "peer 1 (leader) unreachable")
}

// Rule 5: a member has a leader while that one is reachable and in the last 2.2 s said so, in a
// term not below the promise.
func TestRule5HasLeader(t *testing.T) {
	t.Parallel()
	one := types.Term{Counter: 1, Peer: 1}
	tests := []struct {
		name string
		m    msg
		want string
	}{
		{"REQ", msg{Kind: types.Req, From: 1, Change: add(6), Term: one}, "led"},
		{"NEWVIEW", msg{Kind: types.NewView, From: 1, Term: one}, "led"},
		{"HEARTBEAT that says so", msg{Kind: types.Heartbeat, From: 1, Leads: true, Term: one}, "led"},
		{"STATE that says so", msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true, Term: one}, "led"},
		{"HEARTBEAT that does not", msg{Kind: types.Heartbeat, From: 1, Term: one}, ""},
		{"STATE that does not", msg{Kind: types.State, From: 1, Standing: types.Joined, HasLeader: true, Term: one}, ""},
		{"NEWVIEW that another shows", msg{Kind: types.NewView, From: 2, Term: one}, ""},
		{"a term below the promise", msg{Kind: types.Heartbeat, From: 1, Leads: true, Term: types.Term{Peer: 1}}, ""},
		{"a grant", newLeader(1), ""},
	}
	for _, tt := range tests {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
		p.term = types.Term{}
		p.pass(2300*ms, 1, 2, 4, 5)
		p.hear(tt.m)
		state := "STATE member→5"
		if tt.want != "" {
			state = "STATE member led→5"
		}
		want(t, tt.name, p.hear(msg{Kind: types.Probe, From: 5}), state)
		p.pass(2100*ms, 1, 2, 4, 5)
		want(t, tt.name+", 2.1 s later", p.hear(msg{Kind: types.Probe, From: 5}), state)
		p.pass(100*ms, 1, 2, 4, 5)
		want(t, tt.name+", 2.2 s later", p.hear(msg{Kind: types.Probe, From: 5}), "STATE member→5")
	}
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	p.term = types.Term{}
	p.pass(2300*ms, 1, 2, 4, 5)
	says := msg{Kind: types.Heartbeat, From: 1, Leads: true, Term: one}
	p.hear(says)
	says.Waited = 100 * ms // it was sent before the one above
	p.hear(says)
	p.pass(2100*ms, 1, 2, 4, 5)
	want(t, "one that waited is no later word", p.hear(msg{Kind: types.Probe, From: 5}), "STATE member led→5")
	p.hear(says)
	p.pass(2100*ms, 1, 2, 4, 5)
	want(t, "what waited 0.1 s is not good for 2.2 s", p.hear(msg{Kind: types.Probe, From: 5}), "STATE member→5")
}

// Rule 5: a leader that has fallen silent leads until it is unreachable.
func TestRule5SilentLeader(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	p.term = types.Term{}
	p.pass(1000*ms, 1, 2, 4, 5) // says nothing of leading
	p.pass(2100*ms, 2, 4, 5)
	want(t, "before", p.hear(msg{Kind: types.Probe, From: 5}), "STATE member led→5")
	p.pass(100*ms, 2, 4, 5)
	want(t, "after", p.hear(msg{Kind: types.Probe, From: 5}), "STATE member→5")
	want(t, "record", p.when("peer 1 (leader) unreachable"), "[3.2s]")
}

// Rule 5: only those without a leader grant, but always to the peer that they follow. A grant
// keeps from granting others for 2.2 s.
func TestRule5Grants(t *testing.T) {
	t.Parallel()
	led := func(*peer) {}
	leaderless := func(p *peer) { p.undialed(1, types.Refusal) }
	granted := func(after time.Duration) func(*peer) {
		return func(p *peer) {
			leaderless(p)
			p.hear(newLeader(2))
			p.pass(after, 2, 3, 5)
		}
	}
	above := types.Term{Counter: 3, Peer: 3}
	tests := []struct {
		name  string
		after func(*peer)
		m     msg
		want  string
	}{
		{"led", led, newLeader(2), "REFUSED has a leader→2"},
		{"led, by just the one that asks", led, newLeader(1), "PENDINGRESPONSE→1"},
		{"leaderless", leaderless, newLeader(2), "PENDINGRESPONSE→2"},
		{"leaderless, whoever's turn it is", leaderless, newLeader(5), "PENDINGRESPONSE→5"},
		{"leaderless, a term below the promise", leaderless, msg{Kind: types.NewLeader, From: 2, Term: types.Term{Peer: 2}}, "REFUSED promised→2"},
		{"granted, and asked again", granted(0), newLeader(2), "PENDINGRESPONSE→2"},
		{"granted to another", granted(1900 * ms), msg{Kind: types.NewLeader, From: 3, Term: above}, "REFUSED has a leader→3"},
		{"granted to another, for a moment longer", granted(2100 * ms), msg{Kind: types.NewLeader, From: 3, Term: above}, ""},
		{"granted to another 2.2 s ago", granted(2200 * ms), msg{Kind: types.NewLeader, From: 3, Term: above}, "PENDINGRESPONSE→3"},
	}
	for _, tt := range tests {
		p := member(t, conf{ID: 4}, viewOf(1, 1, 2, 3, 4, 5))
		tt.after(p)
		p.log = nil
		want(t, tt.name, p.hear(tt.m), tt.want)
	}
}

// Rule 5: a candidate that misses the leader a moment before the others do is not told that there is one: they answer as
// soon as they miss it, too.
func TestRule5AMomentBefore(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 4}, viewOf(1, 1, 2, 3, 4, 5))
	ask := newLeader(2)
	ask.PreVote = true
	p.pass(2195*ms, 2, 3, 5)
	want(t, "5 ms before it misses the leader", p.hear(ask), "")
	p.pass(10*ms, 2, 3, 5)
	want(t, "answers", p.when("PENDINGRESPONSE→2"), "[2.2s]")
}

// Rule 5: a grant keeps the granter from standing for 2.2 s.
func TestRule5GrantKeepsFromStanding(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4))
	p.undialed(1, types.Refusal)
	p.pass(2000*ms, 2, 4)
	p.hear(newLeader(2)) // as late as that, 0.2 s before its own turn
	p.pass(4399*ms, 2, 4)
	want(t, "stands before 4.2 s, and its turn", p.when("NEWLEADER→4"), "[]")
	p.pass(500*ms, 2, 4)
	if p.when("NEWLEADER→4") == "[]" {
		t.Error("does not stand when the grant is over")
	}
}

// One whose turn it is once its grant has run out waits 0.2 s for the candidate it granted, unless
// that one is lost.
func TestGrantRunsOut(t *testing.T) {
	t.Parallel()
	for gone, want := range map[types.ID]string{0: "[2.4s", 3: "[2.2s"} {
		p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
		p.hear(newLeader(3))
		p.undialed(1, types.Refusal)
		p.pass(2200*ms-1, 3, 4, 5)
		if gone != 0 {
			p.undialed(gone, types.Refusal)
		}
		p.pass(1000*ms, 4, 5)
		if got := p.when("NEWLEADER→4"); !strings.HasPrefix(got, want) {
			t.Errorf("with %d gone, stands at %s, want %s", gone, got, want)
		}
	}
}

// Rule 5: a NEWLEADER that was refused is granted if that leader turns out to be lost within
// 0.2 s, and as long as a refusal takes; one that names that leader unreachable makes the peer look.
func TestRule5TurnedDown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		later, takes time.Duration
		granted      bool
	}{{100 * ms, 0, true}, {200 * ms, 0, false}, {400 * ms, 250 * ms, true}, {450 * ms, 250 * ms, false}} {
		p := member(t, conf{ID: 4, RefusalTakes: tt.takes}, viewOf(1, 1, 2, 3, 4, 5))
		want(t, "refuses and looks", p.hear(newLeader(2, 1)), "REFUSED has a leader→2; PROBE→1")
		p.at += tt.later
		did := "peer 1 (leader) unreachable"
		if tt.granted {
			did += "; PENDINGRESPONSE→2"
		}
		want(t, fmt.Sprint("lost after ", tt.later), p.undialed(1, types.Refusal), did)
	}
}

// Rule 5: what a message names unreachable is recorded before it is followed, unless its sender
// has said something later.
func TestRule5NamedFailures(t *testing.T) {
	t.Parallel()
	named := []types.ID{5}
	for _, tt := range []struct {
		name string
		m    msg
		want string
	}{
		{"REQ", msg{Kind: types.Req, From: 1, Request: 2, Change: add(6), Unreachable: named}, "peer 5 unreachable; OK ADD 6→1"},
		{"REQ that removes it", msg{Kind: types.Req, From: 1, Request: 2, Change: del(5, types.Unreachable)}, "peer 5 unreachable; OK DEL 5 unreachable→1"},
		{"REQ that removes it as restarted", msg{Kind: types.Req, From: 1, Request: 2, Change: del(5, types.Restarted)}, "peer 5 unreachable; OK DEL 5 restarted→1"},
		{"REQ that removes it as it leaves", msg{Kind: types.Req, From: 1, Request: 2, Change: del(5, types.Left)}, "OK DEL 5 left→1"},
		{"NEWVIEW", msg{Kind: types.NewView, From: 1, Request: 2, Unreachable: named}, "peer 5 unreachable; OK→1"},
		{"NEWVIEW without it", msg{Kind: types.NewView, From: 1, Number: 6, Request: 2, Change: del(5, types.Unreachable)}, "peer 5 unreachable; view 6 [1 2 3 4]; OK→1"},
		{"NEWVIEW that another shows", msg{Kind: types.NewView, From: 2, Request: 2, Unreachable: named, Term: types.Term{Counter: 1, Peer: 1}}, ""},
		{"NEWLEADER", msg{Kind: types.NewLeader, From: 1, Request: 2, Unreachable: named}, "PENDINGRESPONSE→1"},
		{"NEWLEADER that is refused", newLeader(2, named...), "REFUSED has a leader→2"},
		{"a copy of what was heeded, that names others", msg{Kind: types.NewView, From: 1, Request: 1, Unreachable: named}, "OK→1"},
		{"an older REQ", msg{Kind: types.Req, From: 1, Change: add(6), Unreachable: named}, "OK ADD 6→1"},
		{"itself", msg{Kind: types.Req, From: 1, Request: 2, Change: add(6), Unreachable: []types.ID{3}}, "OK ADD 6→1"},
	} {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
		want(t, tt.name, p.hear(tt.m), tt.want)
		p.hear(tt.m)
		if n := p.when("peer 5 unreachable"); n != "[]" && n != "[0s]" {
			t.Errorf("%s, twice: recorded at %s, want once", tt.name, n)
		}
	}
}

// Rules 1 and 5: the winner first settles the pending operation of the highest term, then
// removes the old leader, then whoever else failed.
func TestRule5Winner(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 2, Listed: types.Numbered(7)}, viewOf(1, 1, 2, 3, 4, 5, 7))
	p.undialed(5, types.Refusal)
	want(t, "stands", p.undialed(1, types.Refusal), "peer 1 (leader) unreachable; NEWLEADER→3,4,7")
	a := p.answer(3)
	a.Change, a.Accepted = add(6), types.Term{Counter: 1, Peer: 1}
	want(t, "is granted by two", p.hear(a)+p.reply(4), "")
	want(t, "is granted by three", p.reply(7), "REQ ADD 6→3,4,7; HEARTBEAT leads")
	want(t, "settles", p.reply(3, 4, 7), "view 6 [1 2 3 4 5 7 6]; NEWVIEW 6 ADD 6→3,4,7; NEWVIEW 6 [1 2 3 4 5 7 6]→6")
	want(t, "is not prepared by three of seven", p.reply(3, 4), "")
	want(t, "removes the old leader", p.reply(7), "REQ DEL 1 unreachable→3,4,7,6")
	want(t, "then the other, at once, as that was its own change", p.reply(3, 4, 7),
		"view 7 [2 3 4 5 7 6]; REQ DEL 5 unreachable after DEL 1→3,4,7,6")
	p.log = nil
	p.pass(200*ms, 3)
	want(t, "again: who is not known to hold view 6 is shown view 7 whole, and who holds view 7 is not shown it",
		story(p.log), "redial→5; PROBE→5; REQ DEL 5 unreachable→3; REQ DEL 5 unreachable after DEL 1→4,7; REQ DEL 5 unreachable after [2 3 4 5 7 6]→6")
}

// Rule 5: a candidate asks again every 200 ms, above a term that it was outbid by; it stands
// down for whoever leads.
func TestRule5Candidate(t *testing.T) {
	t.Parallel()
	p := candidate(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.pass(300 * ms)
	want(t, "asks", p.when("NEWLEADER→2"), "[0s 200ms]")
	want(t, "is outbid", p.hear(msg{Kind: types.Refused, From: 2, Reason: types.Promised, Term: types.Term{Counter: 7, Peer: 3},
		Request: p.sent(2, types.NewLeader).Request}), "")
	p.pass(100 * ms)
	if got := p.sent(2, types.NewLeader).Term; got != (types.Term{Counter: 8, Peer: 1}) {
		t.Errorf("outbid by 7.3 it stands under %v", got)
	}
	want(t, "is led", p.hear(msg{Kind: types.NewView, From: 3, Term: types.Term{Counter: 8, Peer: 3}}), "OK→3")
	p.log = nil
	p.pass(1000*ms, 2, 3, 4, 5)
	want(t, "asks", p.when("NEWLEADER→2"), "[]")
}

// Rule 5: a candidate that cannot know that its leader is gone first asks whether it would be granted a term. It promises
// nothing itself meanwhile, so that its leader, once heard again, still leads it.
func TestRule5PreVote(t *testing.T) {
	t.Parallel()
	one := types.Term{Counter: 1, Peer: 1}
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	p.pass(2300*ms, 3, 4, 5)
	want(t, "asks when the leader is silent", p.when("NEWLEADER pre-vote→3"), "[2.2s]")
	p.term = types.Term{Counter: 2, Peer: 2}
	want(t, "one grants", p.reply(3), "")
	want(t, "one has a leader", p.hear(msg{Kind: types.Refused, From: 4, Request: p.sent(4, types.NewLeader).Request, Reason: types.HasLeader}), "")
	p.hear(msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true, HasLeader: true, Term: one})
	want(t, "the leader is heard", p.hear(msg{Kind: types.Req, From: 1, Request: 9, Term: one, Change: add(6)}), "OK ADD 6→1")

	p = member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	p.pass(2300*ms, 3, 4, 5)
	p.reply(3)
	want(t, "a quorum would grant it", p.reply(4), "NEWLEADER→3,4,5")
	want(t, "its term", fmt.Sprint(p.sent(3, types.NewLeader).Term), "{2 2}")

	p = member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	want(t, "the leader is certainly gone", p.undialed(1, types.Refusal), "peer 1 (leader) unreachable; NEWLEADER→3,4,5")

	p = preCandidate(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Refused, From: 2, Reason: types.Promised, Term: types.Term{Counter: 7, Peer: 3}, Request: p.sent(2, types.NewLeader).Request})
	p.pass(300*ms, 2, 3, 4, 5)
	want(t, "asks above a higher promise", fmt.Sprint(p.sent(2, types.NewLeader).PreVote, p.sent(2, types.NewLeader).Term), "true {8 1}")
}

// Rules 5 and 8: a candidate that answers its leader is one no more, though its pre-vote has promised nothing: what others
// answer to that later does not make it stand while it supports the leader.
func TestRule5PreVoteEnds(t *testing.T) {
	t.Parallel()
	one := types.Term{Counter: 1, Peer: 1}
	for what, m := range map[string]msg{
		"REQ":     {Kind: types.Req, From: 1, Request: 9, Term: one, Change: add(6)},
		"NEWVIEW": {Kind: types.NewView, From: 1, Request: 9, Term: one},
	} {
		p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
		p.pass(2300*ms, 3)
		granted := p.answer(3)
		p.hear(m)
		p.at += 10 * ms
		want(t, what+" of the leader, and then the answer to the pre-vote", p.hear(granted), "")
		want(t, "it supports the leader", p.hear(msg{Kind: types.NewLeader, From: 3, Request: 4, Term: types.Term{Counter: 5, Peer: 3}}), "REFUSED has a leader→3")
	}
}

// Rule 5: in a small group, too, a candidate that alone does not hear the leader asks less and less often.
func TestRule5DeclinedInSmallGroups(t *testing.T) {
	t.Parallel()
	for _, members := range [][]types.ID{{1, 2, 3}, {1, 2, 3, 4}} {
		p := member(t, conf{ID: 2}, viewOf(1, members...))
		p.term = types.Term{}
		asked := 0
		for range 100 {
			p.log = nil
			p.pass(200*ms, members[2:]...)
			for _, id := range members[2:] {
				if p.when(fmt.Sprint("NEWLEADER pre-vote→", id)) != "[]" {
					p.hear(msg{Kind: types.Refused, From: id, Request: p.sent(id, types.NewLeader).Request, Reason: types.HasLeader})
					asked++
				}
			}
		}
		if asked > 8*len(members) {
			t.Errorf("of %d members it asks %d times in 20 s", len(members), asked)
		}
	}
}

// Rule 5: who answers a pre-vote promises nothing, and supports nobody by it.
func TestRule5AnswersPreVote(t *testing.T) {
	t.Parallel()
	asks := func(from types.ID, n uint64) msg {
		return msg{Kind: types.NewLeader, From: from, Request: 3, PreVote: true, Term: types.Term{Counter: n, Peer: from}}
	}
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	want(t, "it has a leader", p.hear(asks(3, 5)), "REFUSED has a leader→3")
	p = member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(p.misses(3, 1))
	p.undialed(1, types.Refusal) // it stands itself
	want(t, "a term below the promise", p.hear(asks(3, 1)), "REFUSED promised→3")
	want(t, "it would", p.hear(asks(3, 5)), "PENDINGRESPONSE→3")
	want(t, "and another, too", p.hear(asks(4, 4)), "PENDINGRESPONSE→4")
	want(t, "a request under a term below those", p.hear(msg{Kind: types.NewLeader, From: 5, Request: 3, Term: types.Term{Counter: 3, Peer: 5}}), "PENDINGRESPONSE→5")

	p = leader(t, conf{}, viewOf(1, 1, 2, 3))
	want(t, "a leader goes on", p.hear(asks(2, 3)), "REFUSED has a leader→2")
	want(t, "its lease", fmt.Sprint(p.fences), "[0s leads 8192]")
	want(t, "it is followed under its term", p.hear(msg{Kind: types.Join, From: 6}), "REQ ADD 6→2,3")
}

// Rule 5: a leader that hears of a higher term stands again at once above it.
func TestRule5LeaderStandsAgain(t *testing.T) {
	t.Parallel()
	three := types.Term{Counter: 3, Peer: 2}
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	want(t, "NEWLEADER", p.hear(msg{Kind: types.NewLeader, From: 2, Term: three}), "REFUSED has a leader→2; NEWLEADER→2,3")
	if got := p.sent(2, types.NewLeader).Term; got != (types.Term{Counter: 4, Peer: 1}) {
		t.Errorf("stands under %v, want 4.1", got)
	}
	p = leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.hear(msg{Kind: types.Join, From: 6})
	want(t, "a refusal", p.hear(msg{Kind: types.Refused, From: 2, Reason: types.Promised, Term: three}), "NEWLEADER→2,3")
	want(t, "wins with what it proposed", p.reply(2), "REQ ADD 6→2,3; HEARTBEAT leads")
}

// Rule 1: what a leader has accepted itself is pending like what anybody has, also when a quorum that
// granted it the term is not reachable any more as it takes office.
func TestRule1OwnAcceptance(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Req, From: 1, Request: 2, Change: add(6)})
	p.undialed(5, types.Refusal)
	want(t, "the leader is gone", p.undialed(1, types.Refusal), "peer 1 (leader) unreachable; NEWLEADER→3,4")
	p.term = types.Term{Counter: 2, Peer: 2}
	granted := p.answer(4)
	granted.Change, granted.Accepted = add(6), types.Term{Counter: 1, Peer: 1}
	p.hear(granted)
	p.undialed(4, types.Refusal)
	want(t, "a grant that makes no reachable quorum", p.reply(3), "")
	if p.Leads() {
		t.Error("it leads without a reachable quorum")
	}
	p.at = 10 * ms
	p.hear(msg{Kind: types.State, From: 5, Standing: types.Joined, Term: types.Term{Counter: 1, Peer: 1}})
	p.reply(3, 5)
	p.reply(3, 5)
	p.pass(300*ms, 3, 5) // three are too few of the next six for a lease, but it has none to keep
	for _, d := range p.log {
		if d.m.Kind == types.Req && d.m.Change != add(6) {
			t.Errorf("it proposes %s, and not what it has accepted", d.text)
		}
	}
	want(t, "installs", p.when("view 6 [1 2 3 4 5 6]"), "[10ms]")
}

// Rule 5: who said lately that it hears no quorum, and who led until lately, lets the others stand first.
func TestRule5Yields(t *testing.T) {
	t.Parallel()
	others := func(p *peer) (ids []types.ID) {
		for id := types.ID(1); id <= 5; id++ {
			if id != p.ID {
				ids = append(ids, id)
			}
		}
		return ids
	}
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	p.term = types.Term{} // 1 is heard, and does not lead any more
	p.pass(2500*ms, others(p)...)
	want(t, "the next one, where the leader leads no more", p.when("NEWLEADER pre-vote→3")[:len("[2.2s")], "[2.2s")

	p = member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	p.term = types.Term{}
	deaf := p.misses(1, 3, 4, 5)
	want(t, "what the leader said under an earlier term", p.hear(deaf), "")
	deaf.Term = types.Term{Counter: 1, Peer: 1}
	want(t, "the leader hears no quorum, and may have said so before it won", p.hear(deaf), "")
	deaf.Ceased = true
	want(t, "the next one, where the leader hears no quorum, and has ceased", p.hear(deaf), "NEWLEADER pre-vote→1,3,4,5")

	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	p.undialed(1, types.Refusal)
	p.pass(2500*ms, 2, 4, 5)
	want(t, "the second, behind one that is fit", p.when("NEWLEADER→4")[:len("[2.2s")], "[2.2s")
	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(p.misses(2, 1, 4, 5))
	want(t, "the second, behind one that hears no quorum", p.undialed(1, types.Refusal), "peer 1 (leader) unreachable; NEWLEADER→2,4,5")

	p = leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.pass(3500*ms, 2) // loses its lease and its tenure, and then its quorum
	want(t, "it leads no more", fmt.Sprint(p.Leads()), "false")
	ceased := p.first("HEARTBEAT")
	want(t, "it leads no more from", fmt.Sprint(ceased), "2.3s")
	if got := p.sent(0, types.Heartbeat); got.Leads || len(got.Unreachable) != 3 {
		t.Errorf("its heartbeat says that it leads: %v, and misses %v", got.Leads, got.Unreachable)
	}
	for _, id := range []types.ID{3, 4, 5} {
		p.hear(msg{Kind: types.State, From: id, Standing: types.Joined})
	}
	p.log = nil
	p.pass(9*time.Second, others(p)...)
	stood := p.first("NEWLEADER pre-vote→2")
	if stood-ceased < 6*time.Second || stood-ceased > 7*time.Second {
		t.Errorf("it stands again %v after it has ceased to lead, want 3 monitor intervals", stood-ceased)
	}
}

// first returns when the peer first did this.
func (p *peer) first(text string) time.Duration {
	for _, d := range p.log {
		if d.text == text {
			return d.at
		}
	}
	return -1
}

// A candidate that a quorum tells that it has a leader stands again after a monitor interval, then after two,
// then after four each time.
func TestDeclined(t *testing.T) {
	t.Parallel()
	p := preCandidate(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.term = types.Term{} // nobody that it hears leads
	var pauses []time.Duration
	for range 4 {
		for _, id := range []types.ID{2, 3, 4} {
			p.hear(msg{Kind: types.Refused, From: id, Request: p.sent(id, types.NewLeader).Request, Reason: types.HasLeader})
		}
		p.log = nil
		declined := p.at
		p.pass(10*time.Second, 2, 3, 4, 5)
		pauses = append(pauses, p.first("NEWLEADER pre-vote→2")-declined)
		p.log = slices.DeleteFunc(p.log, func(d deed) bool { return d.m.Kind != types.NewLeader })
	}
	want(t, "stands again after", fmt.Sprint(pauses), "[2.4s 4.6s 9s 9s]")
}

// A candidate that loses its quorum asks nobody any more.
func TestCandidateWithoutQuorum(t *testing.T) {
	t.Parallel()
	p := candidate(t, conf{}, viewOf(1, 1, 2, 3))
	p.undialed(2, types.Refusal)
	p.undialed(3, types.Refusal)
	p.log = nil
	p.pass(time.Second)
	want(t, "asks", p.when("NEWLEADER→2")+p.when("NEWLEADER→3"), "[][]")
}
