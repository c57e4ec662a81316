package handlers

import (
	"slices"
	"time"

	"memberly/peer/types"
)

// Status is what a peer knows of itself and its group after a step, for those who look on. It
// is never modified once made, and the protocol never reads it.
type Status struct {
	At          Instant // of the last step
	ID          types.ID
	Standing    types.Standing
	Incarnation types.Incarnation
	View        types.View   // zero unless Joined
	Reachable   int          // how many members it reaches, itself counted
	Quorate     bool         // they are a quorum
	Follows     types.ID     // the leader that it last followed; 0 for none
	Leads       bool         // this peer leads (rule 5)
	Wire        uint8        // the wire version of the group; 0 unless Joined
	Lease       Lease        // that it has
	Halt        Halt         // why the group cannot go on; Going if it can
	Awaited     []types.ID   // the hosts that it waits for then
	Spare       Spare        // zero too if it is leaving
	Hosts       []HostStatus // by ID-1
	Listing     Listing
	Stores      bool          // the peer has a state file (rule 9), and
	Stored      int64         // this is the number of the view in it; 0 for none
	Storing     time.Duration // how long the disk has stored nothing of what it was asked to; 0 if nothing waits for it
	Tally       Tally
}

// HostStatus is what a peer knows of one host.
type HostStatus struct {
	State      State
	Speaks     uint8         // the wire version that it speaks; 0 if it has not said
	Heard      time.Duration // how long ago it was heard; Never if it was not
	Reported   bool          // this incarnation has reported NotHearing
	NotHearing []types.ID    // the members that it does not hear, MaxNamed of them at most
}

// Never is how long ago something was that was not yet.
const Never = time.Duration(-1)

// MaxNamed bounds how many hosts a heartbeat names, so that heartbeats stay small when half
// of a large group is gone.
const MaxNamed = 32

// State is what a host is to a peer.
type State uint8

// The states of a host. All but Apart are a member's.
const (
	Apart      State = iota // no member of the view
	Self                    // the peer itself
	Present                 // heard within a heartbeat and a little
	Silent                  // not heard for longer: it is asked whether it is there
	Unanswered              // heard, but it leaves its leader's requests unanswered
	Gone                    // unreachable
)

func (s State) String() string {
	return [...]string{"apart", "self", "present", "silent", "unanswering", "unreachable"}[s]
}

// Halt is the reason why a peer's group cannot make progress.
type Halt uint8

// The halts. Awaited are the hosts that it takes to end each.
const (
	Going      Halt = iota // it can
	NoGroup                // it holds no view, and no group lets it in; Awaited did not answer
	Unfounded              // it holds no view, and would make a group if Awaited were accounted for
	Banned                 // it was expelled
	NoQuorum               // the members that it reaches are no quorum; Awaited are the others
	NoAnswers              // it leads, but too few have answered; Awaited have not
	NoGrants               // it asks to lead; Awaited have not granted it
	NoLeader               // no member leads; Awaited is next to stand for election
	LeavesView             // it is leaving
	NoNames                // it holds no view, and the name service knows none of the other hosts: Awaited
	Returning              // it holds no view, but has one stored, with which it goes on if nobody leads; Awaited, of that view, were not heard
	NoVotes                // it holds no view, and would make a group if a majority of the hosts answered; Awaited did not
	NoMaker                // it holds no view, and Awaited was chosen to make the group
	NoDisk                 // what it has to say waits for its own disk
	NotStoring             // somebody leads, but the vote of this peer waits for its own disk
	JoinsOnly              // it holds no view, is not to make a group, and no group lets it in; Awaited did not answer
)

func (h Halt) String() string {
	return [...]string{"going", "no group", "unfounded", "expelled", "no quorum", "no answers",
		"no grants", "no leader", "leaving", "no names", "returning", "no votes", "no maker", "no disk", "not storing", "joins only"}[h]
}

// Spare is how many members could fail now, all at once, with the group still making progress.
type Spare struct {
	Any          int // reachable members that may fail, whichever they are
	ExceptLeader int // that may fail if the view's leader is not among them; at least Any
}

// Status returns what the peer knows after its last step. It changes nothing.
func (h *Handler) Status() *Status {
	s := &Status{At: h.moment(), ID: h.ID, Standing: h.Standing(), Incarnation: h.incarnation, View: h.view,
		Quorate: h.joined() && h.quorate, Follows: h.following, Leads: h.leads(), Lease: h.lease(),
		Hosts: make([]HostStatus, len(h.hosts)), Tally: h.totals,
		Stores: h.stores(), Stored: h.storing.view}
	s.Tally.Stood = h.stood
	if h.storing.saved != h.storing.newest.Number {
		s.Storing = h.since(h.storing.waits)
	}
	for i := range h.hosts {
		s.Hosts[i] = h.hostStatus(types.ID(i + 1))
		if s.Standing == types.Joined && h.reaches(types.ID(i+1)) {
			s.Reachable++
		}
	}
	if s.Standing == types.Joined {
		s.Wire = h.wire()
	}
	s.Listing = h.listingStatus()
	s.Listing.Hosts = slices.Clone(h.listing.hosts)
	s.Spare = h.spare(s.Reachable)
	s.Halt, s.Awaited = h.halt()
	return s
}

func (h *Handler) hostStatus(id types.ID) HostStatus {
	p := &h.hosts[id-1]
	s := HostStatus{Heard: h.ago(p.lastContact), Speaks: h.speaksOf(id)}
	switch {
	case id == h.ID:
		return HostStatus{State: Self, Speaks: types.Version, Reported: h.joined(), NotHearing: h.unreachable()}
	case !h.view.Has(id):
		return s
	case p.gone && h.since(max(p.heard, p.spoke)) < h.patience() && !p.dead:
		s.State = Unanswered
	case p.gone:
		s.State = Gone
	case h.since(p.heard) >= h.patience():
		s.State = Silent
	default:
		s.State = Present
	}
	s.Heard, s.Reported, s.NotHearing = h.ago(p.heard), p.hasReported, p.notHearing
	return s
}

// ago returns how long ago t was.
func (h *Handler) ago(t time.Duration) time.Duration {
	if t == never {
		return Never
	}
	return max(0, h.since(t))
}

// spare counts how many of the reachable members the group could lose.
func (h *Handler) spare(reachable int) Spare {
	n, leader := len(h.view.Members), h.reaches(h.view.Leader)
	if !h.quorate || n == 0 || h.leaves() {
		return Spare{}
	}
	if h.waitsForDisk() { // its own vote is missing already
		reachable, leader = reachable-1, leader && h.view.Leader != h.ID
	}
	most := max(0, reachable-(n/2+1))
	if n%2 == 0 && leader {
		return Spare{Any: most, ExceptLeader: max(most, reachable-n/2)}
	}
	return Spare{Any: most, ExceptLeader: most}
}

// halt returns why the group cannot make progress, and the hosts that it waits for.
func (h *Handler) halt() (Halt, []types.ID) {
	switch {
	case h.handsOver():
		return NoQuorum, h.silentIn(h.departure)
	case h.leaves():
		return LeavesView, nil
	case h.role == roleOut:
		return Banned, nil
	case h.role == roleFresh:
		return h.haltFresh()
	case !h.quorate:
		return NoQuorum, h.unreachable()
	case (h.leads() || h.hasLeader()) && h.waitsForDisk():
		return NotStoring, nil
	case h.leads() || h.hasLeader():
		return Going, nil
	case h.role == roleCandidate:
		return h.haltRound(NoGrants, h.candidacy)
	case h.role == roleLeader:
		return h.haltRound(NoAnswers, h.leading.round)
	case h.holdsGood(h.election.grant):
		return NoLeader, []types.ID{h.election.grant.peer}
	}
	return NoLeader, []types.ID{h.firstReachable()}
}

// haltFresh is halt for a peer that asks to join.
func (h *Handler) haltFresh() (Halt, []types.ID) {
	switch {
	case h.waitsForDisk():
		return NoDisk, nil
	case h.fresh.leaderHint != 0:
		return NoGroup, []types.ID{h.fresh.leaderHint}
	case h.returned() || h.storing.admitted != 0:
		return Returning, slices.DeleteFunc(slices.Clone(h.storing.former.View.Members), func(id types.ID) bool {
			return id == h.ID || h.hosts[id-1].lastContact >= h.fresh.since
		})
	case h.nameless():
		return NoNames, h.unaccounted(h.foundingEvidence)
	case h.JoinOnly:
		return JoinsOnly, h.unheard()
	case h.stores() && h.storing.group == types.Group{}:
		return h.haltFounding()
	case h.stores():
		return NoGroup, h.unheard()
	case h.mayFound():
		return Unfounded, h.unaccounted(h.foundingEvidence)
	}
	return NoGroup, h.unaccounted(h.foundingEvidence)
}

// haltFounding is halt for a peer that stores and knows of no group.
func (h *Handler) haltFounding() (Halt, []types.ID) {
	f := &h.storing.founding
	switch {
	case f.done:
		return NoMaker, []types.ID{f.vote.accepted.Change.Member.ID}
	case f.bid != nil:
		return NoVotes, slices.DeleteFunc(h.silentIn(f.bid), h.isAway) // who has no say
	}
	return NoVotes, h.unheard()
}

// unheard lists the other hosts that have not answered a fresh peer, which asks each in turn.
func (h *Handler) unheard() (silent []types.ID) {
	since := max(h.fresh.since, h.now.Run-max(h.Monitor, 2*h.retry()*time.Duration(len(h.hosts))))
	for i := range h.hosts {
		if id := types.ID(i + 1); id != h.ID && !h.isAway(id) && h.hosts[i].lastContact < since {
			silent = append(silent, id)
		}
	}
	return silent
}

// haltRound is halt for a peer whose round has too few answers.
func (h *Handler) haltRound(why Halt, r *round) (Halt, []types.ID) {
	if r == nil { // of a leader whose tenure has just ended, within a step
		return why, nil
	}
	if r.unstored && h.waitsForDisk() {
		return NoDisk, nil
	}
	return why, h.silentIn(r)
}

// waitsForDisk reports whether the disk has not stored for long what it was asked to.
func (h *Handler) waitsForDisk() bool {
	return h.storing.saved != h.storing.newest.Number && h.since(h.storing.waits) >= h.scaled(noticeAfter)
}

// leaves reports whether the peer is on its way out: what becomes of the group is not its to say.
func (h *Handler) leaves() bool { return h.leaving != never || h.role == roleDeparting }

// handsOver reports whether the peer, which stores, has removed itself as the leader, and stays until the members of the
// next view know of it: nobody else may.
func (h *Handler) handsOver() bool {
	return h.role == roleDeparting && h.leaving == never && h.stores()
}

// silentIn lists who has not answered a round.
func (h *Handler) silentIn(r *round) []types.ID {
	return slices.DeleteFunc(slices.Clone(r.to), func(id types.ID) bool { return r.has(id) })
}

// firstReachable returns the reachable member whose turn it is to stand.
func (h *Handler) firstReachable() types.ID {
	first := h.ID
	for _, id := range h.view.Members {
		if h.reaches(id) && h.precedes(id, first) {
			first = id
		}
	}
	return first
}
