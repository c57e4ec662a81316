package handlers

import (
	"slices"
	"time"

	"memberly/peer/types"
)

// round is a request that is sent to some members, again and again, until they answer.
type round struct {
	message types.Message // without To and For
	to      []types.ID
	votes
	outbid bool  // NEWLEADER: a member has promised a higher term
	led    votes // NEWLEADER: who has a leader
	preparation
	unstored bool          // this peer's own vote is not stored, and does not count, before the Save
	after    uint64        // of this number is; 0 until it is known
	asked    time.Duration // NEWLEADER: when this peer first asked for the term, be it in an earlier view
	began    time.Duration
	sent     time.Duration
}

// leadership is the right to lead: a term that a quorum has granted, or the making of a group.
type leadership struct {
	term  types.Term
	round *round // the NEWVIEW or REQ that is being answered
	preparation
	extent   extent
	made     types.Change // what made the view, until that is shown to the members; NOTHING after that
	inherits bool         // the round proposes what a leader before has proposed
	drill    bool         // the round is the drill's
	joining  []request    // in the order of asking
	leavers  []types.Member
}

// request is a JOIN that waits for its ADD.
type request struct {
	member types.Member
	since  time.Duration // it has asked again and again since then
	asked  time.Duration // last
}

// newRound sends a request of the given kind to all members that can be reached.
func (h *Handler) newRound(kind types.Kind, term types.Term, view *types.View) *round {
	h.requests++
	r := &round{to: view.Members, began: h.now.Run, sent: never, message: types.Message{Kind: kind, From: h.ID,
		Incarnation: h.incarnation, Group: view.Group, Number: view.Number, Request: h.requests, Term: term}}
	if bids := kind == types.NewLeader || kind == types.Req; bids && h.stores() && !h.isStored() {
		r.unstored = true
	} else {
		r.add(view, h.ID)
	}
	return r
}

// call sends a round's request to those who have not answered it.
func (h *Handler) call(r *round, view *types.View) {
	again := r.sent != never
	r.sent = h.now.Run
	h.due(r.sent + h.retry())
	switch { // all copies of a request name the same: one may come late
	case again:
	case r.message.Kind == types.NewLeader:
		r.message.Unreachable = h.unreachable() // nothing is done about it but to look
	default:
		r.message.Unreachable = h.failed()
	}
	for _, id := range r.to {
		waits := h.role == roleDeparting && h.stores() // for whoever comes back
		if id == h.ID || r.has(id) || h.hosts[id-1].gone && !waits {
			continue
		}
		if h.since(r.began) >= h.paced(redialAfter) {
			h.anew(id)
		}
		h.callOne(r, view, id)
		if again {
			h.totals.Resent++
		}
	}
}

func (h *Handler) callOne(r *round, view *types.View, id types.ID) {
	m := h.send(r.message.Kind, id)
	*m = r.message
	m.To, m.For, m.Addr = id, view.Incarnation(id), h.at(id)
	p := &h.hosts[id-1]
	holds := p.holds
	if r.sent == r.began {
		holds = max(holds, p.shown) // what was sent to it before comes before
	}
	switch whole := *view; {
	case m.Kind == types.NewView && !follows(holds, m):
		m.View = &whole
	case m.Kind == types.Req && holds >= m.Number:
		m.Made, m.Chosen = types.Change{}, types.Term{}
	case m.Kind == types.Req && m.Made.Operation != types.Nothing && holds < m.Number-1:
		m.Made, m.View = types.Change{}, &whole
	}
	if m.Kind != types.NewLeader {
		p.shown = max(p.shown, m.Number)
	}
	if p.owes == never && m.Kind != types.NewLeader && !m.Unanswered {
		p.owes = h.now.Run
	}
}

// follows reports whether a host that holds the view of this number can make that of m, a NEWVIEW, of it.
func follows(holds int64, m *types.Message) bool {
	return holds >= m.Number || holds == m.Number-1 && m.Change.Operation != types.Nothing
}

// failed lists the members that may be removed as unreachable.
func (h *Handler) failed() []types.ID {
	return slices.DeleteFunc(h.unreachable(), func(id types.ID) bool { return !h.confirmed(&h.view, id) })
}

// leads reports whether this peer leads (rule 5): it has a term to lead under, hears a quorum, and its
// round has not waited too long for one.
func (h *Handler) leads() bool {
	o := h.leading
	return h.role == roleLeader && h.quorate && h.ruling() && (o.round == nil || o.round.done || h.since(o.round.began) < h.Monitor)
}

// lead becomes the leader, and says so to all members or proposes the first change.
// r is the NEWLEADER that was granted; nil in a new group.
func (h *Handler) lead(term types.Term, settle types.Accepted, r *round) {
	if r == nil {
		h.becomeLeader(term, settle, h.now.Run, nil)
	} else {
		h.becomeLeader(term, settle, r.asked, r.answered)
	}
	h.progress()
	if h.exited {
		return
	}
	if h.leading.round == nil {
		h.announce(types.Change{})
	}
	h.sendHeartbeat()
}

// progress proposes the next change, if there is one and it may (rule 1).
func (h *Handler) progress() {
	o := h.leading
	if h.role != roleLeader || !o.ready || !h.quorate || h.exited {
		return
	}
	if o.round != nil && o.round.message.Kind == types.Req {
		return
	}
	if h.leaving != never && len(h.view.Members) == 1 {
		h.exit(0) // no other member is left to remove it
		return
	}
	if h.drill() {
		return
	}
	if c := h.nextChange(); c.Operation != types.Nothing {
		h.propose(c)
	}
}

// nextChange decides what to propose: the pending operation, then the failed (the old leader
// first), those who leave, and those who ask to join.
func (h *Handler) nextChange() types.Change {
	o := h.leading
	if o.settle.Change.Operation != types.Nothing {
		return o.settle.Change
	}
	if h.leaving != never {
		return types.Change{Operation: types.Del, Cause: types.Left, Member: types.Member{ID: h.ID, Incarnation: h.incarnation}}
	}
	if id := h.nextFailed(); id != 0 {
		return types.Change{Operation: types.Del, Cause: h.causeOf(id),
			Member: types.Member{ID: id, Incarnation: h.view.Incarnation(id)}}
	}
	for len(o.leavers) > 0 {
		m := o.leavers[0]
		if h.view.Holds(m) {
			return types.Change{Operation: types.Del, Member: m, Cause: types.Left}
		}
		o.leavers = o.leavers[1:]
	}
	if c := h.nextHost(); c.Operation != types.Nothing {
		return c
	}
	return h.nextJoin()
}

// causeOf says why a member that is unreachable is removed: a later incarnation of its host may
// be asking to join.
func (h *Handler) causeOf(id types.ID) types.Cause {
	if slices.ContainsFunc(h.leading.joining, func(r request) bool {
		return r.member.ID == id && r.member.Incarnation > h.view.Incarnation(id)
	}) {
		return types.Restarted
	}
	return types.Unreachable
}

func (h *Handler) nextFailed() types.ID {
	if h.lacking == 0 {
		return 0
	}
	due := func(id types.ID) bool { return !h.reaches(id) && !h.speaks(id) && h.confirmed(&h.view, id) }
	if due(h.view.Leader) {
		return h.view.Leader
	}
	if i := slices.IndexFunc(h.view.Members, due); i >= 0 {
		return h.view.Members[i]
	}
	return 0
}

// nextJoin is the ADD of who asked first and still asks. Where an earlier incarnation of it is a
// member, that must be found gone and removed before: a JOIN may be older than it looks.
func (h *Handler) nextJoin() types.Change {
	o := h.leading
	o.joining = slices.DeleteFunc(o.joining, func(r request) bool {
		past := h.view.Past(r.member.ID)
		return h.since(r.asked) >= h.Monitor || past.Incarnation >= r.member.Incarnation
	})
	for _, r := range o.joining {
		if c := (types.Change{Operation: types.Add, Member: r.member}); h.view.Admits(c) && h.steady(r) {
			return c
		}
	}
	return types.Change{}
}

// steady reports whether the host of r may be let in. One that was removed as unreachable three times, a
// minute apart at most, has to ask for a monitor interval first: its link comes and goes.
func (h *Handler) steady(r request) bool {
	p := &h.hosts[r.member.ID-1]
	if p.removals < 3 || h.since(p.removed) >= unsteadyGap || h.since(r.since) >= h.paced(steadyFor) {
		return true
	}
	h.until(r.since + h.paced(steadyFor))
	return false
}

// propose accepts a change itself and asks the members to.
func (h *Handler) propose(c types.Change) {
	o := h.leading
	if causeIsFailure(c.Cause) {
		h.report(c.Member.ID)
	}
	h.accept(o.term, c, h.now.Run)
	o.inherits = o.settle.Change.Operation != types.Nothing
	o.settled()
	o.round = h.newRound(types.Req, o.term, &h.view)
	o.round.message.Change = c
	if o.made.Operation != types.Nothing { // one message shows the view and proposes the next
		o.round.message.Made, o.round.message.Chosen, o.made = o.made, h.view.Term, types.Change{}
	}
	h.call(o.round, &h.view)
	h.choose()
}

// choose moves on to the next view if a quorum has accepted the change that is proposed, and the lease lasts in that
// view: else it waits a little for more answers.
func (h *Handler) choose() {
	r := h.leading.round
	if !r.done || r.message.Kind != types.Req || h.leading.drill {
		return
	}
	c := r.message.Change
	if next := h.view.With(c); c.Member.ID != h.ID && h.since(r.began) < h.retry() && r.count < len(r.to) && !h.keepsLease(&next) {
		h.due(r.began + h.retry())
		return
	}
	h.chosen(c)
}

// chosen moves on to the view that a quorum has accepted (rule 2).
func (h *Handler) chosen(c types.Change) {
	next := h.view.With(c)
	next.Term = h.leading.term
	if h.noteGrowth(c); c.Operation == types.Grow {
		h.leading.joining = nil // whose lists have been compared with a shorter one
	}
	if c.Member.ID == h.ID {
		h.beginDeparture(&next, c)
		return
	}
	gone := h.hosts[c.Member.ID-1].gone
	h.tell(&next, c, gone)
	own := !h.leading.inherits
	h.install(&next)
	o := h.leading
	o.inherits = false
	if !own || h.Drill {
		h.announce(c)
		o.ready = o.ready || own
		h.progress()
		return
	}
	o.ready, o.round, o.made = true, nil, c
	h.progress()
	if h.leading == o && o.made.Operation != types.Nothing {
		h.show(c)
	}
}

// tell sends its last view to a member that is taken out, unless it is dead.
func (h *Handler) tell(next *types.View, c types.Change, gone bool) {
	if c.Operation != types.Del || gone || c.Cause == types.Restarted {
		return
	}
	m := h.send(types.NewView, c.Member.ID)
	m.For, m.Number, m.View, m.Chosen = c.Member.Incarnation, next.Number, next, next.Term
	h.signView(m)
}

// signView makes m a leader's NEWVIEW.
func (h *Handler) signView(m *types.Message) {
	m.Term = h.leading.term
	if r := h.leading.round; r != nil && r.message.Kind == types.NewView && r.message.Number == m.Number {
		m.Request, m.Unreachable = r.message.Request, r.message.Unreachable
		return
	}
	h.requests++
	m.Request, m.Unreachable = h.requests, h.failed()
}

// announce sends NEWVIEW of the present view; c is what made it, or NOTHING.
func (h *Handler) announce(c types.Change) {
	o := h.leading
	v := h.view
	o.round = h.newRound(types.NewView, o.term, &v)
	o.round.message.Change, o.round.message.Chosen = c, v.Term
	o.ready = o.ready || o.round.done
	h.call(o.round, &v)
}

// show sends NEWVIEW of the present view, which c made and which is prepared, and waits for no answer: a member that
// does not get it says so in its next heartbeat.
func (h *Handler) show(c types.Change) {
	h.leading.made = types.Change{}
	r := h.newRound(types.NewView, h.leading.term, &h.view)
	r.message.Change, r.message.Chosen, r.message.Unanswered = c, h.view.Term, true
	h.call(r, &h.view)
}

// onLeaderAnswer handles what members answer to the leader.
func (h *Handler) onLeaderAnswer(m *types.Message) {
	o, p := h.leading, &h.hosts[m.From-1]
	p.owes = never // it answers, be it late: what it still owes is counted from when it is asked again
	if m.Kind == types.Refused {
		if m.Reason == types.Promised && o.term.Below(m.Term) && m.Number == h.view.Number {
			h.standAgain(m.Term)
		}
		return
	}
	if m.Kind != types.OK || m.Number != h.view.Number {
		return
	}
	r := o.round
	if r == nil || m.Term != o.term {
		return
	}
	if m.Request == r.message.Request {
		h.answeredBy(m.From, r.began)
	}
	if m.Request != r.message.Request {
		if r.message.Kind == types.Req && !r.has(m.From) && p.behind {
			p.behind = false
			h.callOne(r, &h.view, m.From) // it has caught up
		}
		return
	}
	h.tally(m)
}

// tally counts an OK to the round.
func (h *Handler) tally(m *types.Message) {
	o, r := h.leading, h.leading.round
	if r.message.Kind == types.Req {
		if m.Accepted != o.term || m.Change != r.message.Change {
			return
		}
		r.add(&h.view, m.From)
		if o.drill {
			h.drillDone()
		} else {
			h.choose()
		}
		return
	}
	if !h.isPossible(m.Change) {
		return
	}
	o.learn(types.Accepted{Term: m.Accepted, Change: m.Change})
	o.ready = r.add(&h.view, m.From) || o.ready
	h.progress()
}

// isPossible reports whether a member can have accepted c for the view after this peer's.
func (h *Handler) isPossible(c types.Change) bool {
	return c.Operation == types.Nothing || h.view.Admits(c)
}

// tickLeader sends again what is unanswered, and proposes what has become due.
func (h *Handler) tickLeader() {
	o := h.leading
	if h.role != roleLeader {
		return
	}
	if r := o.round; r != nil && r.count < len(r.to) {
		if h.since(r.sent) >= h.retry() {
			h.call(r, &h.view)
		}
		h.due(r.sent + h.retry())
	}
	if o.drill && slices.ContainsFunc(o.round.to, func(id types.ID) bool { return !h.reaches(id) }) {
		o.drill, o.round.to, h.Drill = false, h.view.Members, false // a member really failed
	}
	if o.round != nil {
		h.choose()
	}
	h.tickLease()
	h.progress()
}

// onJoin queues an ADD, or says who leads (rule 2).
func (h *Handler) onJoin(m *types.Message) {
	member := sender(m)
	switch {
	case h.joined() && h.view.Holds(member):
		h.showView(m)
		return
	case !h.leads() || m.Incarnation <= h.view.Past(m.From).Incarnation:
		h.state(m)
		return
	}
	if m.Monitor != h.Monitor { // its promises would last for another time than the leases here
		h.answer(m, types.Refused).Reason = types.Settings
		h.tellOfHost(m.From, MonitorDiffers)
		return
	}
	if h.view.Retired(m.From) {
		h.answer(m, types.Refused).Reason = types.IsRetired
		return
	}
	o := h.leading
	if i := slices.IndexFunc(o.joining, func(r request) bool { return r.member.ID == m.From }); i >= 0 {
		if o.joining[i].member == member {
			h.state(m)
		}
		since := o.joining[i].since
		if h.since(o.joining[i].asked) >= h.paced(joinGap) {
			since = h.now.Run
		}
		o.joining[i] = request{member, since, h.now.Run}
	} else {
		o.joining = append(o.joining, request{member, h.now.Run, h.now.Run})
	}
	h.succeeded(m)
	h.progress()
}

// onLeave queues the removal of a member that asks for it.
func (h *Handler) onLeave(m *types.Message) {
	member := sender(m)
	if h.role != roleLeader || slices.Contains(h.leading.leavers, member) {
		return
	}
	h.leading.leavers = append(h.leading.leavers, member)
	h.progress()
}

// drill begins the leader-failure drill, once every host is a member, and reports whether it runs
// (docs/protocol.md, section 6). It waits until every member holds the view. Otherwise the last host could learn
// of its removal before its admission, attribute it to an earlier incarnation, and rejoin.
func (h *Handler) drill() bool {
	if !h.Drill {
		return false
	}
	o, n := h.leading, len(h.view.Members)
	serving := h.listing.serving(len(h.view.Last))
	if h.leaving != never || n < max(len(serving), drillHosts) || o.drill || o.settle.Change.Operation != types.Nothing || h.nextFailed() != 0 ||
		slices.ContainsFunc(h.view.Members, h.lags) {
		return o.drill
	}
	last, next := serving[n-1], serving[1]
	c := types.Change{Operation: types.Del, Cause: types.Expelled,
		Member: types.Member{ID: last, Incarnation: h.view.Incarnation(last)}}
	h.accept(o.term, c, h.now.Run)
	o.drill = true
	o.round = h.newRound(types.Req, o.term, &h.view)
	o.round.message.Change = c
	o.round.to = slices.DeleteFunc(slices.Clone(h.view.Members), func(id types.ID) bool { return id == last || id == next })
	h.call(o.round, &h.view)
	return true
}

// drillHosts is how many hosts the drill takes, at least: with fewer nobody is asked.
const drillHosts = 4

// awaits reports whether id, which is behind, gets the round again and again until it answers, and so the view. What it
// owes from before the view counts only while there is a round.
func (h *Handler) awaits(id types.ID) bool {
	return h.leading.round != nil && h.hosts[id-1].owes != never
}

// lags reports whether the member id is not known to hold the present view.
func (h *Handler) lags(id types.ID) bool { return id != h.ID && h.hosts[id-1].holds < h.view.Number }

// drillDone crashes the leader when all members that it asked have accepted.
func (h *Handler) drillDone() {
	if r := h.leading.round; r.count == len(r.to) {
		h.crash()
	}
}

// beginDeparture is what a leader does that has removed itself: it sends the NEWVIEW without
// it until a quorum of that view has answered, for a second at most (rule 2).
func (h *Handler) beginDeparture(next *types.View, c types.Change) {
	r := h.newRound(types.NewView, h.leading.term, next)
	r.message.Change, r.message.Chosen = c, next.Term
	h.becomeDeparting(r)
	h.call(r, next)
}

func (h *Handler) onDepartureAnswer(m *types.Message) {
	r := h.departure
	next := h.view.With(r.message.Change)
	if m.Kind == types.OK && m.Request == r.message.Request && next.Holds(sender(m)) && r.add(&next, m.From) {
		h.endDeparture()
	}
}

func (h *Handler) tickDeparture() {
	r := h.departure
	if over := h.since(r.began) >= h.paced(leaveLimit); over && (h.leaving != never || !h.stores()) {
		h.endDeparture() // one that stores stays, if it can: perhaps nobody else knows of the view
		return
	}
	if h.since(r.sent) >= h.retry() {
		next := h.view.With(r.message.Change)
		h.call(r, &next)
	}
	h.due(r.sent + h.retry())
}

// outlived reports whether m shows a departing leader that stores that its departure is known: a member holds the next
// view, or a later one.
func (h *Handler) outlived(remote types.ID, m *types.Message) bool {
	return h.role == roleDeparting && h.stores() && m.Kind != types.OK && m.From == remote && h.known(m.From) &&
		m.Group == h.view.Group && m.Number > h.view.Number
}

// endDeparture ends the departure of a leader that has removed itself.
func (h *Handler) endDeparture() {
	if h.leaving != never {
		h.exit(0)
		return
	}
	h.removed(types.Past{Incarnation: h.incarnation, Cause: types.Unreachable})
}
