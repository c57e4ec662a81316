package simulation

import (
	"fmt"
	"testing"
	"time"

	"memberly/peer/types"
)

// What all processes of a group compute, the simulated network included, for one change and
// its undoing: the last host ends and starts again, or leaves and starts again.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{5, 50, 200} {
		g := formed(b, n)
		for _, c := range []struct {
			what string
			do   func(p *process)
		}{
			{"removal and join", g.end},
			{"leave and join", func(p *process) { g.inject(fault{Kind: Leave, A: p.id}) }},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.what, n), func(b *testing.B) {
				for b.Loop() {
					g.await(b, n-1, func() { c.do(g.hosts[n-1].process) })
					g.await(b, n, func() { g.start(g.hosts[n-1]) })
				}
			})
		}
		b.Run(fmt.Sprintf("heartbeat/%d", n), func(b *testing.B) { // one step of the leader
			b.ReportAllocs()
			p, m := g.hosts[0].process, g.hosts[1].process
			beat := types.Message{Kind: types.Heartbeat, From: 2, Incarnation: m.handler.Incarnation(), Group: m.view.Group,
				Number: m.handler.View().Number, Term: types.Term{Counter: 1, Peer: 1}}
			for b.Loop() {
				p.handler.Message(p.instant(g.now), 2, &beat)
			}
		})
	}
}

// formed returns a group of n hosts.
func formed(b *testing.B, n int) *grower {
	p := Plan{Seed: 1, Hosts: n, Quiet: 1000 * time.Hour, Starts: make([]time.Duration, n),
		Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 200 * time.Microsecond}}
	g := &grower{world: newWorld(p, nil), sizes: make([]int, n)}
	g.recorded = g.note
	g.await(b, n, func() {})
	return g
}

func (g *grower) await(b *testing.B, size int, f func()) {
	b.Helper()
	f()
	for !g.agree(size) {
		if g.runUntil(g.now + time.Millisecond); g.judge.failure != "" {
			b.Fatal(g.judge.failure)
		}
	}
}
