package rawio

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// kinds are the sockets there are.
var kinds = map[string]func(*net.UDPConn) (Socket, error){"polled": NewPolled, "unpolled": NewUnpolled}

// eachKind runs a subtest with a socket of each kind on the loopback network.
func eachKind(t *testing.T, test func(t *testing.T, s Socket, at netip.AddrPort)) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			s, at := listen(t, "127.0.0.1:0", open)
			test(t, s, at)
		})
	}
}

func listen(t *testing.T, addr string, open func(*net.UDPConn) (Socket, error)) (Socket, netip.AddrPort) {
	t.Helper()
	conn := listenUDP(t, addr)
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s, err := open(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, at
}

func listenUDP(t *testing.T, addr string) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.UDPConn)
}

// next waits for a datagram as the owner of a socket does.
func next(s Socket) ([]byte, netip.AddrPort, time.Duration, error) {
	for {
		b, from, waited, err := s.Next()
		if err != ErrEmpty {
			return b, from, waited, err
		}
		if ready := s.Ready(); ready != nil {
			<-ready
		}
		runtime.Gosched()
	}
}

// A datagram comes with its sender's address, over IPv4 and IPv6, both ways.
func TestSocket(t *testing.T) {
	t.Parallel()
	for name, open := range kinds {
		for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
			s, at := listen(t, addr, open)
			other := listenUDP(t, addr)
			otherAt := other.LocalAddr().(*net.UDPAddr).AddrPort()
			if err := s.WriteTo([]byte("ping"), otherAt); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 9)
			n, from, err := other.ReadFromUDPAddrPort(buf)
			if string(buf[:n]) != "ping" || from != at || err != nil {
				t.Errorf("%s %s: got %q from %v, %v", name, addr, buf[:n], from, err)
			}
			other.WriteToUDPAddrPort([]byte("pong"), at)
			b, from, _, err := next(s)
			if string(b) != "pong" || from != otherAt || err != nil {
				t.Errorf("%s %s: got %q from %v, %v", name, addr, b, from, err)
			}
		}
	}
}

// More datagrams than a socket reads ahead come in order, and Ready is not missed.
func TestSocketInOrder(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, s Socket, at netip.AddrPort) {
		for i := range 3 * readAhead {
			if err := s.WriteTo([]byte{byte(i)}, at); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 * readAhead {
			if b, _, _, err := next(s); err != nil || len(b) != 1 || int(b[0]) != i {
				t.Fatalf("got %v, %v, want [%d]", b, err, i)
			}
		}
		if _, _, _, err := s.Next(); err != ErrEmpty {
			t.Errorf("the error at the end is %v", err)
		}
	})
}

// A socket without Ready knows how long a datagram has waited.
func TestWaited(t *testing.T) {
	t.Parallel()
	s, at := listen(t, "127.0.0.1:0", NewUnpolled)
	if s.Ready() != nil {
		t.Skip("this system has no unpolled socket")
	}
	const least = 3 * time.Millisecond
	for end := time.Now().Add(patience); ; {
		began := time.Now()
		if err := s.WriteTo([]byte("x"), at); err != nil {
			t.Fatal(err)
		}
		for sent := time.Now(); time.Since(sent) < least; {
			runtime.Gosched()
		}
		_, _, got, err := next(s)
		if err != nil {
			t.Fatal(err)
		}
		if got < least && time.Now().Before(end) {
			continue // the kernel begins to note the time soon after it was asked to, not at once
		}
		if got < least || got > time.Since(began) {
			t.Errorf("it waited %v, want %v to %v", got, least, time.Since(began))
		}
		return
	}
}

// A socket of one family returns an error for an address that it cannot reach.
func TestSocketFamily(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, s Socket, _ netip.AddrPort) {
		if err := s.WriteTo([]byte("x"), netip.AddrPortFrom(netip.IPv6Loopback(), 9)); err == nil {
			t.Error("a socket of IPv4 sent to an address of IPv6")
		}
	})
}

// An owner that waits for a datagram learns that the socket was closed, as does a later one.
func TestSocketClose(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, s Socket, at netip.AddrPort) {
		ended := make(chan error)
		go func() {
			for range 2 {
				_, _, _, err := next(s)
				ended <- err
			}
		}()
		s.Close()
		for range 2 {
			select {
			case err := <-ended:
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("reading ends with %v", err)
				}
			case <-time.After(patience):
				t.Fatal("reading did not end")
			}
		}
		if err := s.WriteTo([]byte("x"), at); err == nil {
			t.Error("a closed socket sent")
		}
	})
}

// A datagram leaves from the address that is named, over IPv4 and from a socket for both families, where the system
// lets it.
func TestWriteFrom(t *testing.T) {
	if !choosesSource {
		t.Skip("this system chooses")
	}
	for name, open := range kinds {
		for _, c := range []struct{ socket, to, from string }{
			{"0.0.0.0:0", "127.0.0.1:0", "127.7.7.7"}, {":0", "127.0.0.1:0", "127.7.7.7"}, {":0", "[::1]:0", "::1"},
			{"0.0.0.0:0", "127.0.0.1:0", "::ffff:127.7.7.7"},
		} {
			s, _ := listen(t, c.socket, open)
			other := listenUDP(t, c.to)
			at := other.LocalAddr().(*net.UDPAddr).AddrPort()
			from := netip.MustParseAddr(c.from)
			b := []byte("x")
			if err := s.WriteFrom(b, from, at); err != nil {
				t.Errorf("%s %+v: %v", name, c, err)
				continue
			}
			if _, got, err := other.ReadFromUDPAddrPort(make([]byte, 9)); got.Addr().Unmap() != from.Unmap() || err != nil {
				t.Errorf("%s %+v: it came from %v, %v", name, c, got, err)
			}
			if used := testing.AllocsPerRun(20, func() { s.WriteFrom(b, from, at) }); used > 0 {
				t.Errorf("%s %+v: %v allocations", name, c, used)
			}
			foreign := map[bool]string{true: "198.51.100.77", false: "2001:db8::77"}[from.Unmap().Is4()]
			if err := s.WriteFrom(b, netip.MustParseAddr(foreign), at); err == nil {
				t.Errorf("%s %+v: it sent from an address of another machine", name, c)
			}
		}
	}
}

// Neither reading nor sending allocates, so that heartbeats do not.
func TestSocketAllocatesNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, s Socket, at netip.AddrPort) {
		b := make([]byte, 9)
		used := testing.AllocsPerRun(20, func() {
			if err := s.WriteTo(b, at); err != nil {
				t.Error(err)
			}
			if _, _, _, err := next(s); err != nil {
				t.Error(err)
			}
		})
		if used > 0 {
			t.Errorf("%v allocations", used)
		}
	})
}

// A timer fires when it was set to last, be that earlier or later than before, and setting it
// does not allocate.
func TestTimer(t *testing.T) {
	raw, err := NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	for name, timer := range map[string]Timer{"of this system": raw, "of the runtime": newRuntimeTimer()} {
		t.Run(name, func(t *testing.T) {
			defer timer.Close()
			began := time.Now()
			timer.Set(time.Hour)
			timer.Set(5 * time.Millisecond)
			timer.Set(20 * time.Millisecond)
			<-timer.C()
			if early := 20*time.Millisecond - time.Since(began); early > 0 {
				t.Errorf("it fired %v too early", early)
			}
			timer.Set(-time.Second)
			<-timer.C()
			if used := testing.AllocsPerRun(20, func() {
				timer.Set(0)
				<-timer.C()
			}); used > 0 {
				t.Errorf("setting it takes %v allocations", used)
			}
		})
	}
}
