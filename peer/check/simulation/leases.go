package simulation

import (
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// leases are the rights to act that the leaders have said they have. The judge holds them against each other at every
// step that gives or renews one.
type leases struct {
	now    map[*process]held
	fences map[types.Group]fence
	told   map[*process]uint64 // the fence that its events tell of; 0 for none
	ended  int                 // how many have: what their holders told
}

// held is a lease of a process.
type held struct {
	group types.Group
	fence uint64
	until time.Duration // by the true clock
}

// fence is the highest of a group, and whose it is.
type fence struct {
	number uint64
	leader types.ID
}

func newLeases() leases {
	return leases{now: map[*process]held{}, fences: map[types.Group]fence{}, told: map[*process]uint64{}}
}

// leased judges the lease that a process has after a step. A process that is frozen keeps its lease until that ends: it
// may be asked at any moment after it runs again, and so it is judged as if it ran.
func (j *judge) leased(p *process, out *handlers.Output) {
	l := &j.leases
	valid := out.Lease.Valid(p.instant(j.w.now).Run)
	for i := range out.Events {
		switch e := &out.Events[i]; e.Kind {
		case handlers.Leads:
			if l.told[p] != 0 {
				j.fail("peer %d tells that it leads under fence %d, and has not ceased to under %d", p.id, e.Fence, l.told[p])
			}
			l.told[p] = e.Fence
		case handlers.Ceased:
			if l.told[p] != e.Fence {
				j.fail("peer %d tells that it ceases to lead under fence %d, and has told of %d", p.id, e.Fence, l.told[p])
			}
			l.told[p] = 0
			l.ended++
		}
	}
	if told := l.told[p]; valid && told != out.Lease.Fence || !valid && told != 0 {
		j.fail("peer %d has a lease under fence %d (valid: %v), and has told of %d", p.id, out.Lease.Fence, valid, told)
	}
	if !valid || out.Exit {
		delete(l.now, p)
		return
	}
	mine := held{p.view.Group, out.Lease.Fence, p.moment(out.Lease.Until)}
	l.now[p] = mine
	for q, other := range l.now {
		switch {
		case q == p:
		case q.ended || other.until <= j.w.now:
			delete(l.now, q)
		case other.group == mine.group:
			j.fail("peer %d leads under fence %d until %v, and peer %d under fence %d until %v",
				p.id, mine.fence, mine.until, q.id, other.fence, other.until)
		}
	}
	highest := l.fences[mine.group]
	if mine.fence < highest.number || mine.fence == highest.number && p.id != highest.leader {
		j.fail("peer %d leads under fence %d, and peer %d has led under %d", p.id, mine.fence, highest.leader, highest.number)
	}
	l.fences[mine.group] = fence{mine.fence, p.id}
}

// moment returns the true time at which the clock of p shows run.
func (p *process) moment(run time.Duration) time.Duration {
	return p.started + time.Duration(float64(run-time.Second-p.clock)/p.rate)
}
