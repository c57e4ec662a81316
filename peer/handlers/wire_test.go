package handlers

import (
	"fmt"
	"testing"
	"time"

	"memberly/peer/types"
)

// says lets h hear a message of this kind, in which an incarnation of a host says which wire version it speaks.
func says(h *Handler, kind types.Kind, from types.ID, i types.Incarnation, version uint8) {
	h.Message(h.now, from, &types.Message{Kind: kind, From: from, Incarnation: i, Group: h.view.Group, Number: h.view.Number,
		For: h.incarnation, Speaks: version, Request: uint64(h.now.Run), Lines: len(h.Listed), Full: len(h.Listed), Digest: types.Digest(h.Listed)})
}

// allSay lets h hear the present incarnations of the others say one version.
func allSay(h *Handler, version uint8) {
	for id := types.ID(2); id <= 4; id++ {
		says(h, types.Heartbeat, id, types.Incarnation(id), version)
	}
}

// wires are what peer 1 of four has heard, and the version of the group if it speaks own.
var wires = []struct {
	what   string
	heard  func(*Handler)
	own    uint8
	want   uint8
	speaks []uint8 // each host, the peer itself apart
}{
	{"nothing was said", func(*Handler) {}, 9, 2, []uint8{0, 0, 0}},
	{"all say one", func(h *Handler) { allSay(h, 7) }, 9, 7, []uint8{7, 7, 7}},
	{"the peer itself speaks less", func(h *Handler) { allSay(h, 7) }, 4, 4, []uint8{7, 7, 7}},
	{"one speaks less", func(h *Handler) { allSay(h, 7); says(h, types.Heartbeat, 3, 3, 5) }, 9, 5, []uint8{7, 5, 7}},
	{"by a probe", func(h *Handler) { allSay(h, 7); says(h, types.Probe, 3, 3, 5) }, 9, 5, []uint8{7, 5, 7}},
	{"one speaks more again", func(h *Handler) { allSay(h, 5); allSay(h, 7) }, 9, 7, []uint8{7, 7, 7}},
	{"one has not said", func(h *Handler) {
		says(h, types.Heartbeat, 2, 2, 7)
		says(h, types.Heartbeat, 3, 3, 7)
	}, 9, 2, []uint8{7, 7, 0}},
	{"a message does not say", func(h *Handler) { allSay(h, 7); says(h, types.Heartbeat, 3, 3, 0) }, 9, 7, []uint8{7, 7, 7}},
	{"nobody speaks the first", func(h *Handler) { allSay(h, 7); says(h, types.Heartbeat, 3, 3, 1) }, 9, 7, []uint8{7, 7, 7}},
	{"another kind does not say", func(h *Handler) { allSay(h, 7); says(h, types.State, 3, 3, 0) }, 9, 7, []uint8{7, 7, 7}},
	{"a later process of a member", func(h *Handler) { allSay(h, 7); says(h, types.Join, 3, 30, 8) }, 9, 2, []uint8{7, 0, 7}},
	{"it is a member", func(h *Handler) {
		allSay(h, 7)
		says(h, types.Join, 3, 30, 8)
		replace(h, 3, 30)
	}, 9, 7, []uint8{7, 8, 7}},
	{"what an earlier process said", func(h *Handler) {
		allSay(h, 7)
		replace(h, 3, 30)
	}, 9, 2, []uint8{7, 0, 7}},
	{"what comes late of it", func(h *Handler) {
		allSay(h, 7)
		replace(h, 3, 30)
		says(h, types.Heartbeat, 3, 30, 6)
		says(h, types.Heartbeat, 3, 3, 7)
	}, 9, 6, []uint8{7, 6, 7}},
	{"the earlier incarnation is back (rule 9)", func(h *Handler) {
		allSay(h, 7)
		says(h, types.Join, 3, 30, 5)
		says(h, types.Heartbeat, 3, 3, 5)
	}, 9, 5, []uint8{7, 5, 7}},
}

// The group's wire version is the lowest that its members speak, as far as their present incarnations have said.
func TestWire(t *testing.T) {
	t.Parallel()
	for _, c := range wires {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			h := watcher(4, 1, 0b1111)
			c.heard(h)
			var speaks []uint8
			for _, host := range h.Status().Hosts[1:] {
				speaks = append(speaks, host.Speaks)
			}
			if got := h.lowest(c.own); got != c.want || fmt.Sprint(speaks) != fmt.Sprint(c.speaks) {
				t.Errorf("the group speaks %d, its members %v, want %d and %v", got, speaks, c.want, c.speaks)
			}
		})
	}
}

// replace makes another incarnation of a host the member.
func replace(h *Handler, id types.ID, i types.Incarnation) {
	for _, c := range []types.Change{
		{Operation: types.Del, Member: types.Member{ID: id, Incarnation: h.view.Incarnation(id)}, Cause: types.Restarted},
		{Operation: types.Add, Member: types.Member{ID: id, Incarnation: i}},
	} {
		next := h.view.With(c)
		h.install(&next)
	}
}

// Without a view there is no group that speaks anything, and hosts that are no members say what they speak.
func TestWireWithoutView(t *testing.T) {
	t.Parallel()
	h := New(Config{ID: 1, Listed: types.Numbered(3), Heartbeat: 1100 * time.Millisecond, Monitor: 2200 * time.Millisecond})
	h.Start(Instant{Run: time.Hour, Wall: 1})
	says(h, types.Join, 2, 20, 7)
	s := h.Status()
	if got := h.lowest(9); got != types.FirstVersion || s.Wire != 0 || s.Hosts[1].Speaks != 7 || s.Hosts[0].Speaks != types.Version {
		t.Errorf("the group speaks %d, shown as %d, the hosts are %+v", got, s.Wire, s.Hosts)
	}
	if got := watcher(3, 1, 0b111).Status().Wire; got != types.FirstVersion {
		t.Errorf("a group of which nothing was heard speaks %d", got)
	}
}

// Messages are counted by kind, those of kinds that this release does not know together.
func TestReceived(t *testing.T) {
	t.Parallel()
	h := watcher(4, 1, 0b1111)
	for range 3 {
		says(h, types.Heartbeat, 2, 2, 2)
	}
	says(h, types.LastKind+1, 2, 2, 0)
	says(h, 0xff, 3, 3, 0)
	want := [types.LastKind + 1]uint64{0: 2, types.Heartbeat: 3}
	if got := h.Status().Tally.Received; got != want {
		t.Errorf("counted %v, want %v", got, want)
	}
}
