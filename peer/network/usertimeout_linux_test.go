package network

import (
	"net"
	"syscall"
	"testing"

	"memberly/peer/types"
)

// Accepted and dialled connections end when their data stays unacknowledged.
func TestUserTimeout(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	two := n.listen(t, 2)
	s := newStage(t, n.config(), nil)
	s.answer(send(probe(1, 2, 1)))
	accept(t, two).says(probe(2, 1, 1))
	s.expect("message")
	dialled := newestWith(s, 2)
	s.answer(send())
	n.dial(t, 2).says(probe(2, 1, 2))
	s.expect("message")
	accepted := newestWith(s, 2)
	s.answer(send())
	if !dialled.dialled || accepted.dialled {
		t.Fatal("the connections are not one dialled and one accepted")
	}
	for _, c := range []*connection{dialled, accepted} {
		if got := userTimeoutOf(t, c.socket); got != 5000 {
			t.Errorf("dialled %v: TCP_USER_TIMEOUT is %d ms, want 5000", c.dialled, got)
		}
	}
}

// newestWith returns the newest connection with id, while the peer waits in a step.
func newestWith(s *stage, id types.ID) *connection {
	return s.peer.links.table.Open(id)[0]
}

func userTimeoutOf(t *testing.T, socket net.Conn) (ms int) {
	t.Helper()
	raw, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if failed := raw.Control(func(fd uintptr) {
		ms, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout)
	}); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	return ms
}
