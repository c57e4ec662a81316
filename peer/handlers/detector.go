package handlers

import (
	"slices"
	"time"

	"memberly/peer/types"
)

// detector is what this peer knows of who is there (docs/protocol.md, section 4, and the reports of rule 2).
// The view, messages and the time are arguments; it sends nothing.
type detector struct {
	self      types.ID
	hosts     []host        // by ID-1
	order     order         // of the other members, by when they were heard
	allHeard  bool          // when it last looked, no member was silent or unreachable
	quorate   bool          // a quorum of the view is reachable
	lacking   int           // how many of its members are not
	inquorate time.Duration // since when no quorum is reachable; never while one is
	changed   time.Duration // when the present view was installed
	regained  time.Duration // when a quorum was last reachable again
	misses    bool          // it misses a member, and has not told the leader yet
}

// host is what a peer holds of one host of the file.
type host struct {
	lastContact time.Duration // when anything last came from it
	met         time.Duration // when its present incarnation became a member
	heard       time.Duration // when its present incarnation was last heard as a member of this group
	holds       int64         // the highest view of this group that its incarnation is known to hold
	shown       int64         // the highest view that this peer, as its leader, has sent it or has asked it about
	behind      bool          // it refused a request about the present view, and was sent that view

	probed   time.Duration               // when it was last PROBEd
	answered time.Duration               // when it was asked what it has answered last
	differed map[EventKind]time.Duration // when it was last told, by kind, that its hosts file or a setting differs; nil before the first
	redial   time.Duration               // when this peer last asked for a new connection with it

	gone    bool          // unreachable: silent, refused, or followed by a newer incarnation
	lost    time.Duration // since when it is gone
	spoke   time.Duration // when it last said something that does not prove it alive
	dead    bool          // gone for certain: its host refused a connection, or a later incarnation answered
	missed  time.Duration // sending time of this peer's newest heartbeat that the witness had heard when it reported this member missing
	witness types.ID      // the member that reported it
	unfit   bool          // its last heartbeat says that it hears no quorum
	owes    time.Duration // since when it owes this peer an answer, or never

	failing  bool  // its failure was recorded, and is not over
	reported int64 // the number of the view in which its failure was last recorded

	removals int           // as unreachable, each a minute at most after the one before
	removed  time.Duration // when it last was

	file     uint64 // of its present incarnation, as a member: the FileDigest of its hosts file, 0 if it has not said
	lines    int    // it lists no more hosts than these, as it said when it refused this peer for that; 0 if it has not
	refuses  bool   // it is in a group, and has refused this peer because their files differ
	speech   speech
	evidence evidence
	showed   time.Duration // when it first answered since this peer became fresh
	lives    lives

	hasReported bool       // a list of its missing members has arrived
	stamp       uint64     // of the newest heartbeat that did
	notHearing  []types.ID // that list, from the heartbeat sent at stamp
}

func newDetector(self types.ID, hosts int) detector {
	d := detector{self: self}
	d.grow(hosts)
	d.forgetView()
	return d
}

// grow makes room for so many hosts.
func (d *detector) grow(hosts int) {
	for len(d.hosts) < hosts {
		d.hosts = append(d.hosts, host{lastContact: never, heard: never, probed: never, redial: never, owes: never, showed: never, lives: newLives()})
	}
	d.order.grow(hosts)
}

// forgetView is called when there is no view any more.
func (d *detector) forgetView() {
	d.order, d.inquorate, d.regained = newOrder(len(d.hosts)), never, never
}

// moved is called when next follows the view before: it begins to watch the new members. Then recount is due.
func (d *detector) moved(before, next *types.View, now time.Duration) {
	d.changed = now
	for _, id := range before.Members {
		if !next.Has(id) {
			d.order.drop(id)
			d.hosts[id-1].noteRemoval(next.Past(id).Cause, now)
		}
	}
	for _, id := range next.Members {
		if i := next.Incarnation(id); before.Incarnation(id) != i {
			p := &d.hosts[id-1]
			*p = host{met: now, heard: now, lastContact: p.lastContact, differed: p.differed, probed: never, redial: never, owes: never,
				removals: p.removals, removed: p.removed, speech: p.speech, evidence: p.evidence, showed: p.showed, lives: p.lives.meet(i), lines: p.lines, refuses: p.refuses}
			if id != d.self {
				d.order.last(id)
			}
		}
	}
}

// noteRemoval notes that the host is no member any more.
func (p *host) noteRemoval(c types.Cause, now time.Duration) {
	if c != types.Unreachable {
		return
	}
	if now-p.removed >= unsteadyGap {
		p.removals = 0
	}
	p.removals++
	p.removed = now
}

// known reports whether id is another host of the file.
func (d *detector) known(id types.ID) bool {
	return id >= 1 && int(id) <= len(d.hosts) && id != d.self
}

// reachable reports whether id is a member of v and not unreachable.
func (d *detector) reachable(v *types.View, id types.ID) bool {
	return id == d.self || v.Has(id) && !d.hosts[id-1].gone
}

// missing lists the members of v that this peer holds unreachable. Of more than most it lists some, and
// itself, which says so.
func (d *detector) missing(v *types.View, most int) []types.ID {
	if d.lacking == 0 {
		return nil
	}
	ids := slices.DeleteFunc(slices.Clone(v.Members), func(id types.ID) bool { return d.reachable(v, id) })
	if len(ids) > most {
		ids[most-1] = d.self
		ids = ids[:most]
	}
	return ids
}

// recount is called when the reachability of a member may have changed. It reports whether this has cost v its
// quorum.
func (d *detector) recount(v *types.View, now time.Duration) (lost bool) {
	d.lacking = 0
	for _, id := range v.Members {
		if !d.reachable(v, id) {
			d.lacking++
		}
	}
	d.quorate = v.Enough(len(v.Members)-d.lacking, d.reachable(v, v.Leader))
	if lost = !d.quorate && d.inquorate == never; lost {
		d.inquorate = now
	} else if d.quorate && d.inquorate != never {
		d.inquorate, d.regained = never, now
	}
	return lost
}

// heard notes m, a message of a member of v and of its group, and reports whether it shows that the member
// lives: once it is unreachable, only its answer to a later PROBE does. Its failure is not over while the
// leader has it in named, its list of the unreachable.
func (d *detector) heard(v *types.View, m *types.Message, now time.Duration, named []types.ID) (lives bool) {
	p := &d.hosts[m.From-1]
	if (p.gone || p.failing) && !p.revivedBy(m) {
		p.spoke = now
		return false
	}
	if p.gone {
		p.gone, p.dead, p.owes = false, false, never
		d.recount(v, now)
	}
	p.heard = max(p.heard, now-m.Waited)
	d.order.last(m.From)
	p.holds = max(p.holds, m.Number)
	p.failing = p.failing && slices.Contains(named, m.From)
	return true
}

// revivedBy reports whether m shows that a member is back that was held unreachable. What the
// network kept may be older than its sender's death: it takes an answer to a PROBE asked since.
func (p *host) revivedBy(m *types.Message) bool {
	return m.Kind == types.State && time.Duration(m.Request) > p.lost
}

// lose holds the host unreachable. Then recount is due.
func (p *host) lose(now time.Duration) {
	if !p.gone {
		p.gone, p.lost = true, now
	}
}

// diedAfter reports whether the host is gone for certain, and was not when t came: what it said since, it lives to have said.
func (p *host) diedAfter(t time.Duration) bool { return p.dead && p.lost >= t }

// isBack is called when the member's process has answered m.Request that it does not know that it is a member: the host
// is not gone for certain any more, but it is unreachable until it has the view.
func (p *host) isBack(m *types.Message) { p.dead = p.dead && !p.revivedBy(m) }

// speaks reports whether something came lately from a host that is held unreachable: nothing is
// done about it before its PROBE has been answered, or should have been, which takes that long.
func (p *host) speaks(now, answer time.Duration) bool {
	return p.gone && p.spoke > p.lost && now-p.spoke < answer
}

// lastWord is when a member's silence began: it was last heard, or owes an answer since then. One whose
// heartbeats come, but no answers, is of no use to its leader.
func (p *host) lastWord() time.Duration {
	if p.owes != never {
		return min(p.owes, p.heard)
	}
	return p.heard
}

// forgive forgets what answers members owe.
func (d *detector) forgive() {
	for i := range d.hosts {
		d.hosts[i].owes = never
	}
}

// takeList keeps the list of missing members in m, a heartbeat of the host. It returns false if it has a newer
// list, or if m is the shortened one of the two that were sent at one moment.
func (p *host) takeList(m *types.Message) bool {
	if m.Request < p.stamp || isCut(m) && m.Request == p.stamp {
		return false
	}
	p.stamp, p.hasReported = m.Request, true
	if !slices.Equal(p.notHearing, m.Unreachable) {
		p.notHearing = slices.Clone(m.Unreachable) // a new list: Status may have shown the old one
	}
	return true
}

// isCut reports whether the list of missing members in m, a heartbeat, is shortened.
func isCut(m *types.Message) bool { return slices.Contains(m.Unreachable, m.From) }

// noteMissed notes the members that the sender of m, a member's heartbeat to this peer, misses. The sender had
// heard what this peer sent at m.Heard when it reported that.
func (d *detector) noteMissed(v *types.View, m *types.Message, now time.Duration) {
	if at := time.Duration(m.Heard); at <= now {
		for _, id := range m.Unreachable {
			if d.known(id) && v.Has(id) {
				d.hosts[id-1].missed, d.hosts[id-1].witness = at, m.From
			}
		}
	}
}

// confirmed reports whether a member of v that this peer holds unreachable may be removed (rule 2): it is gone for
// certain, or a reachable witness also misses it. The report counts only if the witness had heard a heartbeat that
// this peer sent after the member's last message, and only while it is the witness's newest report. A leader
// without other reachable members needs no witness.
func (d *detector) confirmed(v *types.View, id types.ID) bool {
	p := &d.hosts[id-1]
	if p.dead || len(v.Members)-d.lacking <= 1 {
		return true
	}
	return p.missed > p.heard && d.reachable(v, p.witness) && slices.Contains(d.hosts[p.witness-1].notHearing, id)
}

// mayWitness reports whether the list of missing members in m counts: it is complete, and its sender hears more
// than half of the members that this peer hears.
func (d *detector) mayWitness(v *types.View, m *types.Message) bool {
	reached := len(v.Members) - d.lacking
	heard := reached
	for _, id := range m.Unreachable {
		if d.reachable(v, id) {
			heard--
		}
	}
	return !isCut(m) && 2*heard > reached
}

// hearsQuorum reports whether a member that misses just these hears a quorum of v.
func hearsQuorum(v *types.View, missed []types.ID) bool {
	n, leader := len(v.Members), true
	for _, id := range missed {
		if v.Has(id) {
			n--
			leader = leader && id != v.Leader
		}
	}
	return v.Enough(n, leader)
}

// resume is called after a stall of this peer: what it knew of the others is old. Those held unreachable for
// silence have been silent for patience, no longer.
func (d *detector) resume(now, patience time.Duration) {
	for i := range d.hosts {
		p := &d.hosts[i]
		if p.gone && !p.dead {
			p.gone, p.lost, p.heard = false, now, now-patience
		}
		p.evidence, p.lives.asked, p.lives.answers = evidence{}, never, false
		p.owes, p.missed = never, never
	}
}
