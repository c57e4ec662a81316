package handlers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// until tells when the peer's lease ends: "none" if it has none.
func (p *peer) until() string {
	if p.lease.Fence == 0 || p.lease.Until < 0 { // no quorum has answered yet
		return "none"
	}
	return fmt.Sprint(p.lease.Until - epoch)
}

// Rule 8: a lease lasts 0.98 of the monitor interval from when the leader sent the newest of what a quorum has
// answered, whenever the answers come.
func TestRule8FromTheSending(t *testing.T) {
	t.Parallel()
	p := candidate(t, conf{}, viewOf(1, 1, 2, 3, 4, 5)) // asks at 0s, and again
	p.pass(300*ms, 2, 3, 4, 5)
	for _, step := range []struct {
		name string
		at   time.Duration
		do   func()
		want string
	}{
		{"one has granted the term", 300 * ms, func() { p.reply(2) }, "none"},
		{"two have", 300 * ms, func() { p.reply(3) }, "2.156s"},
		{"one has answered the NEWVIEW of 0.3 s", 500 * ms, func() { p.reply(4) }, "2.156s"},
		{"two have", 600 * ms, func() { p.reply(5) }, "2.456s"},
		{"its heartbeat of 0.3 s is no news", 700 * ms, func() { p.hear(p.beat(2)); p.hear(p.beat(3)) }, "2.456s"},
		{"it sends a heartbeat", 1400 * ms, func() { p.pass(ms) }, "2.456s"},
		{"one has answered it", 1500 * ms, func() { p.hear(p.beat(2)) }, "2.456s"},
		{"one has answered it twice", 1500 * ms, func() { p.hear(p.beat(2)) }, "2.456s"},
		{"one that is no member has, too", 1500 * ms, func() { p.hear(p.beat(6)) }, "2.456s"},
		{"one of another life has, too", 1500 * ms, func() { m := p.beat(3); m.Incarnation = 29; p.hear(m) }, "2.456s"},
		{"one says so under another term", 1500 * ms, func() { m := p.beat(3); m.Term.Counter, m.Term.Peer = 1, 1; p.hear(m) }, "2.456s"},
		{"one has answered what was not sent yet", 1500 * ms, func() { m := p.beat(3); m.Heard = uint64(epoch + p.at + ms); p.hear(m) }, "2.456s"},
		{"two have answered it, one in a STATE", 1600 * ms, func() {
			p.hear(msg{Kind: types.State, From: 3, Standing: types.Joined, HasLeader: true, Heard: p.beat(3).Heard})
		}, "3.656s"},
		{"a REQ is sent", 1700 * ms, func() { p.hear(msg{Kind: types.Join, From: 6}); p.reply(2) }, "3.656s"},
		{"a quorum of the next view has not answered it", 1800 * ms, func() { p.reply(3) }, "3.856s"},
	} {
		for p.at < step.at { // without a stall
			p.pass(min(step.at-p.at, 100*ms))
		}
		step.do()
		want(t, step.name, p.until(), step.want)
	}
	want(t, "one lease", fmt.Sprint(p.fences), "[300ms leads 8192]")
}

// Rule 8: a leader whose tenure ends leads no more, from that moment on, and says so 0.1 s later; and that it never will
// again in that term. Its tenure is the latest end that its lease had, and a monitor interval from its election at least.
func TestRule8Ends(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.unheard = true
	p.pass(2156*ms-1, 2, 3)
	if !p.Leads() || !p.lease.Valid(epoch+p.at) {
		t.Errorf("at %v it leads is %v, its lease lasts %v", p.at, p.Leads(), p.until())
	}
	p.pass(145*ms, 2, 3)
	want(t, "it", fmt.Sprint(p.fences, p.Leads(), " ", p.until()), "[0s leads 8192 2.156s ceased 8192] false none")
	want(t, "says that it leads at", p.when("HEARTBEAT leads"), "[0s 1.1s]")
	want(t, "says that it does not at", p.when("HEARTBEAT"), "[2.3s]")
	if m := p.sent(0, types.Heartbeat); !m.Ceased || m.Term != p.term {
		t.Errorf("its heartbeat says %+v", m)
	}
	p = leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.unheard = true
	p.pass(2250*ms, 2, 3)
	want(t, "it keeps others from leading for a moment", p.hear(msg{Kind: types.NewLeader, From: 2, Term: types.Term{Counter: 9, Peer: 2}}), "")
	p.pass(50*ms, 2, 3)
	want(t, "and then does not", p.when("PENDINGRESPONSE→2"), "[2.3s]")

	p = leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.pass(1500*ms, 2, 3) // they answer the heartbeat of 1.1 s
	p.unheard = true
	p.pass(1756*ms-1, 2, 3)
	if !p.Leads() || !p.lease.Valid(epoch+p.at) {
		t.Errorf("at %v it leads is %v, its lease lasts %v", p.at, p.Leads(), p.until())
	}
	p.pass(ms, 2, 3)
	want(t, "whose lease was extended", fmt.Sprint(p.fences, p.Leads()), "[0s leads 8192 3.256s ceased 8192] false")
	p.pass(100*ms, 2, 3)
	want(t, "says that it does not at", p.when("HEARTBEAT"), "[3.356s]")

	l := handlers.Lease{Fence: 2, Until: 5}
	if !l.Valid(4) || l.Valid(5) || (handlers.Lease{Until: 5}).Valid(4) || (handlers.Lease{Fence: 2, Until: 5, Resigned: true}).Valid(4) {
		t.Error("a lease is valid before its end, with a fence, and until its leader resigns")
	}
	p = candidate(t, conf{}, viewOf(1, 1, 2, 3))
	p.pass(1200*ms, 2, 3)
	if m := p.sent(0, types.Heartbeat); m.Ceased || m.Leads {
		t.Errorf("the heartbeat of a candidate says %+v", m)
	}
}

// Rule 8: the time in which a leader stands still counts, and what it sent before that extends no lease.
func TestRule8Stall(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.pass(1150 * ms) // it has sent a heartbeat, which nobody has answered
	p.hear(msg{Kind: types.Join, From: 6})
	before, ok := p.beat(2), p.answer(2)
	p.at += 750 * ms
	p.do(p.Tick)
	want(t, "resumed", p.until(), "2.156s")
	p.hear(before)
	want(t, "the heartbeat of before is answered", p.until(), "2.156s")
	p.hear(ok)
	want(t, "the REQ of before is answered", fmt.Sprint(p.until(), " view ", p.View().Number), "2.156s view 6")
	p.hear(p.beat(2))
	p.hear(p.beat(3))
	want(t, "the heartbeat of after is answered", p.until(), "4.056s")

	p = leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.at += 5 * time.Second
	p.do(p.Tick)
	want(t, "it stood still for longer", fmt.Sprint(p.fences, p.Leads(), " ", p.until()), "[0s leads 8192 5s ceased 8192] false none")
	count := p.Status().Tally
	want(t, "it counts", fmt.Sprint(count.Led, " ", count.Stalls, " ", count.Stood.Round(ms)), "1 1 5s")

	p = candidate(t, conf{}, viewOf(1, 1, 2, 3))
	granted := p.answer(2)
	p.at += time.Second
	p.hear(granted)
	want(t, "a candidate stood still", fmt.Sprint(p.fences, p.Leads(), " ", p.until()), "[] true none")
}

// asks are what a leader or candidate asks of a member: 2 does, under term 2.
var asks = []struct {
	m       msg
	granted string
}{
	{newLeader(2), "PENDINGRESPONSE"},
	{msg{Kind: types.Req, From: 2, Change: add(6), Term: types.Term{Counter: 2, Peer: 2}}, "OK"},
	{msg{Kind: types.NewView, From: 2, Term: types.Term{Counter: 2, Peer: 2}}, "OK"},
}

// Rule 8: a member that has answered its leader, or granted a candidate, does so for no other before a monitor
// interval is over, whatever the other asks.
func TestRule8Backs(t *testing.T) {
	t.Parallel()
	one := types.Term{Counter: 1, Peer: 1}
	for name, m := range map[string]msg{
		"NEWVIEW":   {Kind: types.NewView, From: 1},
		"REQ":       {Kind: types.Req, From: 1, Change: add(6)},
		"HEARTBEAT": {Kind: types.Heartbeat, From: 1, Leads: true},
		"PROBE":     {Kind: types.Probe, From: 1, Leads: true},
		"STATE":     {Kind: types.State, From: 1, Standing: types.Joined, Leads: true},
		"NEWLEADER": {Kind: types.NewLeader, From: 1, Term: types.Term{Counter: 1, Peer: 1}},
	} {
		for _, ask := range asks {
			for _, tt := range []struct {
				after time.Duration
				again bool // m comes once more, a second before the ask
				want  bool
			}{{2000*ms - 1, false, false}, {2200*ms - 1, false, false}, {2200 * ms, false, true}, {2200 * ms, true, name == "NEWLEADER"}} {
				p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
				p.pass(2300*ms, 2, 4, 5) // what has made it a member is over
				m, ask := m, ask
				if m.Kind == types.State {
					m.Request = uint64(epoch + p.at + ms) // 1 is held unreachable
				}
				m.Term = one
				if m.Kind == types.NewLeader {
					m.Term.Counter, ask.m.Term.Counter = 2, 3
				}
				p.hear(m)
				if tt.again {
					p.pass(tt.after-time.Second, 2, 4, 5)
					p.hear(m)
					p.pass(time.Second, 2, 4, 5)
				} else {
					p.pass(tt.after, 2, 4, 5)
				}
				want := "REFUSED has a leader→2"
				if tt.want {
					want = ask.granted
				}
				got := p.hear(ask.m)
				if !tt.want && ask.m.Kind == types.NewLeader && tt.after >= 2000*ms { // it answers when it is free, or does not
					want = ""
				}
				if !strings.Contains(got, want) || !tt.want && strings.Contains(got, ask.granted) {
					t.Errorf("%v, %v after %s (again: %v): %q, want %s", ask.m.Kind, tt.after, name, tt.again, got, want)
				}
			}
		}
	}
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	want(t, "it asks whom it supports", p.hear(asks[1].m), "REFUSED has a leader→2; PROBE→1")
	if got := p.sent(2, types.Refused).Term; got != one {
		t.Errorf("it refuses what it has promised: %v", got)
	}
}

// Rule 8: a member that supports a peer does not stand, though it knows that this one has lost its quorum.
func TestRule8BacksAndDoesNotStand(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	deaf := p.misses(1, 3, 4, 5)
	deaf.Leads = false
	want(t, "its leader hears no quorum", p.hear(deaf), "")
	p.term = types.Term{}
	p.pass(2500*ms, 3, 4, 5)
	if got := p.when("NEWLEADER pre-vote→3"); !strings.HasPrefix(got, "[2.2s") {
		t.Errorf("stands at %s, want 2.2s", got)
	}
}

// Rule 8: a member is free before that where the peer that it supports is certain not to lead under that term any more.
func TestRule8Released(t *testing.T) {
	t.Parallel()
	without, other := viewOf(2, 2, 3, 4, 5), viewOf(1, 1, 2, 3, 4, 5)
	without.Number, without.Term = 6, types.Term{Counter: 2, Peer: 2}
	other.Number, other.Term, other.Last[0].Incarnation = 6, without.Term, 11
	shown := func(v types.View) func(*peer) {
		return func(p *peer) {
			p.hear(msg{Kind: types.NewView, From: 4, Number: 6, View: &v, Chosen: v.Term, Term: v.Term})
		}
	}
	beats := func(m msg) func(*peer) {
		return func(p *peer) {
			m.Kind, m.From = types.Heartbeat, max(m.From, 1)
			p.hear(m)
		}
	}
	for _, tt := range []struct {
		name  string
		after func(*peer)
		want  bool
	}{
		{"nothing", func(*peer) {}, false},
		{"its host refuses", func(p *peer) { p.undialed(1, types.Refusal) }, true},
		{"its host is silent", func(p *peer) { p.undialed(1, types.NoAnswer) }, false},
		{"it has ceased", beats(msg{Ceased: true}), true},
		{"it has ceased under an earlier term", beats(msg{Ceased: true, Term: types.Term{Peer: 1}}), false},
		{"another has ceased", beats(msg{From: 2, Ceased: true}), false},
		{"a heartbeat of before it won", beats(msg{}), false},
		{"it has promised a higher term", beats(msg{Term: types.Term{Counter: 2, Peer: 4}}), true},
		{"it stands again", beats(msg{Term: types.Term{Counter: 2, Peer: 1}}), false},
		{"it leads under a higher term", beats(msg{Leads: true, Term: types.Term{Counter: 2, Peer: 1}}), false},
		{"a view without it", shown(without), true},
		{"a view with another life of it", shown(other), true},
	} {
		for _, ask := range asks {
			p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
			tt.after(p)
			want := "REFUSED has a leader→2"
			if tt.want {
				want = ask.granted
			}
			if got := p.hear(ask.m); !strings.Contains(got, want) {
				t.Errorf("%s, then %v: %q, want %s", tt.name, ask.m.Kind, got, want)
			}
		}
	}
}

// Rules 5 and 8: what a leader sent before the newest that has come does not show that it leads, and renews no support: a starved
// leader's heartbeat, or a copy of a PROBE over another connection, may come long after it has ceased to lead.
func TestRule8LateSigns(t *testing.T) {
	t.Parallel()
	sent := uint64(epoch)
	says := func(kind types.Kind, at uint64) msg { return msg{Kind: kind, From: 1, Leads: true, Request: at} }
	ceased := msg{Kind: types.Heartbeat, From: 1, Ceased: true, Request: sent + 2}
	req := msg{Kind: types.Req, From: 1, Change: add(6)}
	for _, tt := range []struct {
		name  string
		first []msg
		late  msg // 2 s later
		want  bool
	}{
		{"newer heartbeat", []msg{says(types.Heartbeat, sent)}, says(types.Heartbeat, sent+1), false},
		{"newer PROBE", []msg{says(types.Heartbeat, sent)}, says(types.Probe, sent+1), false},
		{"copy of a heartbeat", []msg{says(types.Heartbeat, sent)}, says(types.Heartbeat, sent), true},
		{"copy of a PROBE", []msg{says(types.Probe, sent)}, says(types.Probe, sent), true},
		{"older PROBE", []msg{says(types.Heartbeat, sent+1)}, says(types.Probe, sent), true},
		{"older heartbeat, a REQ between", []msg{says(types.Heartbeat, sent+1), req}, says(types.Heartbeat, sent), true},
		{"PROBE of before it ceased", []msg{says(types.Heartbeat, sent), ceased}, says(types.Probe, sent+1), true},
		{"older one of a higher term", []msg{says(types.Heartbeat, sent+1)},
			msg{Kind: types.Heartbeat, From: 1, Leads: true, Request: sent, Term: types.Term{Counter: 2, Peer: 1}}, false},
		{"STATE", []msg{says(types.Heartbeat, sent)}, msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true}, false},
	} {
		p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
		p.pass(ms)
		for _, m := range tt.first {
			p.hear(m)
		}
		p.pass(2000*ms, 3, 4, 5)
		p.hear(tt.late)
		p.log = nil
		p.pass(300*ms, 3, 4, 5)
		if stands := p.first("NEWLEADER pre-vote→3") >= 0; stands != tt.want {
			t.Errorf("a late %s: the member stands is %v, want %v", tt.name, stands, tt.want)
		}
	}
}

// Rule 8: a member's heartbeats and STATEs say which heartbeat or PROBE of its leader it has answered so: the newest,
// of the term that it has promised.
func TestRule8Echoes(t *testing.T) {
	t.Parallel()
	two := types.Term{Counter: 2, Peer: 2}
	leads := func(request uint64) msg { return msg{Kind: types.Heartbeat, From: 1, Leads: true, Request: request} }
	probes := func(request uint64, says bool) msg {
		return msg{Kind: types.Probe, From: 1, Leads: says, Request: request}
	}
	for _, tt := range []struct {
		name string
		did  []msg
		want uint64
	}{
		{"nothing but NEWVIEW", nil, 0},
		{"a heartbeat", []msg{leads(7)}, 7},
		{"one that does not say that it leads", []msg{leads(7), {Kind: types.Heartbeat, From: 1, Request: 8}}, 7},
		{"another's", []msg{leads(7), {Kind: types.Heartbeat, From: 2, Request: 8}}, 7},
		{"two", []msg{leads(7), leads(9)}, 9},
		{"two, the older one last", []msg{leads(9), leads(7)}, 9},
		{"a PROBE", []msg{leads(7), probes(8, true)}, 8},
		{"a PROBE that does not say that it leads", []msg{leads(7), probes(8, false)}, 7},
		{"a term that it has not promised", []msg{leads(7), {Kind: types.Heartbeat, From: 1, Leads: true, Request: 8, Term: types.Term{Counter: 2, Peer: 1}}}, 7},
		{"a REQ of that term", []msg{leads(7), {Kind: types.Req, From: 1, Change: add(6), Term: types.Term{Counter: 2, Peer: 1}},
			{Kind: types.Heartbeat, From: 1, Leads: true, Request: 8, Term: types.Term{Counter: 2, Peer: 1}}}, 8},
		{"a REQ of that term, and no heartbeat", []msg{leads(7), {Kind: types.Req, From: 1, Change: add(6), Term: types.Term{Counter: 2, Peer: 1}}}, 0},
		{"a promise to another", []msg{leads(7), {Kind: types.Heartbeat, From: 1, Ceased: true, Request: 8}, newLeader(2)}, 0},
		{"a heartbeat of that one", []msg{leads(7), {Kind: types.Heartbeat, From: 1, Ceased: true, Request: 8}, newLeader(2),
			{Kind: types.Heartbeat, From: 2, Leads: true, Request: 5, Term: two}}, 5},
	} {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
		p.pass(600*ms, 2, 4, 5)
		for _, m := range tt.did {
			p.hear(m)
		}
		p.hear(msg{Kind: types.Probe, From: 4})
		if m := p.sent(4, types.State); m.Heard != tt.want && (m.Heard != 0 || m.Term.Counter == 1) { // of another term, 0
			t.Errorf("%s: STATE says %d of %v, want %d", tt.name, m.Heard, m.Term, tt.want)
		}
		p.log = nil
		p.pass(1200 * ms)
		if m := p.first("HEARTBEAT"); m < 0 || p.sent(0, types.Heartbeat).Heard != tt.want {
			t.Errorf("%s: HEARTBEAT says %d, want %d", tt.name, p.sent(0, types.Heartbeat).Heard, tt.want)
		}
	}
}

// Rule 8: where the newest that a quorum has answered is 1.2 s old, the leader asks those who have not answered
// lately, as one that leads; their STATE counts.
func TestRule8Asks(t *testing.T) {
	t.Parallel()
	for hosts, want := range map[int]string{6: "[1.2s 1.4s 1.6s", 32: "[1.567s 1.767s 1.967s"} {
		p := leader(t, conf{Listed: types.Numbered(hosts)}, among(hosts, viewOf(1, 1, 2, 3, 4, 5)))
		p.unheard, p.log = true, nil
		p.pass(1150*ms, 2, 3, 4, 5)
		answers := p.beat(2)
		answers.Heard = p.said[2].Request
		p.hear(answers)
		p.pass(900*ms, 2, 3, 4, 5)
		if got := p.when("PROBE→4"); !strings.HasPrefix(got, want) {
			t.Errorf("of %d hosts, asks at %s, want %s", hosts, got, want)
		}
		if got := p.when("PROBE→2"); got != "[]" {
			t.Errorf("of %d hosts, asks who has answered at %s", hosts, got)
		}
		q := p.sent(3, types.Probe)
		if !q.Leads || q.Term != p.term {
			t.Errorf("PROBE says %+v", q)
		}
		p.hear(msg{Kind: types.State, From: 3, Standing: types.Joined, HasLeader: true, Request: q.Request, Heard: q.Request})
		if p.lease.Until != epoch+3256*ms { // 2 has answered the heartbeat of 1.1 s
			t.Errorf("of %d hosts, the lease ends at %s", hosts, p.until())
		}
	}
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.log = nil
	p.pass(10*time.Second, 2, 3) // the others are unreachable, but not missed by anybody else
	want(t, "while heartbeats bring the answers, asks", p.when("PROBE→2"), "[]")
	want(t, "leads", fmt.Sprint(p.fences), "[0s leads 8192]")
}

// Rule 8: a leader that must settle what an earlier one has proposed has no lease before a quorum of the next view
// has answered; others have one at once.
func TestRule8Inherits(t *testing.T) {
	t.Parallel()
	p := candidate(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	pending := p.answer(2)
	pending.Change, pending.Accepted = add(6), types.Term{Counter: 1, Peer: 4}
	p.hear(pending)
	want(t, "granted", p.reply(3), "REQ ADD 6→2,3,4,5; HEARTBEAT leads")
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"granted", func() {}, "true none"},
		{"its heartbeat is answered", func() { p.hear(p.beat(2)); p.hear(p.beat(3)); p.hear(p.beat(4)) }, "true none"},
		{"chosen", func() { p.reply(2, 3) }, "true none"},
		{"one of six answers", func() { p.reply(2) }, "true none"},
		{"half of them, with the leader", func() { p.reply(3) }, "true 2.156s"},
	} {
		step.do()
		want(t, step.name, fmt.Sprint(p.Leads(), " ", p.until()), step.want)
	}
	want(t, "leads", fmt.Sprint(p.fences), "[0s leads 8192]")

	p = candidate(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(pending)
	p.reply(3)
	p.reply(2, 3)
	late := p.answer(2)
	late.Change, late.Accepted = del(5, types.Left), types.Term{Counter: 1, Peer: 4}
	p.hear(late)
	want(t, "it learns of another", p.reply(3), "REQ DEL 5 left→2,3,4,5,6")
	want(t, "and has no lease", p.until(), "none")
	p.reply(2, 3, 4)
	want(t, "nor when that is chosen", fmt.Sprint(p.View().Number, " ", p.until()), "7 none")

	p = candidate(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.reply(2, 3)
	want(t, "nothing is pending", p.until(), "2.156s")
	p.hear(msg{Kind: types.Join, From: 6})
	p.reply(2, 3)
	want(t, "it settles nothing, as it proposes", p.until(), "2.156s")
}

// Rule 8: a chosen change is not carried out for 0.2 s if the leader has a lease and would not have one in the next
// view, unless enough answer. Then it leads on, without.
func TestRule8WaitsForMore(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		do     func(p *peer)
		when   string
		fences string
	}{
		{"nobody else answers", func(*peer) {}, "[200ms]", "[0s leads 8192 200ms ceased 8192]"},
		{"one more answers", func(p *peer) { p.pass(100*ms, 3, 4); p.reply(5) }, "[100ms]", "[0s leads 8192]"},
		{"one more answers the heartbeat", func(p *peer) { p.pass(100*ms, 3, 4); p.hear(p.beat(5)); p.do(p.Tick) }, "[100ms]", "[0s leads 8192]"},
	} {
		p := candidate(t, conf{}, viewOf(2, 1, 2, 3, 4, 5)) // of six, three with 2 are a quorum, or four
		p.reply(3, 4)
		p.reply(3, 4)
		p.hear(msg{Kind: types.Join, From: 6})
		want(t, tt.name+": chosen by three of five, of six too few", p.reply(3, 4), "")
		tt.do(p)
		p.pass(300*ms, 3, 4)
		want(t, tt.name+": view 6 at", p.when("view 6 [1 2 3 4 5 6]"), tt.when)
		want(t, tt.name+": it leads on", fmt.Sprint(p.Leads(), " ", p.fences), "true "+tt.fences)
	}
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Join, From: 6})
	want(t, "enough have answered", p.reply(2, 3)[:6], "view 6")

	p = candidate(t, conf{}, viewOf(2, 1, 2, 3, 4, 5))
	a := p.answer(3)
	a.Change, a.Accepted = add(6), types.Term{Counter: 1, Peer: 2}
	p.hear(a)
	p.reply(4)
	want(t, "it has no lease to keep, as it settles what was pending", p.reply(3, 4)[:6], "view 6")
	want(t, "it leads without", fmt.Sprint(p.Leads(), p.fences), "true []")
	p.reply(3, 4, 5)
	want(t, "four of six have answered", fmt.Sprint(p.Leads(), p.fences), "true [0s leads 8192]")
}

// Rules 1 and 8: who installs a view promises the term in which it was chosen, however it comes by it.
func TestRule8TermOfTheView(t *testing.T) {
	t.Parallel()
	one, two := types.Term{Counter: 1, Peer: 1}, types.Term{Counter: 2, Peer: 2}
	v := viewOf(1, 1, 2, 3, 4, 5)
	next := v.With(add(6))
	v.Term, next.Term = two, two
	whole := msg{Kind: types.NewView, From: 4, Number: 6, View: &next, Chosen: two, Term: one}
	change := msg{Kind: types.NewView, From: 1, Number: 6, Change: add(6), Chosen: two, Term: one}
	earlier := change
	earlier.Chosen = types.Term{}
	for _, tt := range []struct {
		name string
		p    *peer
		m    msg
		want types.Term
	}{
		{"shown whole", member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5)), whole, two},
		{"by the change", member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5)), change, two},
		{"to who comes in", fresh(t, conf{ID: 3}), msg{Kind: types.NewView, From: 4, View: &v, Chosen: two, Term: one}, two},
		{"chosen in a lower term", member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5)), earlier, one},
	} {
		tt.p.hear(tt.m)
		tt.p.hear(msg{Kind: types.Req, From: 1, Change: del(5, types.Left), Term: types.Term{Peer: 1}})
		if got := tt.p.sent(1, types.Refused); got.Reason != types.Promised || got.Term != tt.want {
			t.Errorf("%s: it refuses, as %v, having promised %v, want %v", tt.name, got.Reason, got.Term, tt.want)
		}
	}
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	higher := next
	higher.Term = types.Term{Counter: 3, Peer: 2}
	p.hear(msg{Kind: types.NewView, From: 4, Number: 6, View: &higher, Chosen: higher.Term, Term: one})
	want(t, "a leader of a lower term", fmt.Sprint(p.View().Number, p.Leads(), p.fences), "6 false [0s leads 8192 0s ceased 8192]")

	p = leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Join, From: 6})
	p.reply(2, 3)
	m, shown := p.sent(2, types.NewView), p.sent(6, types.NewView)
	if v := p.View(); v.Term != p.term || m.Chosen != p.term || shown.Chosen != p.term || shown.View.Term != p.term {
		t.Errorf("its view is of term %v, and it tells others %v and %v of %v", v.Term, m.Chosen, shown.Chosen, p.term)
	}
	v6 := p.View()
	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.NewView, From: 1, Number: 6, View: &v6, Chosen: v6.Term, Term: v6.Term})
	p.hear(msg{Kind: types.Probe, From: 2, Number: 5})
	if m := p.sent(2, types.NewView); m.Chosen != v6.Term || m.View.Term != v6.Term {
		t.Errorf("a member shows the view of %v as of %v", v6.Term, m.Chosen)
	}
}

// Rule 8: a leader that resigns has no lease any more, for good; it leads on, so that nobody else does.
func TestRule8Resigns(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(*peer) string{
		"resigns": func(p *peer) string { return p.do(p.Resign) },
		"leaves":  func(p *peer) string { return p.do(p.Leave) },
	} {
		p := leader(t, conf{}, viewOf(1, 1, 2, 3))
		step(p)
		if !p.Leads() || p.lease.Fence != 8192 || !p.lease.Resigned || p.lease.Valid(epoch) {
			t.Errorf("who %s leads is %v, with %+v", name, p.Leads(), p.lease)
		}
		want(t, "who "+name, fmt.Sprint(p.fences), "[0s leads 8192 0s ceased 8192]")
	}
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	want(t, "resigns", p.do(p.Resign), "")
	want(t, "it proposes", p.hear(msg{Kind: types.Join, From: 6}), "REQ ADD 6→2,3")
	p.reply(2, 3)
	p.pass(3*time.Second, 2, 3, 6)
	want(t, "says that it leads", p.when("HEARTBEAT leads"), "[0s 1.1s 2.2s]")
	want(t, "has a lease", fmt.Sprint(p.fences, " ", p.lease.Resigned), "[0s leads 8192 0s ceased 8192] true")
}

// Rule 8: a member that has promised the term of another leader, as a view was chosen in it, does not support that one by
// hearing it while it supports the one before.
func TestRule8HearsAnother(t *testing.T) {
	t.Parallel()
	two := types.Term{Counter: 2, Peer: 2}
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	next := viewOf(1, 1, 2, 3, 4)
	next.Number, next.Term, next.Last[4].Cause = 6, two, types.Left
	p.hear(msg{Kind: types.NewView, From: 4, Number: 6, Term: two, Chosen: two, View: &next})
	want(t, "it holds the view", fmt.Sprint(p.View().Number), "6")
	leads := msg{Kind: types.Heartbeat, From: 2, Leads: true, Term: two, Number: 6}
	for p.at < 2100*ms {
		p.hear(leads)
		if p.pass(300*ms, 1, 4); p.at < 2200*ms && p.sent(0, types.Heartbeat).Heard != 0 {
			t.Fatalf("at %v it answers 2 as its leader", p.at)
		}
	}
	p.pass(200 * ms)
	p.hear(leads)
	p.pass(1200*ms, 4)
	if p.sent(0, types.Heartbeat).Heard == 0 {
		t.Error("it does not answer 2 as its leader when it supports no other")
	}
}

// Rule 8: a host that refused a connection, and then asks to lead, lives: who answers it supports it, and does not lead
// itself even where it alone is a quorum.
func TestRule8RefusedBefore(t *testing.T) {
	t.Parallel()
	one := types.Term{Counter: 5, Peer: 1}
	v := viewOf(2, 2, 3, 1)
	p := fresh(t, conf{ID: 2})
	p.hear(msg{Kind: types.NewView, From: 1, View: &v, Term: types.Term{Counter: 1, Peer: 1}})
	p.undialed(3, types.Refusal)
	p.undialed(1, types.Refusal)
	p.at, p.log = 10*ms, nil
	p.hear(msg{Kind: types.NewLeader, From: 1, Request: 5, Term: one})
	p.hear(msg{Kind: types.Req, From: 1, Request: 6, Term: one, Change: del(3, types.Unreachable)})
	p.hear(msg{Kind: types.NewView, From: 1, Request: 7, Number: 6, Term: one, Chosen: one, Change: del(3, types.Unreachable)})
	want(t, "it answers", p.when("PENDINGRESPONSE→1")+p.when("OK DEL 3 unreachable→1")+p.when("view 6 [2 1]"), "[10ms][10ms][10ms]")
	p.pass(2199 * ms)
	want(t, "it leads", fmt.Sprint(p.Leads(), p.fences), "false []")
	p.pass(1 * ms)
	want(t, "after a monitor interval", fmt.Sprint(p.Leads()), "true")
}

// Rule 8: the lease is lost where a leader gives up its term, and the next one has a higher fence.
func TestRule8Fence(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.at = 10 * ms
	want(t, "hears of a higher term, and does not say at once that it leads no more, as it stands again",
		p.hear(msg{Kind: types.NewLeader, From: 2, Term: types.Term{Counter: 5, Peer: 2}}), "REFUSED has a leader→2; NEWLEADER→2,3")
	want(t, "asks for a higher term", p.until(), "none")
	p.at = 20 * ms
	p.reply(2)
	want(t, "has it", fmt.Sprint(p.fences, " ", p.until()), "[0s leads 8192 10ms ceased 8192 20ms leads 24576] 2.166s")

	p = fresh(t, conf{ID: 1, Listed: types.Numbered(1)})
	p.pass(10 * time.Second)
	want(t, "the maker of a group of one", fmt.Sprint(p.fences, p.Leads()), "[0s leads 4096] true")

	p = member(t, conf{ID: 1, ReformOnRefusal: true}, viewOf(2, 2, 1, 3, 4))
	p.hear(msg{Kind: types.NewLeader, From: 2, Term: types.Term{Counter: 7, Peer: 2}})
	for range 40 {
		for id := types.ID(2); id <= 6; id++ {
			p.undialed(id, types.Refusal)
		}
		p.pass(200 * ms)
	}
	want(t, "a new group's is above all that it was told of", fmt.Sprint(p.View().Group.Maker, " ", p.fences), "1 [3.2s leads 36864]")
}

// Rule 8: what a host has answered in an earlier life is no answer of its next: that one supports nobody yet.
func TestRule8AnotherLife(t *testing.T) {
	t.Parallel()
	first := viewOf(1, 1, 2, 3, 4, 5)
	p := leader(t, conf{Listed: types.Numbered(7)}, among(7, first))
	p.pass(1150*ms, 2, 3, 4)
	for _, id := range []types.ID{2, 3, 4} { // and 5 has answered nothing since it granted the term
		p.hear(p.beat(id))
	}
	p.undialed(3, types.Refusal)
	p.reply(2, 4)
	for _, m := range []msg{{From: 6}, {From: 7}, {From: 3, Incarnation: 31}} {
		m.Kind = types.Join
		p.hear(m)
		p.reply(2, 4)
	}
	if v := p.View(); len(v.Members) != 7 || v.Incarnation(3) != 31 {
		t.Fatalf("view %d has %v", v.Number, v.Members)
	}
	want(t, "of seven, 1, 2 and 4 have answered, and 5 long ago", p.until(), "2.156s")
	p.hear(msg{Kind: types.Leave, From: 6})
	ok := p.answer(3)
	ok.Incarnation = 31
	p.hear(ok)
	want(t, "the next life of 3 has, too", p.until(), "3.306s")
}

// Rule 8: a candidate that another life of its host has asked for the same term is granted it anew.
func TestRule8GrantedAnew(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	p.undialed(1, types.Refusal)
	p.hear(newLeader(2))
	p.pass(2300*ms, 2, 4, 5)
	v := p.View()
	v = v.With(del(2, types.Restarted))
	v = v.With(types.Change{Operation: types.Add, Member: types.Member{ID: 2, Incarnation: 21}})
	p.hear(msg{Kind: types.NewView, From: 4, Number: 7, View: &v, Term: types.Term{Counter: 1, Peer: 1}})
	again := newLeader(2)
	again.Incarnation = 21
	want(t, "the next life of 2", p.hear(again), "PENDINGRESPONSE→2")
	if got := p.hear(msg{Kind: types.NewLeader, From: 4, Term: types.Term{Counter: 3, Peer: 4}}); !strings.Contains(got, "REFUSED has a leader→4") {
		t.Errorf("then another: %q, want that it has a leader", got)
	}
}

// A follower's heartbeat comes at once after its leader's, if it has sent none just before; else a little later than
// it would as a leader.
func TestHeartbeatsFollow(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	p.term = types.Term{}
	p.pass(4*time.Second, 1, 2)
	want(t, "by itself", p.when("HEARTBEAT"), "[367ms 1.517s 2.667s 3.817s]")
	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	for _, at := range []time.Duration{300, 917, 1054, 2017, 2155, 3117} {
		p.pass(at*ms-p.at, 2)
		p.hear(p.beat(1))
	}
	p.pass(100*ms, 2)
	want(t, "after its leader's, but for the one that comes less than 137.5 ms after its own", p.when("HEARTBEAT"), "[300ms 917ms 2.017s 2.155s 3.117s]")
}

// In a large group the followers' heartbeats spread over half a millisecond for each member, in the order of the view, and
// over half of the interval at most: receivers look ten times a second, and then find no more than their kernels keep.
func TestHeartbeatsOfMany(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		hosts, members int
		id             types.ID
		slot           time.Duration
	}{
		{1000, 1000, 2, 500 * time.Microsecond},
		{1000, 1000, 501, 250 * ms},
		{1000, 1000, 1000, 499500 * time.Microsecond},
		{1000, 600, 1000, 299500 * time.Microsecond}, // the others do not run
		{4096, 4096, 2049, 275 * ms},
		{32, 32, 32, 15500 * time.Microsecond},
		{31, 31, 31, 3 * ms},
	} {
		v := types.View{Group: types.Group{Made: 10, Maker: 1}, Number: 5, Leader: 1, Last: make([]types.Past, tt.hosts), Digest: types.Digest(types.Numbered(tt.hosts))}
		for i := range tt.hosts {
			if id := types.ID(i + 1); id == 1 || i > tt.hosts-tt.members {
				v.Members = append(v.Members, id)
				v.Last[i].Incarnation = types.Incarnation(10 * id)
			}
		}
		p := member(t, conf{ID: tt.id, Listed: types.Numbered(tt.hosts)}, v)
		p.pass(1100*ms*time.Duration(tt.id-1)/time.Duration(tt.hosts) + 200*ms) // its first one
		p.log = nil
		at := p.at
		p.hear(p.beat(1))
		p.pass(600 * ms)
		if got := p.when("HEARTBEAT"); got != fmt.Sprint([]time.Duration{(at + tt.slot).Round(ms)}) {
			t.Errorf("%d of %d members of %d hosts: %s after a heartbeat at %v, want %v later", tt.id, tt.members, tt.hosts, got, at, tt.slot)
		}
	}
}

// What a later release asks is refused, so that it need not wait.
func TestUnknownKind(t *testing.T) {
	t.Parallel()
	m := msg{Kind: types.LastKind + 1, From: 2}
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	want(t, "a member", p.hear(m), "REFUSED unknown kind→2")
	want(t, "a fresh peer", fresh(t, conf{ID: 3}).hear(m), "REFUSED unknown kind→2")
	if r := p.sent(2, types.Refused); r.For != 20 {
		t.Errorf("the refusal is for incarnation %d", r.For)
	}
	want(t, "from another's address", p.hearAt(4, m), "")
}
