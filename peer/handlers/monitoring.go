package handlers

import (
	"math"
	"time"

	"memberly/peer/types"
)

// reaches reports whether id is a member of the view and not unreachable.
func (h *Handler) reaches(id types.ID) bool { return h.reachable(&h.view, id) }

// unreachable lists the members that this peer holds unreachable.
func (h *Handler) unreachable() []types.ID { return h.missing(&h.view, len(h.hosts)) }

// speaks reports whether something came lately from a member that is held unreachable.
func (h *Handler) speaks(id types.ID) bool {
	return h.view.Has(id) && h.hosts[id-1].speaks(h.now.Run, h.scaled(probeAnswer))
}

// silent reports whether this peer misses a member that may be there all the same.
func (h *Handler) silent(id types.ID) bool { return !h.reaches(id) && !h.hosts[id-1].dead }

// recount is called when the reachability of a member may have changed.
func (h *Handler) recount() {
	if h.detector.recount(&h.view, h.now.Run) {
		h.due(h.now.Run) // to ask, for re-forming, who else is left
	}
}

// hear notes a message of this group: anything authentic of a member's incarnation counts.
func (h *Handler) hear(m *types.Message) {
	if h.view.Holds(sender(m)) && !h.heard(&h.view, m, h.now.Run, h.reportedByLeader) && m.Kind != types.State {
		h.ask(m.From)
	}
	if h.role == roleLeader && m.Number >= h.view.Number && h.view.Holds(sender(m)) && h.leading.round == nil {
		h.hosts[m.From-1].owes = never // it holds the view that it was asked to help to make
	}
}

// report tells of a failure, once for each failure and at most once for a
// member's incarnation and a view number.
func (h *Handler) report(id types.ID) {
	p := &h.hosts[id-1]
	if p.failing || id == h.ID {
		return
	}
	p.failing = true
	if p.reported == h.view.Number {
		return
	}
	p.reported = h.view.Number
	e := h.note(Failed)
	e.Host, e.Silence = id, h.ago(p.heard)
	h.totals.Silence.add(e.Silence)
}

// lose holds a member unreachable, and records its failure.
func (h *Handler) lose(id types.ID) {
	if !h.hosts[id-1].gone {
		h.report(id)
		h.miss(id)
	}
}

// miss holds a member unreachable.
func (h *Handler) miss(id types.ID) {
	h.hosts[id-1].lose(h.now.Run)
	h.recount()
}

// tellLeader reports the members that this peer misses to the leader, over TCP, where nothing is lost: when a
// member has become silent, when there is another leader, and with each heartbeat. A leader removes no member that
// it alone misses (rule 2).
func (h *Handler) tellLeader() {
	if !h.misses || !h.hasLeader() {
		return
	}
	h.misses = false
	m := h.send(types.Heartbeat, h.election.sign.peer)
	m.Request, m.Heard, m.Term = uint64(h.now.Run), h.echo(h.promised), h.promised
	m.Unreachable = h.unreachable()
}

// recordList records the list of missing members in m, a member's heartbeat, unless the list is outdated. It probes
// the members that the leader misses: each owes this peer an answer from now on.
func (h *Handler) recordList(m *types.Message) {
	from := &h.hosts[m.From-1]
	if !from.takeList(m) {
		return
	}
	h.totals.Heard++
	from.unfit = !isCut(m) && !hearsQuorum(&h.view, m.Unreachable)
	if s := &h.election.sign; from.unfit && !m.Leads && m.From == s.peer && !m.Term.Below(s.term) {
		s.at = min(s.at, h.now.Run-h.Monitor) // it has lost its quorum, and leads no more
	}
	if from.gone || m.Number < h.view.Number || !m.Leads && !h.mayWitness(&h.view, m) {
		return
	}
	if m.Term.Peer == h.ID {
		h.noteMissed(&h.view, m, h.now.Run)
	}
	for _, id := range m.Unreachable {
		if !h.known(id) || !h.view.Has(id) {
			continue
		}
		p := &h.hosts[id-1]
		if p.gone && p.missed <= p.heard && h.role == roleLeader {
			h.ask(m.From) // so that it hears something newer, and reports its missing members again
		}
		if m.Leads && h.role != roleLeader && !p.gone && p.owes == never {
			p.owes = h.now.Run
			h.ask(id)
			h.due(h.now.Run + h.retry()) // it was asked just before, perhaps
		}
	}
}

// watch looks at every member's silence (docs/protocol.md, section 4).
func (h *Handler) watch() {
	h.allHeard = false
	if h.since(h.resumed) < h.scaled(stallGrace) {
		h.due(h.resumed + h.scaled(stallGrace))
		return // first what waited on the sockets
	}
	h.allHeard = true
	again := time.Duration(math.MaxInt64)
	for _, id := range h.view.Members {
		if id != h.ID {
			again = min(again, h.look(id))
		}
	}
	if !h.allHeard {
		h.until(h.election.sign.at + h.patience())
		// Where many are silent, some are asked at a time: to look at a thousand takes a while.
		h.due(max(again, h.now.Run+h.scaled(lookPerHost)*time.Duration(len(h.view.Members))))
	}
}

// look looks at one member's silence, and returns when to do so again.
func (h *Handler) look(id types.ID) time.Duration {
	p := &h.hosts[id-1]
	last := p.lastWord()
	silence := h.since(last)
	pause := min(h.scaled(silentProbeEvery), h.paced(lostProbeEvery))
	switch {
	case p.gone:
		pause = h.paced(lostProbeEvery)
		if h.speaks(id) {
			h.until(p.spoke + h.scaled(probeAnswer))
		}
	case silence >= h.Monitor:
		h.lose(id)
		h.allHeard = false
		h.misses = true
		if h.role == roleLeader {
			h.nextHeartbeat = h.now.Run // the others look, too
		}
		return p.probed + h.paced(lostProbeEvery)
	case silence >= h.patience() || h.doubts(id) || h.role != roleLeader && p.owes != never:
		h.due(last + h.Monitor)
	default:
		return last + h.patience()
	}
	h.allHeard = false
	if h.since(p.probed) >= pause {
		h.ask(id)
	}
	return p.probed + pause
}

// doubts reports whether id, the leader, has not said for too long that it leads.
func (h *Handler) doubts(id types.ID) bool {
	s := &h.election.sign
	return h.role != roleLeader && id == s.peer && h.since(s.at) >= h.patience()
}

// nextLook returns when this peer will next have to look whether a member is silent, if it hears
// nothing before.
func (h *Handler) nextLook() time.Duration {
	first := h.order.first()
	if !h.joined() || h.role == roleDeparting || !h.allHeard || first == 0 {
		return math.MaxInt64
	}
	heard := h.hosts[first-1].heard
	if s := &h.election.sign; h.role != roleLeader && s.at != never && h.view.Has(s.peer) && s.peer != h.ID {
		heard = min(heard, s.at)
	}
	return heard + h.patience()
}

// ask PROBEs a host, every 0.2 s at most, over a new connection if the last PROBE went unanswered or
// the host is held unreachable: what is open may be stuck behind what a healed network has lost.
// It returns the PROBE, which is good until the next send; nil if it has asked just before.
func (h *Handler) ask(id types.ID) *types.Message {
	p := &h.hosts[id-1]
	if h.since(p.probed) < h.retry() {
		return nil
	}
	return h.probe(id, p.gone || p.answered < p.probed)
}

// answered notes that a host has answered m.Request, a PROBE or JOIN.
func (h *Handler) answered(id types.ID, m *types.Message) {
	if t := time.Duration(m.Request); h.known(id) && t <= h.now.Run {
		h.hosts[id-1].answered = max(h.hosts[id-1].answered, t)
	}
}

// probe asks a host whether it is there; anew, over a new connection. The request is the
// moment it was asked, so that its answer is dated. It returns the PROBE, which is good until the
// next send.
func (h *Handler) probe(id types.ID, anew bool) *types.Message {
	h.hosts[id-1].probed = h.now.Run
	if anew {
		h.anew(id)
	}
	m := h.send(types.Probe, id)
	m.Request, m.Speaks = uint64(h.now.Run), types.Version
	h.sign(m)
	m.Term, m.Leads = h.promised, h.leads()
	return m
}

// anew asks for a new connection, for what is open may be stuck behind what a healed network
// has lost.
func (h *Handler) anew(id types.ID) {
	p := &h.hosts[id-1]
	if h.since(p.redial) >= h.retry() {
		p.redial = h.now.Run
		h.out.Redial, h.out.RedialAt = append(h.out.Redial, id), append(h.out.RedialAt, h.at(id))
	}
}

func (h *Handler) onProbe(m *types.Message) {
	if h.mine(m) && m.Leads {
		h.sawLeader(m)
	}
	h.misses = h.misses || h.lacking > 0 && m.From == h.election.sign.peer
	if h.mine(m) && !h.view.Holds(sender(m)) {
		h.askIfAhead(m)
	}
	h.state(m)
	admitted := m.Number == 0 && h.view.Holds(sender(m))
	if admitted || h.mine(m) && m.Number < h.view.Number {
		h.showView(m)
	}
}

// state answers m with what this peer is.
func (h *Handler) state(m *types.Message) {
	s := h.answer(m, types.State)
	s.Standing, s.Leads = h.Standing(), h.leads()
	s.HasLeader = s.Leads || h.hasLeader()
	if !h.view.Holds(sender(m)) { // else it need not take another
		s.Last = h.view.Past(m.From).Incarnation
	}
	if s.Leads {
		s.Term = h.leading.term
	} else if s.HasLeader {
		s.Term = h.election.sign.term
	}
	if s.HasLeader {
		s.Heard = h.echo(s.Term)
	}
	s.File = h.listing.vote
	if !h.joined() {
		s.Number = h.highest
	}
}

func (h *Handler) onState(m *types.Message) {
	h.answered(m.From, m)
	if !m.Stale {
		h.nameFound(m.From)
	}
	h.hosts[m.From-1].refuses = false
	h.onEvidence(m)
	if h.joined() {
		if h.role != roleLeader && h.view.Holds(sender(m)) {
			h.hosts[m.From-1].owes = never
		}
		h.succeeded(m)
		if (m.Standing == types.Fresh || m.Standing == types.Returned) && h.view.Holds(sender(m)) {
			h.hosts[m.From-1].isBack(m)
		}
		if m.Standing == types.Fresh && h.view.Holds(sender(m)) {
			h.showView(m) // it was admitted by a leader that died before it could tell it, or has come back with its state
		}
		if h.mine(m) && m.Leads {
			h.sawLeader(m)
		}
		h.echoed(m)
		if h.mine(m) {
			h.noteFile(m)
		}
		if m.Group != h.view.Group && m.Standing == types.Joined {
			h.joinEarlierGroup(m)
		}
		return
	}
	if h.role == roleFresh {
		h.onJoinState(m)
	}
}

// succeeded holds a member unreachable when a newer incarnation of its host answers a PROBE that
// was asked since it is a member; whatever else that incarnation said may be old, and is looked
// into. It may be the same process, which has left this group for another: its removal will
// say what it was.
func (h *Handler) succeeded(m *types.Message) {
	present := h.view.Incarnation(m.From)
	if present == 0 || m.Incarnation <= present || h.disputed(m) {
		return
	}
	p := &h.hosts[m.From-1]
	if m.Standing == types.Returned && !h.leads() && !h.hasLeader() {
		return // if nobody leads, it will be that member again
	}
	if m.Kind == types.State && time.Duration(m.Request) > p.met {
		h.miss(m.From)
		p.dead = true
	} else if !p.gone {
		if q := h.ask(m.From); q != nil {
			q.Addr = h.back(m)
		}
	}
}

func (h *Handler) onHeartbeat(m *types.Message) {
	switch {
	case h.role == roleFresh && m.Leads:
		h.learnLeader(m.From, m.Group, m.Term)
	case !h.joined():
	case m.Group != h.view.Group:
		h.onForeignHeartbeat(m)
	case h.view.Holds(sender(m)):
		h.release(m)
		if m.Leads {
			h.sawLeader(m)
			h.keepTime(m)
		}
		h.echoed(m)
		h.recordList(m)
		h.noteFile(m)
		h.askIfAhead(m)
		if h.hosts[m.From-1].holds < h.view.Number && h.leads() && !h.awaits(m.From) && h.since(h.changed) >= h.retry() {
			h.anew(m.From)
			h.showView(m)
		}
	case h.leads() && m.Incarnation <= h.view.Past(m.From).Incarnation:
		h.anew(m.From)
		h.showView(m)
	default:
		h.succeeded(m)
		h.askIfAhead(m)
	}
}

// askIfAhead asks the sender of m, of this group, for its view if that is later than this peer's. The leader may be unable
// to send it; and of the members that this peer knows, perhaps none is there any more.
func (h *Handler) askIfAhead(m *types.Message) {
	if m.Number > h.view.Number {
		h.ask(m.From)
	}
}

// undialed notes a connection that could not be made: a refusal is news, silence is not.
func (h *Handler) undialed(id types.ID, began time.Duration, o types.Outcome) {
	p := &h.hosts[id-1]
	if o == types.Refusal || o == types.NoAnswer {
		h.nameFound(id)
	}
	if o.Refused() || o == types.NoName {
		h.recordEvidence(id, evidence{asked: began, outcome: o})
	}
	if o.Refused() && h.joined() && h.view.Has(id) {
		if began < max(p.heard, p.answered) {
			h.probe(id, true) // it was heard since, or what it sent before: ask again
		} else {
			h.lose(id)
			p.dead = true
		}
	}
	if h.role == roleFresh {
		h.askAnother(id)
	}
}

// resume is done after a stall of this peer: what it knew of the others is old. Those held
// unreachable for silence are looked at again before anything is done about them (section 4).
func (h *Handler) resume() {
	h.detector.resume(h.now.Run, h.patience())
	h.recount()
	h.nextHeartbeat, h.reform, h.election.deferredAt = h.now.Run, reforming{}, never
	if h.role == roleLeader {
		h.leading.extent.since = h.now.Run
		h.leading.joining = nil // who still wants to join asks again
	}
}
