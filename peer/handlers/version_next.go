//go:build memberly_next

// This file stands for the next wire version, as peer/types/version_next.go does, and exists for the tests of upgrades
// alone.

package handlers

import "memberly/peer/types"

// sendAdded sends, with each heartbeat, what wire versions after 2 add: always the field, as others skip it and nothing
// relies on it, but the kind only while all members know it.
func (h *Handler) sendAdded() {
	h.lastHeartbeat.Digest = h.listing.vote
	if h.wire() >= 3 && h.role != roleLeader && h.hasLeader() {
		m := h.send(types.Greet, h.election.sign.peer)
		m.Request, m.Term = uint64(h.now.Run), h.promised
	}
}

// onAdded handles m, of a kind that version 2 does not have. It returns false if this version has no such kind either.
func (h *Handler) onAdded(m *types.Message) bool { return m.Kind == types.Greet }
