package simulation

import (
	"fmt"
	"slices"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// judge checks the promises of docs/protocol.md from outside: it sees every event of every peer, and knows every
// fault.
type judge struct {
	w       *world
	failure string // the first promise that was broken
	views   map[viewKey]*types.View
	latest  map[types.Group]*types.View
	makings map[types.Group]making
	accused map[accusation]bool // what was proposed
	twins   int
	mistake bool // a group has agreed on a mistake, as those who were members then had it in their hosts files
	lives   map[*process]*processLog
	ballots map[viewKey]*ballots // for the view after
	leases  leases
	excuses map[string]int // why a member was rightly accused or reported, and how often
}

// making is how a group was made.
type making struct {
	at    time.Duration
	hosts []types.Host // that its maker knew
}

// evidenceAge is how old the answers may be by which a member forms its group again: a pause between PROBEs for evidence, and
// the slowest answer. It may not know of a group that was made since.
const evidenceAge = time.Second

// accusation is a proposal to remove a member from a view as unreachable.
type accusation struct {
	view   viewKey
	member types.Member
}

type viewKey struct {
	group  types.Group
	number int64
}

// processLog is what one process wrote.
type processLog struct {
	incarnation types.Incarnation
	number      int64
	reports     map[reportKey]int     // records of a failure
	after       map[types.Member]int  // of these, how many after the member's process ended
	reported    map[types.Member]bool // whose failure was recorded
}

// end is the end of a life as a member.
func (d *processLog) end() {
	d.number = 0
	clear(d.reports)
	clear(d.after)
}

type reportKey struct {
	member types.Member
	number int64
}

func newJudge(w *world) *judge {
	return &judge{w: w, accused: map[accusation]bool{}, views: map[viewKey]*types.View{}, latest: map[types.Group]*types.View{}, makings: map[types.Group]making{}, lives: map[*process]*processLog{},
		ballots: map[viewKey]*ballots{}, leases: newLeases(), excuses: map[string]int{}}
}

func (j *judge) fail(format string, args ...any) {
	if j.failure == "" {
		j.failure = fmt.Sprintf("%.6fs: ", j.w.now.Seconds()) + fmt.Sprintf(format, args...)
	}
}

// stepped judges what a process did in one step.
func (j *judge) stepped(p *process, out *handlers.Output) {
	d := j.lives[p]
	if d == nil {
		d = &processLog{reports: map[reportKey]int{}, after: map[types.Member]int{}, reported: map[types.Member]bool{}}
		j.lives[p] = d
	}
	j.accuses(out)
	for i := range out.Events {
		switch e := &out.Events[i]; e.Kind {
		case handlers.Installed:
			j.installed(p, d, e)
			p.installed = j.w.now
			v := e.Now
			j.moved(p, d, &v)
			p.view = v
		case handlers.Failed:
			j.reported(p, d, e)
		case handlers.Said: // it leaves, or was removed: what it writes now is of another life as a member
			d.end()
		case handlers.StateOld:
			j.fail("peer %d takes its state file for an old copy, and none is put back here", p.id)
		}
	}
	for i := range out.Messages {
		j.voted(&out.Messages[i])
	}
	j.named(p, d)
	if v := p.handler.View(); v.Number > 0 && (v.Number != p.view.Number || v.Group != p.view.Group) {
		j.fail("peer %d holds view %d and has recorded view %d", p.id, v.Number, p.view.Number)
	}
	if out.Exit && out.Code == 0 && !p.leaves {
		j.fail("peer %d ends, and was not told to leave", p.id)
	}
	if stands := p.handler.Standing(); stands != p.stands {
		p.stands, p.stood = stands, j.w.now
	}
	p.view = p.handler.View()
	j.leased(p, out)
}

// accuses judges the proposals of a step to remove members that have failed.
func (j *judge) accuses(out *handlers.Output) {
	for i := range out.Messages {
		switch m := &out.Messages[i]; {
		case m.Kind != types.Req:
		case m.Change.Cause == types.Unreachable:
			j.proposed(m)
		case m.Change.Cause == types.Restarted && j.w.plan.Sync > 0: // by the time that it is chosen, the member may be back
			j.accused[accusation{viewKey{m.Group, m.Number}, m.Change.Member}] = true
		}
	}
}

// named judges the incarnation that a process has after a step.
func (j *judge) named(p *process, d *processLog) {
	if inc := p.handler.Incarnation(); inc != d.incarnation {
		if inc < d.incarnation && !(j.w.plan.Sync > 0 && p.spoke[inc]) {
			j.fail("peer %d took a lower incarnation", p.id)
		}
		again := inc < d.incarnation // nobody leads, and it cannot know that somebody has let it in
		if p.stands == types.Fresh && p.handler.Standing() == types.Fresh && !again {
			j.renewed(p, types.Member{ID: p.id, Incarnation: d.incarnation})
		}
		d.incarnation = inc
		if p.spoke == nil {
			p.spoke = map[types.Incarnation]bool{}
		}
		p.spoke[inc], p.became = true, j.w.now
		for _, log := range j.lives {
			delete(log.after, types.Member{ID: p.id, Incarnation: inc}) // it runs again, and may end again
		}
		clear(d.after)
	}
}

// renewed judges a fresh peer that takes a new incarnation: the old one was not let in already.
func (j *judge) renewed(p *process, old types.Member) {
	for _, latest := range j.latest {
		if latest.Holds(old) {
			j.fail("peer %d gives up the incarnation that view %d has let in", p.id, latest.Number)
		}
	}
}

// installed judges the record of a view that a process installed.
func (j *judge) installed(p *process, d *processLog, e *handlers.Event) {
	r, _ := e.Record(p.id)
	v := &e.Now
	if r.View != v.Number || !slices.Equal(r.Members, v.Members) {
		j.fail("peer %d records view %d of %v and installs view %d of %v", p.id, r.View, r.Members, v.Number, v.Members)
	}
	if r.View <= d.number {
		j.fail("peer %d installs view %d after view %d", p.id, r.View, d.number)
	}
	d.number = r.View
	if !slices.Contains(r.Members, p.id) {
		j.fail("peer %d installs view %d without itself", p.id, r.View)
	}
	if seen := j.views[viewKey{v.Group, r.View}]; seen != nil && !slices.Equal(seen.Members, r.Members) {
		j.fail("view %d of group %v has members %v at peer %d, %v elsewhere", r.View, v.Group, r.Members, p.id, seen.Members)
	}
}

// moved judges the view that a process has come to.
func (j *judge) moved(p *process, d *processLog, v *types.View) {
	key := viewKey{v.Group, v.Number}
	seen := j.views[key]
	if seen != nil && !seen.Same(v) {
		j.fail("view %d is %+v at peer %d, %+v elsewhere", v.Number, *v, p.id, *seen)
	}
	if p.view.Group == v.Group && p.view.Number > 0 {
		j.excused(p, d, &p.view, v)
	}
	if seen != nil {
		return
	}
	if j.latest[v.Group] == nil {
		j.created(p, v)
		j.makings[v.Group] = making{j.w.now, slices.Clone(p.lists)}
	}
	file := j.w.plan.lastFile()
	j.mistake = j.mistake || v.Digest != types.Digest(file[:min(len(v.Last), len(file))])
	if before := j.views[viewKey{v.Group, v.Number - 1}]; before != nil {
		j.removal(before, v)
		j.follows(before, v)
		j.grown(before, v)
	}
	j.views[key] = v
	delete(j.ballots, viewKey{v.Group, v.Number - ballotsKept})
	if latest := j.latest[v.Group]; latest == nil || latest.Number < v.Number {
		j.latest[v.Group] = v
	}
}

// created judges the making of a group: no other may be able to move on, but for the twin
// that rule 7 admits.
func (j *judge) created(p *process, v *types.View) {
	if len(j.latest) > 0 && j.bootOnly() {
		j.fail("peer %d makes the group %v, the %d. one, and only the network or names came up late", p.id, v.Group, len(j.latest)+1)
	}
	if len(j.latest) > 0 && j.w.plan.Sync > 0 {
		j.fail("peer %d makes the group %v, the %d. one, and all hosts store what they must remember", p.id, v.Group, len(j.latest)+1)
	}
	for group, latest := range j.latest {
		if latest.Quorum(func(id types.ID) bool {
			q := j.w.host(id).process
			return q != nil && q != p && q.handler.Incarnation() == latest.Incarnation(id) && q.handler.View().Group == group
		}) {
			m := j.makings[group]
			unasked := !lists(m.hosts, p.id) && j.w.now-m.at < evidenceAge // the maker could not ask p, and p has asked the hosts just before
			if p.stands == types.Joined && !unasked {
				j.fail("peer %d re-forms while view %d of group %v could move on", p.id, latest.Number, group)
			}
			j.twins++
		}
	}
}

// bootOnly reports whether nothing was wrong until now except that the network, or names, came up late: then no
// peer may make a second group.
func (j *judge) bootOnly() bool {
	p := &j.w.plan
	n := p.Network
	if p.Boot == 0 && p.Nameless == 0 || n.Loss > 0 || n.Hang > 0 || n.NoUDP || n.Names || p.Dark != 0 {
		return false
	}
	return !slices.ContainsFunc(p.Faults, func(f fault) bool { return f.At <= j.w.now })
}

// goesOn reports whether some group has a living quorum of its latest view.
func (j *judge) goesOn() bool {
	for group, latest := range j.latest {
		if latest.Quorum(func(id types.ID) bool {
			q := j.w.host(id).process
			return q != nil && q.handler.View().Group == group && q.handler.Incarnation() == latest.Incarnation(id)
		}) {
			return true
		}
	}
	return false
}

// excused checks that a process has recorded the failure of every member that failed between two of its views.
func (j *judge) excused(p *process, d *processLog, was, is *types.View) {
	for _, id := range was.Members {
		m := types.Member{ID: id, Incarnation: was.Incarnation(id)}
		past := is.Past(id)
		failed := past.Cause == types.Unreachable || past.Cause == types.Restarted
		if past.Incarnation == m.Incarnation && failed && !d.reported[m] {
			j.fail("peer %d installs view %d without a record that peer %d failed", p.id, is.Number, id)
		}
	}
}

// proposed checks that no healthy member is proposed for removal as unreachable. A removal that was proposed
// once may be completed later, by a leader that reaches the member well.
func (j *judge) proposed(m *types.Message) {
	a := accusation{viewKey{m.Group, m.Number}, m.Change.Member}
	if j.accused[a] {
		return
	}
	j.accused[a] = true
	before := j.views[a.view]
	if before == nil {
		return
	}
	excuse := j.excuse(a.member, before)
	if left := len(before.Members) - len(m.Unreachable); left > 1 {
		excuse = j.missed(a.member, before, m.From)
	}
	if excuse == "" {
		j.fail("peer %d proposes to remove peer %d from view %d, but it was fine", m.From, m.Change.Member.ID, m.Number)
		return
	}
	j.excuses[excuse]++
}

// removal checks that no healthy member is removed without such a proposal.
func (j *judge) removal(before, v *types.View) {
	for _, id := range before.Members {
		m := types.Member{ID: id, Incarnation: before.Incarnation(id)}
		if v.Past(id).Cause == types.Unreachable && !j.accused[accusation{viewKey{before.Group, before.Number}, m}] && j.excuse(m, before) == "" {
			j.fail("peer %d is removed in view %d as unreachable, but was fine", id, v.Number)
		}
	}
}

// reported judges the record of a failure.
func (j *judge) reported(p *process, d *processLog, e *handlers.Event) {
	n := e.Host
	view := p.view
	if view.Number != e.View {
		if v := j.views[viewKey{p.handler.View().Group, e.View}]; v != nil {
			view = *v
		}
	}
	m := types.Member{ID: n, Incarnation: view.Incarnation(n)}
	d.reported[m] = true
	key := reportKey{m, e.View}
	if d.reports[key]++; d.reports[key] > 1 {
		j.fail("peer %d reports peer %d twice in view %d", p.id, n, e.View)
	}
	q := j.w.host(m.ID).process
	latest := j.latest[view.Group]
	late := latest != nil && latest.Number > e.View || j.w.now-p.awake < lately // it learns what was true once
	if !late && (q == nil || q.handler.Incarnation() != m.Incarnation) {
		if d.after[m]++; d.after[m] > 1 {
			j.fail("peer %d reports the end of peer %d twice", p.id, n)
		}
	}
	if late {
		return
	}
	if j.accused[accusation{viewKey{view.Group, e.View}, m}] {
		return // a removal that was begun rightly, and is only finished now
	}
	if view.Number == 0 {
		return
	}
	excuse := j.excuse(m, &view)
	if excuse == linkWasBad && j.w.apart(p.machine, j.w.host(m.ID), lately) {
		excuse = "its link to the one who reports was bad"
	}
	if excuse == "" {
		j.fail("peer %d reports peer %d, which was fine", p.id, n)
		return
	}
	j.excuses[excuse]++
}

// stuck reports whether silent hosts explain why there is no agreement: they are half of all hosts, or some view
// has lost its quorum and only they could show whether for good (rule 7).
func (j *judge) stuck() bool {
	if j.mistake {
		return true // its members and the others contradict each other, and only an operator can mend that
	}
	if j.w.plan.Sync > 0 && (j.waitsForStored() || j.lacksHosts()) {
		return true
	}
	dark := 0
	for _, m := range j.w.hosts {
		if m.down {
			dark++
		}
	}
	for _, m := range j.w.hosts {
		if m.process == nil {
			continue
		}
		v := m.process.handler.View()
		alive := func(id types.ID) bool {
			q := j.w.host(id).process
			return q != nil && q.handler.View().Group == v.Group && q.handler.Incarnation() == v.Incarnation(id)
		}
		if dark > 0 && v.Number > 0 && !v.Quorum(alive) {
			return true
		}
	}
	return 2*dark >= types.Serving(j.w.plan.lastFile())
}

// waitsForStored reports whether hosts that do not run are missing for a quorum of the latest view that is stored, or for the
// choice of who makes the group: with what they have stored nobody else goes on.
func (j *judge) waitsForStored() bool {
	runs := func(id types.ID) bool { return j.w.host(id).process != nil }
	for group := range j.latest {
		known := int64(0)
		for _, m := range j.w.hosts {
			if m.process != nil && m.stored.View.Group == group {
				known = max(known, m.stored.View.Number)
			}
		}
		v := j.views[viewKey{group, known}]
		if v == nil {
			return true
		}
		if b := j.ballots[viewKey{group, known}]; b != nil && b.chosen.Change.Operation != types.Nothing {
			next := v.With(b.chosen.Change) // who learns of it first may be the one that it removes
			if leader := b.chosen.Term.Peer; next.Has(leader) {
				next.Leader = leader // with whom half of it is a quorum
			}
			return !v.Quorum(runs) || !next.Quorum(runs)
		}
		return !v.Quorum(runs)
	}
	n, electorate := 0, len(j.w.plan.firstFile()) // also those that a later file retires: each makes a group with its first file alone
	for _, m := range j.w.hosts {
		if m.process != nil && int(m.id) <= electorate {
			n++
		}
		if maker := m.stored.Accepted.Change.Member.ID; maker != 0 && !runs(maker) {
			return true // it may have been chosen to make the group
		}
	}
	return 2*n < electorate || 2*n == electorate && !runs(1)
}

// agreed reports whether every running peer holds one view of just these peers, and else what is not so. Only
// a peer that the drill has expelled is left out.
func (j *judge) agreed() string {
	var running []types.ID
	var first *process
	for _, m := range j.w.hosts {
		if m.process != nil && serves(j.w.plan.lastFile(), m.id) && (!j.w.plan.Drill || m.process.handler.Standing() != types.Out) {
			running = append(running, m.id)
			if first == nil {
				first = m.process
			}
		}
	}
	for _, id := range running {
		p := j.w.host(id).process
		a, b := p.handler.View(), first.handler.View()
		members := slices.Sorted(slices.Values(a.Members))
		if a.Number == 0 || !a.Same(&b) || !slices.Equal(members, running) {
			return fmt.Sprintf("peer %d (%v) holds view %d of %v, members %v; running are %v", id,
				p.handler.Standing(), a.Number, a.Group, a.Members, running)
		}
	}
	if first != nil && len(j.w.plan.Files) > 0 {
		v := first.handler.View()
		return j.hostsAgreed(&v)
	}
	return ""
}
