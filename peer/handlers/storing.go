package handlers

import (
	"slices"
	"time"

	"memberly/peer/types"
)

// This page is rule 9 (docs/protocol.md): what a peer with a state file must have stored before it
// says something that others rely on.

// Save asks the caller of a step to store what a peer must remember. Of several the newest is enough. When it is
// stored, the caller calls Saved with its number.
type Save struct {
	Number uint64 // 0: nothing is to be stored
	Stored types.Stored
}

// storing is what a peer with a state file knows of the file.
type storing struct {
	newest   Save              // that was asked for
	took     time.Duration     // by the disk, for the last that it has stored
	waits    time.Duration     // since when the disk has stored nothing that it was asked to
	saved    uint64            // the number of the newest that is stored
	view     int64             // the number of the view that is stored, for Status alone
	changed  time.Duration     // since when something is not stored that nobody relies on yet; never if nothing is
	held     []heldMessage     // in the order of sending
	lives    uint64            // how many processes have used the file, this one included
	used     types.Incarnation // the highest that this host has used
	found    types.Incarnation // the highest that the file had, or that this process was let in with; no other process used one above
	first    types.Incarnation // of this process
	lost     types.Incarnation // the highest of a process of which the file knows nothing; 0 for none that is known of
	old      bool              // the file is an old copy, as the peer has reported
	group    types.Group       // the last that it was a member of
	former   types.Stored      // the member that it was before: its vote may still be needed
	returns  bool              // and it becomes that member again, if nobody leads
	admitted types.Incarnation // an earlier one, that a group is said to have let in
	again    bool              // it is a member in the incarnation of an earlier process
	founding
}

// heldMessage waits until what it says is stored.
type heldMessage struct {
	message types.Message
	after   uint64 // the number of that Save
}

// maxHeld is how many messages wait for the disk, for each host of the file. Of more the oldest are dropped: what is not
// answered is sent again.
const maxHeld = 4

// stores reports whether the peer has a state file.
func (h *Handler) stores() bool { return h.Config.Stored != nil }

// isStored reports whether all that the peer has promised and accepted is stored.
func (h *Handler) isStored() bool {
	return h.storing.saved == h.storing.newest.Number && !h.mustStore()
}

// mustStore reports whether there is something that others may soon rely on, and that was never asked to be stored.
func (h *Handler) mustStore() bool {
	if !h.stores() {
		return false
	}
	s, now := &h.storing.newest.Stored, h.toStore()
	return s.Incarnation != now.Incarnation || s.View.Incarnation(h.ID) != now.View.Incarnation(h.ID) || s.Group != now.Group || s.Promised != now.Promised ||
		s.Accepted != now.Accepted && now.Accepted.Change.Operation != types.Nothing
}

// toStore returns what the peer must remember at this moment.
func (h *Handler) toStore() types.Stored {
	s := types.Stored{Lives: h.storing.lives, Clock: h.storing.newest.Stored.Clock, Incarnation: h.storing.used, Group: h.storing.group, Highest: h.highest, Counter: max(h.topCounter, h.counter)}
	if s.Clock < h.elapsed()+clockAhead/2 {
		s.Clock = h.elapsed() + clockAhead
	}
	switch {
	case h.joined():
		s.View, s.Promised, s.Accepted = h.view, h.promised, h.accepted
		s.First, s.Listed = h.listing.stored.First, h.listing.stored.Listed
	case h.storing.former.View.Number > 0:
		s.View, s.Promised, s.Accepted = h.storing.former.View, h.storing.former.Promised, h.storing.former.Accepted
		s.First, s.Listed = h.storing.former.First, h.storing.former.Listed
	case h.storing.group == types.Group{}:
		s.Promised, s.Accepted = h.storing.founding.vote.promised, h.storing.founding.vote.accepted
		s.File = h.storing.founding.file
	}
	return s
}

// store is the end of every step of a peer with a state file: it asks for what is to be stored, and holds back the messages
// that others would rely on before it is. A view of which nothing was promised is stored a little later, with
// what comes next.
func (h *Handler) store() {
	if !h.stores() {
		return
	}
	now := h.toStore()
	last := &h.storing.newest.Stored
	lazy := last.View.Number != now.View.Number || last.View.Group != now.View.Group || last.Highest != now.Highest || last.Clock != now.Clock || last.First != now.First
	if mark(&h.storing.changed, lazy, h.now.Run); h.mustStore() || lazy && (h.exited || h.since(h.storing.changed) >= h.paced(storeWithin)) {
		if h.storing.saved == h.storing.newest.Number {
			h.storing.waits = h.now.Run
		}
		h.storing.newest = Save{Number: h.storing.newest.Number + 1, Stored: now}
		h.out.Save = h.storing.newest
		h.storing.changed = never
	}
	if h.storing.changed != never {
		h.due(h.storing.changed + h.paced(storeWithin))
	}
	h.hold()
	for _, r := range []*round{h.candidacy, h.currentRound(), h.storing.founding.bid} {
		if r != nil && r.unstored && r.after == 0 {
			r.after = h.storing.newest.Number
		}
	}
}

// currentRound returns the round of a leader, if it has one.
func (h *Handler) currentRound() *round {
	if h.role != roleLeader {
		return nil
	}
	return h.leading.round
}

// hold keeps back the messages of this step that others would rely on, until all that has been asked for is stored.
func (h *Handler) hold() {
	if h.storing.saved == h.storing.newest.Number && len(h.storing.held) == 0 {
		return
	}
	kept := h.out.Messages[:0]
	for _, m := range h.out.Messages {
		again := false
		switch {
		case !binds(&m):
			kept = append(kept, m)
		case h.isHeld(&m):
			again = true
		default:
			h.storing.held = append(h.storing.held, heldMessage{m, h.storing.newest.Number})
		}
		if answer := m.Kind == types.OK || m.Kind == types.PendingResponse; answer && (again || h.since(h.storing.waits) >= h.retry()) {
			m.Kind, m.Reason, m.Term, m.Change, m.Accepted = types.Refused, types.Storing, h.promised, types.Change{}, types.Term{}
			kept = append(kept, m) // who asked need not think that this peer is gone
		}
	}
	h.out.Messages = kept
	if n := len(h.storing.held) - maxHeld*len(h.hosts); n > 0 {
		h.storing.held = slices.Delete(h.storing.held, 0, n)
	}
}

// isHeld reports whether a message like m is held back already.
func (h *Handler) isHeld(m *types.Message) bool {
	return slices.ContainsFunc(h.storing.held, func(o heldMessage) bool {
		return o.message.Kind == m.Kind && o.message.To == m.To && o.message.Incarnation == m.Incarnation &&
			(o.message.Request == m.Request || m.Kind == types.Join)
	})
}

// binds reports whether others rely on what the sender of m has stored: a promise, an acceptance, a term of its own,
// an incarnation.
func binds(m *types.Message) bool {
	switch m.Kind {
	case types.OK, types.PendingResponse, types.Join:
		return true
	}
	return m.Kind == types.NewLeader && !m.PreVote
}

// Saved is the step in which the Save of this number is stored, and so all before it.
func (h *Handler) Saved(now Instant, number uint64) *Output {
	h.begin(now)
	h.storing.took = h.since(h.storing.waits)
	h.totals.Stored.add(h.storing.took)
	if number == h.storing.newest.Number {
		h.storing.view = h.storing.newest.Stored.View.Number
	}
	h.storing.saved, h.storing.waits = max(h.storing.saved, number), h.now.Run
	n := slices.IndexFunc(h.storing.held, func(m heldMessage) bool { return m.after > h.storing.saved })
	if n < 0 {
		n = len(h.storing.held)
	}
	var due []types.Message
	for _, m := range h.storing.held[:n] {
		due = append(due, m.message)
	}
	h.storing.held = slices.Delete(h.storing.held, 0, n)
	if !h.exited {
		h.countOwnVotes()
	}
	out := h.end() // which holds back what this step says, and not what was held before
	out.Messages = append(due, out.Messages...)
	return out
}

// countOwnVotes counts the votes of this peer itself that are stored now.
func (h *Handler) countOwnVotes() {
	stored := func(r *round) bool {
		due := r != nil && r.unstored && r.after != 0 && r.after <= h.storing.saved
		if due {
			r.unstored = false
		}
		return due
	}
	if r := h.candidacy; stored(r) && r.add(&h.view, h.ID) {
		h.won(r)
	} else if r := h.currentRound(); stored(r) {
		h.tallyOwn(r)
	} else if r := h.storing.founding.bid; stored(r) && r.add(h.electorate(), h.ID) {
		h.bidAnswered()
	}
}

// tallyOwn counts the leader's own vote in its round.
func (h *Handler) tallyOwn(r *round) {
	r.add(&h.view, h.ID)
	if h.leading.drill {
		h.drillDone()
	} else {
		h.choose()
	}
}
