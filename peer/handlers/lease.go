package handlers

import "time"

// Lease is the right of a leader to act as such: no other peer of its group has one before it ends
// (docs/protocol.md, section 3, rule 8). The zero Lease is none.
type Lease struct {
	Fence    uint64        // the counter of the leader's term: larger than that of any earlier leader
	Until    time.Duration // when it ends unless it is renewed, as an Instant.Run of the caller
	Resigned bool          // the leader has given it up (Resign), and keeps others from leading until it leaves
}

// Valid reports whether the lease lasts at now, an Instant.Run of the caller. Who acts upon a lease
// asks this at the moment it acts, not once.
func (l Lease) Valid(now time.Duration) bool { return l.Fence != 0 && !l.Resigned && now < l.Until }

// lease returns the lease that the peer has.
func (h *Handler) lease() Lease {
	if !h.leads() {
		return Lease{}
	}
	return Lease{Fence: h.leading.term.Counter, Until: h.now.Run + h.stood + h.Monitor, Resigned: h.resigned}
}

// noteLease returns the lease, and notes that the peer begins to lead with one, or ceases to.
func (h *Handler) noteLease() Lease {
	l := h.lease()
	now := l
	if !l.Valid(h.now.Run + h.stood) {
		now = Lease{}
	}
	if h.told != 0 && h.told != now.Fence {
		h.note(Ceased).Fence = h.told
		h.told = 0
	}
	if h.told == 0 && now.Fence != 0 {
		h.note(Leads).Fence = now.Fence
		h.told = now.Fence
	}
	return l
}

// Resign is the step that comes before Leave where listeners have something to end first: a leader gives up its
// lease, and leads on otherwise, so that nobody else has one before it leaves.
func (h *Handler) Resign(now Instant) *Output {
	h.begin(now)
	h.resigned = true
	return h.end()
}
