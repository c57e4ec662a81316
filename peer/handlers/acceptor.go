package handlers

import (
	"time"

	"memberly/peer/types"
)

// This page is rule 1 (docs/protocol.md): how a member votes on the change that makes the next view, and
// what a leader must know before it proposes one. It is Paxos, once for each view: the members of view k
// are the acceptors of view k+1, and a term is a ballot. It knows neither messages nor time.

// acceptor is a member's vote. A peer that becomes fresh begins with a zero one: as a member, it is
// another incarnation then.
type acceptor struct {
	promised   types.Term     // it answers nothing under a lower term; through all views of a group
	accepted   types.Accepted // for the view after the present one: the pending operation
	acceptedAt time.Duration  // when it was; for Event alone
}

// obeys reports whether a request under term t may be answered.
func (a *acceptor) obeys(t types.Term) bool { return !t.Below(a.promised) }

// promise promises t, which it obeys, and reports whether that is another term than before.
func (a *acceptor) promise(t types.Term) (changed bool) {
	changed = a.promised != t
	a.promised = t
	return changed
}

// accept accepts c under term t, which it obeys.
func (a *acceptor) accept(t types.Term, c types.Change, now time.Duration) {
	if a.accepted.Change != c {
		a.acceptedAt = now
	}
	a.accepted = types.Accepted{Term: t, Change: c}
}

// moved is called when there is a new view: what was accepted was for it, or is lost.
func (a *acceptor) moved() { a.accepted = types.Accepted{} }

// votes are the answers to one request, of which a quorum of a view is needed.
type votes struct {
	answered []bool // by ID-1; nil before the first
	count    int    // of members of the view that answered, this peer included
	leader   bool   // the view's leader is among them
	done     bool   // a quorum answered
}

// add counts the answer of id if it is a member of view and the first, and reports whether it makes the quorum.
func (v *votes) add(view *types.View, id types.ID) (quorum bool) {
	if v.answered == nil {
		v.answered = make([]bool, len(view.Last))
	}
	if !view.Has(id) || v.has(id) {
		return false
	}
	v.answered = append(v.answered, make([]bool, max(0, int(id)-len(v.answered)))...)
	v.answered[id-1] = true
	v.count++
	v.leader = v.leader || id == view.Leader
	quorum = !v.done && view.Enough(v.count, v.leader)
	v.done = v.done || quorum
	return quorum
}

// has reports whether id has answered.
func (v *votes) has(id types.ID) bool { return int(id) <= len(v.answered) && v.answered[id-1] }

// preparation is what a leader has learned of the votes on the next view. It proposes nothing before it
// is ready, and then what it has to settle first.
type preparation struct {
	ready  bool           // a quorum of this very view has answered in its term
	settle types.Accepted // of what those that answered have accepted, that of the highest term
}

// learn takes in what a member, or the leader itself, has accepted.
func (p *preparation) learn(a types.Accepted) {
	if !p.ready && p.settle.Term.Below(a.Term) {
		p.settle = a
	}
}

// settled is called when the leader proposes what it had to settle.
func (p *preparation) settled() { p.settle = types.Accepted{} }

// moved is called when there is a new view: what the members of the one before have answered says nothing
// about it. Quorums of neighbouring views need not meet.
func (p *preparation) moved() { p.ready, p.settle = false, types.Accepted{} }
