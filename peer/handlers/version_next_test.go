//go:build memberly_next

package handlers

import (
	"testing"

	"memberly/peer/types"
)

// What version 3 adds: the field always, the kind only while all members speak version 3, and to the leader alone.
func TestAdded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		leader types.ID
		speaks []uint8
		want   types.ID // to whom GREET goes
	}{
		{"all speak it", 2, []uint8{3, 3}, 2},
		{"all speak it, or more", 3, []uint8{3, 4}, 3},
		{"one does not", 2, []uint8{3, 2}, 0},
		{"the leader does not", 2, []uint8{2, 3}, 0},
		{"one has not said", 2, []uint8{3}, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			h := watcher(3, c.leader, 0b111)
			h.listing.vote = 7
			for i, version := range c.speaks {
				says(h, types.Heartbeat, types.ID(i+2), types.Incarnation(i+2), version)
			}
			h.election.sign = leaderSeen{peer: c.leader, at: h.now.Run}
			h.begin(h.now)
			h.sendHeartbeat()
			var to types.ID
			for _, m := range h.out.Messages {
				if m.Kind == types.Greet {
					to = m.To
				}
			}
			if to != c.want || h.out.Heartbeat.Digest != 7 {
				t.Errorf("GREET goes to %d, want %d; the heartbeat is %+v", to, c.want, *h.out.Heartbeat)
			}
		})
	}
	h := watcher(3, 2, 0b111)
	out := h.Message(h.now, 3, &types.Message{Kind: types.Greet, From: 3, Incarnation: 3, Group: h.view.Group, Number: h.view.Number, For: 1})
	for _, m := range out.Messages {
		if m.Kind == types.Refused {
			t.Errorf("GREET is answered with %+v", m)
		}
	}
}
