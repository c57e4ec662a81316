package handlers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// watcher is member 2 of three: 1 leads, 3 is whom it watches.
func watcher(t testing.TB) *peer { return member(t, conf{ID: 2}, viewOf(1, 1, 2, 3)) }

// Section 4: PROBE after 1.2 s of silence, every 200 ms, from the second on over a new
// connection; unreachable after 2.2 s, from when it was last heard; then PROBE every second.
func TestSection4Silence(t *testing.T) {
	t.Parallel()
	p := watcher(t)
	p.pass(700*ms, 1)
	p.hear(p.beat(3))
	p.pass(3000*ms, 1)
	want(t, "asks", p.when("PROBE→3"), "[1.9s 2.1s 2.3s 2.5s 2.7s 3.7s]")
	want(t, "over a new connection", p.when("redial→3"), "[2.1s 2.3s 2.5s 2.7s 3.7s]")
	want(t, "finds it unreachable", p.when("peer 3 unreachable"), "[2.9s]")
	want(t, "asks its leader", p.when("PROBE→1"), "[]")
	want(t, "acts, though it does not lead", p.when("REQ DEL 3 unreachable→1"), "[]")
}

// Section 4: silence is counted from when something came, be it read later.
func TestSection4Waited(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	p.pass(1100*ms, 1, 2)
	beat := p.beat(2)
	beat.Waited = 100 * ms
	p.hear(beat) // it was sent before the last
	p.pass(1000*ms, 1)
	beat = p.beat(2)
	beat.Waited = 100 * ms
	p.hear(beat)
	p.log = nil
	p.pass(2300*ms, 1)
	want(t, "silent", p.when("peer 2 unreachable"), "[4.2s]")
}

// Section 4: anything authentic of the member's incarnation and of this group is hearing it.
func TestSection4Heard(t *testing.T) {
	t.Parallel()
	term := types.Term{Counter: 2, Peer: 3}
	for m, heard := range map[string]struct {
		msg
		want bool
	}{
		"HEARTBEAT":                       {msg{Kind: types.Heartbeat}, true},
		"PROBE":                           {msg{Kind: types.Probe}, true},
		"STATE":                           {msg{Kind: types.State, Standing: types.Joined}, true},
		"NEWLEADER, though it is refused": {msg{Kind: types.NewLeader, Term: term}, true},
		"REQ, of a later view":            {msg{Kind: types.Req, Number: 9, Term: term}, true},
		"OK, to nothing":                  {msg{Kind: types.OK}, true},
		"JOIN":                            {msg{Kind: types.Join}, false},
		"HEARTBEAT of another life":       {msg{Kind: types.Heartbeat, Incarnation: 29}, false},
		"HEARTBEAT of another group":      {msg{Kind: types.Heartbeat, Group: types.Group{Made: 99, Maker: 3}}, false},
	} {
		p := watcher(t)
		p.pass(time.Second, 1)
		heard.From = 3
		p.hear(heard.msg)
		p.pass(1400*ms, 1)
		if lost := p.when("peer 3 unreachable") != "[]"; lost == heard.want {
			t.Errorf("%s: unreachable %v, want %v", m, lost, !heard.want)
		}
	}
}

// Section 4: a leader that has not said for 1.2 s that it leads is PROBEd, too.
func TestSection4LeaderThatDoesNotSaySo(t *testing.T) {
	t.Parallel()
	p := watcher(t)
	p.term = types.Term{} // so that nobody's heartbeat says so
	p.pass(1199*ms, 1, 3)
	want(t, "asks before", p.when("PROBE→1"), "[]")
	p.pass(301*ms, 1, 3)
	if p.when("PROBE→1") == "[]" {
		t.Error("asks nothing after 1.5 s")
	}
	p.log = nil
	p.hear(msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true, HasLeader: true, Term: types.Term{Counter: 1, Peer: 1}})
	p.pass(1100*ms, 1, 3)
	want(t, "asks, when its STATE said so", p.when("PROBE→1"), "[]")
}

// Section 4: a host that refuses is gone, now. Silence is not news; nor is what is older than
// the last word, but for being asked again.
func TestSection4Refused(t *testing.T) {
	t.Parallel()
	p := watcher(t)
	want(t, "closed", p.do(func(now handlers.Instant) *handlers.Output { return p.Closed(now, 3) }), "redial→3; PROBE→3")
	p.at = 100 * ms
	p.hear(p.beat(3))
	want(t, "a dial from before", p.do(func(now handlers.Instant) *handlers.Output {
		return p.Undialed(now, 3, now.Run-ms, types.Refusal)
	}), "PROBE→3")
	want(t, "no answer", p.undialed(3, types.NoAnswer), "")
	want(t, "no name", p.undialed(3, types.NoName), "")
	want(t, "not resolved", p.undialed(3, types.Unresolved), "")
	want(t, "refused", p.undialed(3, types.Refusal), "peer 3 unreachable")
	want(t, "refused again", p.undialed(3, types.Refusal), "")
	want(t, "refused where it was", watcher(t).undialed(3, types.StaleRefusal), "peer 3 unreachable")
}

// Section 4: one that was held unreachable is heard again only by the answer to a PROBE asked
// since. One record for an incarnation and a view number.
func TestSection4Back(t *testing.T) {
	t.Parallel()
	p := watcher(t)
	p.undialed(3, types.Refusal)
	p.at = 300 * ms
	want(t, "a heartbeat makes it ask", p.hear(p.beat(3)), "redial→3; PROBE→3")
	want(t, "another, at once, does not", p.hear(p.beat(3)), "")
	old := msg{Kind: types.State, From: 3, Standing: types.Joined, Request: uint64(epoch)}
	p.hear(old)
	want(t, "refused, and held unreachable still", p.undialed(3, types.Refusal), "")
	p.hear(msg{Kind: types.State, From: 3, Standing: types.Joined})
	want(t, "back, and lost again in the same view", p.undialed(3, types.Refusal), "")
	p.at = 400 * ms
	p.hear(msg{Kind: types.State, From: 3, Standing: types.Joined})
	p.hear(msg{Kind: types.NewView, From: 1, Number: 6, Change: add(6)})
	want(t, "lost again in the next view", p.undialed(3, types.Refusal), "peer 3 unreachable")
}

// Section 4: the record bears the view and leader of before, and says of whom one follows that
// it leads.
func TestSection4Record(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4))
	out := p.Undialed(handlers.Instant{Run: epoch}, 1, epoch, types.Refusal)
	want(t, "record", record(out), `{peer_id:3, view_id: 5, leader: 1, message:"peer 1 (leader) unreachable"}`)
	out = p.Undialed(handlers.Instant{Run: epoch}, 4, epoch, types.Refusal)
	want(t, "record", record(out), `{peer_id:3, view_id: 5, leader: 1, message:"peer 4 unreachable"}`)
}

// record is the only record of a step of peer 3.
func record(out *handlers.Output) string {
	r, _ := out.Events[0].Record(3)
	return r.String()
}

// Section 4: a peer's own stall of over 0.5 s is nobody's silence, and for 0.1 s after it nobody
// is judged.
func TestSection4Stall(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		before, stall time.Duration
		want          string
	}{
		{"0.4 s are no stall", 2000 * ms, 400 * ms, "[2.4s]"},
		{"last words move on by the gap", 1900 * ms, 10 * time.Second, "[12.2s]"},
		{"what waits on the sockets comes first", 2150 * ms, 10 * time.Second, "[12.25s]"},
	} {
		p := watcher(t)
		p.pass(tt.before, 1)
		p.at += tt.stall
		p.pass(time.Second, 1)
		want(t, tt.name, p.when("peer 3 unreachable"), tt.want)
	}
}

// Section 4: after a stall, those held unreachable for silence have 1 s to answer before
// anything is done about them; whose host refused has not.
func TestSection4StallOfTheLost(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5, 6))
	p.pass(2900*ms, 2, 3, 4) // of 5 and 6 nothing comes
	p.undialed(2, types.Refusal)
	p.hear(p.misses(3, 5, 6))
	p.log = nil
	p.at += 900 * ms // a longer one would cost it its lease
	p.do(p.Tick)
	p.pass(200*ms, 3, 4)
	p.hear(msg{Kind: types.State, From: 6, Standing: types.Joined})
	p.reply(3, 4, 6)
	p.reply(3, 4, 6)
	p.pass(900*ms, 3, 4, 6)
	still := p.misses(3, 5, 6)
	still.Heard -= uint64(900 * ms) // which this peer's clock leaves out
	p.hear(still)
	want(t, "removes who refused", p.when("REQ DEL 2 unreachable→3"), "[4s]")
	want(t, "removes who was back", p.when("REQ DEL 6 unreachable→4"), "[]")
	want(t, "removes who was silent", p.when("REQ DEL 5 unreachable→3"), "[4.9s]")
}

// Section 4: to its leader, a member that has owed an answer for 2.2 s is unreachable.
func TestSection4Mute(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.pass(time.Second, 2, 3, 4, 5)
	p.hear(msg{Kind: types.Join, From: 6})
	p.reply(2, 3, 4)
	for range 25 { // 5 does not get view 6
		behind := p.beat(5)
		behind.Number = 5
		p.hear(behind)
		p.pass(100*ms, 2, 3, 4, 6)
	}
	want(t, "unreachable", p.when("peer 5 unreachable"), "[3.2s]")
	want(t, "proposed, though nobody else misses it", p.when("REQ DEL 5 unreachable→2"), "[]")
	if got := p.when("HEARTBEAT leads"); !strings.Contains(got, " 3.2s") {
		t.Errorf("it tells the others at %s, want 3.2s", got)
	}
	p.hear(p.misses(3, 5))
	p.pass(600*ms, 2, 4, 6)
	want(t, "proposed, when another misses it and it speaks no more", fmt.Sprint(p.first("REQ DEL 5 unreachable→2")), "3.9s")
}

// Section 4: a member owes nothing more once it says that it holds the present view, unless the leader waits for an
// answer about that view.
func TestSection4OwesNothing(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.pass(time.Second, 2, 3, 4, 5)
	p.hear(msg{Kind: types.Join, From: 6})
	p.reply(2, 3)
	p.pass(4*time.Second, 2, 3, 4, 5, 6)
	want(t, "a NEWVIEW that needs no answer", p.when("peer 5 unreachable"), "[]")

	p = candidate(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.reply(2, 3)
	p.reply(2, 3, 4)
	p.pass(4*time.Second, 2, 3, 4, 5)
	want(t, "one that does", p.when("peer 5 unreachable"), "[2.2s]")
}

// misses is a heartbeat of id that names whom it does not hear.
func (p *peer) misses(id types.ID, whom ...types.ID) msg {
	m := p.beat(id)
	m.Unreachable, m.Heard = whom, uint64(epoch+p.at)
	return m
}

// Rule 2: a leader does not remove a member that it alone misses, where more than two are left.
func TestRule2SomebodyElseMissesIt(t *testing.T) {
	t.Parallel()
	five := viewOf(1, 1, 2, 3, 4, 5)
	for _, tt := range []struct {
		name string
		view types.View
		do   func(p *peer)
		want bool
	}{
		{"nobody else", five, func(p *peer) {}, false},
		{"another, too", five, func(p *peer) { p.hear(p.misses(3, 5)) }, true},
		{"another, who misses somebody else", five, func(p *peer) { p.hear(p.misses(3, 4)) }, false},
		{"another, who misses half of those whom the leader hears", five, func(p *peer) { p.hear(p.misses(3, 5, 4, 2)) }, false},
		{"another, who names only some", five, func(p *peer) { p.hear(p.misses(3, 5, 3)) }, false},
		{"another, in an earlier view", five, func(p *peer) { m := p.misses(3, 5); m.Number = 4; p.hear(m) }, false},
		{"itself", five, func(p *peer) { p.hear(p.misses(5, 5)) }, false},
		{"its host refuses", five, func(p *peer) { p.undialed(5, types.Refusal) }, true},
		{"no answer", five, func(p *peer) { p.undialed(5, types.NoAnswer) }, false},
		{"of three, two are left", viewOf(1, 1, 2, 5), func(p *peer) {}, false},
		{"of three, two are left, and the other misses it too", viewOf(1, 1, 2, 5), func(p *peer) { p.hear(p.misses(2, 5)) }, true},
	} {
		p := leader(t, conf{}, tt.view)
		others := slices.DeleteFunc(slices.Clone(tt.view.Members), func(id types.ID) bool { return id == 1 || id == 5 })
		p.hear(p.misses(2, 5)) // before it was last heard
		p.at = 10 * ms
		p.hear(p.beat(5))
		p.pass(2500*ms, others...)
		want(t, tt.name+": unreachable", p.when("peer 5 unreachable"), "[2.21s]")
		tt.do(p)
		p.pass(600*ms, others...)
		if got := p.when("REQ DEL 5 unreachable→2") != "[]"; got != tt.want {
			t.Errorf("%s: proposed %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Rule 2: a witness whose word is older than what the leader last heard itself is asked, so that it hears
// something newer; asked by its leader, a member says again whom it misses.
func TestRule2WitnessIsAsked(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.pass(2500*ms, 2, 3, 4)
	old := p.misses(3, 5)
	old.Heard = uint64(epoch) - 1
	want(t, "an old word", p.hear(old), "PROBE→3")
	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	p.pass(3*time.Second, 1, 2, 4)
	want(t, "the leader asks", p.hear(msg{Kind: types.Probe, From: 1}), "STATE member led→1; HEARTBEAT→1")
}

// Rule 2: a member whose host refused is certainly gone, until its process answers that it does not know of the view: then
// it is back with its state, and another has to miss it, too.
func TestRule2GoneAndBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(p *peer)
		want bool
	}{
		{"gone", func(p *peer) {}, true},
		{"answers since", func(p *peer) { p.hear(msg{Kind: types.State, From: 3, Standing: types.Fresh}) }, false},
		{"answers since as returned", func(p *peer) { p.hear(msg{Kind: types.State, From: 3, Standing: types.Returned}) }, false},
		{"answers since as out", func(p *peer) { p.hear(msg{Kind: types.State, From: 3, Standing: types.Out}) }, true},
		{"answers since, and the refusal of an earlier dial comes", func(p *peer) {
			p.hear(msg{Kind: types.State, From: 3, Standing: types.Fresh})
			p.do(func(now handlers.Instant) *handlers.Output { return p.Undialed(now, 3, now.Run-50*ms, types.Refusal) })
		}, false},
		{"answered before", func(p *peer) { p.hear(msg{Kind: types.State, From: 3, Standing: types.Fresh, Request: 1}) }, true},
	} {
		p := candidate(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
		p.undialed(3, types.Refusal)
		p.pass(100*ms, 2)
		tt.do(p)
		p.reply(2, 4)
		p.pass(100*ms, 2, 4)
		if got := p.when("REQ DEL 3 unreachable→2") != "[]"; got != tt.want {
			t.Errorf("%s: removed: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Rule 2: a leader that is left alone has nobody to ask.
func TestRule2LeftAlone(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2))
	p.pass(2300 * ms)
	want(t, "removes", p.when("view 6 [1]"), "[2.2s]")
}

// Rule 2: those who are gone do not count against a witness, though it hears no quorum of the view.
func TestRule2WitnessWithFewLeft(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.pass(2500*ms, 2, 3)
	want(t, "another, that misses these and one whom the leader hears", p.hear(p.misses(2, 3, 4, 5)), "REQ DEL 4 unreachable→2,3")
}

// Over UDP a heartbeat names 32 at most, and says so when there are more: the full list, sent over TCP at the
// same moment, counts.
func TestLongListOfTheMissed(t *testing.T) {
	t.Parallel()
	var all []types.ID
	for id := range types.ID(50) {
		all = append(all, id+1)
	}
	p := member(t, conf{ID: 2, Listed: types.Numbered(50)}, viewOf(1, all...))
	p.pass(4*time.Second, 1, 3, 4)
	m := p.sent(0, types.Heartbeat)
	if len(m.Unreachable) != handlers.MaxNamed || !slices.Contains(m.Unreachable, 2) {
		t.Errorf("over UDP it names %v", m.Unreachable)
	}
	if m := p.sent(1, types.Heartbeat); len(m.Unreachable) != 46 || slices.Contains(m.Unreachable, 2) {
		t.Errorf("over TCP it names %v", m.Unreachable)
	}
}

// A member that hears of a later view asks for it: its leader may be unable to send it.
func TestLaterViewIsAskedFor(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
	later := p.beat(2)
	later.Number = 6
	want(t, "a heartbeat with a later view", p.hear(later), "PROBE→2")
}

// Rule 2: the word of a member that is gone since does not count, nor what it has taken back.
func TestRule2WitnessIsGone(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.hear(p.beat(5))
	p.pass(time.Second, 2, 3, 4)
	p.hear(p.misses(3, 5))
	p.hear(p.misses(3))
	held := p.misses(3, 5)
	held.Request = 1 // it was sent before that, and held up
	p.hear(held)
	old := p.misses(4, 5)
	old.Heard = uint64(epoch) - 1 // it was sent before this peer last heard 5
	p.hear(old)
	p.pass(3*time.Second, 2, 4, 3)
	want(t, "unreachable", p.when("peer 5 unreachable"), "[2.2s]")
	want(t, "proposed on what another took back", p.when("REQ DEL 5 unreachable→2"), "[]")

	p = leader(t, conf{}, viewOf(1, 1, 2, 3, 4, 5))
	p.pass(time.Second, 2, 3, 4)
	p.hear(p.misses(3, 5))
	p.undialed(3, types.Refusal)
	p.reply(2, 4)
	p.reply(2, 4)
	p.pass(3*time.Second, 2, 4)
	want(t, "unreachable", p.when("peer 5 unreachable"), "[2.2s]")
	want(t, "proposed on the word of one that is gone", p.when("REQ DEL 5 unreachable→2"), "[]")
}

// Rule 2: a member tells its leader over TCP whom it misses, when it finds out and with each heartbeat;
// and looks into whom its leader misses.
func TestRule2TellsItsLeader(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	for range 4 {
		p.hear(p.beat(1))
		p.pass(1100*ms, 2, 4)
	}
	told := "[2.2s"
	for _, d := range p.log {
		if d.text == "HEARTBEAT" && d.at > 2200*ms {
			told += fmt.Sprint(" ", d.at.Round(ms))
		}
	}
	told += "]"
	want(t, "tells", p.when("HEARTBEAT→1"), told)
	if n := len(strings.Fields(told)); n != 3 {
		t.Errorf("it tells at %s, want with two heartbeats, too", told)
	}
	if got := p.sent(1, types.Heartbeat).Unreachable; !slices.Equal(got, []types.ID{5}) {
		t.Errorf("it tells of %v, want [5]", got)
	}
	p.undialed(4, types.Refusal)
	want(t, "whose host refused, the leader finds out", p.when("HEARTBEAT→1"), told)

	p = member(t, conf{ID: 3}, viewOf(1, 1, 2, 3, 4, 5))
	want(t, "the leader misses one", p.hear(p.misses(1, 4)), "PROBE→4")
	p.hear(msg{Kind: types.State, From: 4, Standing: types.Joined})
	p.at += 50 * ms
	want(t, "it does so again at once", p.hear(p.misses(1, 4)), "")
	p.log = nil
	p.pass(250*ms, 1, 2, 4, 5)
	want(t, "asks when it may", p.when("PROBE→4"), "[200ms]")
	p.hear(msg{Kind: types.State, From: 4, Standing: types.Joined})
	p.pass(3*time.Second, 1, 2, 4, 5)
	want(t, "it has answered", p.when("peer 4 unreachable"), "[]")
	p.hear(p.misses(1, 4))
	p.pass(2500*ms, 1, 2, 4, 5)
	want(t, "it does not answer, though it is heard", p.when("peer 4 unreachable"), "[5.5s]")
}

// A peer that hears everybody wakes for its heartbeat, and to notice its own stalls; it looks
// at the silence of others only once there is some.
func TestCalm(t *testing.T) {
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.pass(1500*ms, 1, 3)
	p.hear(p.beat(1))
	begun, ticks := p.at, 0
	for leads := begun + 1100*ms; p.at < begun+11*time.Second; {
		p.at = min(p.wake, p.at+250*ms, leads)
		if p.at == leads { // the leader's come as often as its own
			p.hear(p.beat(1))
			leads += 1100 * ms
		}
		if p.wake > p.at {
			p.hear(p.beat(3))
			continue
		}
		p.do(p.Tick)
		ticks++
	}
	if ticks != 10 {
		t.Errorf("%d ticks in ten heartbeats, want one for each", ticks)
	}
	heard := p.at
	for p.when("PROBE→3") == "[]" && p.at < heard+5*time.Second {
		p.at = p.wake
		p.do(p.Tick)
	}
	if silence := p.at - heard; silence > 1200*ms {
		t.Errorf("it asks after %v of silence, want 1.2 s at most", silence)
	}
}

// A peer that has thawed, and one that leads a peer that it once followed, wait for what is due.
func TestCalmAgain(t *testing.T) {
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.pass(3000*ms, 1, 3)
	p.at += 2 * time.Second
	p.do(p.Tick)
	p.do(p.Tick)
	if p.wake <= p.at {
		t.Errorf("%v after a stall it wants a tick at %v", p.at, p.wake)
	}
	p.hear(p.beat(3))
	p.pass(3000*ms, 3) // it leads
	p.hear(msg{Kind: types.PendingResponse, From: 3, Request: 2, Term: types.Term{Counter: 2, Peer: 2}})
	p.log = nil
	p.pass(5000*ms, 3)
	want(t, "asks the member that it hears", p.when("PROBE→3"), "[]")
}

// A member that is held unreachable, and of which something comes all the same, is removed 0.5 s
// later if nothing else does: just then, and not at some later tick.
func TestSpoke(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{}, viewOf(1, 1, 2, 3, 4))
	p.hear(msg{Kind: types.Join, From: 5})
	p.undialed(3, types.Refusal)
	p.pass(130*ms, 2, 4)
	p.hear(p.beat(3))
	p.reply(2, 4)
	p.reply(2, 4, 5)
	p.pass(1000*ms, 2, 4, 5)
	if got := p.when("REQ DEL 3 unreachable→2"); !strings.HasPrefix(got, "[630ms") {
		t.Errorf("it proposes at %s, want 630ms", got)
	}
}

// What others are told of a time is the caller's, who does not leave out this peer's stalls.
func TestStalledPeerTellsTheTime(t *testing.T) {
	t.Parallel()
	p := watcher(t)
	p.at = 10 * time.Second
	p.do(p.Tick)
	if at := p.Status().At.Run; at != epoch+10*time.Second {
		t.Errorf("after a stall its status is of %v, want %v", at, epoch+10*time.Second)
	}
	p.hear(p.beat(3))
	p.do(func(now handlers.Instant) *handlers.Output { return p.Undialed(now, 3, now.Run-ms, types.Refusal) })
	want(t, "a dial from before the last word", p.when("peer 3 unreachable"), "[]")
}
