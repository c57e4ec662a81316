package network

import (
	"errors"
	"memberly/peer/config"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// lanes opens sockets for a small and a large group.
func lanes(t *testing.T, open func(t *testing.T, hosts int)) {
	t.Run("prompt", func(t *testing.T) { t.Parallel(); open(t, 5) })
	t.Run("paced", func(t *testing.T) { t.Parallel(); open(t, manyHosts) })
}

func mustOpenUDP(t *testing.T, self netip.Addr, hosts int) udpSocket {
	t.Helper()
	socket, err := openUDP(self, hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket
}

// await reads as pulse does, and waits where the socket has a pacer.
func await(a udpSocket, b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := a.ReadFromUDPAddrPort(b)
		if err != errNothing {
			return n, from, err
		}
		runtime.Gosched()
	}
}

// What is sent comes, with its sender's address, over IPv4 and IPv6.
func TestUDP(t *testing.T) {
	t.Parallel()
	lanes(t, func(t *testing.T, hosts int) {
		n := newSubnet(t)
		for _, addr := range []netip.Addr{n.Host(1), netip.IPv6Loopback()} {
			a := mustOpenUDP(t, addr, hosts)
			b, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			b.SetDeadline(time.Now().Add(patience))
			at := b.LocalAddr().(*net.UDPAddr).AddrPort()
			if size, err := a.WriteToUDPAddrPort([]byte("ping"), at); size != 4 || err != nil {
				t.Fatalf("sent %d bytes, %v", size, err)
			}
			buf := make([]byte, 9)
			size, from, err := b.ReadFromUDPAddrPort(buf)
			if string(buf[:size]) != "ping" || from != netip.AddrPortFrom(addr, config.UDPPort) || err != nil {
				t.Fatalf("got %q from %v, %v", buf[:size], from, err)
			}
			b.WriteToUDPAddrPort([]byte("pong"), from)
			size, from, err = await(a, buf)
			if string(buf[:size]) != "pong" || from != at || err != nil {
				t.Fatalf("got %q from %v, %v", buf[:size], from, err)
			}
			a.Close()
		}
	})
}

// A socket with a pacer tells how long what was read had lain there.
func TestWaited(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	p, ok := mustOpenUDP(t, n.Host(1), manyHosts).(pacer)
	if !ok {
		t.Skip("this system has no socket with a pacer")
	}
	const least = 3 * time.Millisecond
	for end := time.Now().Add(patience); ; {
		began := time.Now()
		if _, err := p.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(n.Host(1), config.UDPPort)); err != nil {
			t.Fatal(err)
		}
		for sent := time.Now(); time.Since(sent) < least; {
			runtime.Gosched()
		}
		if _, _, err := await(p, make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
		got := p.waited()
		if got < least && time.Now().Before(end) {
			continue // the kernel begins to note the time soon after it was asked to, not at once
		}
		if got < least || got > time.Since(began) {
			t.Errorf("it says %v, want %v to %v", got, least, time.Since(began))
		}
		return
	}
}

// A socket of one family tells what it cannot reach.
func TestUDPFamily(t *testing.T) {
	t.Parallel()
	lanes(t, func(t *testing.T, hosts int) {
		a := mustOpenUDP(t, newSubnet(t).Host(1), hosts)
		if _, err := a.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(netip.IPv6Loopback(), 9)); err == nil {
			t.Error("a socket of IPv4 sent to an address of IPv6")
		}
	})
}

// Whoever waits for a datagram learns that the socket was closed, as does who comes later.
func TestUDPClose(t *testing.T) {
	t.Parallel()
	lanes(t, func(t *testing.T, hosts int) {
		a := mustOpenUDP(t, newSubnet(t).Host(1), hosts)
		ended := make(chan error)
		read := func() {
			_, _, err := await(a, make([]byte, 9))
			ended <- err
		}
		go read()
		a.Close()
		for range 2 {
			select {
			case err := <-ended:
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("reading ends with %v", err)
				}
			case <-time.After(patience):
				t.Fatal("reading did not end")
			}
			go read()
		}
		<-ended
		if _, err := a.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(netip.IPv6Loopback(), 9)); err == nil {
			t.Error("a closed socket sent")
		}
	})
}

// Neither reading nor sending takes memory, so heartbeats cost none.
func TestUDPTakesNoMemory(t *testing.T) {
	lanes := map[string]int{"prompt": 5, "paced": manyHosts}
	for name, hosts := range lanes {
		n := newSubnet(t)
		a, b := mustOpenUDP(t, n.Host(1), hosts), mustOpenUDP(t, n.Host(2), hosts)
		buf := make([]byte, 99)
		to := netip.AddrPortFrom(n.Host(2), config.UDPPort)
		used := testing.AllocsPerRun(20, func() {
			if _, err := a.WriteToUDPAddrPort(buf[:9], to); err != nil {
				t.Error(err)
			}
			if _, _, err := await(b, buf); err != nil {
				t.Error(err)
			}
		})
		if used > 0 {
			t.Errorf("%s: %v allocations", name, used)
		}
	}
}

// An alarm rings when it was set to, be it set earlier or later meanwhile, and takes no memory.
func TestAlarm(t *testing.T) {
	a, err := newAlarm()
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	began := time.Now()
	a.set(time.Hour)
	a.set(5 * time.Millisecond)
	a.set(20 * time.Millisecond)
	<-a.rings()
	if early := 20*time.Millisecond - time.Since(began); early > 0 {
		t.Errorf("it rang %v too early", early)
	}
	a.set(-time.Second)
	<-a.rings()
	if used := testing.AllocsPerRun(20, func() {
		a.set(0)
		<-a.rings()
	}); used > 0 {
		t.Errorf("setting it takes %v allocations", used)
	}
}
