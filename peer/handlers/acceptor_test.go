package handlers

import (
	"testing"

	"memberly/peer/types"
)

// Rule 1: a member answers nothing under a term below its promise, and keeps its acceptance until the view moves.
func TestAcceptor(t *testing.T) {
	t.Parallel()
	low, high := types.Term{Counter: 1, Peer: 2}, types.Term{Counter: 2, Peer: 1}
	c := types.Change{Operation: types.Add, Member: types.Member{ID: 3, Incarnation: 30}}
	var a acceptor
	if !a.obeys(low) || !a.promise(low) || a.promise(low) {
		t.Error("a promise is new once")
	}
	if !a.promise(high) || a.obeys(low) || !a.obeys(high) {
		t.Error("it obeys the highest term that it has promised, and none below")
	}
	a.accept(high, c, 5)
	a.accept(types.Term{Counter: 3, Peer: 1}, c, 7)
	if want := (types.Accepted{Term: types.Term{Counter: 3, Peer: 1}, Change: c}); a.accepted != want || a.acceptedAt != 5 {
		t.Errorf("it has accepted %+v at %v", a.accepted, a.acceptedAt)
	}
	if a.moved(); a.accepted != (types.Accepted{}) || a.promised != high {
		t.Errorf("in the next view it has accepted %+v and promised %v", a.accepted, a.promised)
	}
}

// Rule 1: of what was answered, a leader settles what came in the highest term; what it learns once it is
// prepared says nothing, nor what was answered about the view before.
func TestPreparation(t *testing.T) {
	t.Parallel()
	in := func(counter uint64, id types.ID) types.Accepted {
		return types.Accepted{Term: types.Term{Counter: counter, Peer: 1}, Change: types.Change{Operation: types.Add, Member: types.Member{ID: id, Incarnation: 1}}}
	}
	var p preparation
	for _, a := range []types.Accepted{{}, in(2, 4), in(1, 5), in(3, 6), in(2, 7)} {
		p.learn(a)
	}
	if p.settle != in(3, 6) {
		t.Errorf("it is to settle %+v", p.settle)
	}
	p.ready = true
	if p.learn(in(9, 8)); p.settle != in(3, 6) {
		t.Errorf("prepared, it is to settle %+v", p.settle)
	}
	if p.settled(); p.settle != (types.Accepted{}) || !p.ready {
		t.Errorf("it has settled, and is %+v", p)
	}
	p.settle = in(3, 6)
	if p.moved(); p != (preparation{}) {
		t.Errorf("in the next view it is %+v", p)
	}
}

// Rule 2: answers count once each, of members alone, and make the quorum once.
func TestVotes(t *testing.T) {
	t.Parallel()
	_, v := watched(4) // led by 1
	w := v.With(types.Change{Operation: types.Del, Member: types.Member{ID: 4, Incarnation: 4}, Cause: types.Left})
	for _, tt := range []struct {
		name   string
		view   types.View
		ids    []types.ID
		quorum int // the answer that makes it, from 1; 0 for none
	}{
		{"half with the leader", v, []types.ID{3, 1, 2, 4}, 2},
		{"half without it", v, []types.ID{3, 2}, 0},
		{"more than half", v, []types.ID{3, 2, 4, 1}, 3},
		{"one of them twice", w, []types.ID{2, 2, 2}, 0},
		{"one that is no member", w, []types.ID{4, 2, 3}, 3},
	} {
		var votes votes
		for i, id := range tt.ids {
			if got := votes.add(&tt.view, id); got != (i+1 == tt.quorum) {
				t.Errorf("%s: the answer %d of %d makes a quorum is %v", tt.name, i+1, id, got)
			}
		}
		if votes.done != (tt.quorum > 0) {
			t.Errorf("%s: done is %v", tt.name, votes.done)
		}
	}
}
