package handlers

import (
	"slices"
	"time"

	"memberly/peer/types"
)

// role is what a peer is at a moment (docs/protocol.md, section 2 and rules 2 and 5).
type role uint8

const (
	roleUnstarted role = iota // before Start
	roleFresh                 // holds no view, and asks to join
	roleOut                   // was expelled; stays so until the process ends
	roleFollower              // a member that neither leads nor asks to
	roleCandidate             // a member whose NEWLEADER waits for a quorum
	roleLeader                // a member with a term to lead under; leads reports whether it does at this moment
	roleDeparting             // a leader that has removed itself, whose NEWVIEW waits for a quorum of the next view
)

func (r role) String() string {
	return [...]string{"unstarted", "fresh", "out", "follower", "candidate", "leader", "departing"}[r]
}

// standing is what other peers are told of r.
func (r role) standing() types.Standing {
	return [...]types.Standing{0, types.Fresh, types.Out, types.Joined, types.Joined, types.Joined, types.Joined}[r]
}

// successors lists the roles that may follow each role. No other transition exists.
var successors = [...][]role{
	roleUnstarted: {roleFresh},
	roleFresh:     {roleFresh, roleFollower, roleLeader}, // a fresh peer that makes a group leads it
	roleOut:       {},
	roleFollower:  {roleFresh, roleOut, roleFollower, roleCandidate},
	roleCandidate: {roleFresh, roleOut, roleFollower, roleCandidate, roleLeader},
	roleLeader:    {roleFresh, roleOut, roleFollower, roleCandidate, roleDeparting},
	roleDeparting: {roleFresh},
}

// position is a peer's role, and what it has in that role alone. Only enter sets it.
type position struct {
	role      role
	candidacy *round      // of a candidate: its NEWLEADER
	leading   *leadership // of a leader, and of a departing one
	departure *round      // of a departing leader: its NEWVIEW
}

// joined reports whether the peer is a member: it holds a view.
func (p *position) joined() bool { return p.role.standing() == types.Joined }

// enter moves the peer to p. It panics if the role of p is no successor of the present one: that is an error of
// the caller. What others owe this peer is forgotten when it begins or ceases to lead.
func (h *Handler) enter(p position) {
	if !slices.Contains(successors[h.role], p.role) {
		panic("handlers: the role " + p.role.String() + " cannot follow the role " + h.role.String())
	}
	if h.leading != p.leading {
		h.forgive()
		if h.leading != nil {
			h.ceased, h.ceasedAt = h.leading.term, h.now.Run
			if p.role == roleFollower {
				h.nextHeartbeat = h.now.Run + h.paced(ceasePause) // it says so
			}
		}
	}
	h.position = p
}

// becomeFresh forgets everything but the hosts, and begins a new incarnation.
func (h *Handler) becomeFresh() {
	h.enter(position{role: roleFresh})
	h.topCounter = max(h.topCounter, h.counter)
	h.renew(h.view.Past(h.ID).Incarnation)
	h.view = types.View{}
	h.acceptor = acceptor{}
	h.supported, h.ceased = supported{}, types.Term{}
	h.following, h.followed, h.counter, h.reportedByLeader = 0, types.Term{}, 0, nil
	h.election, h.reform = noElection(), reforming{}
	h.fresh = freshness{since: h.now.Run, waits: h.now.Run, most: never, named: never, hinted: never, asked: never}
	h.waited = never
	h.forgetView()
	h.due(h.now.Run)
}

// becomeOut gives up the view for good: the group has expelled this peer.
func (h *Handler) becomeOut() {
	h.enter(position{role: roleOut})
	h.view = types.View{}
}

// becomeFollower gives up leading and candidacy, or is the first step of a new member.
func (h *Handler) becomeFollower() { h.enter(position{role: roleFollower}) }

// becomeCandidate asks for a term with r, a NEWLEADER (rule 5). It gives up an earlier term or candidacy.
func (h *Handler) becomeCandidate(r *round) { h.enter(position{role: roleCandidate, candidacy: r}) }

// becomeLeader takes a term that a quorum of the view has granted, or that is the first of a new group.
// It proposes settle, the pending operation that it has learned of, first (rule 1).
// It asked for the term at since; by answers the hosts that granted it, and is nil in a new group.
func (h *Handler) becomeLeader(term types.Term, settle types.Accepted, since time.Duration, granted []bool) {
	x := newExtent(len(h.hosts), max(since, h.resumed))
	for i := range granted {
		if granted[i] && since >= x.since {
			x.answered[i] = since + h.stood
		}
	}
	h.enter(position{role: roleLeader,
		leading: &leadership{term: term, preparation: preparation{ready: true, settle: settle}, extent: x}})
	h.leading.extent.tenure = h.elapsed() + h.Monitor
	h.extend()
	h.following, h.followed = h.ID, term
	h.reportedByLeader = h.reportedByLeader[:0]
}

// becomeDeparting ends the lead of a leader whose own removal was chosen (rule 2); r is the NEWVIEW without it.
func (h *Handler) becomeDeparting(r *round) {
	h.enter(position{role: roleDeparting, leading: h.leading, departure: r})
}
