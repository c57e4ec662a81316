package simulation

import (
	"fmt"
	"time"

	"memberly/peer/types"
)

// Growth is what one group of so many hosts costs, from its forming to its healing.
type Growth struct {
	Hosts   int
	Formed  Cost // all processes start at once, to the view of all
	Idle    Cost // IdleTime in which nothing happens
	Removed Cost // the process of the last host ends, to the last survivor's view
	Lost    Cost // after a tenth of the hosts was switched off at one stroke
	Cut     Cost // after a third of the rest was cut off from the others, to the view of these
	Healed  Cost // from the end of that cut, to one view of all that run
}

// Cost is what it took until all agreed.
type Cost struct {
	Took   time.Duration
	Views  int
	All    traffic // over TCP, sent by all
	Leader traffic // of that, by the first host
	Beats  traffic // heartbeats, by all: one for each receiver, as where nothing can be broadcast
}

// traffic is messages, with the bytes that they take on the wire, frames' lengths included.
type traffic struct{ Messages, Bytes int }

func (t *traffic) add(bytes int) { t.Messages, t.Bytes = t.Messages+1, t.Bytes+bytes }

func (t traffic) less(o traffic) traffic { return traffic{t.Messages - o.Messages, t.Bytes - o.Bytes} }

// IdleTime is how long Grow watches an idle group, restTime how long it first waits until the heartbeats of all
// follow the leader's, and cutTime how long it cuts the group in two.
const (
	restTime = 3300 * time.Millisecond
	IdleTime = 5500 * time.Millisecond
	cutTime  = 8 * time.Second
)

// bill counts what is sent. A nil bill counts nothing.
type bill struct {
	all, leader, beats traffic
	buf                []byte
}

func (b *bill) count(from types.ID, m *types.Message) {
	if b == nil {
		return
	}
	if m.Kind == types.Heartbeat {
		b.buf, _ = types.AppendMessage(b.buf[:0], m)
		b.beats.add(len(b.buf))
		return
	}
	b.buf, _ = types.AppendFrame(b.buf[:0], m)
	b.all.add(len(b.buf))
	if from == 1 {
		b.leader.add(len(b.buf))
	}
}

// grower watches one group.
type grower struct {
	*world
	sizes   []int // by id-1: how many members its last view has
	highest int64
	changed time.Duration // when sizes last changed
	err     error
}

// Grow simulates a group of n hosts, at least 4, of which the first leads. It returns an error
// if the group does not agree within a minute of anything, or breaks a promise.
func Grow(n int, seed uint64) (Growth, error) {
	p := Plan{Seed: seed, Hosts: n, Quiet: time.Hour, Starts: make([]time.Duration, n),
		Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 200 * time.Microsecond}}
	g := &grower{world: newWorld(p, nil), sizes: make([]int, n)}
	g.bill, g.recorded = &bill{}, g.note
	r := Growth{Hosts: n}
	r.Formed = g.cost(n, func() {})
	g.runUntil(g.now + restTime)
	r.Idle = g.cost(n, func() { g.runUntil(g.now + IdleTime) })
	r.Removed = g.cost(n-1, func() { g.end(g.hosts[n-1].process) })
	lost := max(1, n/10)
	left := n - 1 - lost
	r.Lost = g.cost(left, func() {
		for _, m := range g.hosts[left : n-1] {
			g.switchOff(m, time.Hour)
		}
	})
	far := left / 3
	r.Cut = g.cost(left-far, func() { g.part(left-far, left, 1) })
	g.runUntil(g.now + cutTime)
	r.Healed = g.cost(left, func() { g.part(left-far, left, -1) })
	return r, g.err
}

func (g *grower) note(id types.ID, r types.Record) {
	if r.Message == "" {
		g.sizes[id-1], g.changed = len(r.Members), g.now
		g.highest = max(g.highest, r.View)
	}
}

// cost does f, and counts until so many hosts, of those that run, hold a view of so many.
func (g *grower) cost(size int, f func()) Cost {
	began, before, views := g.now, *g.bill, g.highest
	for f(); g.err == nil && !g.agree(size); g.runUntil(g.now + time.Millisecond) {
		if g.now-began > time.Minute || g.judge.failure != "" {
			g.err = fmt.Errorf("%d hosts, %v after a change: no view of %d everywhere; %s", len(g.hosts), g.now-began, size, g.judge.failure)
		}
	}
	return Cost{Took: max(0, g.changed-began), Views: int(g.highest - views), All: g.bill.all.less(before.all),
		Leader: g.bill.leader.less(before.leader), Beats: g.bill.beats.less(before.beats)}
}

func (g *grower) agree(size int) bool {
	n := 0
	for i, m := range g.hosts {
		if m.process != nil && g.sizes[i] == size {
			n++
		}
	}
	return n == size
}

// part blocks all ways between the hosts from, …, to-1, counted from 0, and the others; or,
// by -1, unblocks them.
func (g *grower) part(from, to, by int) {
	for i, a := range g.hosts {
		for j := range g.hosts {
			if (i >= from && i < to) != (j >= from && j < to) {
				a.cuts[j] += by
				a.blocked[j] = g.now
			}
		}
	}
}
