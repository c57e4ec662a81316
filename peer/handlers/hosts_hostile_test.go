package handlers_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// pick returns one of these.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// anyID is mostly an id of a group of six, and sometimes none.
func anyID(r *rand.Rand) types.ID {
	return pick[types.ID](r, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 0, 4096)
}

// anyFile is a hosts file that has this host, as others have it or not.
func anyFile(r *rand.Rand) []types.Host {
	file := types.Numbered(pick(r, 3, 5, 6, 6, 7, 8, 9, 20))
	for i := range file {
		switch i := max(i, 3); r.IntN(12) {
		case 0:
			file[min(i, len(file)-1)].Retired = len(file) > 3
		case 1:
			file[min(i, len(file)-1)].Name += pick(r, ".", "x")
		}
	}
	return file
}

func anyChange(r *rand.Rand) types.Change {
	return pick(r, types.Change{}, types.Change{Operation: types.Pending}, add(anyID(r)), del(anyID(r), types.Left), del(anyID(r), types.Unreachable),
		grow(anyID(r)), grow(7), grow(8), retire(anyID(r)), types.Change{Operation: types.Grow, Member: types.Member{ID: 7}, Name: "other"})
}

// anyView is one that a message can hold, of a list that the peer may know or not.
func anyView(r *rand.Rand, number int64) *types.View {
	list := anyFile(r)
	v := types.View{Group: types.Group{Made: 10, Maker: 1}, Number: number, Last: make([]types.Past, len(list)), Digest: types.Digest(list)}
	if r.IntN(8) == 0 {
		v.Last = append(v.Last, make([]types.Past, 4096-len(list))...)
	}
	v.Group = pick(r, v.Group, v.Group, types.Group{Made: 9, Maker: anyID(r)})
	for i := range v.Last[:len(list)] {
		v.Last[i].Incarnation = types.Incarnation(10 * (i + 1))
		if v.Last[i].Cause = pick(r, 0, 0, types.Left, types.Retired); i == 0 || v.Last[i].Cause == types.Present {
			v.Last[i].Cause = types.Present
			v.Members = append(v.Members, types.ID(i+1))
		}
	}
	v.Leader = pick(r, v.Members...)
	return &v
}

// hostile is any message that can be decoded, and more.
func (p *peer) hostile(r *rand.Rand) msg {
	list := anyFile(r)
	n := r.IntN(len(list)) + 1
	m := msg{Kind: types.Kind(r.IntN(int(types.LastKind) + 2)), From: anyID(r), Number: pick[int64](r, 0, 5, 5, 5, 6, 7, math.MaxInt64),
		Lines: pick(r, n, n, n, 0, -1, 4096, math.MaxInt), Full: pick(r, len(list), len(list), n, 0, -1, 4096), Digest: types.Digest(list[:n]),
		Request: pick(r, uint64(epoch+p.at), uint64(r.IntN(20)), 1<<40+uint64(r.IntN(20)), math.MaxUint64), Term: types.Term{Counter: uint64(r.IntN(4)), Peer: anyID(r)},
		Reason: types.Reason(r.IntN(int(types.IsRetired) + 2)), Change: anyChange(r), Made: anyChange(r), Accepted: types.Term{Counter: uint64(r.IntN(4)), Peer: anyID(r)},
		First: pick(r, anyID(r), -1), File: pick(r, types.FileDigest(list), types.FileDigest(types.Numbered(7)), types.FileDigest(types.Numbered(6))),
		Unreachable: []types.ID{max(1, anyID(r)), 4096}, Standing: types.Standing(r.IntN(int(types.Returned) + 1)),
		Leads: r.IntN(3) == 0, HasLeader: r.IntN(3) == 0, PreVote: r.IntN(4) == 0, Unanswered: r.IntN(4) == 0, Ceased: r.IntN(8) == 0, Monitor: p.Monitor}
	m.Incarnation = pick(r, 10*types.Incarnation(m.From), 10*types.Incarnation(m.From), types.Incarnation(r.IntN(100)))
	m.For = pick(r, p.Incarnation(), p.Incarnation(), p.Incarnation(), 0)
	m.Group = pick(r, types.Group{Made: 10, Maker: 1}, types.Group{Made: 10, Maker: 1}, types.Group{}, types.Group{Made: 9, Maker: anyID(r)})
	if r.IntN(2) == 0 {
		m.Term.Peer = m.From
	}
	if m.Kind == types.NewView || m.Kind == types.Req && r.IntN(3) == 0 {
		if r.IntN(3) > 0 {
			m.View = anyView(r, m.Number)
			m.Group = m.View.Group
		}
	}
	if m.Kind == types.Hosts && r.IntN(3) > 0 {
		m.Listed = list[n-1:]
	}
	return m
}

// hostage is a peer that hears much that no peer would say.
func hostage(t *testing.T, kind string) *peer {
	v, c := viewOf(1, 1, 2, 3), conf{ID: 3}
	switch kind {
	case "fresh, and stores":
		c.Stored = &types.Stored{}
		return fresh(t, c)
	case "member":
		return member(t, c, v)
	case "member, and stores":
		return storing(t, c, v)
	case "leader":
		return leader(t, conf{Listed: types.Numbered(8)}, v)
	case "candidate":
		return candidate(t, conf{}, v)
	case "returned":
		return restarted(t, conf{ID: 3}, storing(t, c, v))
	}
	return fresh(t, c)
}

// Whatever a peer hears, reads and is told, it does not crash, and lists no more hosts than there can be.
func TestRule10NeverPanics(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"fresh", "fresh, and stores", "member", "member, and stores", "leader", "candidate", "returned"} {
		for seed := range uint64(30) {
			r, p, said := rand.New(rand.NewPCG(seed, 10)), hostage(t, kind), []string{}
			tell := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
			func() {
				defer func() {
					if e := recover(); e != nil {
						t.Errorf("%s, seed %d: %v, after %v", kind, seed, e, said[max(0, len(said)-3):])
						panic(e)
					}
				}()
				for range 300 {
					p.torture(r, tell)
				}
			}()
			if l := p.Status().Listing.Hosts; len(l) > types.MaxHosts || len(l) < 3 {
				t.Errorf("%s, seed %d: it lists %d hosts", kind, seed, len(l))
			}
		}
	}
}

// torture is one step of a hostage.
func (p *peer) torture(r *rand.Rand, tell func(string, ...any)) {
	switch r.IntN(20) {
	case 0:
		file := anyFile(r)
		tell("file %v", file)
		p.reread(file)
	case 1, 2:
		p.at += time.Duration(r.IntN(3000)) * ms
		tell("tick")
		p.do(p.Tick)
	case 3:
		m := p.hostile(r)
		tell("stranger %+v", m)
		p.Stranger(&m)
	case 4:
		id := anyID(r)
		tell("undialed %d", id)
		p.undialed(id, types.Refusal)
	case 5:
		p.stored()
	default:
		m := p.hostile(r)
		remote := m.From
		if r.IntN(10) == 0 {
			remote = anyID(r)
		}
		tell("%d: %+v", remote, m)
		p.do(func(now handlers.Instant) *handlers.Output { return p.Message(now, remote, &m) })
	}
	p.Status()
}
