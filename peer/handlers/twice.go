package handlers

import (
	"time"

	"memberly/peer/types"
)

// lives is where the processes of one host are. There is one at a time, but for mistakes: the
// same host started twice, on two machines or in two containers.
type lives struct {
	addr types.Addr // where the member was last heard; to a fresh peer, where the leader was
	last struct {   // which incarnation was last heard, and where
		incarnation types.Incarnation
		addr        types.Addr
	}
	apart bool // two incarnations were heard at different addresses, and no new member since: what is sent must name one

	asked   time.Duration // when the member was last asked whether it runs, as another would succeed it
	answers bool          // it has answered since
	failed  bool          // its address could not be dialled since
	refused time.Duration // when another was last refused because it does
	said    time.Duration // when that was last said
}

func newLives() lives { return lives{asked: never, refused: never, said: never} }

// meet forgets the member before this one, which has ended as far as is known: nothing needs to name
// an address before another incarnation is heard again.
func (l lives) meet(i types.Incarnation) lives {
	l.asked, l.answers, l.failed, l.addr, l.apart = never, false, false, types.Addr{}, false
	if l.last.incarnation == i {
		l.addr = l.last.addr
	}
	return l
}

// locate notes where m came from.
func (h *Handler) locate(m *types.Message) {
	if !m.Addr.IsValid() {
		return
	}
	l := &h.hosts[m.From-1].lives
	if before := l.last; before.incarnation != 0 && before.incarnation != m.Incarnation && before.addr != m.Addr {
		l.apart = true
	}
	l.last.incarnation, l.last.addr = m.Incarnation, m.Addr
	present := h.view.Incarnation(m.From)
	switch {
	case present != 0 && m.Incarnation == present:
		l.addr = m.Addr
		l.answers = l.answers || m.Kind == types.State && time.Duration(m.Request) >= l.asked
	case h.role == roleFresh && m.Leads && !h.passedOver(m.From, m.Group):
		l.addr = m.Addr
	case m.From == h.following && present != 0 && m.Incarnation > present:
		h.disputed(m) // it cannot ask its leader, which has its own id
	}
}

// passedOver reports whether this fresh peer was told that another process of the host leads, and that
// group was made earlier.
func (h *Handler) passedOver(id types.ID, group types.Group) bool {
	return h.hosts[id-1].lives.apart && h.fresh.leaderHint == id && h.fresh.group.Before(group)
}

// at returns the only address at which to send to id; none unless the host runs twice.
func (h *Handler) at(id types.ID) types.Addr {
	if !h.known(id) || !h.hosts[id-1].lives.apart || h.joined() && !h.view.Has(id) {
		return types.Addr{}
	}
	return h.hosts[id-1].lives.addr
}

// back returns the only address at which to answer m; none unless its host runs twice.
func (h *Handler) back(m *types.Message) types.Addr {
	if !h.known(m.From) || !h.hosts[m.From-1].lives.apart {
		return types.Addr{}
	}
	return m.Addr
}

// disputed reports whether the sender of m, a later incarnation of a member's host, has to wait as the
// member may still run, at another address. The member is asked there; while it answers, the
// sender is refused.
func (h *Handler) disputed(m *types.Message) bool {
	p := &h.hosts[m.From-1]
	l := &p.lives
	if !m.Addr.IsValid() || m.Addr == l.addr || p.gone {
		return false
	}
	since, good := h.since(l.asked), h.paced(twiceAnswerGood)
	if m.Kind == types.Heartbeat {
		good = h.Monitor // the next one comes in a second
	}
	switch {
	case l.answers && since < good:
		h.refuseTwice(m)
	case l.answers || since >= h.Monitor:
		l.asked, l.answers, l.failed = h.now.Run, false, false
		h.probe(m.From, false)
	default:
		return !l.failed && since < h.paced(twiceWait)
	}
	return true
}

// refuseTwice tells the sender of m, and the member that it would succeed, that their host runs
// twice. A leader does so to a JOIN, anybody to what claims to be its leader's host.
func (h *Handler) refuseTwice(m *types.Message) {
	l := &h.hosts[m.From-1].lives
	joins := h.leads() && m.Kind == types.Join
	if !joins && (m.From != h.following || h.since(l.refused) < h.paced(twiceRefusal)) {
		return
	}
	l.refused = h.now.Run
	where := [2]types.Addr{l.addr, m.Addr}
	r := h.answer(m, types.Refused)
	r.Reason, r.Lives = types.Twice, where
	r = h.send(types.Refused, m.From)
	r.Reason, r.Lives = types.Twice, where
	h.sayTwice(m.From, where)
}

// refusedTwice is what a peer does that hears that its host runs twice: one that asks to join goes
// on, at a slower pace.
func (h *Handler) refusedTwice(m *types.Message) {
	if h.role == roleFresh && h.fresh.target == m.From {
		h.fresh.asked = h.now.Run + h.paced(twiceRefusal) - h.retry() // so it asks in a second, not in 0.2
		h.waited = h.now.Run                                          // it knows what it waits for
	}
	h.sayTwice(h.ID, m.Lives)
}

// sayTwice says, rarely, that a host runs twice.
func (h *Handler) sayTwice(id types.ID, where [2]types.Addr) {
	l := &h.hosts[id-1].lives
	if h.since(l.said) >= noticeEvery {
		l.said = h.now.Run
		e := h.note(RunsTwice)
		e.Host, e.Lives = id, where
	}
}

// Unreached is the step of a dial of just one of the host's addresses that failed; began is when it was
// tried. It says nothing of the host, but of the process that was there.
func (h *Handler) Unreached(now Instant, id types.ID, began time.Duration, addr types.Addr) *Output {
	h.begin(now)
	if h.known(id) {
		l := &h.hosts[id-1].lives
		l.failed = l.failed || addr == l.addr && began-h.stood >= l.asked
		if h.role == roleFresh {
			h.askAnother(id)
		}
	}
	return h.end()
}
