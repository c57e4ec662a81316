package handlers

import (
	"fmt"
	"time"

	"memberly/peer/types"
)

// EventKind is what an Event tells of.
type EventKind uint8

// The kinds of events. Of the first three the peer writes a record.
const (
	Installed      EventKind = iota + 1 // the peer holds a new view
	Failed                              // Host, a member, is unreachable
	Said                                // the peer leaves, crashes or was removed
	Waits                               // its group has not been able to go on for a while, because of Halt; told rarely
	FilesDiffer                         // the hosts file of Host differs from this peer's; told rarely
	MonitorDiffers                      // Host runs with another -monitor than this peer, and is not let in or does not let in; told rarely
	RunsTwice                           // Host runs twice, at Lives; told rarely
	StateOld                            // what is stored is older than what the group knows of this host: an old copy was put back
	Leads                               // the peer begins to lead with a lease, under Fence
	Ceased                              // it does so no more
	HostsFile                           // the hosts file and what the group has agreed on differ, or the files of members: Listing; told rarely
	Unlisted                            // Host, in a group or not, does not list the host of this peer yet; told rarely
	SelfRetired                         // Host leads a group in which the host of this peer is retired; told rarely
	Halted                              // its group cannot go on, because of Halt; or, with Going, it can again. Not told by a step: it comes of Status
)

func (k EventKind) String() string {
	return [...]string{"", "view", "failure", "message", "waits", "files differ", "monitor differs", "runs twice", "old state", "leads", "ceased", "hosts file", "not listed", "retired", "halt"}[k]
}

// Event is something that happened to a peer, for its listeners. The protocol never reads it.
type Event struct {
	Kind    EventKind
	At      Instant
	View    int64      // the number of the view that the peer held then; Installed: of the new one
	Leader  types.ID   // whose lead the peer followed then
	Members []types.ID // Installed
	Now     types.View // Installed: the whole view

	// Of Installed. Change is zero if the peer held no view before, or missed some between.
	Change  types.Change
	Made    bool          // the peer made the group
	Asked   types.ID      // who asked for the change; of a removal that its host did not ask for, the leader that carried it out
	Answers int           // that the leader, if this is it, had got when the change was chosen, its own counted
	Needed  int           // answers, for that
	Took    time.Duration // since it was proposed; to who comes in, since it began to ask; Never if unknown

	Fence   uint64        // Leads, Ceased
	Host    types.ID      // Failed, FilesDiffer, MonitorDiffers, RunsTwice
	Silence time.Duration // Failed: since it was last heard
	Text    string        // Said: of the record
	Halt    Halt          // Waits, Halted
	Awaited []types.ID    // Waits, Halted: the hosts that it takes to end Halt
	Lives   [2]types.Addr // RunsTwice: where
	Listing *Listing      // HostsFile
}

// Record returns the record that the peer self writes of e. It returns false if e has none.
func (e *Event) Record(self types.ID) (types.Record, bool) {
	r := types.Record{Peer: self, View: e.View, Leader: e.Leader}
	switch {
	case e.Kind == Installed:
		r.Members = e.Members
	case e.Kind == Said:
		r.Message = e.Text
	case e.Kind == Failed && e.Host == e.Leader:
		r.Message = fmt.Sprintf("peer %d (leader) unreachable", e.Host)
	case e.Kind == Failed:
		r.Message = fmt.Sprintf("peer %d unreachable", e.Host)
	default:
		return types.Record{}, false
	}
	return r, true
}

// Listener is told what a peer does. Calls never overlap, and come in order, before anything of the same
// step is sent to another host. Stepped must not wait, nor keep s or what it points to; slices within an
// event are never modified, and may be kept.
type Listener interface {
	// Stepped tells of one step.
	Stepped(s *Step)
	// Ended tells, once, that the peer has closed its sockets; left reports whether it left its group in
	// order. The peer waits for Ended, so a listener may finish there what it has begun.
	Ended(left bool)
}

// Finisher is a Listener that may have something to end before its peer leaves the group, as a command that runs
// while the peer leads.
type Finisher interface {
	// Finished returns a channel that is closed once everything has ended; nil if nothing runs. It is called once,
	// after the step of Handler.Resign has been told. The peer goes on with its steps, and leaves after that.
	Finished() <-chan struct{}
}

// Step is what a peer did in one step, and what it is after it.
type Step struct {
	At      time.Duration  // when, as an Instant.Run of the caller
	Events  []Event        // what happened, in order
	View    types.View     // that the peer holds now; the zero View if none
	Beats   bool           // it sends a heartbeat
	Stalled bool           // its process did not run for a while, and it has not judged since who was silent
	Lease   Lease          // that the peer has
	Exit    bool           // it is done
	Status  func() *Status // what it knows now; only to be called before Stepped returns
}

// Tally counts what happened since the peer began.
type Tally struct {
	Sent, Heard uint64                     // heartbeats of this peer, and of other members
	Resent      uint64                     // retransmitted requests, counted once per receiver
	Led         uint64                     // how often the peer began to lead with a lease
	Stalls      uint64                     // how often its process did not run for a while
	Stood       time.Duration              // for how long in all
	Changes     [types.Expelled + 1]uint64 // views installed, by the cause of a removal; Present for all others
	Took        Histogram                  // of Installed
	Silence     Histogram                  // of Failed
	Stored      Histogram                  // of what a write to the state file took
	Received    [types.LastKind + 1]uint64 // messages that the protocol read, by kind; at 0 all of kinds that this release does not know
}

// received counts a message.
func (t *Tally) received(k types.Kind) {
	if k > types.LastKind {
		k = 0
	}
	t.Received[k]++
}

// Bounds are the upper ends of a Histogram's steps.
var Bounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second,
	3 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

// Histogram counts durations.
type Histogram struct {
	Counts [len(Bounds)]uint64 // of those up to each bound, and above the one before
	Count  uint64              // of all
	Sum    time.Duration       // of all
}

func (g *Histogram) add(d time.Duration) {
	g.Count++
	g.Sum += d
	for i, bound := range Bounds {
		if d <= bound {
			g.Counts[i]++
			return
		}
	}
}

// note adds an event to the output, to be filled in; it is good until the next one.
func (h *Handler) note(kind EventKind) *Event {
	h.out.Events = append(h.out.Events, Event{Kind: kind, At: h.moment(), View: h.view.Number, Leader: h.following})
	return &h.out.Events[len(h.out.Events)-1]
}

// noteInstall notes that next is about to be installed.
func (h *Handler) noteInstall(next *types.View) {
	e := h.note(Installed)
	e.View, e.Members, e.Now, e.Took = next.Number, next.Members, *next, Never
	if !next.Has(e.Leader) {
		e.Leader = next.Leader
	}
	switch {
	case h.joined():
		e.Change = between(&h.view, next)
		if e.Change.Operation == types.Grow {
			host := h.listing.hosts[e.Change.Member.ID-1]
			e.Change.Name, e.Change.Addr = host.Name, host.Addr
		}
		h.credit(e)
	case next.Group.Maker == h.ID && next.Group.Made == h.incarnation:
		e.Made, e.Asked = true, h.ID
	default:
		e.Asked, e.Took = h.ID, h.ago(h.fresh.since)
	}
	h.totals.Changes[e.Change.Cause]++
	if e.Took != Never {
		h.totals.Took.add(e.Took)
	}
}

// between returns the change that made next of v; NOTHING if that was more than one.
func between(v, next *types.View) types.Change {
	if next.Group != v.Group || next.Number != v.Number+1 {
		return types.Change{}
	}
	if n := len(v.Last); len(next.Last) > n {
		return types.Change{Operation: types.Grow, Member: types.Member{ID: types.ID(n + 1)}}
	}
	for i, past := range next.Last {
		if id := types.ID(i + 1); past != v.Past(id) {
			c := types.Change{Operation: types.Add, Member: types.Member{ID: id, Incarnation: past.Incarnation}, Cause: past.Cause}
			switch past.Cause {
			case types.Present:
			case types.Retired:
				return types.Change{Operation: types.Retire, Member: types.Member{ID: id}}
			default:
				c.Operation = types.Del
			}
			return c
		}
	}
	return types.Change{}
}

// credit says who asked for the change of e, or carried it out, how many answered, and how long it took.
func (h *Handler) credit(e *Event) {
	c := e.Change
	switch {
	case c.Operation == types.Nothing:
		return
	case c.Operation == types.Add || c.Cause == types.Left:
		e.Asked = c.Member.ID
	default:
		e.Asked = h.following
	}
	if h.leading != nil && h.leading.round != nil && sameChange(h.leading.round.message.Change, c) {
		r := h.leading.round
		e.Answers, e.Needed = r.count, len(h.view.Members)/2+1
		if r.leader && len(h.view.Members)%2 == 0 {
			e.Needed--
		}
		e.Took = h.ago(r.began)
	} else if sameChange(h.accepted.Change, c) {
		e.Took = h.ago(h.acceptedAt)
	}
}

// sameChange reports whether two changes of one view are the same. The name of a host may be spelt in two ways.
func sameChange(a, b types.Change) bool {
	return a.Operation == b.Operation && a.Member == b.Member && a.Cause == b.Cause
}
