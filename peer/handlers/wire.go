package handlers

import "memberly/peer/types"

// speech is the newest wire version that a process of a host has said it speaks.
type speech struct {
	by      types.Incarnation
	version uint8 // 0 if none was heard
}

// noteSpeech notes the wire version that the sender of m says it speaks, unless a later incarnation of its host is a
// member by now. It is the newest word that counts, not the highest: with -state, a host may come back with
// another program in the incarnation that it had (rule 9).
func (h *Handler) noteSpeech(m *types.Message) {
	if m.Speaks >= types.FirstVersion && m.Incarnation >= h.view.Incarnation(m.From) {
		h.hosts[m.From-1].speech = speech{m.Incarnation, m.Speaks}
	}
}

// speaksOf returns the wire version that a host speaks, 0 if that is not known. What another incarnation has said does
// not count for a member.
func (h *Handler) speaksOf(id types.ID) uint8 {
	if id == h.ID {
		return types.Version
	}
	s := h.hosts[id-1].speech
	if present := h.view.Incarnation(id); present != 0 && present != s.by {
		return 0
	}
	return s.version
}

// wire returns the wire version of the group: the lowest one that a member of the view speaks, this peer included.
// What later versions add is sent only while the group's version has it (docs/protocol.md, "Versions").
func (h *Handler) wire() uint8 { return h.lowest(types.Version) }

// lowest returns the lowest wire version that a member of the view speaks, where this peer speaks own. A member that
// has not said counts with the first version, and so does a peer without a view.
func (h *Handler) lowest(own uint8) uint8 {
	if !h.joined() {
		return types.FirstVersion
	}
	for _, id := range h.view.Members {
		if id != h.ID {
			own = min(own, max(types.FirstVersion, h.speaksOf(id)))
		}
	}
	return own
}
