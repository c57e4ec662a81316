package handlers

import (
	"math"
	"slices"
	"time"

	"memberly/peer/types"
)

// detector is what this peer knows of who is there.
type detector struct {
	hosts    []host // by ID-1
	order    order  // of the other members, by when they were heard
	allHeard bool   // when it last looked, no member was silent or unreachable
	quorate  bool   // a quorum of the view is reachable
	lacking  int    // how many of its members are not
	misses   bool   // it misses somebody, whom the leader has not been told yet
}

// host is what a peer holds of one host of the file.
type host struct {
	lastContact time.Duration // when anything last came from it
	met         time.Duration // when its present incarnation became a member
	heard       time.Duration // when its present incarnation was last heard as a member of this group
	holds       int64         // the highest view of this group that its incarnation is known to hold
	behind      bool          // it refused a request about the present view, and was sent that view

	probed   time.Duration // when it was last PROBEd
	answered time.Duration // when it was asked what it has answered last
	differed time.Duration // when it was last said that its hosts file differs
	redial   time.Duration // when this peer last asked for a new connection with it

	gone    bool          // unreachable: silent, refused, or followed by a newer incarnation
	lost    time.Duration // since when it is gone
	spoke   time.Duration // when it last said something that does not prove it alive
	dead    bool          // gone for certain: its host refused a connection, or a later incarnation answered
	missed  time.Duration // since when another member misses it, at least: what that one had heard of this peer by then
	witness types.ID      // who that was
	unfit   bool          // its last heartbeat says that it hears no quorum
	owes    time.Duration // since when it owes this peer an answer, or never

	failing  bool  // its failure was recorded, and is not over
	reported int64 // the number of the view in which its failure was last recorded

	removals int           // as unreachable, each a minute at most after the one before
	removed  time.Duration // when it last was

	evidence evidence
	showed   time.Duration // when it first answered since this peer became fresh
	lives    lives

	clock      uint64     // the newest time of its own clock, by a HEARTBEAT or PROBE
	saidWhom   bool       // it said whom it does not hear
	stamp      uint64     // of the newest heartbeat that did
	notHearing []types.ID // whom, as that has it
}

// forgive forgets what answers members owe.
func (d *detector) forgive() {
	for i := range d.hosts {
		d.hosts[i].owes = never
	}
}

// meet begins to watch a new member.
func (h *Handler) meet(id types.ID) {
	p := &h.hosts[id-1]
	*p = host{met: h.now.Run, heard: h.now.Run, lastContact: p.lastContact, differed: p.differed, probed: never, redial: never, owes: never,
		removals: p.removals, removed: p.removed, evidence: p.evidence, showed: p.showed, lives: p.lives.meet(h.view.Incarnation(id))}
	if id != h.ID {
		h.order.last(id)
	}
}

// reaches reports whether id is a member of the view and not unreachable.
func (h *Handler) reaches(id types.ID) bool {
	if id == h.ID {
		return true
	}
	return h.view.Has(id) && !h.hosts[id-1].gone
}

// noteRemoval notes that the host is no member any more.
func (p *host) noteRemoval(c types.Cause, now time.Duration) {
	if c != types.Unreachable {
		return
	}
	if now-p.removed >= time.Minute {
		p.removals = 0
	}
	p.removals++
	p.removed = now
}

// recount is called whenever somebody's reachability may have changed.
func (h *Handler) recount() {
	h.lacking = 0
	for _, id := range h.view.Members {
		if !h.reaches(id) {
			h.lacking++
		}
	}
	h.quorate = h.view.Enough(len(h.view.Members)-h.lacking, h.reaches(h.view.Leader))
	switch {
	case h.quorate && h.election.inquorate != never:
		h.election.inquorate, h.election.regained = never, h.now.Run
	case !h.quorate && h.election.inquorate == never:
		h.election.inquorate = h.now.Run
		h.due(h.now.Run) // to ask, for re-forming, who else is left
	}
}

// hear notes a message of this group: anything authentic of a member's incarnation counts.
func (h *Handler) hear(m *types.Message) {
	if !h.view.Holds(types.Member{ID: m.From, Incarnation: m.Incarnation}) {
		return
	}
	p := &h.hosts[m.From-1]
	if (p.gone || p.failing) && !p.revivedBy(m) {
		p.spoke = h.now.Run
		if m.Kind != types.State {
			h.ask(m.From)
		}
		return
	}
	if p.gone {
		p.gone, p.dead, p.owes = false, false, never
		h.recount()
	}
	p.heard = max(p.heard, h.now.Run-m.Waited)
	h.order.last(m.From)
	p.holds = max(p.holds, m.Number)
	if p.failing && !slices.Contains(h.namedByLeader, m.From) {
		p.failing = false
	}
}

// speaks reports whether something came lately from a member that is held unreachable: nothing is
// done about it before its PROBE has been answered, or should have been.
func (h *Handler) speaks(id types.ID) bool {
	if !h.view.Has(id) || id == h.ID {
		return false
	}
	p := &h.hosts[id-1]
	return p.gone && p.spoke > p.lost && h.since(p.spoke) < h.scaled(probeAnswer)
}

// revivedBy reports whether m shows that a member is back that was held unreachable. What the
// network kept may be older than its sender's death: it takes an answer to a PROBE asked since.
func (p *host) revivedBy(m *types.Message) bool {
	return m.Kind == types.State && time.Duration(m.Request) > p.lost
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
	p := &h.hosts[id-1]
	if !p.gone {
		p.gone, p.lost = true, h.now.Run
		h.recount()
	}
}

// tellLeader tells the leader over TCP, where nothing is lost, whom this peer misses: when a member has
// become silent, when there is another leader, and with each heartbeat. A leader removes nobody whom it
// alone misses (rule 2).
func (h *Handler) tellLeader() {
	if !h.misses || !h.hasLeader() {
		return
	}
	h.misses = false
	m := h.send(types.Heartbeat, h.election.sign.peer)
	m.Request, m.Heard, m.Term = uint64(h.now.Run), h.heardOf(h.promised.Peer), h.promised
	m.Unreachable = h.unheard(len(h.hosts))
}

// heardOf returns the newest time of a member's own clock that this peer has heard; 0 for none.
func (h *Handler) heardOf(id types.ID) uint64 {
	if !h.known(id) {
		return 0
	}
	return h.hosts[id-1].clock
}

// noteClock notes when the sender of m, a HEARTBEAT or PROBE, sent it.
func (h *Handler) noteClock(m *types.Message) {
	if h.view.Holds(types.Member{ID: m.From, Incarnation: m.Incarnation}) {
		p := &h.hosts[m.From-1]
		p.clock = max(p.clock, m.Request)
	}
}

// silent reports whether this peer misses a member that may be there all the same.
func (h *Handler) silent(id types.ID) bool { return !h.reaches(id) && !h.hosts[id-1].dead }

// confirmed reports whether a member that this peer holds unreachable may be removed: it is gone for
// certain, or another reachable member misses it too, has said so after it had heard what this peer sent since
// it last heard that one, and has not said anything else since. A leader that is left alone has nobody to ask.
func (h *Handler) confirmed(id types.ID) bool {
	p := &h.hosts[id-1]
	if p.dead || len(h.view.Members)-h.lacking <= 1 {
		return true
	}
	return p.missed > p.heard && h.reaches(p.witness) && slices.Contains(h.hosts[p.witness-1].notHearing, id)
}

// hearsQuorum reports whether a member that misses just these hears a quorum of the view.
func (h *Handler) hearsQuorum(missed []types.ID) bool {
	n, leader := len(h.view.Members), true
	for _, id := range missed {
		if h.view.Has(id) {
			n--
			leader = leader && id != h.view.Leader
		}
	}
	return h.view.Enough(n, leader)
}

// isCut reports whether m, a heartbeat, names only some of those whom its sender misses.
func isCut(m *types.Message) bool { return slices.Contains(m.Unreachable, m.From) }

// mayWitness reports whether the sender of m is believed in whom it misses: it names all of them, and hears
// more than half of those whom this peer hears. Those who are gone do not count against it.
func (h *Handler) mayWitness(m *types.Message) bool {
	reached := len(h.view.Members) - h.lacking
	heard := reached
	for _, id := range m.Unreachable {
		if h.reaches(id) {
			heard--
		}
	}
	return !isCut(m) && 2*heard > reached
}

// heedList takes in whom the sender of m, a member's heartbeat, misses, unless a newer heartbeat has
// overtaken it, or it is the short one of the two that were sent at that moment.
func (h *Handler) heedList(m *types.Message) {
	p := &h.hosts[m.From-1]
	if m.Request < p.stamp || isCut(m) && m.Request == p.stamp {
		return
	}
	p.stamp = m.Request
	h.noteNotHearing(m)
	h.heedMissed(m)
}

// heedMissed notes whom the sender of m, a member's heartbeat, misses. Whom the leader misses is asked, too:
// it owes this peer an answer from now on.
func (h *Handler) heedMissed(m *types.Message) {
	sender := &h.hosts[m.From-1]
	sender.unfit = !isCut(m) && !h.hearsQuorum(m.Unreachable)
	if s := &h.election.sign; sender.unfit && !m.Leads && m.From == s.peer && !m.Term.Below(s.term) {
		s.at = min(s.at, h.now.Run-h.Monitor) // it has lost its quorum, and leads no more
	}
	if sender.gone || m.Number < h.view.Number || !m.Leads && !h.mayWitness(m) {
		return
	}
	for _, id := range m.Unreachable {
		if !h.known(id) || !h.view.Has(id) || id == h.ID {
			continue
		}
		p := &h.hosts[id-1]
		if heard := time.Duration(m.Heard); m.Term.Peer == h.ID && heard <= h.now.Run {
			p.missed, p.witness = heard, m.From // said after it had heard what this peer sent then
		}
		if p.gone && p.missed <= p.heard && h.role == roleLeader {
			h.ask(m.From) // so that it hears something newer, and says whom it misses again
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

// lastWord is when a member's silence began: it was last heard, or owes an answer since then. One whose
// heartbeats come, but no answers, is of no use to its leader.
func (p *host) lastWord() time.Duration {
	if p.owes != never {
		return min(p.owes, p.heard)
	}
	return p.heard
}

// patience is the silence that makes a peer look: one heartbeat and a little.
func (h *Handler) patience() time.Duration { return h.Heartbeat * 12 / 11 }

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
	m.Request, m.Digest = uint64(h.now.Run), h.Digest
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
	h.noteClock(m)
	h.misses = h.misses || h.lacking > 0 && m.From == h.election.sign.peer
	h.state(m)
	admitted := m.Number == 0 && h.view.Holds(types.Member{ID: m.From, Incarnation: m.Incarnation})
	if admitted || h.mine(m) && m.Number < h.view.Number {
		h.showView(m)
	}
}

// state answers m with what this peer is.
func (h *Handler) state(m *types.Message) {
	s := h.answer(m, types.State)
	s.Standing, s.Leads = h.role.standing(), h.leads()
	s.HasLeader = s.Leads || h.hasLeader()
	if !h.view.Holds(types.Member{ID: m.From, Incarnation: m.Incarnation}) { // else it need not take another
		s.Last = h.view.Past(m.From).Incarnation
	}
	if s.Leads {
		s.Term = h.leading.term
	} else if s.HasLeader {
		s.Term = h.election.sign.term
	}
	if !h.joined() {
		s.Number = h.highest
	}
}

func (h *Handler) onState(m *types.Message) {
	h.answered(m.From, m)
	h.nameFound(m.From)
	h.onEvidence(m)
	if h.joined() {
		if h.role != roleLeader && h.view.Holds(types.Member{ID: m.From, Incarnation: m.Incarnation}) {
			h.hosts[m.From-1].owes = never
		}
		h.succeeded(m)
		if m.Standing == types.Fresh && h.view.Holds(types.Member{ID: m.From, Incarnation: m.Incarnation}) {
			h.showView(m) // it is let in, and whoever did so did not live to tell it
		}
		if h.mine(m) && m.Leads {
			h.sawLeader(m)
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
	case h.view.Holds(types.Member{ID: m.From, Incarnation: m.Incarnation}):
		h.noteClock(m)
		if m.Leads {
			h.sawLeader(m)
		}
		h.heedList(m)
		if m.Number > h.view.Number {
			h.ask(m.From) // who answers with its view: the leader may be unable to send it
		}
		if p := &h.hosts[m.From-1]; p.holds < h.view.Number && p.owes == never && h.leads() {
			h.anew(m.From)
			h.showView(m)
		}
	case h.leads() && m.Incarnation <= h.view.Past(m.From).Incarnation:
		h.anew(m.From)
		h.showView(m)
	default:
		h.succeeded(m)
	}
}

// undialed notes a connection that could not be made: a refusal is news, silence is not.
func (h *Handler) undialed(id types.ID, began time.Duration, o types.Outcome) {
	p := &h.hosts[id-1]
	if o == types.Refusal || o == types.NoAnswer {
		h.nameFound(id)
	}
	if o == types.Refusal || o == types.NoName {
		h.recordEvidence(id, evidence{asked: began, outcome: o})
	}
	if o == types.Refusal && h.joined() && h.view.Has(id) {
		if began < p.heard {
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
	for i := range h.hosts {
		p := &h.hosts[i]
		if p.gone && !p.dead {
			p.gone, p.lost, p.heard = false, h.now.Run, h.now.Run-h.patience()
		}
		p.evidence, p.lives.asked, p.lives.answers = evidence{}, never, false
		p.owes, p.missed = never, never
	}
	h.recount()
	h.nextHeartbeat, h.reform, h.election.deferredAt = h.now.Run, reforming{}, never
	if h.role == roleLeader {
		h.leading.joining = nil // who still wants to join asks again
	}
}
