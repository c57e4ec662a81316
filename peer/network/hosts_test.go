package network

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/network/rawio"
	"memberly/peer/seal"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// becomes is the change that makes host id be called name, at an address if that is valid.
func becomes(id types.ID, name string, at netip.Addr) handlers.HostChange {
	return handlers.HostChange{ID: id, Host: types.Host{Name: name, Addr: at}}
}

// retires is the change that retires host id.
func retires(id types.ID, name string, at netip.Addr) handlers.HostChange {
	return handlers.HostChange{ID: id, Host: types.Host{Name: name, Addr: at, Retired: true}}
}

// hearsAt opens the socket for heartbeats of host n.
func (s subnet) hearsAt(t *testing.T, n int) *net.UDPConn {
	t.Helper()
	socket, err := listenUDP(s.Host(n))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	socket.SetReadDeadline(time.Now().Add(patience))
	return socket
}

// A host that is added while the peer runs is a stranger until then. From then on it is dialled, and heard by what it
// dials and by its heartbeats, with keys too.
func TestHostAdded(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprint("sealed ", sealed), func(t *testing.T) {
			t.Parallel()
			n, ring := newSubnet(t), seal.Keyring{}
			c := n.config()
			if sealed {
				ring = newRing(t, "")
				c = n.sealedConfig(ring)
			}
			listener, socket := n.listen(t, 3), n.hearsAt(t, 3)
			two := n.listen(t, 2)
			s := newStage(t, c, nil)
			s.answer(send(probe(1, 2, 1)))
			o := accept(t, two)
			o.meets(ring, 2, false)
			o.hears()
			stranger := n.dial(t, 3)
			stranger.meets(ring, 3, true)
			stranger.tells(probe(3, 1, 1))
			if m := stranger.hears(); m.Reason != types.Differs {
				t.Errorf("the stranger hears %+v", m)
			}
			stranger.closed()
			o.tells(probe(2, 1, 2))
			s.expect("message")
			m := heartbeat(1)
			s.answer(handlers.Output{Hosts: []handlers.HostChange{becomes(3, "three", n.Host(3))},
				Messages: []types.Message{probe(1, 3, 3)}, Heartbeat: &m})
			three := accept(t, listener)
			three.meets(ring, 3, false)
			if m := three.hears(); m.Request != 3 {
				t.Errorf("request %d came, want 3", m.Request)
			}
			three = n.dial(t, 3)
			three.meets(ring, 3, true)
			three.tells(probe(3, 1, 4))
			if st := s.expect("message"); st.host != 3 || st.message.Request != 4 {
				t.Errorf("got %+v", st)
			}
			s.answer(handlers.Output{})
			s.hearsHeartbeat(socket, ring, 3)
			if got := s.peer.Names().Name(3); got != "three" {
				t.Errorf("host 3 is called %q", got)
			}
		})
	}
}

// meets agrees, as host id, on how to seal, if there are keys.
func (o *other) meets(ring seal.Keyring, id types.ID, dialler bool) {
	o.Helper()
	if ring.Len() == 0 {
		return
	}
	o.socket.SetReadDeadline(time.Now().Add(patience))
	var err error
	if o.sealed, _, err = seal.Handshake(o.in, o.socket, rand.Reader, ring, id, dialler); err != nil {
		o.Fatal(err)
	}
}

// tells sends a message, sealed if meets agreed on that.
func (o other) tells(m types.Message) {
	o.Helper()
	if o.sealed == nil {
		o.says(m)
		return
	}
	o.seals(m)
}

// hearsHeartbeat waits for a heartbeat of the peer at socket, which is host id's, and has the peer hear one from there.
func (s *stage) hearsHeartbeat(socket *net.UDPConn, ring seal.Keyring, id types.ID) {
	s.Helper()
	l, err := seal.NewDatagrams(ring, id, rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	beat := heartbeat(id)
	plain, _ := types.AppendMessage(nil, &beat)
	buf := make([]byte, rawio.MaxDatagram)
	size, from, err := socket.ReadFromUDPAddrPort(buf)
	if err != nil {
		s.Fatal(err)
	}
	l.Open(1, buf[:size], 0)
	socket.WriteToUDPAddrPort(l.SealHeartbeat(nil, plain, 0), from)
	for ring.Len() > 0 { // until the peer has asked whether that is a recording, and was answered
		if size, from, err = socket.ReadFromUDPAddrPort(buf); err != nil {
			s.Fatal(err)
		}
		if _, reply, _ := l.Open(1, buf[:size], 0); reply != nil {
			socket.WriteToUDPAddrPort(reply, from)
			break
		}
	}
	if st := s.expect("message"); st.host != id || st.message.Kind != types.Heartbeat {
		s.Errorf("got %+v", st)
	}
	s.answer(handlers.Output{})
}

// A host that is retired loses its connections, and is sent nothing. Its address may be another host's in the same step.
func TestHostRetired(t *testing.T) {
	t.Parallel()
	for _, reused := range []bool{false, true} {
		t.Run(fmt.Sprint("address reused ", reused), func(t *testing.T) {
			t.Parallel()
			n := newSubnet(t)
			at := map[bool]int{false: 3, true: 2}[reused]
			listeners := map[int]net.Listener{2: n.listen(t, 2), 3: n.listen(t, 3)}
			sockets := map[int]*net.UDPConn{2: n.hearsAt(t, 2), 3: n.hearsAt(t, 3)}
			s := newStage(t, n.config(), nil)
			s.answer(send(probe(1, 2, 1)))
			o := accept(t, listeners[2])
			o.hears()
			o.says(probe(2, 1, 1))
			s.expect("message")
			o.says(probe(2, 1, 2)) // comes before the host is retired, and is handled after that
			s.awaitEvents(1)
			s.peer.addresses.troubles.slow(2)
			m := heartbeat(1)
			s.answer(handlers.Output{Hosts: []handlers.HostChange{retires(2, "two", n.Host(2)), becomes(3, "three", n.Host(at))},
				Redial: []types.ID{2}, Messages: []types.Message{probe(1, 2, 5), probe(1, 3, 6)}, Heartbeat: &m})
			o.closed()
			three := accept(t, listeners[at])
			if m := three.hears(); m.Request != 6 {
				t.Errorf("request %d came to host 3, want 6", m.Request)
			}
			three = n.dial(t, at)
			three.says(probe(3, 1, 7))
			if st := s.expect("message"); st.host != 3 || st.message.Request != 7 {
				t.Errorf("got %+v", st)
			}
			s.answer(handlers.Output{})
			s.hearsHeartbeat(sockets[at], seal.Keyring{}, 3)
			if s.peer.addresses.troubles.has(2) {
				t.Error("a retired host is held not to be found")
			}
			if !reused {
				s.isLeftAlone(n, sockets[2])
			}
		})
	}
}

// awaitEvents waits until so many events wait for the loop.
func (s *stage) awaitEvents(n int) {
	s.Helper()
	s.within("events wait for the loop", func() bool { return len(s.peer.tasks.events) >= n })
}

// within waits for a condition.
func (s *stage) within(what string, is func() bool) {
	s.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			s.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(time.Millisecond)
	}
}

// isLeftAlone checks that host 2, which is retired, was sent no heartbeat, has no address, and is a stranger.
func (s *stage) isLeftAlone(n subnet, socket *net.UDPConn) {
	s.Helper()
	socket.SetReadDeadline(time.Now())
	if size, _, err := socket.ReadFromUDPAddrPort(make([]byte, rawio.MaxDatagram)); err == nil {
		s.Errorf("%d bytes came to a retired host", size)
	}
	if got := s.peer.Addresses(2); len(got) > 0 {
		s.Errorf("it is at %v", got)
	}
	n.dial(s.T, 2).closed()
	s.within("it is a stranger", func() bool { return s.peer.drops.all()[dropStranger] > 0 })
}

// What becomes of a dial that was begun before its host was retired, the protocol is not told.
func TestRetiredWhileDialling(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	c := n.config()
	c.Hosts = append(c.Hosts, types.Host{Name: "three", Addr: n.Host(3)})
	s := newStage(t, c, nil)
	s.answer(handlers.Output{})
	o := n.dial(t, 3)
	o.says(probe(3, 1, 1))
	s.expect("message")
	o.says(probe(3, 1, 2))
	s.awaitEvents(1)
	s.answer(handlers.Output{Redial: []types.ID{2}}) // which refuses
	s.expect("message")
	s.awaitEvents(1)
	s.answer(handlers.Output{Hosts: []handlers.HostChange{retires(2, "two", n.Host(2))}})
	o.says(probe(3, 1, 3))
	if st := s.expect("message"); st.message.Request != 3 {
		t.Errorf("got %+v", st)
	}
	s.answer(handlers.Output{})
}

// A host that has another address is dialled there, and what is connected with the old one is closed.
func TestHostMoved(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	before, after := n.listen(t, 2), n.listen(t, 7)
	s := newStage(t, n.config(), nil)
	s.answer(send(probe(1, 2, 1)))
	o := accept(t, before)
	o.hears()
	o.says(probe(2, 1, 1))
	s.expect("message")
	s.answer(handlers.Output{Hosts: []handlers.HostChange{becomes(2, "two", n.Host(7))}})
	s.expect("closed")
	s.answer(send(probe(1, 2, 2)))
	o.closed()
	if m := accept(t, after).hears(); m.Request != 2 {
		t.Errorf("request %d came, want 2", m.Request)
	}
}

// The parts of a peer grow while others read them.
func TestGrowth(t *testing.T) {
	t.Parallel()
	const hosts = 300
	n := newSubnet(t)
	s := newStage(t, n.sealedConfig(newRing(t, "")), nil)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for id := types.ID(1); id <= hosts; {
				if !s.peer.addresses.in(id) {
					continue
				}
				if of := s.peer.addresses.of(netip.AddrFrom4([4]byte{10, 0, byte(id >> 8), byte(id)})); id > 2 && of != id {
					t.Errorf("the address of host %d is of %d", id, of)
				}
				s.peer.limits.of(id)[limitHeartbeats].allow(time.Now())
				s.peer.heartbeats.confirmer.of(id).lately(time.Second)
				s.peer.heartbeats.confirmer.answered(id, 1)
				if s.peer.Names().Name(id) == "" {
					t.Errorf("host %d has no name", id)
				}
				id++
			}
		})
	}
	var changes []handlers.HostChange
	for id := types.ID(3); id <= hosts; id++ {
		changes = append(changes, becomes(id, fmt.Sprint("host", id), netip.AddrFrom4([4]byte{10, 0, byte(id >> 8), byte(id)})))
	}
	s.answer(handlers.Output{Hosts: changes})
	readers.Wait()
}

// Limits that grow are those of a peer that has so many hosts from the start.
func TestLimitsGrow(t *testing.T) {
	t.Parallel()
	grown, made := newLimits(2, usualBeat), newLimits(1000, usualBeat)
	grown.grow(3)
	grown.grow(1000)
	if d := grown.datagrams.rate - made.datagrams.rate; d > 1 || d < -1 {
		t.Errorf("%v datagrams a second, want %v", grown.datagrams.rate, made.datagrams.rate)
	}
	if got, want := grown.of(1000)[limitHeartbeats].left, made.of(1000)[limitHeartbeats].left; got != want || want == 0 {
		t.Errorf("a new host may send %v heartbeats at once, want %v", got, want)
	}
	n := &names{}
	b := n.bookOf(2)
	for id := types.ID(3); id <= 1000; id++ {
		b.list(id, types.Host{Name: "x"})
	}
	if got, want := b.lookups.left, n.bookOf(1000).lookups.left; got != want {
		t.Errorf("%v look-ups at once, want %v", got, want)
	}
}

// What the name service says of a name counts for nothing once the host has another one, or is retired.
func TestLateAnswerForFormerName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		known bool // the name is
		is    types.Host
		want  string
	}{
		{"the same", true, types.Host{Name: "TWO."}, "[10.0.0.2]"},
		{"another name", true, types.Host{Name: "zwei"}, "[]"},
		{"an address", true, types.Host{Name: "two", Addr: addr("10.0.0.9")}, "[10.0.0.9]"},
		{"retired", true, types.Host{Name: "two", Retired: true}, "[]"},
		{"an address for a name that is unknown", false, types.Host{Name: "two", Addr: addr("10.0.0.9")}, "[10.0.0.9]"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newAddressBook([]types.Host{{Name: "one"}, {Name: "two"}}, utils.Resolver{Lookup: func(ctx context.Context, network, name string) ([]netip.Addr, error) {
					<-time.After(time.Second)
					if c.known && network == "ip4" && types.NameKey(name) == "two" {
						return []netip.Addr{addr("10.0.0.2")}, nil
					}
					return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
				}}, newTasks())
				b.troubles = newTroubles(newLines(newOutput(), 0, nil), types.NewNames(types.Host{Name: "one"}, types.Host{Name: "two"}))
				defer b.troubles.notice.close(0)
				_, l := b.toDial(2)
				b.list(2, c.is)
				l.wait(t.Context())
				b.tasks.running.Wait()
				<-time.After(2 * time.Second) // until every question has ended
				if got := fmt.Sprint(b.known(2)); got != c.want {
					t.Errorf("it is at %s, want %s", got, c.want)
				}
				if b.troubles.has(2) {
					t.Error("it is held not to be found")
				}
				if !c.is.Retired {
					return
				}
				if _, l := b.toDial(2); l != nil || b.refresh(2) != nil {
					t.Error("a retired host is looked up")
				}
			})
		})
	}
}

// A host that is retired is no trouble any more, and none that is over.
func TestTroublesForget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := newOutput()
		notice := newLines(out, 0, nil)
		l := newTroubles(notice, types.NewNames(types.Host{Name: "one"}, types.Host{Name: "two"}))
		for id := types.ID(1); id <= 2; id++ {
			l.slow(id)
			<-time.After(reportPause)
		}
		l.note(1, errNoAnswer)
		l.forget(2)
		l.note(1, nil)
		l.slow(1)
		l.forget(1)
		l.note(1, nil)
		notice.close(time.Second)
		got := out.String()
		if strings.Count(got, "\n") != 4 || !strings.Contains(got, "one, two (") || strings.Count(got, "Names are found again: one\n") != 1 {
			t.Errorf("said\n%s", got)
		}
	})
}

// The digest is that of the names as they are.
func TestDigestOfHosts(t *testing.T) {
	t.Parallel()
	hosts := []types.Host{{Name: "one"}, {Name: "two"}, {Name: "three"}}
	b := newAddressBook(hosts[:2], utils.Resolver{}, newTasks())
	changes := b.changes.Load()
	b.list(3, hosts[2])
	if b.changes.Load() == changes {
		t.Error("heartbeats do not learn of a host without an address")
	}
	if lines, digest := b.digest(); lines != 3 || digest != types.Digest(hosts) {
		t.Errorf("%x of %d, want %x of 3", digest, lines, types.Digest(hosts))
	}
	two := types.Digest(hosts[:2])
	if !b.agrees(2, two) || b.agrees(3, two) || b.agrees(1, two) || b.agrees(0, 0) || b.agrees(4, two) {
		t.Error("it does not agree with just the list that lacks the last host")
	}
	hosts[0].Name = "eins"
	b.list(1, hosts[0])
	if _, digest := b.digest(); digest != types.Digest(hosts) {
		t.Errorf("after a name changed %x, want %x", digest, types.Digest(hosts))
	}
}
