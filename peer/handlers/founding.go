package handlers

import (
	"slices"
	"time"

	"memberly/peer/types"
)

// evidence is the latest that a host let this peer know of itself (rule 7).
type evidence struct {
	asked       time.Duration // when it was asked for
	answered    bool          // STATE came, else outcome says why not
	outcome     types.Outcome
	standing    types.Standing
	incarnation types.Incarnation
	group       types.Group
	number      int64
	led         bool // it leads, or has a leader
}

// reforming is the first of two rounds of evidence that the view has lost its quorum for good.
type reforming struct {
	at    time.Duration // when it was complete; 0 for not yet
	found []evidence    // by ID-1, without when it was asked for
}

// onEvidence weighs a STATE, whose request is when it was asked for.
func (h *Handler) onEvidence(m *types.Message) {
	h.recordEvidence(m.From, evidence{asked: time.Duration(m.Request), answered: true, standing: m.Standing,
		incarnation: m.Incarnation, group: m.Group, number: m.Number, led: m.Leads || m.HasLeader})
}

// recordEvidence keeps the latest evidence of each host, and founds the group if that was missing.
func (h *Handler) recordEvidence(id types.ID, e evidence) {
	p := &h.hosts[id-1]
	if e.asked < p.evidence.asked || e.asked > h.now.Run {
		return
	}
	p.evidence = e
	if e.answered && p.showed < h.fresh.since {
		p.showed = h.now.Run
		if id < h.ID {
			h.fresh.waits = h.now.Run // the network came up just now: that one is to found
		}
	}
	if h.role == roleFresh && h.mayFound() {
		h.found()
	}
}

// counts reports whether e may still be used: it was asked for since then, and lately.
func (h *Handler) counts(e evidence, since time.Duration) bool {
	return (e.answered || e.outcome != 0) && e.asked >= since && h.since(e.asked) < h.Monitor
}

// foundingEvidence reports whether e accounts for a host in founding: the host holds no view. A refusal where the
// host once was does not: another machine may have the address by now, and the host may be in a group elsewhere.
func (h *Handler) foundingEvidence(_ types.ID, e evidence) bool {
	if !h.counts(e, h.fresh.since) {
		return false
	}
	if e.answered {
		return e.standing.Free()
	}
	return e.outcome == types.Refusal || e.outcome == types.NoName && e.asked >= h.fresh.naming && h.namesFound()
}

// namesFound reports whether the name service was seen to find another host lately: else that it
// knows none is its own fault.
func (h *Handler) namesFound() bool { return h.since(h.fresh.named) < h.Monitor }

// nameFound notes that the name service finds host id, unless the hosts file has its address. What it did
// not find before counts no more.
func (h *Handler) nameFound(id types.ID) {
	if h.listing.hosts[id-1].Addr.IsValid() {
		return
	}
	if !h.namesFound() {
		h.fresh.naming = h.now.Run
	}
	h.fresh.named = h.now.Run
}

// nameless reports whether the name service says that it knows none of the other hosts.
func (h *Handler) nameless() bool {
	for i := range h.hosts {
		e := h.hosts[i].evidence
		if id := types.ID(i + 1); id != h.ID && !h.isAway(id) && !(h.counts(e, h.fresh.since) && e.outcome == types.NoName) {
			return false
		}
	}
	return h.others() > 0
}

// reformingEvidence reports whether e accounts for a host when the view has lost its quorum.
func (h *Handler) reformingEvidence(id types.ID, e evidence) bool {
	if !h.counts(e, max(h.election.leaderless, h.inquorate, h.reform.at)) {
		return false
	}
	if e.answered {
		return e.standing.Free() || e.group == h.view.Group && !e.led && !h.outranks(id, e)
	}
	return h.ReformOnRefusal && e.outcome.Refused() && h.since(h.hosts[id-1].lastContact) >= h.Monitor
}

// outranks reports whether host id, not this peer, is the one to make the next group: it holds
// a later view, or this one with a lower id.
func (h *Handler) outranks(id types.ID, e evidence) bool {
	return e.number > h.view.Number || e.number == h.view.Number && id < h.ID &&
		h.view.Holds(types.Member{ID: id, Incarnation: e.incarnation})
}

// unaccounted lists the other hosts for which there is no such evidence.
func (h *Handler) unaccounted(accounts func(types.ID, evidence) bool) []types.ID {
	var ids []types.ID
	for i := range h.hosts {
		id, e := types.ID(i+1), h.hosts[i].evidence
		belongs := h.counts(e, h.fresh.since) && e.answered && !e.standing.Free() // it is marked, and in a group all the same
		if id != h.ID && !h.isRetired(id) && (!h.isMarked(id) || belongs) && !accounts(id, e) {
			ids = append(ids, id)
		}
	}
	return ids
}

// inquire asks every host of which there is no evidence since then that is younger than age.
func (h *Handler) inquire(since, age time.Duration) {
	for i := range h.hosts {
		p, id := &h.hosts[i], types.ID(i+1)
		stale := !h.counts(p.evidence, since) || h.since(p.evidence.asked) >= age
		if id != h.ID && !h.isRetired(id) && stale && (h.since(p.probed) >= age || p.probed < since) {
			h.ask(id)
		}
	}
}

// waitToFound is how long this peer lets those before it in the file found the group.
func (h *Handler) waitToFound() time.Duration {
	return time.Duration(h.before()) * h.scaled(foundingTurn)
}

// mayFound reports whether it is nearly this peer's turn to found: it gathers evidence.
func (h *Handler) mayFound() bool {
	return !h.stores() && !h.JoinOnly && h.isFoundersTurn() && !h.shutOut()
}

// isFoundersTurn reports whether the hosts before this one have had the time to found a group.
func (h *Handler) isFoundersTurn() bool {
	return h.since(h.fresh.waits)+h.scaled(foundingLook) >= h.waitToFound() || h.before() == 0
}

// found makes a group if rule 7 lets this fresh peer do so: no host holds a view, and all hosts
// are accounted for, or more than half are and the rest stayed silent for 10 s meanwhile.
func (h *Handler) found() {
	missing := h.unaccounted(h.foundingEvidence)
	all := h.others() + 1
	most := 2*(all-len(missing)) > all
	mark(&h.fresh.most, most, h.now.Run)
	waited := h.since(h.fresh.waits) - h.waitToFound()
	if waited < 0 || !most || h.role != roleFresh || h.leaving != never {
		return
	}
	for _, id := range missing {
		if h.since(max(h.hosts[id-1].lastContact, h.fresh.most)) < h.scaled(silentRest) || waited < h.scaled(silentRest) {
			return
		}
	}
	if h.awaitsMarked() {
		h.due(h.fresh.since + h.scaled(markedRest))
		return
	}
	h.makeGroup()
}

// awaitsMarked reports whether a host that the file retires has not answered, nor refused, and may still do so: it may be in a
// group.
func (h *Handler) awaitsMarked() bool {
	return h.since(h.fresh.since) < h.scaled(markedRest) && slices.ContainsFunc(h.listing.file, func(f types.Host) bool { return f.Retired }) &&
		slices.ContainsFunc(h.listing.serving(len(h.hosts)), func(id types.ID) bool {
			return id != h.ID && h.isMarked(id) && !h.counts(h.hosts[id-1].evidence, h.fresh.since)
		})
}

// tickReforming makes a new group when the view has lost its quorum for good, by the same
// evidence in two rounds 1 s apart (rule 7).
func (h *Handler) tickReforming() {
	e := &h.election
	if e.leaderless == never || h.quorate || h.leaving != never || h.exited {
		h.reform = reforming{}
		return
	}
	h.until(h.inquorate + h.Monitor)
	h.noteWaiting()
	if h.stores() {
		return // who is away may come back as the member that it was
	}
	if h.lowerHolds() {
		h.reform = reforming{}
		return
	}
	h.inquire(max(e.leaderless, h.inquorate, h.reform.at), h.paced(reformProbeEvery))
	h.due(h.now.Run + h.retry())
	if h.reform.at != 0 && h.since(h.reform.at) < h.scaled(reformRounds) {
		return
	}
	if len(h.unaccounted(h.reformingEvidence)) > 0 {
		return
	}
	found := h.snapshot()
	if h.reform.at != 0 && slices.Equal(found, h.reform.found) {
		h.makeGroup()
		return
	}
	h.reform = reforming{at: h.now.Run, found: found}
}

// lowerHolds reports whether a reachable member of lower id holds this view too.
func (h *Handler) lowerHolds() bool {
	return slices.ContainsFunc(h.view.Members, func(id types.ID) bool {
		return id < h.ID && h.reaches(id) && h.hosts[id-1].holds >= h.view.Number
	})
}

// snapshot returns what is known of each host, to be compared with the round before.
func (h *Handler) snapshot() []evidence {
	found := make([]evidence, len(h.hosts))
	for i := range h.hosts {
		found[i] = h.hosts[i].evidence
		found[i].asked = 0
	}
	return found
}

// makeGroup makes a group of this peer alone, in an incarnation above all it knows, its
// first view and term numbered one above the highest it was told.
func (h *Handler) makeGroup() {
	last := slices.Clone(h.view.Last)
	if last == nil {
		last = h.noPasts()
	}
	newest, counter := h.newest, max(h.topCounter, h.counter)
	for i := range last {
		newest = max(newest, last[i].Incarnation)
		if last[i].Incarnation != 0 && last[i].Cause == types.Present {
			last[i].Cause = types.Unreachable
		}
	}
	h.becomeFresh()
	if newest >= h.incarnation {
		h.renew(newest)
	}
	last[h.ID-1] = types.Past{Incarnation: h.incarnation}
	h.beginAlone(last, types.Term{Counter: counter + 1, Peer: h.ID})
}

// noPasts returns what a first view has of the hosts: nobody was a member, but some are retired.
func (h *Handler) noPasts() []types.Past {
	last := make([]types.Past, h.listed())
	for i := range last {
		if h.isAway(types.ID(i + 1)) {
			last[i].Cause = types.Retired
		}
	}
	return last
}

// others returns how many other hosts there are that are not retired.
func (h *Handler) others() (n int) {
	for i := range h.hosts {
		if id := types.ID(i + 1); id != h.ID && !h.isAway(id) {
			n++
		}
	}
	return n
}

// beginAlone installs the first view of a group of this peer alone, and leads it under term.
func (h *Handler) beginAlone(last []types.Past, term types.Term) {
	h.counter = term.Counter
	h.promise(term)
	h.following, h.followed = h.ID, term
	h.install(&types.View{Group: types.Group{Made: h.incarnation, Maker: h.ID}, Number: h.highest + 1,
		Leader: h.ID, Members: []types.ID{h.ID}, Term: term, Last: slices.Clip(last), Digest: h.listing.digests[len(last)-1]})
	h.lead(term, types.Accepted{}, nil)
}
