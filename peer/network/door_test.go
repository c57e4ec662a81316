package network

import (
	"encoding/binary"
	"testing"

	"memberly/peer/handlers"
)

// What is no host's message closes the connection, counts, and is told in the reference's words.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		from   int // host of the subnet; 9 is a stranger
		bytes  []byte
		reason Drop
		words  string
	}{
		{"a stranger's message", 9, frame(4, 1, 9, 0, 2), Stranger, "Error getting hostname from address: "},
		{"a stranger's noise", 9, []byte("GET / HTTP/1.1"), Stranger, "Error getting hostname from address: "},
		{"noise", 2, []byte("GET / HTTP/1.1"), Malformed, "Error decoding byte array to integers: "},
		{"too long", 2, frame(1<<31, 1, 9, 0, 2), Malformed, "Error decoding byte array to integers: "},
		{"no such kind", 2, frame(4, 1, 77, 0, 2), Malformed, "Error decoding byte array to integers: "},
		{"another version", 2, frame(4, 2, 9, 0, 2), Malformed, "run the same release on all hosts"},
		{"no such member", 2, frame(4, 1, 9, 0, 3), NoMember, "Error: member ID not found in peerIdToName map: 3"},
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
			if got := s.peer.Drops()[c.reason]; got != 1 {
				t.Errorf("counted %d, want 1: %v", got, s.peer.Drops())
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
	o.socket.Write(frame(2, 1, 9))
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

// Hundreds of silent connections, from a host's address too, stop nobody; each is closed, the
// oldest first, without waiting for newer ones.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	var silent []other
	for i := range 3 * mostUnknown {
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
	if got := s.peer.Drops(); got[Crowded]+got[Silent]+got[Stranger] != 3*mostUnknown {
		t.Errorf("counted %v, want %d in all", got, 3*mostUnknown)
	}
}

// frame is a frame that claims so many bytes.
func frame(length int, b ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(length)), b...)
}
