package handlers_test

import (
	"net/netip"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// Host 3 runs twice: in incarnation 30 at one address, a member, and in 31 at another.
var (
	first  = netip.MustParseAddr("10.0.0.3")
	second = netip.MustParseAddr("10.0.0.33")
)

// join is the second life asking to be let in.
func join(at netip.Addr) msg { return msg{Kind: types.Join, From: 3, Incarnation: 31, Addr: at} }

// answers is the STATE of the first life, or of the second.
func answers(at netip.Addr) msg {
	if at == second {
		return msg{Kind: types.State, From: 3, Incarnation: 31, Standing: types.Fresh, Addr: at}
	}
	return msg{Kind: types.State, From: 3, Standing: types.Joined, HasLeader: true, Addr: at}
}

// beats is a heartbeat of the first life, from an address.
func (p *peer) beats(at netip.Addr) {
	m := p.beat(3)
	m.Addr = at
	p.hear(m)
}

// where tells to which address the last message of this kind to host 3 was sent.
func (p *peer) where(kind types.Kind) netip.Addr { return p.sent(3, kind).Addr }

// leaderOfThree leads 1, 2 and 3, and has heard the first life of host 3 at its address.
func leaderOfThree(t *testing.T) *peer {
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.at += ms
	p.beats(first)
	p.log = nil
	return p
}

// While the member answers at its own address, the second life is refused, and all are told so.
func TestTwiceRefused(t *testing.T) {
	t.Parallel()
	p := leaderOfThree(t)
	want(t, "JOIN", p.hear(join(second)), "PROBE→3")
	if p.where(types.Probe) != first {
		t.Errorf("asked at %v, want the member's address", p.where(types.Probe))
	}
	want(t, "it waits", p.hear(join(second)), "STATE member leads→3")
	if p.where(types.State) != second {
		t.Errorf("STATE goes to %v, want the second's address", p.where(types.State))
	}
	want(t, "the member answers", p.hear(answers(first)), "")
	want(t, "refused", p.hear(join(second)), "3 runs twice; STATE member leads→3; REFUSED runs twice→3,3")
	refusals := p.log[len(p.log)-2:]
	for i, m := range []msg{refusals[0].m, refusals[1].m} {
		to, life := second, types.Incarnation(31)
		if i == 1 {
			to, life = first, 30
		}
		if m.Addr != to || m.For != life || m.Lives != [2]netip.Addr{first, second} {
			t.Errorf("refusal %d goes to incarnation %d at %v and says %v", i, m.For, m.Addr, m.Lives)
		}
	}
	p.pass(1200*ms, 2, 3)
	p.beats(first)
	want(t, "asks again", p.hear(join(second)), "STATE member leads→3; PROBE→3")
	p.hear(answers(first))
	want(t, "said once", p.hear(join(second)), "STATE member leads→3; REFUSED runs twice→3,3")
	if v := p.View(); v.Number != 5 || len(p.Status().Hosts) != 6 || p.Status().Hosts[2].State != handlers.Present {
		t.Errorf("view %d, host 3 is %v", v.Number, p.Status().Hosts[2].State)
	}
}

// What shows that the member does not run any more, or says nothing, lets the second life in as ever.
func TestTwiceAdmitted(t *testing.T) {
	t.Parallel()
	const removes = "peer 3 unreachable; REQ DEL 3 restarted→2"
	dial := func(began time.Duration, addr netip.Addr) func(*peer) {
		return func(p *peer) {
			p.do(func(now handlers.Instant) *handlers.Output { return p.Unreached(now, 3, now.Run+began, addr) })
		}
	}
	tests := []struct {
		name  string
		since func(p *peer)
		want  string
	}{
		{"nothing", func(*peer) {}, ""},
		{"0.4 s", func(p *peer) { p.at += 400 * ms }, ""},
		{"0.5 s", func(p *peer) { p.at += 500 * ms }, removes},
		{"its address refused", dial(0, first), removes},
		{"its address had refused before", dial(-ms, first), ""},
		{"the other address refused", dial(0, second), ""},
		{"the member answers what it was asked before", func(p *peer) {
			m := answers(first)
			m.Request = uint64(epoch) - 1
			p.hear(m)
			p.at += 500 * ms
		}, removes},
		{"the second answers", func(p *peer) { p.hear(answers(second)) }, ""},
		{"the second answers at the member's address", func(p *peer) {
			m := answers(second)
			m.Addr = first
			want(t, "the process there is another", p.hear(m), removes)
		}, ""},
	}
	for _, tt := range tests {
		p := leaderOfThree(t)
		p.hear(join(second))
		tt.since(p)
		p.hear(join(second))
		did := p.hear(answers(second))
		want(t, tt.name, did[:min(len(did), len(removes))], tt.want)
	}
}

// A host with two addresses that was restarted runs once again: nothing names an address any more.
func TestTwiceOver(t *testing.T) {
	t.Parallel()
	p := leaderOfThree(t)
	p.hear(join(second))
	p.do(func(now handlers.Instant) *handlers.Output { return p.Unreached(now, 3, now.Run, first) })
	p.hear(answers(second))
	for range 2 {
		p.reply(2)
	}
	p.hear(join(second))
	p.hear(msg{Kind: types.Probe, From: 3, Incarnation: 31, Addr: first, Number: 7})
	if v, m := p.View(), p.sent(3, types.State); v.Incarnation(3) != 31 || m.Addr.IsValid() {
		t.Errorf("in view %d, host 3 in incarnation %d, the answer names %v", v.Number, v.Incarnation(3), m.Addr)
	}
}

// Nobody is asked first where the second life comes from the member's address, or the member is gone.
func TestTwiceSameAddress(t *testing.T) {
	t.Parallel()
	p := leaderOfThree(t)
	want(t, "JOIN", p.hear(join(first)), "PROBE→3")
	want(t, "it runs there", p.hear(msg{Kind: types.State, From: 3, Incarnation: 31, Standing: types.Fresh, Addr: first, Request: uint64(epoch + p.at)}),
		"peer 3 unreachable; REQ DEL 3 restarted→2")
	p = leaderOfThree(t)
	p.undialed(3, types.Refusal)
	want(t, "gone", p.reply(2), "view 6 [1 2]; NEWVIEW 6 DEL 3 unreachable→2")
	p.reply(2)
	want(t, "JOIN", p.hear(join(second)), "view 7 [1 2 3]; REQ ADD 3→2; NEWVIEW 7 ADD 3→2; NEWVIEW 7 [1 2 3]→3")
}

// What is sent to a member whose host runs twice goes to the member's address, also to a new one, and
// answers go where they were asked for. Nothing names an address as long as it runs once.
func TestTwiceAddresses(t *testing.T) {
	t.Parallel()
	p := leaderOfThree(t)
	p.hear(msg{Kind: types.Probe, From: 3, Addr: first, Number: 5})
	if p.where(types.State).IsValid() {
		t.Errorf("the answer names %v", p.where(types.State))
	}
	p.hear(join(second))
	p.hear(msg{Kind: types.Join, From: 6})
	if p.where(types.Req) != first {
		t.Errorf("REQ goes to %v", p.where(types.Req))
	}
	moved := netip.MustParseAddr("10.0.0.4")
	p.beats(moved)
	p.hear(msg{Kind: types.Probe, From: 3, Addr: second, Incarnation: 31})
	if p.where(types.State) != second {
		t.Errorf("the answer goes to %v", p.where(types.State))
	}
	p.reply(2)
	if p.where(types.NewView) != moved {
		t.Errorf("NEWVIEW goes to %v", p.where(types.NewView))
	}
	out := p.Closed(handlers.Instant{Run: epoch + p.at}, 3)
	if len(out.RedialAt) != 1 || out.RedialAt[0] != moved {
		t.Errorf("a new connection is opened with %v", out.RedialAt)
	}
}

// A member that was let in while the second life spoke last is asked, too, wherever it is.
func TestTwiceAtOnce(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 4))
	asks := msg{Kind: types.Join, From: 3, Incarnation: 30, Addr: first}
	p.hear(asks)
	p.hear(join(second))
	want(t, "the first is let in", p.reply(2), "view 6 [1 2 4 3]; NEWVIEW 6 ADD 3→2,4; NEWVIEW 6 [1 2 4 3]→3")
	want(t, "the second asks", p.hear(join(second)), "STATE member leads→3; PROBE→3")
	want(t, "and answers", p.hear(answers(second)), "")
	p.hear(asks)
	if p.where(types.NewView) != first {
		t.Errorf("NEWVIEW goes to %v", p.where(types.NewView))
	}
	p.hear(answers(first))
	want(t, "the second asks again", p.hear(join(second)), "3 runs twice; STATE member leads→3; REFUSED runs twice→3,3")
}

// A follower refuses what has its leader's id: that one cannot ask the leader.
func TestTwiceLeader(t *testing.T) {
	t.Parallel()
	at, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.11")
	asks := msg{Kind: types.Probe, From: 1, Incarnation: 11, Addr: other}
	beats := msg{Kind: types.Heartbeat, From: 1, Incarnation: 11, Leads: true, Group: types.Group{Made: 11, Maker: 1}, Number: 1, Addr: other}
	for _, m := range []msg{asks, beats} {
		p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
		b := p.beat(1)
		b.Addr = at
		p.hear(b)
		p.hear(m)
		if q := p.sent(1, types.Probe); q.Addr != at {
			t.Errorf("%v: the leader is asked at %v", m.Kind, q.Addr)
		}
		p.hear(msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true, Addr: at})
		if m.Kind == types.Heartbeat {
			p.pass(1100*ms, 1, 3)
		}
		p.hear(m)
		if r := p.sent(1, types.Refused); r.Reason != types.Twice || r.For != 10 || p.when("1 runs twice") == "[]" {
			t.Errorf("%v: got %+v", m.Kind, r)
		}
	}
}

// A second process of the leader's host whose clock is behind takes an incarnation that the members heed:
// only they can tell it, as the leader has its own id.
func TestTwiceLeaderBehind(t *testing.T) {
	t.Parallel()
	state := msg{Kind: types.State, From: 2, Standing: types.Joined, HasLeader: true, Term: types.Term{Counter: 1, Peer: 1}, Last: 500}
	p := fresh(t, conf{ID: 1, Salt: 7})
	p.hear(state)
	if p.Incarnation() != 508 {
		t.Errorf("incarnation %d, want 508", p.Incarnation())
	}
	p.pass(200 * ms)
	if q := p.sent(2, types.Probe); q.Incarnation != 508 {
		t.Errorf("it asks in incarnation %d, want 508", q.Incarnation)
	}

	p = fresh(t, conf{ID: 1})
	p.hear(msg{Kind: types.Heartbeat, From: 3, Leads: true})
	was := p.Incarnation()
	if p.hear(state); p.Incarnation() != was {
		t.Errorf("one that asks to join another takes incarnation %d", p.Incarnation())
	}
}

// Of two processes of a host that lead, a fresh peer asks the one whose group was made earlier, at its
// address; and so does a member that goes over to it.
func TestTwoLeaders(t *testing.T) {
	t.Parallel()
	leads := func(made types.Incarnation, at netip.Addr) msg {
		return msg{Kind: types.Heartbeat, From: 1, Incarnation: made, Leads: true, Group: types.Group{Made: made, Maker: 1}, Number: 1, Addr: at}
	}
	p := fresh(t, conf{ID: 3})
	p.hear(leads(11, second))
	for range 3 {
		p.hear(leads(10, first))
		p.hear(leads(11, second))
		p.pass(200 * ms)
		if m := p.sent(1, types.Join); m.Addr != first {
			t.Errorf("JOIN goes to %v", m.Addr)
		}
	}

	v := viewOf(1, 1, 3)
	v.Group.Made, v.Last[0].Incarnation = 11, 11
	p = fresh(t, conf{ID: 3})
	p.hear(msg{Kind: types.NewView, From: 1, Incarnation: 11, Group: v.Group, Request: 1, View: &v,
		Term: types.Term{Counter: 1, Peer: 1}, Addr: second})
	p.hear(leads(11, second))
	p.at += ms
	p.hear(leads(10, first))
	if m := p.sent(1, types.Probe); m.Addr != first {
		t.Errorf("PROBE goes to %v", m.Addr)
	}
	p.hear(msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true, HasLeader: true, Addr: first})
	if m := p.sent(1, types.Join); m.Addr != first {
		t.Errorf("JOIN goes to %v", m.Addr)
	}
}

// One that is refused says so, and asks again in a second; a member says so and goes on.
func TestTwiceTold(t *testing.T) {
	t.Parallel()
	refusal := msg{Kind: types.Refused, From: 1, Reason: types.Twice, Lives: [2]netip.Addr{first, second}}
	p := fresh(t, conf{ID: 3})
	p.hear(msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true})
	want(t, "refused", p.hear(refusal), "3 runs twice")
	p.log = nil
	p.pass(1100 * ms)
	want(t, "asks again", p.when("JOIN→1"), "[1s]")
	want(t, "again, within a minute", p.hear(refusal), "")

	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	want(t, "member", p.hear(refusal), "3 runs twice")
	if out := p.Tick(handlers.Instant{Run: epoch}); len(out.Events) != 0 {
		t.Error("it says so again")
	}
}
