package observe

import (
	"time"

	"memberly/peer/datastructures"
	"memberly/peer/handlers"
	"memberly/peer/types"
)

const (
	// maxEvents is how many events are kept: in a group of a thousand, they take two megabytes.
	maxEvents = 256
	// refreshEvery is the least time between two statuses while nothing happens.
	refreshEvery = 100 * time.Millisecond
)

// feed keeps what a peer's steps tell, for the goroutines that serve it. Storing never waits for those who
// read, and they see nothing but copies.
type feed struct {
	status datastructures.SafeValue[*handlers.Status]
	lease  board                                // after the last step, which may be later than status
	views  datastructures.SafeValue[viewCounts] // as of status
	events datastructures.SafeRing[handlers.Event]
	start  datastructures.SafeValue[time.Time]   // when an Instant.Run was 0
	since  datastructures.SafeValue[[]time.Time] // by ID-1: when the host became a member, or ceased to be one; replaced, never modified

	// These belong to the goroutine of the steps.
	counts    viewCounts    // of hosts alone
	view      types.View    // the last that was installed
	refreshed time.Duration // when status was stored
	halt      handlers.Halt // that of status
}

// viewCounts counts the views that a peer installed.
type viewCounts struct {
	ofMembers    [types.Expelled + 1]uint64 // by the cause of a removal; Present for all others
	hostsAdded   uint64                     // views with a host more, and the same members
	hostsRetired uint64
}

// of returns c with what t counts, for which a view with the same members is one without a removal.
func (c viewCounts) of(t *handlers.Tally) viewCounts {
	c.ofMembers = t.Changes
	c.ofMembers[types.Present] -= c.hostsAdded + c.hostsRetired
	return c
}

func newFeed() *feed {
	f := &feed{refreshed: -refreshEvery}
	f.events.Max = maxEvents
	return f
}

// stepped keeps what a step tells: its events; and its status, at once if there are events or a heartbeat
// is sent, as when a peer begins to lead, else at most every refreshEvery. It does not keep the status of a
// peer that stalled and has not judged since who was silent: that would claim to be new, and be of before.
func (f *feed) stepped(s *handlers.Step) {
	f.lease.store(s.Lease)
	for _, e := range s.Events {
		if e.Kind == handlers.Installed {
			f.installed(&e)
		}
		e.Now = types.View{} // readers of old events need only the members
		if e.Kind != handlers.Waits {
			f.events.Append(e) // a halt tells the same, and at once
		}
	}
	if s.Stalled || len(s.Events) == 0 && !s.Beats && s.At-f.refreshed < refreshEvery {
		return
	}
	f.refreshed = s.At
	f.start.Store(time.Now().Add(-s.At))
	st := s.Status()
	f.views.Store(f.counts.of(&st.Tally))
	f.status.Store(st)
	if st.Halt != f.halt {
		f.halt = st.Halt
		f.events.Append(handlers.Event{Kind: handlers.Halted, At: st.At, View: st.View.Number, Leader: st.Follows,
			Halt: st.Halt, Awaited: st.Awaited})
	}
}

// installed notes which hosts became members by a view, or ceased to be, and counts it if it changed hosts alone.
func (f *feed) installed(e *handlers.Event) {
	switch e.Change.Operation {
	case types.Grow:
		f.counts.hostsAdded++
	case types.Retire:
		f.counts.hostsRetired++
	}
	since := make([]time.Time, len(e.Now.Last))
	copy(since, f.since.Load())
	for i := range since {
		if id := types.ID(i + 1); since[i].IsZero() || e.Now.Has(id) != f.view.Has(id) {
			since[i] = time.Unix(0, e.At.Wall)
		}
	}
	f.since.Store(since)
	f.view = e.Now
}

// Since returns when a host became a member or ceased to be one, as far as this peer has seen: for one that
// never was, when this peer installed its first view.
func (f *feed) Since(id types.ID) time.Time {
	if since := f.since.Load(); int(id) <= len(since) {
		return since[id-1]
	}
	return time.Time{}
}

// Status returns what the peer last told of itself; nil before its first step. It is not to be modified.
func (f *feed) Status() *handlers.Status { return f.status.Load() }

// Views returns how many views the peer had installed when it last told of itself.
func (f *feed) Views() viewCounts { return f.views.Load() }

// Lease returns the lease that the peer had after its last step. Whether it lasts depends on the present moment.
func (f *feed) Lease() handlers.Lease { return f.lease.load() }

// Changes returns a channel that is closed when the lease changes.
func (f *feed) Changes() <-chan struct{} { return f.lease.changes() }

// Events returns the log of what happened to the peer.
func (f *feed) Events() *datastructures.SafeRing[handlers.Event] { return &f.events }

// Age returns how long ago s was true.
func (f *feed) Age(s *handlers.Status) time.Duration { return time.Since(f.start.Load()) - s.At.Run }
