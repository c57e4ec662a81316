package handlers_test

import (
	"fmt"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// ask asks, from time to time for d, what the hosts answer to PROBE.
func (p *peer) ask(d time.Duration, answers ...func(*peer)) {
	for end := p.at + d; p.at < end; p.pass(100 * ms) {
		for _, answer := range answers {
			answer(p)
		}
	}
}

func hasNoName(id types.ID) func(*peer) { return func(p *peer) { p.undialed(id, types.NoName) } }

func refuses(id types.ID) func(*peer) { return func(p *peer) { p.undialed(id, types.Refusal) } }

func refusesWhereItWas(id types.ID) func(*peer) {
	return func(p *peer) { p.undialed(id, types.StaleRefusal) }
}

func says(m msg) func(*peer) {
	m.Kind = types.State
	return func(p *peer) { p.hear(m) }
}

func isFresh(id types.ID) func(*peer) { return says(msg{From: id, Standing: types.Fresh}) }

// Rule 7, founding: a host is accounted for that answered fresh or out, whose addresses all
// refused, or that has no name. Evidence counts for 2.2 s, if it was asked for since.
func TestRule7FoundingEvidence(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		evidence func(*peer)
		want     bool
	}{
		{"fresh", isFresh(2), true},
		{"out", says(msg{From: 2, Standing: types.Out}), true},
		{"refused", refuses(2), true},
		{"refused where it was", refusesWhereItWas(2), false},
		{"no name", func(p *peer) { p.undialed(2, types.NoName) }, true},
		{"no answer", func(p *peer) { p.undialed(2, types.NoAnswer) }, false},
		{"not resolved", func(p *peer) { p.undialed(2, types.Unresolved) }, false},
		{"a member of some group", says(msg{From: 2, Standing: types.Joined}), false},
		{"fresh, asked before", says(msg{From: 2, Standing: types.Fresh, Request: uint64(epoch) - 1}), false},
		{"fresh, asked later", says(msg{From: 2, Standing: types.Fresh, Request: uint64(2 * epoch)}), false},
		{"refused, dialled before", func(p *peer) {
			p.do(func(now handlers.Instant) *handlers.Output { return p.Undialed(now, 2, epoch-1, types.Refusal) })
		}, false},
		{"refused 2.1 s ago", func(p *peer) { refuses(2)(p); p.pass(2100 * ms) }, true},
		{"refused 2.2 s ago", func(p *peer) { refuses(2)(p); p.pass(2200 * ms) }, false},
		{"refused, but now a member", func(p *peer) { refuses(2)(p); p.at += ms; says(msg{From: 2, Standing: types.Joined})(p) }, false},
	}
	for _, tt := range tests {
		p := fresh(t, conf{ID: 1, Listed: types.Numbered(3)})
		tt.evidence(p)
		isFresh(3)(p)
		if got := p.View().Number == 1; got != tt.want {
			t.Errorf("%s: founds %v, want %v", tt.name, got, tt.want)
		}
	}
	want(t, "alone", fresh(t, conf{ID: 1, Listed: types.Numbered(1)}).when("view 1 [1]"), "[0s]")
}

// Rule 7, founding: more than half accounted for are enough when the rest stayed silent for
// 10 s. Each further host waits 10 s for each before it.
func TestRule7FoundingTime(t *testing.T) {
	t.Parallel()
	speaks := func(p *peer) {
		if p.at < 5*time.Second {
			p.hear(msg{Kind: types.Join, From: 4})
		}
	}
	tests := []struct {
		name    string
		id      types.ID
		hosts   int
		answers []func(*peer)
		want    string
	}{
		{"three of five", 1, 5, []func(*peer){isFresh(2), isFresh(3)}, "[10s]"},
		{"two of five", 1, 5, []func(*peer){isFresh(2)}, "[]"},
		{"two of four", 1, 4, []func(*peer){isFresh(2)}, "[]"},
		{"three of five, one of the rest spoke till 4.9 s", 1, 5, []func(*peer){isFresh(2), isFresh(3), speaks}, "[14.9s]"},
		{"the second, all accounted for", 2, 3, []func(*peer){refuses(1), isFresh(3)}, "[10s]"},
		{"the third, all accounted for", 3, 3, []func(*peer){refuses(1), isFresh(2)}, "[20s]"},
		{"the second, the first silent", 2, 3, []func(*peer){isFresh(3)}, "[20s]"},
	}
	for _, tt := range tests {
		p := fresh(t, conf{ID: tt.id, Listed: types.Numbered(tt.hosts)})
		p.ask(22*time.Second, tt.answers...)
		want(t, tt.name, p.when(fmt.Sprintf("view 1 [%d]", tt.id)), tt.want)
	}
}

// Rule 7, founding: silence is counted from when more than half are accounted for, and a founder's wait
// begins anew when a host before it first answers: the network has only just come up.
func TestRule7NetworkComesUp(t *testing.T) {
	t.Parallel()
	up := 2 * time.Minute
	since := func(at time.Duration, answer func(*peer)) func(*peer) {
		return func(p *peer) {
			if p.at >= at {
				answer(p)
			}
		}
	}
	tests := []struct {
		name    string
		id      types.ID
		answers []func(*peer)
		want    string
	}{
		{"the first, all answer", 1, []func(*peer){since(up, isFresh(2)), since(up, isFresh(3)), since(up, isFresh(4)), since(up, isFresh(5))}, "[2m0s]"},
		{"the first, one is silent", 1, []func(*peer){since(up, isFresh(2)), since(up, isFresh(3)), since(up, isFresh(4))}, "[2m10s]"},
		{"the second, all answer", 2, []func(*peer){since(up, isFresh(1)), since(up, isFresh(3)), since(up, isFresh(4)), since(up, isFresh(5))}, "[2m10s]"},
		{"the second, the first is silent", 2, []func(*peer){since(up, isFresh(3)), since(up, isFresh(4)), since(up, isFresh(5))}, "[2m10s]"},
		{"the third, the second answers", 3, []func(*peer){since(up, isFresh(2)), since(up, isFresh(4)), since(up, isFresh(5))}, "[2m30s]"},
	}
	for _, tt := range tests {
		p := fresh(t, conf{ID: tt.id, Listed: types.Numbered(5)})
		p.ask(up+40*time.Second, tt.answers...)
		want(t, tt.name, p.when(fmt.Sprintf("view 1 [%d]", tt.id)), tt.want)
	}
}

// Rule 7, founding: that a name does not exist accounts for its host only while some other name is found.
func TestRule7Names(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		evidence []func(*peer)
		want     string
	}{
		{"no other name is found", []func(*peer){hasNoName(2), hasNoName(3)}, "[]"},
		{"another answers", []func(*peer){isFresh(2), hasNoName(3)}, "[0s]"},
		{"another refuses", []func(*peer){refuses(2), hasNoName(3)}, "[0s]"},
		{"another answers where it was", []func(*peer){says(msg{From: 2, Standing: types.Fresh, Stale: true}), hasNoName(3)}, "[10s]"},
		{"another refuses where it was", []func(*peer){refusesWhereItWas(2), hasNoName(3)}, "[]"},
		{"another is not found", []func(*peer){func(p *peer) { p.undialed(2, types.Unresolved) }, hasNoName(3)}, "[]"},
		{"another is silent", []func(*peer){func(p *peer) { p.undialed(2, types.NoAnswer) }, hasNoName(3)}, "[10s]"},
	}
	for _, tt := range tests {
		p := fresh(t, conf{ID: 1, Listed: types.Numbered(3)})
		p.ask(12*time.Second, tt.evidence...)
		want(t, tt.name, p.when("view 1 [1]"), tt.want)
	}
}

// Rule 7: the first view is numbered one above the highest that the maker was told of, and its
// incarnation is above all it knows.
func TestRule7Maker(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 1, Listed: types.Numbered(3)})
	isFresh(2)(p)
	want(t, "founds", p.hear(msg{Kind: types.State, From: 3, Incarnation: 700, Standing: types.Fresh, Number: 8}), "view 9 [1]; HEARTBEAT leads")
	v := p.View()
	if v.Group != (types.Group{Made: p.Incarnation(), Maker: 1}) || v.Leader != 1 || p.Incarnation() <= 700 {
		t.Errorf("incarnation %d makes %+v", p.Incarnation(), v)
	}
}

// Rule 7, re-forming: of the members that answer the one of lowest id with the latest view makes
// a group, when all hosts are accounted for. Peer 3 of five is left with what 5 and 6 say.
func TestRule7Reforming(t *testing.T) {
	t.Parallel()
	ours := func(m msg) func(*peer) {
		m.Standing, m.Term = types.Joined, types.Term{Counter: 1, Peer: 1}
		return says(m)
	}
	refused := refuses(5)
	tests := []struct {
		name      string
		five, six func(*peer)
		want      bool
	}{
		{"all refuse", refused, refuses(6), true},
		{"all refuse where they were", refusesWhereItWas(5), refusesWhereItWas(6), true},
		{"one is fresh", refused, isFresh(6), true},
		{"one is out", refused, says(msg{From: 6, Standing: types.Out}), true},
		{"one has no name", refused, func(p *peer) { p.undialed(6, types.NoName) }, false},
		{"one is silent", refused, func(p *peer) { p.undialed(6, types.NoAnswer) }, false},
		{"a host that refuses said something", refused, func(p *peer) {
			p.hear(msg{Kind: types.Join, From: 6})
			refuses(6)(p)
		}, false},
		{"one is of another group", refused, says(msg{From: 6, Standing: types.Joined, Group: types.Group{Made: 99, Maker: 6}}), false},
		{"a member of higher id", ours(msg{From: 5}), refuses(6), true},
		{"a member with an earlier view", ours(msg{From: 5, Number: 4}), refuses(6), true},
		{"a member with a later view", ours(msg{From: 5, Number: 6}), refuses(6), false},
		{"a member that has a leader", ours(msg{From: 5, HasLeader: true}), refuses(6), false},
		{"one that is fresh each time anew", refused, func(p *peer) {
			p.hear(msg{Kind: types.State, From: 6, Standing: types.Fresh, Incarnation: 60 + types.Incarnation(p.at)})
		}, false},
	}
	for _, tt := range tests {
		p := member(t, conf{ID: 3, ReformOnRefusal: true}, viewOf(1, 1, 2, 3, 4, 5))
		p.ask(9*time.Second, refuses(1), refuses(2), refuses(4), tt.five, tt.six)
		if got := p.View().Group.Maker == 3; got != tt.want {
			t.Errorf("%s: re-forms %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Rule 7, re-forming: a member of lower id with this view is the one to do it.
func TestRule7ReformingIsAnothers(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 5, ReformOnRefusal: true}, viewOf(1, 1, 2, 3, 4, 5))
	three := says(msg{From: 3, Standing: types.Joined, Term: types.Term{Counter: 1, Peer: 1}})
	p.ask(9*time.Second, refuses(1), refuses(2), three, refuses(4), refuses(6))
	want(t, "re-forms", p.when("view 6 [5]"), "[]")
}

// Rule 7, re-forming: not while the members that answer are a quorum, though they leave what the
// leader asks unanswered.
func TestRule7AnsweringQuorum(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{ReformOnRefusal: true}, viewOf(1, 1, 2, 3))
	p.hear(msg{Kind: types.Join, From: 6})
	p.pass(2300*ms, 2, 3)
	if p.Leads() {
		t.Fatal("leads after 2.3 s without an answer")
	}
	is := func(id types.ID) func(*peer) { return says(msg{From: id, Standing: types.Joined}) }
	p.ask(6*time.Second, is(2), is(3), refuses(4), refuses(5), refuses(6))
	want(t, "re-forms", p.when("view 6 [1]"), "[]")
}

// Rule 7, re-forming: it takes the same in two rounds 1 s apart, and a refusing host of which
// nothing came for 2.2 s.
func TestRule7TwoRounds(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 3, ReformOnRefusal: true}, viewOf(1, 1, 2, 3))
	all := []func(*peer){refuses(1), refuses(2), refuses(4), refuses(5), refuses(6)}
	p.ask(3100*ms, all...)
	want(t, "within 3.1 s", p.when("view 6 [3]"), "[]")
	p.ask(1000*ms, all...)
	if p.when("view 6 [3]") == "[]" {
		t.Error("does not re-form within 4.1 s")
	}
	v := p.View()
	if past := v.Past(1); past.Incarnation != 10 || past.Cause != types.Unreachable || v.Group.Maker != 3 || v.Leader != 3 {
		t.Errorf("makes %+v", v)
	}
}

// Rule 7, re-forming: where refusals may be forged, they account for no host; answers do.
func TestRule7ReformingWithoutRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		five func(*peer)
		want bool
	}{{"five refuses", refuses(5), false}, {"five is fresh", isFresh(5), true}} {
		p := member(t, conf{ID: 3}, viewOf(1, 1, 2, 3))
		p.ask(9*time.Second, isFresh(1), isFresh(2), isFresh(4), tt.five, isFresh(6))
		if got := p.View().Group.Maker == 3; got != tt.want {
			t.Errorf("%s: re-forms %v, want %v", tt.name, got, tt.want)
		}
	}
}
