package handlers

import (
	"time"

	"memberly/peer/types"
)

// This page is founding by hosts that store (docs/protocol.md, rule 9): they choose who makes the group, by the votes of a
// majority of all hosts.

// founding is what a host that stores, and knows of no group, has to do with the making of one: the hosts choose the
// member that makes it as the members of view 0, in which every host of the file has a vote.
type founding struct {
	vote    acceptor      // Accepted.Change adds the member that makes the group
	file    uint64        // the FileDigest of the hosts file of this host's first process: it may make a group with no other
	done    bool          // it is chosen, and by a bid of its own that host will know
	bid     *round        // this host's NEWLEADER or REQ about view 0; nil while this host is bound
	counter uint64        // highest of the terms that it has seen in it
	rests   time.Duration // until when it makes no bid: it has answered another's, or heard that a group exists
}

// aboutFounding reports whether m is about the choice of the member that makes the group, and this host has a vote in it.
func (h *Handler) aboutFounding(m *types.Message) bool {
	if !h.stores() || m.Number != 0 || m.Group != (types.Group{}) {
		return false
	}
	switch m.Kind {
	case types.NewLeader, types.Req, types.PendingResponse, types.OK:
		return true
	}
	return m.Kind == types.Refused && (m.Reason == types.Promised || m.Reason == types.Founded)
}

// tickFounding has this host ask the others for the right to say who makes the group, when it is its turn, and again
// until a majority has answered.
func (h *Handler) tickFounding() {
	f := &h.storing.founding
	turn := max(h.fresh.since+time.Duration(h.before())*h.paced(foundingPause), f.rests)
	if f.done || h.JoinOnly || h.shutOut() || h.isBound() || h.fresh.leaderHint != 0 || h.now.Run < turn {
		h.until(turn)
		return
	}
	switch {
	case f.bid == nil || f.bid.outbid && h.since(f.bid.began) >= h.retry()*time.Duration(h.ID)+h.bidTakes():
		h.bid(types.NewLeader, types.Change{Operation: types.Pending})
	case h.since(f.bid.sent) >= h.retry():
		h.callHosts()
	}
	h.due(f.bid.sent + h.retry())
}

// bidTakes returns how long a bid may take by the disks of all, if they are as slow as this host's: three times something is
// stored, one after the other, and each may have to wait for what is stored before it.
func (h *Handler) bidTakes() time.Duration {
	took := h.storing.took
	if h.storing.saved != h.storing.newest.Number {
		took = max(took, h.since(h.storing.waits))
	}
	return 6 * took
}

// electorate returns the hosts of the file as view 0, of whom a majority chooses who makes the group. The retired ones count
// too, though they do not vote: hosts that were added later are no majority then, unless they are more than all before them.
// It is not for a host that is bound: for each host there is one file with which a group is made.
func (h *Handler) electorate() *types.View {
	hosts := len(h.listing.file)
	v := &types.View{Leader: 1, Members: make([]types.ID, hosts), Last: make([]types.Past, hosts)}
	for i := range hosts {
		v.Members[i], v.Last[i].Incarnation = types.ID(i+1), 1
	}
	return v
}

// isBound reports whether this host may not help to make a group with its hosts file, because that has changed since its first
// process.
func (h *Handler) isBound() bool {
	return h.stores() && h.storing.group == types.Group{} && h.storing.founding.file != h.listing.vote
}

// bid sends NEWLEADER about view 0 under a new term, or REQ under the term of the NEWLEADER that was granted.
func (h *Handler) bid(kind types.Kind, c types.Change) {
	f := &h.storing.founding
	var term types.Term
	if kind == types.NewLeader {
		f.counter = max(f.counter, f.vote.promised.Counter, h.topCounter) + 1
		term = types.Term{Counter: f.counter, Peer: h.ID}
		f.vote.promise(term)
	} else {
		term = f.bid.message.Term
		f.vote.accept(term, c, h.now.Run)
	}
	f.bid = h.newRound(kind, term, h.electorate())
	f.bid.message.Change = c
	f.bid.learn(f.vote.accepted)
	h.callHosts()
	if f.bid.done {
		h.bidAnswered()
	}
}

// callHosts sends the bid to the hosts that have not answered it.
func (h *Handler) callHosts() {
	r := h.storing.founding.bid
	r.sent = h.now.Run
	for _, id := range r.to {
		if id != h.ID && !r.has(id) && !h.isRetired(id) {
			m := h.send(r.message.Kind, id)
			*m = r.message
			m.To, m.Addr, m.Digest = id, h.at(id), h.storing.founding.file
		}
	}
}

// onFounding handles a message about view 0.
func (h *Handler) onFounding(m *types.Message) {
	f := &h.storing.founding
	f.counter = max(f.counter, m.Term.Counter)
	switch {
	case m.Kind != types.NewLeader && m.Kind != types.Req:
		h.onBid(m)
	case m.Term.Peer != m.From:
	case m.Digest != f.file && h.storing.group == types.Group{}:
		h.tellOfHost(m.From, FilesDiffer)
		h.refuseFounding(m, types.Differs)
	case h.joined() || h.storing.group != types.Group{} || h.shutOut():
		h.refuseFounding(m, types.Founded)
	case h.JoinOnly: // it has no say in the choice
	case !f.vote.obeys(m.Term):
		h.refuseFounding(m, types.Promised)
	case m.Kind == types.NewLeader:
		h.yieldBid(m)
		h.answerFounding(m, types.PendingResponse)
	default:
		h.yieldBid(m)
		f.vote.accept(m.Term, m.Change, h.now.Run)
		h.answerFounding(m, types.OK)
	}
}

// yieldBid promises the term of m, another host's bid, and makes no own one for a while. One that may have been chosen to
// make the group does at once: nobody else can tell it.
func (h *Handler) yieldBid(m *types.Message) {
	f := &h.storing.founding
	f.vote.promise(m.Term)
	f.bid = nil
	if f.vote.accepted.Change.Member.ID != h.ID {
		f.rests = h.now.Run + max(h.Monitor, h.bidTakes())
	} else {
		f.rests = h.now.Run + h.retry()
	}
}

// answerFounding answers a bid with what this host has accepted.
func (h *Handler) answerFounding(m *types.Message, kind types.Kind) {
	a, f := h.answer(m, kind), &h.storing.founding
	a.Group, a.Number = types.Group{}, 0
	a.Term, a.Change, a.Accepted = m.Term, f.vote.accepted.Change, f.vote.accepted.Term
}

func (h *Handler) refuseFounding(m *types.Message, why types.Reason) {
	a := h.answer(m, types.Refused)
	a.Group, a.Number = types.Group{}, 0
	a.Term, a.Reason = h.storing.founding.vote.promised, why
	if why == types.Differs {
		a.Lines = h.listed()
		a.Digest = h.listing.digests[a.Lines-1]
	}
}

// onBid counts an answer to this host's bid.
func (h *Handler) onBid(m *types.Message) {
	f := &h.storing.founding
	r := f.bid
	if h.role != roleFresh || r == nil || m.Request != r.message.Request {
		return
	}
	switch {
	case m.Kind == types.Refused && m.Reason == types.Founded:
		f.bid, f.rests = nil, h.now.Run+h.Monitor
	case m.Kind == types.Refused:
		r.outbid = r.outbid || r.message.Term.Below(m.Term)
	case m.Term != r.message.Term:
	case m.Kind == types.OK && (r.message.Kind != types.Req || m.Accepted != m.Term || m.Change != r.message.Change):
	case m.Kind == types.PendingResponse && r.message.Kind != types.NewLeader:
	default:
		r.learn(types.Accepted{Term: m.Accepted, Change: m.Change})
		if r.add(h.electorate(), m.From) {
			h.bidAnswered()
		}
	}
}

// bidAnswered goes on when a majority of the hosts has answered the bid: with what one of them had accepted before or
// else with this peer's own member; and once that is accepted, it is chosen.
func (h *Handler) bidAnswered() {
	f := &h.storing.founding
	r := f.bid
	if r.message.Kind == types.NewLeader {
		c := r.settle.Change
		if c.Operation == types.Nothing {
			c = types.Change{Operation: types.Add, Member: types.Member{ID: h.ID, Incarnation: h.incarnation}}
		}
		h.bid(types.Req, c)
		return
	}
	maker, term := r.message.Change.Member, r.message.Term
	f.bid, f.done = nil, true
	if maker.ID == h.ID {
		h.beginGroup(maker.Incarnation, term)
	}
}

// beginGroup makes the group of which this host was chosen to be the first member, in an incarnation that may be
// that of an earlier process.
func (h *Handler) beginGroup(i types.Incarnation, term types.Term) {
	last := h.noPasts()
	last[h.ID-1].Incarnation = i
	h.incarnation = i
	h.beginAlone(last, term)
}
