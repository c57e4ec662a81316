package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// This file judges what the peers of a group said about leading. All times are of one clock, from any one moment on.

// saying is a peer's answer to one question. The peer said it at some moment from asked to answered.
type saying struct {
	peer            int
	asked, answered time.Duration
	leads           bool
	fence           uint64
	lease           time.Duration // left of the lease when the peer said this
	ready           bool          // by /status
	view            int64
	members         int
	readyNext       bool // /ready, asked right after, was answered with 200
}

func (s saying) String() string {
	return fmt.Sprintf("peer %d said between %v and %v that it leads (fence %d)", s.peer, s.asked, s.answered, s.fence)
}

// span is a time during which a peer led, as some source has it.
type span struct {
	peer     int
	fence    uint64
	from, to time.Duration
}

func (s span) String() string {
	return fmt.Sprintf("peer %d (fence %d) from %v to %v", s.peer, s.fence, s.from, s.to)
}

// shared returns how long a and b overlap.
func (s span) shared(other span) time.Duration {
	return max(0, min(s.to, other.to)-max(s.from, other.from))
}

// evidence is what was seen of a group.
type evidence struct {
	sayings []saying
	events  []span                // when peers led by /events, by the times that these have
	ended   map[int]time.Duration // when peers were killed, or told to leave
	deaf    []span                // when peers could not hear any other peer that leads
	frozen  []span                // when peers got no processor, and so could tell nobody anything
	stalls  []span                // when this test got no processor in time
}

// contradictions returns what cannot be true of sayings if no two peers lead at once. It returns only what is certain.
func (e *evidence) contradictions() (all []string) {
	return slices.Concat(e.between(), e.promised(), e.unready())
}

// between returns each saying that lies between two of another peer that were said with one fence: that peer led all along.
func (e *evidence) between() (all []string) {
	spans := make(map[[2]uint64]*span)
	for _, s := range e.sayings {
		if !s.leads {
			continue
		}
		key := [2]uint64{uint64(s.peer), s.fence}
		if of := spans[key]; of == nil {
			spans[key] = &span{s.peer, s.fence, s.answered, s.asked}
		} else {
			of.from, of.to = min(of.from, s.answered), max(of.to, s.asked)
		}
	}
	for _, of := range spans {
		for _, s := range e.sayings {
			if s.leads && s.peer != of.peer && s.asked > of.from && s.answered < of.to {
				all = append(all, fmt.Sprint(s, ", but ", of, " led"))
			}
		}
	}
	return all
}

// promised returns each saying of a peer at a moment for which another had said that its lease lasts, and of which it is
// not known that it had given up the lease.
func (e *evidence) promised() (all []string) {
	leading := e.leading()
	latest := make(map[int]saying) // of each peer, the one that promised the most
	byAsked := slices.SortedFunc(slices.Values(leading), func(a, b saying) int { return cmp.Compare(a.asked, b.asked) })
	next := 0
	for _, s := range byAsked {
		for ; next < len(leading) && leading[next].answered < s.asked; next++ {
			if was := latest[leading[next].peer]; leading[next].asked+leading[next].lease > was.asked+was.lease {
				latest[leading[next].peer] = leading[next]
			}
		}
		for peer, b := range latest {
			if peer != s.peer && s.answered < b.asked+b.lease && !e.gaveUp(b, s.answered) {
				all = append(all, fmt.Sprint(s, ", but ", b, " for ", b.lease, " more"))
			}
		}
	}
	return all
}

// gaveUp reports whether the peer that said s had given up its lease, or was gone, at a moment.
func (e *evidence) gaveUp(s saying, at time.Duration) bool {
	if ended, has := e.ended[s.peer]; has && ended <= at {
		return true
	}
	return slices.ContainsFunc(e.events, func(of span) bool {
		return of.peer == s.peer && of.fence == s.fence && of.to > s.asked && of.to <= at
	})
}

// unready returns each answer of /ready by which a peer that could hear no other leader had one, while by /status it did not lead.
func (e *evidence) unready() (all []string) {
	last := make(map[int]saying)
	for _, s := range slices.SortedFunc(slices.Values(e.sayings), func(a, b saying) int { return cmp.Compare(a.asked, b.asked) }) {
		before := last[s.peer]
		last[s.peer] = s
		within := func(d span) bool {
			return d.peer == s.peer && before.asked > d.from && before.answered < s.asked && s.answered < d.to
		}
		if before.readyNext && !before.leads && !s.leads && slices.ContainsFunc(e.deaf, within) {
			all = append(all, fmt.Sprintf("peer %d said between %v and %v that it is ready, but neither before nor after that it leads",
				s.peer, before.answered, s.asked))
		}
	}
	return all
}

// overlaps returns the longest overlap of two spans of different peers, apart from the time for which this test got no
// processor: then others may have got none either.
func (e *evidence) overlaps(spans []span) (longest time.Duration, which string) {
	for i, a := range spans {
		for _, b := range spans[i+1:] {
			shared := a.shared(b) - e.stalled(max(a.from, b.from)-stallBefore, min(a.to, b.to))
			if (a.peer != b.peer || a.fence == b.fence) && shared > longest {
				longest, which = shared, fmt.Sprint(a, ", and ", b)
			}
		}
	}
	return longest, which
}

// stallBefore is how long before an overlap a stall still explains it.
const stallBefore = 200 * time.Millisecond

// excused returns spans without the times for which their peers were frozen, or so busy that they answered nobody. A process
// that gets no processor cannot tell that its lease has ended. Who heard from it that it leads also heard for how long, and has
// to ask again after that.
func (e *evidence) excused(spans []span) (all []span) {
	for _, s := range spans {
		for _, f := range slices.Concat(e.frozen, e.silences(s.peer)) {
			if f.peer == s.peer && f.shared(s) > 0 {
				s.to = min(s.to, max(f.from, e.promise(s)))
			}
		}
		all = append(all, s)
	}
	return all
}

// silence is how long a peer answers nobody if it gets no processor.
const silence = 50 * time.Millisecond

// silences returns when a peer answered nobody.
func (e *evidence) silences(peer int) (all []span) {
	var answered []time.Duration
	for _, s := range e.sayings {
		if s.peer == peer {
			answered = append(answered, s.answered)
		}
	}
	slices.Sort(answered)
	for i := 1; i < len(answered); i++ {
		if answered[i]-answered[i-1] > silence {
			all = append(all, span{peer: peer, from: answered[i-1], to: answered[i]})
		}
	}
	return all
}

// promise returns until when a peer has said by /status that it leads.
func (e *evidence) promise(of span) (until time.Duration) {
	for _, s := range e.sayings {
		if s.peer == of.peer && s.fence == of.fence && s.leads {
			until = max(until, s.asked+s.lease)
		}
	}
	return until
}

// stalled returns for how long of a time this test got no processor.
func (e *evidence) stalled(from, to time.Duration) (sum time.Duration) {
	for _, s := range e.stalls {
		sum += s.shared(span{from: from, to: to})
	}
	return sum
}

// gaps returns the longest time between two answers of any peers that they lead, and the longest for which no lease lasted
// by what the answers before had said; both without the time for which this test got no processor.
func (e *evidence) gaps() (silent, leaseless time.Duration) {
	var until time.Duration
	all := e.leading()
	for i, s := range all {
		if i > 0 {
			before := all[i-1].answered
			silent = max(silent, s.answered-before-e.stalled(before, s.answered))
			leaseless = max(leaseless, s.answered-until-e.stalled(until, s.answered))
		}
		until = max(until, s.asked+s.lease)
	}
	return silent, leaseless
}

// unled returns the longest time for which no lease lasted by what peers answered or tell by their events, without the time for
// which this test got no processor. A peer whose host gets little of one renews its lease, and answers no question meanwhile. What it
// tells of the end does not count if it is certain to be late: another one led by then.
func (e *evidence) unled() (longest time.Duration) {
	spans := slices.DeleteFunc(slices.Clone(e.events), func(s span) bool {
		return slices.ContainsFunc(e.events, func(next span) bool { return next.peer != s.peer && next.from > s.from && next.from < s.to })
	})
	for _, s := range e.leading() {
		spans = append(spans, span{from: s.answered, to: s.asked + s.lease})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var until time.Duration
	for i, s := range spans {
		if i > 0 {
			longest = max(longest, s.from-until-e.stalled(until, s.from))
		}
		until = max(until, s.to)
	}
	return longest
}

// leading returns the answers of peers that they lead, in the order of their arrival.
func (e *evidence) leading() []saying {
	all := slices.DeleteFunc(slices.Clone(e.sayings), func(s saying) bool { return !s.leads })
	slices.SortFunc(all, func(a, b saying) int { return cmp.Compare(a.answered, b.answered) })
	return all
}

// fences returns the fences with which peers said that they lead.
func (e *evidence) fences() (all []uint64) {
	for _, s := range e.sayings {
		if s.leads && !slices.Contains(all, s.fence) {
			all = append(all, s.fence)
		}
	}
	return all
}

// leastLease returns the least that was left of a lease when a peer said so.
func (e *evidence) leastLease() time.Duration {
	least := time.Hour
	for _, s := range e.sayings {
		if s.leads {
			least = min(least, s.lease)
		}
	}
	return least
}

// timeline tells who said for how long that it leads.
func (e *evidence) timeline() string {
	var b strings.Builder
	var last saying
	for _, s := range e.leading() {
		if s.fence != last.fence || s.answered-last.answered > 200*time.Millisecond {
			fmt.Fprintf(&b, " until %v (lease %v)\npeer %d said that it leads (fence %d) from %v",
				last.answered, last.lease, s.peer, s.fence, s.answered)
		}
		last = s
	}
	fmt.Fprintf(&b, " until %v (lease %v)\nby /events %v\nfrozen %v\nthis test %v", last.answered, last.lease, e.events, e.frozen, e.stalls)
	return b.String()
}

const ms = time.Millisecond

// leadingFor is a saying of a peer with a fence of its own, whose lease lasts for so long.
func leadingFor(peer int, asked, answered, lease time.Duration) saying {
	return saying{peer: peer, asked: asked, answered: answered, leads: true, fence: uint64(peer), lease: lease}
}

// The judge finds two leaders where there are two for certain, and only there.
func TestLeaseJudge(t *testing.T) {
	t.Parallel()
	not := func(peer int, asked, answered time.Duration) saying {
		return saying{peer: peer, asked: asked, answered: answered}
	}
	deaf := []span{{peer: 1, from: 0, to: 9}}
	ready := func(s saying) saying { s.readyNext = true; return s }
	for _, c := range []struct {
		what string
		e    evidence
		want int
	}{
		{"one after the other", evidence{sayings: []saying{leadingFor(1, 0, 1, 5), leadingFor(1, 2, 3, 5), leadingFor(2, 8, 9, 5)}}, 0},
		{"within", evidence{sayings: []saying{leadingFor(1, 0, 1, 0), leadingFor(1, 9, 10, 0), leadingFor(2, 4, 5, 0)}}, 1},
		{"perhaps before", evidence{sayings: []saying{leadingFor(1, 1, 2, 0), leadingFor(1, 9, 10, 0), leadingFor(2, 1, 5, 0)}}, 0},
		{"perhaps after", evidence{sayings: []saying{leadingFor(1, 1, 2, 0), leadingFor(1, 9, 10, 0), leadingFor(2, 8, 11, 0)}}, 0},
		{"by turns", evidence{sayings: []saying{leadingFor(1, 0, 1, 0), leadingFor(1, 8, 9, 0), leadingFor(2, 4, 5, 0), leadingFor(2, 12, 13, 0)}}, 2},
		{"before the lease ended", evidence{sayings: []saying{leadingFor(1, 0, 1, 9), leadingFor(2, 4, 5, 0)}}, 1},
		{"perhaps after the lease ended", evidence{sayings: []saying{leadingFor(1, 0, 1, 9), leadingFor(2, 4, 9, 0)}}, 0},
		{"a longer lease before", evidence{sayings: []saying{leadingFor(1, 0, 1, 9), leadingFor(1, 2, 3, 0), leadingFor(2, 4, 5, 0)}}, 1},
		{"it gave up", evidence{sayings: []saying{leadingFor(1, 0, 1, 9), leadingFor(2, 4, 5, 0)}, events: []span{{1, 1, 0, 3}}}, 0},
		{"it gave up later", evidence{sayings: []saying{leadingFor(1, 0, 1, 9), leadingFor(2, 4, 5, 0)}, events: []span{{1, 1, 0, 6}}}, 1},
		{"it had given up another lease", evidence{sayings: []saying{leadingFor(1, 0, 1, 9), leadingFor(2, 4, 5, 0)}, events: []span{{1, 9, 0, 3}}}, 1},
		{"it was killed", evidence{sayings: []saying{leadingFor(1, 0, 1, 9), leadingFor(2, 4, 5, 0)}, ended: map[int]time.Duration{1: 2}}, 0},
		{"ready, and leads no more", evidence{sayings: []saying{ready(leadingFor(1, 1, 2, 2)), not(1, 3, 4)}, deaf: deaf}, 0},
		{"ready without a lease", evidence{sayings: []saying{ready(not(1, 1, 2)), not(1, 3, 4)}, deaf: deaf}, 1},
		{"ready by another leader", evidence{sayings: []saying{ready(not(1, 1, 2)), not(1, 3, 4)}}, 0},
	} {
		if got := c.e.contradictions(); len(got) != c.want {
			t.Errorf("%s: %q, want %d", c.what, got, c.want)
		}
	}
}

// The judge measures overlaps and gaps, and excuses only a process or a test that got no processor.
func TestLeaseJudgeSpans(t *testing.T) {
	t.Parallel()
	late := []span{{from: 290 * ms, to: 330 * ms}}
	for _, c := range []struct {
		what  string
		e     evidence
		spans []span
		want  time.Duration
	}{
		{"apart", evidence{}, []span{{1, 1, 0, 300 * ms}, {2, 2, 300 * ms, 500 * ms}}, 0},
		{"they overlap", evidence{}, []span{{1, 1, 0, 350 * ms}, {2, 2, 300 * ms, 500 * ms}}, 50 * ms},
		{"one in the other, told the other way round", evidence{}, []span{{2, 2, 100 * ms, 150 * ms}, {1, 1, 0, 350 * ms}}, 50 * ms},
		{"two at one peer", evidence{}, []span{{1, 1, 0, 350 * ms}, {1, 1, 300 * ms, 500 * ms}}, 50 * ms},
		{"the test was late", evidence{stalls: late}, []span{{1, 1, 0, 350 * ms}, {2, 2, 300 * ms, 500 * ms}}, 10 * ms},
		{"frozen", evidence{frozen: []span{{peer: 1, from: 100 * ms, to: 400 * ms}}}, []span{{1, 1, 0, 400 * ms}, {2, 2, 200 * ms, 500 * ms}}, 0},
		{"frozen, before its lease ended", evidence{frozen: []span{{peer: 1, from: 100 * ms, to: 400 * ms}},
			sayings: []saying{leadingFor(1, 90*ms, 91*ms, 150*ms)}}, []span{{1, 1, 0, 400 * ms}, {2, 2, 200 * ms, 500 * ms}}, 40 * ms},
		{"it answered nobody", evidence{sayings: []saying{leadingFor(1, 190*ms, 191*ms, 50*ms), leadingFor(3, 191*ms, 200*ms, 0),
			{peer: 1, asked: 390 * ms, answered: 400 * ms}}}, []span{{1, 1, 0, 400 * ms}, {2, 2, 220 * ms, 500 * ms}}, 20 * ms},
		{"it answered", evidence{sayings: []saying{leadingFor(1, 390*ms, 391*ms, 0), leadingFor(1, 350*ms, 351*ms, 0),
			{peer: 1, asked: 399 * ms, answered: 400 * ms}}}, []span{{1, 1, 0, 400 * ms}, {2, 2, 220 * ms, 500 * ms}}, 180 * ms},
		{"another one was frozen", evidence{frozen: []span{{peer: 3, from: 100 * ms, to: 400 * ms}}},
			[]span{{1, 1, 0, 400 * ms}, {2, 2, 200 * ms, 500 * ms}}, 200 * ms},
	} {
		if got, which := c.e.overlaps(c.e.excused(c.spans)); got != c.want {
			t.Errorf("%s: %v of %s, want %v", c.what, got, which, c.want)
		}
	}
	e := evidence{sayings: []saying{leadingFor(2, 305*ms, 310*ms, 0), leadingFor(1, 0, 10*ms, 0), leadingFor(1, 20*ms, 30*ms, 30*ms)}, stalls: late}
	if silent, leaseless := e.gaps(); silent != 260*ms || leaseless != 240*ms {
		t.Errorf("nobody said for %v that it leads, and nobody did for %v", silent, leaseless)
	}
	for _, c := range []struct {
		what   string
		events []span
		want   time.Duration
	}{
		{"no event", nil, 240 * ms},
		{"it had a lease of which no answer told", []span{{1, 1, 5 * ms, 100 * ms}, {2, 2, 305 * ms, 400 * ms}}, 190 * ms},
		{"its lease ended earlier than an answer had said", []span{{1, 1, 5 * ms, 40 * ms}, {2, 2, 305 * ms, 400 * ms}}, 240 * ms},
		{"it tells of the end too late", []span{{1, 1, 5 * ms, 320 * ms}, {2, 2, 305 * ms, 400 * ms}}, 240 * ms},
	} {
		if e.events = c.events; e.unled() != c.want {
			t.Errorf("%s: nobody led for %v, want %v", c.what, e.unled(), c.want)
		}
	}
}
