package handlers_test

import (
	"testing"
	"time"

	"memberly/peer/types"
)

// 1. Rule 2: "before its ADD comes the DEL (restarted) of an earlier incarnation".
func TestFoundRestarted(t *testing.T) {
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.at = 10 * ms
	p.hear(msg{Kind: types.Join, From: 3, Incarnation: 31})
	want(t, "its PROBE is answered", p.hear(msg{Kind: types.State, From: 3, Incarnation: 31, Standing: types.Fresh}),
		"peer 3 unreachable; REQ DEL 3 restarted→2")
}

// 2. JOIN goes to "whoever is said to lead, else the hosts in turn".
func TestFoundHint(t *testing.T) {
	p := member(t, conf{ID: 3}, viewOf(2, 1, 2, 3))
	p.hear(msg{Kind: types.NewView, From: 2, Number: 6, Change: del(3, types.Unreachable)})
	want(t, "asks its last leader", p.do(p.Tick), "JOIN→2")
}

// 3. Section 5: a leader that leaves stays until a quorum has answered, "or the second has passed".
func TestFoundFarewell(t *testing.T) {
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4))
	p.do(p.Leave)
	p.pass(900 * ms)
	p.reply(2)
	p.pass(1500 * ms)
	want(t, "exits", p.when("exit 0"), "[1s]")
}

// 4. Section 5: "after a second".
func TestFoundSecond(t *testing.T) {
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	p.do(p.Leave)
	p.pass(1500 * ms)
	want(t, "exits", p.when("exit 0"), "[1s]")
}

// 5. Sections 5 and 6: a leader told to leave asks to be taken out; it does not begin the drill.
func TestFoundDrill(t *testing.T) {
	p := candidate(t, conf{Drill: true}, viewOf(1, 1, 2, 3, 4, 5))
	pending := p.answer(2)
	pending.Change, pending.Accepted = add(6), types.Term{Counter: 1, Peer: 4}
	p.hear(pending)
	p.reply(3)    // it leads, and settles what was pending
	p.reply(2, 3) // view 6: every host is a member; not prepared yet
	for id := types.ID(2); id <= 6; id++ {
		p.hear(p.beat(id)) // it holds the view
	}
	want(t, "SIGTERM", p.do(p.Leave), "leaving")
	want(t, "proposes", p.reply(2, 3), "REQ DEL 1 left→2,3,4,5,6")

	p = leader(t, conf{Drill: true}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(msg{Kind: types.Join, From: 6})
	p.reply(2, 3) // view 6: its own change, so it is prepared; but not all hold the view
	want(t, "SIGTERM, prepared", p.do(p.Leave), "leaving; REQ DEL 1 left→2,3,4,5,6")
}

// 6. What is due at a moment is not asked of Wake: it comes up to 0.25 s late.
func TestFoundWake(t *testing.T) {
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.term = types.Term{}
	p.pass(1500*ms, 1, 3)
	want(t, "a leader that has not said so for 1.2 s is asked", p.when("PROBE→1"), "[1.2s 1.4s]")

	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	p.undialed(1, types.Refusal)
	p.pass(2500*ms, 2)
	want(t, "one held unreachable is asked every second", p.when("PROBE→1"), "[0s 1s 2s]")

	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4))
	p.undialed(1, types.Refusal)
	p.pass(2000*ms, 2, 4)
	p.hear(newLeader(2))
	p.pass(4500*ms, 2, 4)
	want(t, "a grant is over after 2.2 s, the turn is 2.2 s after that", p.when("NEWLEADER→4"), "[6.4s]")
}

// 7. A step after the exit reports exit code 0.
func TestFoundExitCode(t *testing.T) {
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.do(p.Crash)
	want(t, "the next step", p.hear(msg{Kind: types.Join, From: 6}), "exit 1")
}

// 8. differs indexes the host before it knows it.
func TestFoundDiffers(t *testing.T) {
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("panics: %v", r)
		}
	}()
	fresh(t, conf{ID: 3}).hearAt(0, msg{Kind: types.Refused, From: 2, Reason: types.Differs})
}

var _ = time.Second
