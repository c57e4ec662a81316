package network

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// fakeMachine has snapshots look at what a test sets.
type fakeMachine struct {
	mu     sync.Mutex
	id     string
	offset time.Duration
	silent bool // the system tells neither
}

func (m *fakeMachine) snapshots() *snapshots {
	s := &snapshots{
		bootID: func(buf []byte) int {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.silent {
				return 0
			}
			return copy(buf, m.id)
		},
		wall: func() (time.Duration, bool) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.offset, !m.silent
		},
	}
	s.restored()
	return s
}

// Another boot id and a jump of the wall clock, forward or back, are each noticed once; slow changes never are.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	m := &fakeMachine{id: "a", offset: time.Hour}
	s, seeds := m.snapshots(), map[string]bool{}
	for i, c := range []struct {
		change func()
		found  uint64
	}{
		{func() {}, 0},
		{func() { m.offset += clockJump }, 0},
		{func() { m.offset -= clockJump }, 0},
		{func() { m.offset += clockJump + 1 }, 1},
		{func() {}, 1},
		{func() { m.offset -= clockJump + 1 }, 2},
		{func() { m.id = "b" }, 3},
		{func() { m.id, m.offset = "c", 0 }, 4},
		{func() { m.silent = true }, 4},
	} {
		c.change()
		if got := s.look(func(seed []byte) { seeds[string(seed)] = true }); got != c.found || len(seeds) != int(c.found) {
			t.Errorf("look %d: found %d, renewed %d times, want %d", i, got, len(seeds), c.found)
		}
	}
}

// This machine tells both, and they do not change.
func TestSnapshotsHere(t *testing.T) {
	t.Parallel()
	s := newSnapshots()
	for range 100 {
		if found := s.look(func([]byte) { t.Error("renewed") }); found != 0 {
			t.Fatalf("found %d", found)
		}
	}
	if _, ok := s.wall(); ok && s.id == [bootIDSize]byte{} {
		t.Error("no boot id was read")
	}
}

// A peer that was restored from a snapshot seals in another session, whatever it seals first; it forgets those
// of others, so that what they sent since is not heard again.
func TestRestoredSealsAnew(t *testing.T) {
	t.Parallel()
	ring, m := newRing(t, ""), heartbeat(3)
	beat, _ := types.AppendMessage(nil, &m)
	session := func(b []byte) string { return string(b[4:12]) }
	for what, seals := range map[string]func(p *heartbeats, b []byte) []byte{
		"a heartbeat": func(p *heartbeats, _ []byte) []byte { return p.keys.sealHeartbeat(nil, beat) },
		"an echo":     func(p *heartbeats, _ []byte) []byte { return p.keys.seal(beat) },
		"a challenge": func(p *heartbeats, b []byte) []byte {
			message, reply, err := p.keys.open(3, b, false)
			if message != nil || err != nil {
				t.Errorf("a session of before is still known: %q, %v", message, err)
			}
			return bytes.Clone(reply)
		},
	} {
		f, three, machine := &fakeUDP{keep: true}, lane(t, ring, 3), &fakeMachine{id: "a"}
		p, _ := newFakeHeartbeats(&names{}, f)
		p.seal(t, ring)
		p.keys.snaps = machine.snapshots()
		p.hear(addr("10.0.0.3"), three.Seal(nil, beat))
		_, answer, _ := three.Open(1, f.bytes[0], 0)
		p.hear(addr("10.0.0.3"), bytes.Clone(answer))
		before := session(p.keys.seal(beat))
		machine.id = "b"
		after := seals(p, three.Seal(nil, beat))
		if len(after) < 12 || session(after) == before {
			t.Errorf("%s is %x, in the session of before", what, after)
		}
		if again := session(p.keys.seal(beat)); again != session(after) {
			t.Errorf("after %s comes yet another session", what)
		}
	}
}

// Nothing more is written to a connection of before: it is closed, and what waits goes over another.
func TestRestoredClosesConnections(t *testing.T) {
	t.Parallel()
	n, ring := newSubnet(t), newRing(t, "")
	two := n.listen(t, 2)
	s := newStage(t, n.sealedConfig(ring), nil)
	machine := &fakeMachine{id: "a"}
	s.peer.keys.snaps = machine.snapshots()
	s.answer(send(probe(1, 2, 1)))
	o := accept(t, two)
	o.shakes(ring, false)
	o.hears()
	o.seals(probe(2, 1, 1))
	s.expect("message")
	machine.mu.Lock()
	machine.id = "b"
	machine.mu.Unlock()
	s.answer(send(probe(1, 2, 2)))
	o.closed()
	s.expect("closed")
	s.answer(handlers.Output{Redial: []types.ID{2}, Messages: []types.Message{probe(1, 2, 3)}})
	newer := accept(t, two)
	newer.shakes(ring, false)
	if m := newer.hears(); m.Request != 3 {
		t.Errorf("request %d came, want 3", m.Request)
	}
}
