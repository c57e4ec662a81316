package simulation

import (
	"time"

	"memberly/peer/types"
)

// lately is how long a member must have been well to count as healthy. missing is how old a bad link to a
// member can be that another one still reports to the leader. justNow is how long that takes which others decided before they
// heard of a new member.
const (
	lately  = 3 * time.Second
	missing = 5 * time.Second
	justNow = 500 * time.Millisecond
)

// linkWasBad is an excuse.
const linkWasBad = "its link to a member was bad"

// excuse returns the reason why a member may be held unreachable. It returns "" for a healthy member: one that
// was up, awake and connected both ways to all running members of its view for the last 3 s.
func (j *judge) excuse(m types.Member, v *types.View) string {
	if why := j.unwell(m, v); why != "" {
		return why
	}
	host := j.w.host(m.ID)
	for _, id := range v.Members {
		if id != m.ID && j.w.apart(host, j.w.host(id), lately) {
			return linkWasBad
		}
	}
	return ""
}

// missed returns the reason why the proposer may remove a member that another member must have missed, too.
func (j *judge) missed(m types.Member, v *types.View, proposer types.ID) string {
	if why := j.unwell(m, v); why != "" {
		return why
	}
	host := j.w.host(m.ID)
	for _, id := range v.Members {
		if id != m.ID && id != proposer && j.w.host(id).couldTell(j.w.now) && j.w.apart(host, j.w.host(id), missing) {
			return "its link to a member that is not the leader was bad"
		}
	}
	return ""
}

// unwell returns the reason why a member itself was not up, awake and in the group for the last 3 s.
func (j *judge) unwell(m types.Member, v *types.View) string {
	q := j.w.host(m.ID).process
	switch {
	case q == nil:
		return "its process does not run"
	case q.frozen:
		return "its process is frozen"
	case q.handler.Incarnation() != m.Incarnation:
		return "it is another incarnation now"
	case q.view.Group != v.Group:
		return "it is in another group"
	case j.w.now-max(q.started, q.awake) < lately:
		return "it has just started or thawed"
	case j.w.plan.Sync > 0 && j.w.now-q.became < lately:
		return "it has just become the member again that it was"
	case (j.w.plan.Sync > 0 || len(j.w.plan.Files) > 0) && j.w.now-q.stood < justNow:
		return "it has just learned that it was let in: its disk stalled, or it had read a wrong hosts file meanwhile"
	}
	return ""
}

// couldTell reports whether a process of this host was awake lately, and can have reported a member missing.
func (m *machine) couldTell(now time.Duration) bool {
	p := m.process
	switch {
	case now-m.lastEnd < missing:
		return true
	case p == nil:
		return false
	case !p.frozen:
		return true // a silence that it noted before it froze still counts
	}
	return now-p.asleep < missing
}

// apart reports whether some packet between two hosts did not get through, or was slow, within the
// last d.
func (w *world) apart(a, b *machine, d time.Duration) bool {
	i, j := a.id-1, b.id-1
	return a.cuts[j] > 0 || b.cuts[i] > 0 || a.slow[j] > 0 || b.slow[i] > 0 ||
		w.now-max(a.blocked[j], b.blocked[i]) < d || w.plan.Boot > 0 && w.now-w.plan.Boot < d
}
