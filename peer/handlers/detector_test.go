package handlers

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"memberly/peer/types"
)

const second = time.Second

// watched returns the detector of host 1 in a view of n, led by 1, in which all were heard a second ago; and
// the view. Host and incarnation of each member are the same number.
func watched(n int) (detector, types.View) {
	d, v := newDetector(1, n), types.View{Number: 7, Leader: 1, Last: make([]types.Past, n)}
	for i := range n {
		v.Members = append(v.Members, types.ID(i+1))
		v.Last[i].Incarnation = types.Incarnation(i + 1)
	}
	d.moved(&types.View{}, &v, time.Hour)
	d.recount(&v, time.Hour)
	return d, v
}

// Section 4: what comes from a member shows that it lives, but once it is unreachable only the answer to a
// later PROBE does. While that is awaited, it is known to speak.
func TestHeard(t *testing.T) {
	t.Parallel()
	lost := time.Hour + 3*second
	for _, tt := range []struct {
		name          string
		gone, failing bool
		m             types.Message
		named         []types.ID // by the leader, as unreachable
		lives         bool
		speaks        bool // it is unreachable still, but something came
		fails         bool // its failure is not over
	}{
		{"reachable", false, false, types.Message{Kind: types.OK}, nil, true, false, false},
		{"unreachable", true, true, types.Message{Kind: types.OK}, nil, false, true, true},
		{"unreachable, with an old answer", true, true, types.Message{Kind: types.State, Request: uint64(lost)}, nil, false, true, true},
		{"unreachable, with a new answer", true, true, types.Message{Kind: types.State, Request: uint64(lost + 1)}, nil, true, false, false},
		{"named by the leader", false, true, types.Message{Kind: types.State, Request: uint64(lost + 1)}, []types.ID{2}, true, false, true},
		{"its failure recorded", false, true, types.Message{Kind: types.OK}, nil, false, false, true},
	} {
		d, v := watched(3)
		p := &d.hosts[1]
		p.failing, p.lost = tt.failing, lost
		if tt.gone {
			p.lose(lost)
		}
		d.recount(&v, lost)
		now := lost + second
		tt.m.From = 2
		if got := d.heard(&v, &tt.m, now, tt.named); got != tt.lives || p.failing != tt.fails {
			t.Errorf("%s: lives is %v, its failure lasts is %v", tt.name, got, p.failing)
		}
		if p.gone != (tt.gone && !tt.lives) || d.lacking > 0 != p.gone {
			t.Errorf("%s: unreachable is %v, and %d are lacking", tt.name, p.gone, d.lacking)
		}
		if p.speaks(now, second) != tt.speaks || p.speaks(now+second, second) {
			t.Errorf("%s: speaks is %v, a second later %v", tt.name, p.speaks(now, second), p.speaks(now+second, second))
		}
	}
}

// A quorum is lost and regained with the members that are reachable, and both times are kept.
func TestRecount(t *testing.T) {
	t.Parallel()
	d, v := watched(4)
	for i, tt := range []struct {
		gone          []types.ID
		lost, quorate bool
		inquorate     time.Duration
		regained      time.Duration
	}{
		{nil, false, true, never, never},
		{[]types.ID{3, 4}, false, true, never, never}, // half with the leader
		{[]types.ID{2, 3, 4}, true, false, 2, never},
		{[]types.ID{2, 3, 4}, false, false, 2, never},
		{[]types.ID{3}, false, true, never, 4},
	} {
		for j := range d.hosts {
			d.hosts[j].gone = slices.Contains(tt.gone, types.ID(j+1))
		}
		lost := d.recount(&v, time.Duration(i))
		if lost != tt.lost || d.quorate != tt.quorate || d.inquorate != tt.inquorate || d.regained != tt.regained {
			t.Errorf("with %v gone: %v, %+v", tt.gone, lost, d)
		}
		if got := d.missing(&v, 4); !slices.Equal(got, tt.gone) {
			t.Errorf("misses %v, want %v", got, tt.gone)
		}
	}
	d.hosts[1].gone, d.hosts[3].gone = true, true
	d.recount(&v, 5)
	if got := d.missing(&v, 2); !slices.Equal(got, []types.ID{2, 1}) {
		t.Errorf("of three it names %v", got)
	}
}

// Rule 2: two members must miss a third before it is removed, and the report of the other must be newer than
// what was last heard of the third.
func TestConfirmed(t *testing.T) {
	t.Parallel()
	heard := time.Hour + second
	for name, tt := range map[string]struct {
		change func(d *detector)
		want   bool
	}{
		"nobody else misses it":             {func(d *detector) { d.hosts[2].missed = 0 }, false},
		"another misses it":                 {func(*detector) {}, true},
		"its report is older":               {func(d *detector) { d.hosts[2].heard = heard + 1 }, false},
		"it has said something else since":  {func(d *detector) { d.hosts[1].notHearing = nil }, false},
		"it is unreachable itself":          {func(d *detector) { d.hosts[1].gone = true }, false},
		"the member is gone for certain":    {func(d *detector) { d.hosts[2].dead, d.hosts[2].missed = true, 0 }, true},
		"this peer is left alone, and asks": {func(d *detector) { d.lacking, d.hosts[2].missed = 3, 0 }, true},
	} {
		d, v := watched(4)
		d.hosts[2].lose(heard)
		d.recount(&v, heard)
		m := types.Message{From: 2, Heard: uint64(heard), Unreachable: []types.ID{3, 1, 9}}
		d.noteMissed(&v, &types.Message{From: 4, Heard: uint64(heard + 1), Unreachable: []types.ID{3}}, heard) // of the future
		d.noteMissed(&v, &m, heard)
		d.hosts[1].notHearing = m.Unreachable
		if tt.change(&d); d.confirmed(&v, 3) != tt.want {
			t.Errorf("%s: confirmed is %v", name, !tt.want)
		}
	}
}

// Rule 2: a member is believed in whom it misses if it names all of them, and hears more than half of those
// whom this peer hears. A list of which a newer one has come before counts no more.
func TestReports(t *testing.T) {
	t.Parallel()
	d, v := watched(5)
	d.hosts[4].lose(time.Hour)
	d.recount(&v, time.Hour)
	for _, tt := range []struct {
		missed      []types.ID
		may, quorum bool
	}{
		{nil, true, true},
		{[]types.ID{5}, true, true}, // who is gone does not count
		{[]types.ID{3, 5}, true, true},
		{[]types.ID{3, 4}, false, true},
		{[]types.ID{1, 3, 4}, false, false},
		{[]types.ID{2, 3}, false, true}, // itself: there are more
		{[]types.ID{9}, true, true},     // no member
	} {
		m := types.Message{From: 2, Unreachable: tt.missed}
		if may, quorum := d.mayWitness(&v, &m), hearsQuorum(&v, tt.missed); may != tt.may || quorum != tt.quorum {
			t.Errorf("who misses %v: may witness is %v, hears a quorum is %v", tt.missed, may, quorum)
		}
	}
	for i, tt := range []struct {
		at  uint64
		cut bool
		old bool
	}{{5, true, false}, {5, false, false}, {5, true, true}, {4, false, true}, {6, true, false}} {
		m := types.Message{From: 2, Request: tt.at}
		if tt.cut {
			m.Unreachable = []types.ID{2}
		}
		if got := !d.hosts[1].takeList(&m); got != tt.old {
			t.Errorf("%d: is old is %v", i, got)
		}
	}
}

// After a stall of this peer nobody is unreachable for silence, and nobody owes an answer.
func TestDetectorResumes(t *testing.T) {
	t.Parallel()
	d, v := watched(4)
	d.hosts[1].lose(time.Hour)
	d.hosts[2].lose(time.Hour)
	d.hosts[2].dead = true
	d.hosts[3].owes = time.Hour - 9*second
	if got := d.hosts[3].lastWord(); got != time.Hour-9*second {
		t.Errorf("it is silent since %v", got)
	}
	now := time.Hour + 5*second
	d.resume(now, second)
	d.recount(&v, now)
	var got []string
	for i := range d.hosts {
		p := &d.hosts[i]
		got = append(got, fmt.Sprint(p.gone, " ", now-p.lastWord()))
	}
	if want := []string{"false 5s", "false 1s", "true 5s", "false 5s"}; !slices.Equal(got, want) {
		t.Errorf("unreachable, and how long silent: %q, want %q", got, want)
	}
	if d.lacking != 1 {
		t.Errorf("%d are lacking", d.lacking)
	}
}

// A change of the view begins to watch new members, and keeps what is known of a host that comes back.
func TestDetectorMoves(t *testing.T) {
	t.Parallel()
	d, v := watched(3)
	d.hosts[2].lose(time.Hour)
	member := types.Member{ID: 3, Incarnation: 3}
	for i := range 3 { // removed as unreachable, and back
		now := time.Hour + time.Duration(i)*second
		next := v.With(types.Change{Operation: types.Del, Member: member, Cause: types.Unreachable})
		d.moved(&v, &next, now)
		if d.reachable(&next, 3) || d.order.first() != 2 || d.hosts[2].removals != i+1 {
			t.Errorf("%d: reached is %v, first is %d, removed %d times", i, d.reachable(&next, 3), d.order.first(), d.hosts[2].removals)
		}
		member.Incarnation++
		v = next.With(types.Change{Operation: types.Add, Member: member})
		d.moved(&next, &v, now)
		if p := d.hosts[2]; !d.reachable(&v, 3) || p.heard != now || p.lastWord() != now {
			t.Errorf("%d: reached is %v, heard at %v", i, d.reachable(&v, 3), p.heard)
		}
	}
	d.hosts[2].noteRemoval(types.Unreachable, time.Hour+2*time.Minute)
	if got := d.hosts[2].removals; got != 1 {
		t.Errorf("after a minute: removed %d times", got)
	}
	if d.known(0) || d.known(1) || !d.known(3) || d.known(4) {
		t.Error("known are the other hosts of the file")
	}
}
