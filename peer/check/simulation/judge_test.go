package simulation

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// five is view 7 of a group of five, led by host 1; host i has incarnation 10·i.
func five() *types.View {
	v := &types.View{Group: types.Group{Made: 10, Maker: 1}, Number: 7, Leader: 1, Members: []types.ID{1, 2, 3, 4, 5}, Last: make([]types.Past, 6)}
	for _, id := range v.Members {
		v.Last[id-1].Incarnation = 10 * types.Incarnation(id)
	}
	return v
}

func change(op types.Operation, id types.ID, cause types.Cause) types.Change {
	return types.Change{Operation: op, Member: types.Member{ID: id, Incarnation: 10 * types.Incarnation(id)}, Cause: cause}
}

// vote is a message of a ballot for the view after five: a REQ if the term is the sender's own,
// else an answer that says what it has accepted.
func vote(from types.ID, counter uint64, leader types.ID, c types.Change) *types.Message {
	m := &types.Message{Kind: types.PendingResponse, From: from, Incarnation: 10 * types.Incarnation(from), Group: five().Group, Number: 7,
		Accepted: types.Term{Counter: counter, Peer: leader}, Change: c}
	if from == leader {
		m.Kind, m.Term, m.Accepted = types.Req, m.Accepted, types.Term{}
	}
	return m
}

// The judge finds every breach of what was chosen.
func TestJudgeKnowsWhatIsChosen(t *testing.T) {
	add, del := change(types.Add, 6, types.Present), change(types.Del, 1, types.Unreachable)
	stranger := vote(3, 1, 1, add)
	stranger.Incarnation = 31
	for _, c := range []struct {
		name  string
		votes []*types.Message
		next  types.Change // what makes the view that is installed then, if any
		want  string
	}{
		{"a change is chosen, and installed", []*types.Message{vote(1, 1, 1, add), vote(2, 1, 1, add), vote(3, 1, 1, add)}, add, ""},
		{"another is installed", []*types.Message{vote(1, 1, 1, add), vote(2, 1, 1, add), vote(3, 1, 1, add)}, del, "but {ADD"},
		{"two of five do not choose", []*types.Message{vote(1, 1, 1, add), vote(2, 1, 1, add)}, del, ""},
		{"nor with another incarnation", []*types.Message{vote(1, 1, 1, add), vote(2, 1, 1, add), stranger}, del, ""},
		{"nor in two terms", []*types.Message{vote(1, 1, 1, add), vote(2, 1, 1, add), vote(3, 2, 2, add)}, del, ""},
		{"a later leader proposes the same", []*types.Message{vote(1, 1, 1, add), vote(2, 1, 1, add), vote(4, 1, 1, add), vote(2, 2, 2, add)}, add, ""},
		{"a later leader proposes another", []*types.Message{vote(1, 1, 1, add), vote(2, 1, 1, add), vote(4, 1, 1, add), vote(2, 2, 2, del)}, types.Change{}, "was chosen in term"},
		{"it did so before", []*types.Message{vote(1, 1, 1, add), vote(2, 1, 1, add), vote(2, 2, 2, del), vote(4, 1, 1, add)}, types.Change{}, "has proposed"},
		{"two are chosen", []*types.Message{vote(1, 1, 1, add), vote(2, 1, 1, add), vote(4, 1, 1, add), vote(3, 2, 2, del), vote(4, 2, 2, del), vote(5, 2, 2, del)}, types.Change{}, "are chosen"},
		{"two in one term", []*types.Message{vote(1, 1, 1, add), vote(1, 1, 1, del)}, types.Change{}, "in one term"},
	} {
		j := newJudge(&world{})
		v := five()
		j.views[viewKey{v.Group, v.Number}], j.latest[v.Group] = v, v
		for _, m := range c.votes {
			j.voted(m)
		}
		if c.next.Operation != types.Nothing {
			next := v.With(c.next)
			j.follows(v, &next)
		}
		if c.want == "" && j.failure != "" || !strings.Contains(j.failure, c.want) {
			t.Errorf("%s: the judge says %q, want %q", c.name, j.failure, c.want)
		}
	}
}

// A member is excused that somebody may miss; where more than one is left, only one that somebody besides
// the proposer may, who was awake.
func TestWhoMayBeRemoved(t *testing.T) {
	for _, c := range []struct {
		name           string
		faults         []fault // one second ago, but for those with a time
		excuse, missed bool
	}{
		{"nothing is wrong", nil, false, false},
		{"its link to the proposer is bad", []fault{{Kind: linkBoth, A: 1, B: 5}}, true, false},
		{"the way to the proposer is slow", []fault{{Kind: slow, A: 5, B: 1, Delay: 5 * time.Second}}, true, false},
		{"its link to another is bad", []fault{{Kind: link, A: 5, B: 2}}, true, true},
		{"that one's process has just ended", []fault{{Kind: link, A: 5, B: 2}, {Kind: Crash, A: 2}}, true, true},
		{"that one was frozen long before", []fault{{At: 10 * time.Second, Kind: freeze, A: 2}, {At: 19 * time.Second, Kind: link, A: 5, B: 2}}, true, false},
		{"its process is frozen", []fault{{Kind: freeze, A: 5}}, true, true},
		{"its process does not run", []fault{{Kind: Crash, A: 5}}, true, true},
	} {
		p := three()
		p.Hosts, p.Starts = 5, seconds(0, 0.1, 0.2, 0.3, 0.4)
		for _, f := range c.faults {
			f.At, f.For = cmp.Or(f.At, 19*time.Second), time.Minute
			p.Faults = append(p.Faults, f)
		}
		w := newWorld(p, nil)
		w.runUntil(9 * time.Second)
		v := w.host(1).process.handler.View()
		w.runUntil(20 * time.Second)
		m := types.Member{ID: 5, Incarnation: v.Incarnation(5)}
		if got := w.judge.excuse(m, &v); (got != "") != c.excuse {
			t.Errorf("%s: the excuse is %q", c.name, got)
		}
		if got := w.judge.missed(m, &v, 1); (got != "") != c.missed {
			t.Errorf("%s: where more than one is left the excuse is %q", c.name, got)
		}
	}
}
