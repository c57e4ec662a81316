package handlers

import (
	"cmp"
	"time"

	"memberly/peer/types"
)

// freshness is the state of a peer that asks to join.
type freshness struct {
	since      time.Duration
	waits      time.Duration // since when it lets the hosts before it found
	most       time.Duration // since when more than half of the hosts are accounted for, or never
	named      time.Duration // when the name service was last seen to find another host
	naming     time.Duration // since when it does
	leaderHint types.ID      // who is said to lead
	group      types.Group   // which,
	term       types.Term    // and under which term
	hinted     time.Duration // when it was last said
	turn       types.ID      // whose turn it was to be asked
	target     types.ID      // who was asked last
	asked      time.Duration
	tries      int // how many more may be asked before the next tick
}

// renew takes the clock's time as incarnation if that is larger than any earlier one, and than last. Where
// the clock is behind, the incarnation is above last by the salt: two lives of a host that are told the
// same last must not take the same incarnation.
func (h *Handler) renew(last types.Incarnation) {
	before := max(h.incarnation, last, h.storing.used)
	h.incarnation = types.Incarnation(h.now.Wall)
	if h.incarnation <= before {
		h.incarnation = before + 1 + types.Incarnation(h.Salt)
	}
	h.storing.used, h.storing.again = h.incarnation, false
	h.storing.first = cmp.Or(h.storing.first, h.incarnation)
}

// tickFresh sends JOIN to the reported leader or, without one, to the hosts in turn. If it is this peer's turn to
// found, it sends PROBE to all of them.
func (h *Handler) tickFresh() {
	f := &h.fresh
	f.tries = 8
	pause := h.retry()
	if h.since(f.hinted) >= h.Monitor {
		f.leaderHint = 0
	}
	if h.since(f.asked) >= pause {
		if f.leaderHint != 0 {
			h.join(f.leaderHint)
		} else if !h.mayFound() {
			h.joinNext()
		}
	}
	h.due(h.now.Run + pause)
	if h.mayFound() {
		h.inquire(h.fresh.since, pause)
		h.found()
	}
	if h.stores() {
		h.tickStored()
	}
	if h.role == roleFresh {
		h.noteWaiting()
	}
}

// join sends JOIN to id.
func (h *Handler) join(id types.ID) {
	f := &h.fresh
	if f.target == id && h.since(h.hosts[id-1].lastContact) >= h.paced(joinRedialAfter) {
		h.anew(id)
	}
	f.target, f.asked = id, h.now.Run
	m := h.send(types.Join, id)
	m.Request, m.Speaks, m.Monitor = uint64(h.now.Run), types.Version, h.Monitor
	h.sign(m)
}

// joinNext sends JOIN to the host whose turn it is.
func (h *Handler) joinNext() {
	f, hosts := &h.fresh, types.ID(len(h.hosts))
	for range hosts {
		if f.turn = f.turn%hosts + 1; f.turn != h.ID && !h.isRetired(f.turn) {
			h.join(f.turn)
			return
		}
	}
}

// askAnother asks another host at once when the last one cannot be reached.
func (h *Handler) askAnother(id types.ID) {
	f := &h.fresh
	if f.leaderHint == id {
		f.leaderHint = 0
	}
	if f.target == id && f.tries > 0 && f.leaderHint == 0 && !h.mayFound() {
		f.tries--
		h.joinNext()
	}
}

// learnLeader follows the word that id leads group: of several groups, the earliest made.
func (h *Handler) learnLeader(id types.ID, group types.Group, term types.Term) {
	f := &h.fresh
	if !h.known(id) || !f.prefers(id, group, term) || h.passedOver(id, group) {
		return
	}
	news := f.leaderHint != id
	f.leaderHint, f.group, f.term, f.hinted = id, group, term, h.now.Run
	if (news || f.target != id) && f.tries > 0 {
		f.tries--
		h.join(id)
	}
}

// prefers reports whether a fresh peer would follow a report that id leads group under term. A delayed message
// may name a leader that has been replaced since.
func (f *freshness) prefers(id types.ID, group types.Group, term types.Term) bool {
	if f.leaderHint == 0 || group.Before(f.group) {
		return true
	}
	return group == f.group && (f.term.Below(term) || f.term == term) || group != f.group && f.leaderHint == id
}

// onJoinState handles a STATE to a fresh peer. The peer takes a higher incarnation only when the leader that it
// would join says that its own is too low, because another leader may already have admitted it. While it knows
// no leader, it also believes a member whose leader has this peer's own id: that leader cannot tell it.
func (h *Handler) onJoinState(m *types.Message) {
	h.newest = max(h.newest, m.Last)
	if h.stores() {
		h.noteAdmitted(m)
	}
	switch low := m.Last >= h.incarnation; {
	case low && m.Leads && h.fresh.prefers(m.From, m.Group, m.Term):
		h.renew(m.Last)
		h.join(m.From)
		return
	case low && m.HasLeader && m.Term.Peer == h.ID && h.fresh.leaderHint == 0:
		h.renew(m.Last)
	}
	if m.Leads {
		h.learnLeader(m.From, m.Group, m.Term)
	} else if m.HasLeader {
		h.learnLeader(m.Term.Peer, m.Group, m.Term)
	}
}

// onFirstView installs the first view that holds this peer; another says who leads, or that
// this incarnation is too low.
func (h *Handler) onFirstView(m *types.Message) {
	v := m.View
	if v == nil || !h.knowsHosts(m) {
		return
	}
	h.mistrust(v.Past(h.ID).Incarnation)
	switch past := v.Past(h.ID); {
	case v.Holds(types.Member{ID: h.ID, Incarnation: h.incarnation}):
		h.promise(m.Term)
		h.counter = m.Term.Counter
		h.following, h.followed = m.Term.Peer, m.Term
		h.install(v)
		h.becomeFollower()
		h.nextHeartbeat = h.now.Run + h.Heartbeat*time.Duration(h.ID-1)/time.Duration(len(h.hosts)) // not all at one moment
		h.due(h.now.Run)
		if m.From == m.Term.Peer { // this peer has never heard the members that m lists as missing: the others record their failure
			h.heeded.term, h.heeded.request = m.Term, m.Request
			h.election.sign = leaderSeen{peer: m.From, term: m.Term, at: h.now.Run}
			if !m.Unanswered {
				h.ok(m, types.OK)
			}
		}
	case past.Incarnation >= h.incarnation && m.From == m.Term.Peer && h.fresh.prefers(m.From, m.Group, m.Term):
		h.renew(past.Incarnation)
		h.join(m.From)
	default:
		h.learnLeader(m.Term.Peer, m.Group, m.Term)
	}
}

// onForeignHeartbeat looks into a heartbeat of another group: rule 6 wants it confirmed by a PROBE.
func (h *Handler) onForeignHeartbeat(m *types.Message) {
	h.succeeded(m)
	drawing := m.Leads || m.Group.Before(h.view.Group) && h.lasts(h.election.leaderless, mergeLeaderless)
	if drawing {
		if q := h.ask(m.From); q != nil {
			q.Addr = h.back(m)
		}
	}
}

// joinEarlierGroup leaves this peer's group for that of m, a STATE, where rule 6 says so. Or m is a REFUSED, which does not say
// whether there is a leader: then only the order of the groups counts.
func (h *Handler) joinEarlierGroup(m *types.Message) {
	e := &h.election
	earlier := m.Group.Before(h.view.Group)
	switch {
	case h.leaving != never:
		return
	case m.Leads && (earlier || h.lasts(e.leaderless, mergeLeaderless) || e.leaderless != never && h.lasts(h.inquorate, mergeInquorate)):
	case !m.Leads && !m.HasLeader && earlier && h.lasts(e.leaderless, mergeLeaderless):
	default:
		return
	}
	h.note(Said).Text = "leaving"
	h.storing.former = types.Stored{}
	h.becomeFresh()
	if m.Leads {
		h.locate(m)
		h.fresh.tries = 1
		h.learnLeader(m.From, m.Group, m.Term)
	}
}

// lasts reports whether what began at t, if it did, has lasted for d, scaled.
func (h *Handler) lasts(t, d time.Duration) bool { return t != never && h.since(t) >= h.scaled(d) }

// tellOfHost tells what (FilesDiffer, MonitorDiffers, Unlisted or SelfRetired) of a host, at most once every noticeEvery for each.
func (h *Handler) tellOfHost(remote types.ID, what EventKind) {
	if !h.known(remote) {
		return
	}
	p := &h.hosts[remote-1]
	if last, told := p.differed[what]; told && h.since(last) < noticeEvery {
		return
	}
	if p.differed == nil {
		p.differed = map[EventKind]time.Duration{}
	}
	p.differed[what] = h.now.Run
	h.note(what).Host = remote
}

// noteWaiting tells what this peer waits for, once its group or its disk has not been able to go on for noticeAfter, and
// again every noticeEvery.
func (h *Handler) noteWaiting() {
	since := h.fresh.since
	if h.handsOver() {
		since = h.departure.began
	} else if h.joined() {
		since = h.inquorate // never, if a quorum is reached
		if halt, _ := h.halt(); halt == NotStoring || halt == NoDisk {
			since = h.storing.waits
		}
	}
	if h.lasts(since, noticeAfter) && h.since(h.waited) >= noticeEvery {
		h.waited = h.now.Run
		halt, awaited := h.halt()
		e := h.note(Waits)
		e.Halt, e.Awaited = halt, awaited
	}
}
