package network

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// What is no host's message closes the connection, counts, and is told in the reference's words.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		from   int // host of the subnet; 9 is a stranger
		bytes  []byte
		reason dropReason
		words  string
	}{
		{"a stranger's message", 9, frame(4, types.Version, 9, 0, 2), dropStranger, "Error getting hostname from address: "},
		{"a stranger's noise", 9, []byte("GET / HTTP/1.1"), dropStranger, "Error getting hostname from address: "},
		{"noise", 2, []byte("GET / HTTP/1.1"), dropMalformed, "Error decoding byte array to integers: "},
		{"too long", 2, frame(1<<30, types.Version, 9, 0, 2), dropMalformed, "Error decoding byte array to integers: "},
		{"no kind", 2, frame(4, types.Version, 0, 0, 2), dropMalformed, "Error decoding byte array to integers: "},
		{"an earlier version", 2, frame(4, 1, 9, 0, 2), dropMalformed, "run the same release on all hosts"},
		{"a later version, cut short", 2, frame(4, 3, 9, 0, 2), dropMalformed, "Error decoding byte array to integers: PROBE from peer 2: cut short"},
		{"a kind of a later release, cut short", 2, frame(4, types.Version, 77, 0, 2), dropMalformed, "Error decoding byte array to integers: ? from peer 2: cut short"},
		{"no such member", 2, frame(4, types.Version, byte(types.Req), 0, 3), dropNoMember, "Error: member ID not found in peerIdToName map: 3"},
		{"nobody", 2, frame(4, types.Version, byte(types.Join), 0, 0), dropNoMember, "Error: member ID not found in peerIdToName map: 0"},
		{"in no file", 2, frame(4, types.Version, byte(types.Join), 0x10, 1), dropNoMember, "Error: member ID not found in peerIdToName map: 4097"},
		{"in another file, cut short", 2, frame(4, types.Version, byte(types.Join), 0, 3), dropMalformed, "Error decoding byte array to integers: JOIN from peer 3: cut short"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			n := newSubnet(t)
			s := newStage(t, n.config(), nil)
			s.answer(handlers.Output{})
			o := n.dial(t, c.from)
			o.socket.Write(c.bytes)
			o.closed()
			s.stdout.await(t, c.words)
			if got := s.peer.drops.all()[c.reason]; got != 1 {
				t.Errorf("counted %d, want 1: %v", got, s.peer.drops.all())
			}
		})
	}
}

// A host that has shown who it is, and then sends noise, is closed: the protocol is told.
func TestFaultLater(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	o := n.dial(t, 2)
	o.says(probe(2, 1, 1))
	s.expect("message")
	s.answer(handlers.Output{})
	o.socket.Write(frame(2, types.Version, 9))
	s.expect("closed")
	s.answer(handlers.Output{})
	o.closed()
	s.stdout.await(t, "Error decoding byte array to integers: ")
}

// A message from another host's address reaches the protocol with the host of the address.
func TestImpostor(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	n.dial(t, 2).says(probe(1, 1, 1))
	if st := s.expect("message"); st.host != 2 || st.message.From != 1 {
		t.Errorf("got %+v", st)
	}
	s.answer(handlers.Output{})
}

// A host with a longer hosts file may have an id beyond the one here: what it asks, and its
// refusal, reach the protocol, as from the host that it is here. All else is a fault.
func TestLongerFile(t *testing.T) {
	t.Parallel()
	for kind := types.Join; kind <= types.Refused; kind++ { // ECHO is answered below the protocol
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			n := newSubnet(t)
			s := newStage(t, n.config(), nil)
			s.answer(handlers.Output{})
			o := n.dial(t, 2)
			o.says(beyond(kind))
			if kind != types.Join && kind != types.Probe && kind != types.Refused {
				o.closed()
				s.stdout.await(t, "Error: member ID not found in peerIdToName map: 3 ")
				return
			}
			if st := s.expect("message"); st.host != 2 || st.message.From != 3 || st.message.Kind != kind {
				t.Errorf("got %+v", st)
			}
			s.answer(send(types.Message{Kind: types.Refused, From: 1, To: 2, Reason: types.Differs, Lines: 1}))
			if m := o.hears(); m.Kind != types.Refused {
				t.Errorf("got %+v, want the refusal", m)
			}
			if got := s.stdout.String(); got != "" {
				t.Errorf("said %q", got)
			}
		})
	}
}

// beyond is a message of this kind from id 3, of which there are but two.
func beyond(kind types.Kind) types.Message {
	m := types.Message{Kind: kind, From: 3, To: 1, Standing: types.Fresh, Reason: types.Differs, Lines: 3, Full: 3, Digest: 7}
	switch kind {
	case types.Req:
		m.Change = types.Change{Operation: types.Add, Member: types.Member{ID: 1, Incarnation: 1}}
	case types.NewLeader:
		m.Change.Operation = types.Pending
	}
	return m
}

// A host whose connection ends before its first message is no stranger: that is counted, and
// not told.
func TestHostThatSaysNothing(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	for said := range 5 { // the last one says who it is, and no more
		o := n.dial(t, 2)
		o.socket.Write(frame(40, 1, 9, 0, 2)[:2*said])
		o.socket.(interface{ CloseWrite() error }).CloseWrite()
		o.closed()
	}
	n.dial(t, 9).socket.Close()
	s.stdout.await(t, fmt.Sprintf("Error getting hostname from address: it belongs to no host of the hosts file (from %v)\n", n.Host(9)))
	if got := s.stdout.String(); strings.Count(got, "\n") != 1 {
		t.Errorf("said %q, want only that", got)
	}
	if got := s.peer.drops.all(); got[dropSilent] != 5 || got[dropStranger] != 1 {
		t.Errorf("counted %v, want 5 silent and a stranger", got)
	}
}

// Hundreds of silent connections, from a host's address too, stop nobody; each is closed, the
// oldest first of a host's and of the strangers', without waiting for newer ones.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	var silent []other
	for i := range 3 * maxPendingUnknown {
		silent = append(silent, n.dial(t, 2+i%2*7))
	}
	silent[0].closed()
	o := n.dial(t, 2)
	o.says(probe(2, 1, 1))
	s.expect("message")
	s.answer(send(probe(1, 2, 2)))
	if m := o.hears(); m.Request != 2 {
		t.Errorf("request %d came, want 2", m.Request)
	}
	for _, o := range silent {
		o.closed()
	}
	if got := s.peer.drops.all(); got[dropPendingFull]+got[dropSilent]+got[dropStranger] != 3*maxPendingUnknown {
		t.Errorf("counted %v, want %d in all", got, 3*maxPendingUnknown)
	}
}

// frame is a frame that claims so many bytes.
func frame(length uint32, b ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, length), b...)
}
