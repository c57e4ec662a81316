package network

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/network/rawio"
	"memberly/peer/types"
	"memberly/peer/utils"
)

func heartbeat(from types.ID) types.Message {
	return types.Message{Kind: types.Heartbeat, From: from, Incarnation: 5, Number: 3, Group: types.Group{Made: 5, Maker: 1}}
}

// Heartbeats go out to every other host, and come in from them.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	two, err := listenUDP(n.Host(2))
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	s := newStage(t, n.config(), nil)
	m := heartbeat(1)
	s.answer(handlers.Output{Heartbeat: &m})
	buf := make([]byte, rawio.MaxDatagram)
	two.SetReadDeadline(time.Now().Add(patience))
	size, from, err := two.ReadFromUDPAddrPort(buf)
	if err != nil || from != netip.AddrPortFrom(n.Host(1), config.UDPPort) {
		t.Fatalf("a datagram from %v, %v", from, err)
	}
	var got types.Message
	if err := types.DecodeMessage(buf[:size], &got); err != nil || got.From != 1 || got.Number != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	reply := heartbeat(2)
	b, err := types.AppendMessage(nil, &reply)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.WriteToUDPAddrPort(b, from); err != nil {
		t.Fatal(err)
	}
	if st := s.expect("message"); st.host != 2 || st.message.Kind != types.Heartbeat || st.message.Incarnation != 5 {
		t.Errorf("got %+v", st)
	}
	s.answer(handlers.Output{})
}

// fakeUDP is a socket to which reads have come, none before a moment. Each has waited for lay.
type fakeUDP struct {
	reads  []datagram
	lay    time.Duration
	before time.Time
	ready  chan struct{} // nil for a socket that is polled from time to time
	sent   []netip.AddrPort
	source netip.Addr // of the last one sent; invalid if the system is to choose
	fail   error      // of writes
	keep   bool       // what is written
	bytes  [][]byte
}

type datagram struct {
	from  netip.Addr
	bytes []byte
	err   error
}

func (f *fakeUDP) Next() ([]byte, netip.AddrPort, time.Duration, error) {
	if len(f.reads) == 0 || time.Now().Before(f.before) {
		return nil, netip.AddrPort{}, 0, rawio.ErrEmpty
	}
	d := f.reads[0]
	f.reads = f.reads[1:]
	return d.bytes, netip.AddrPortFrom(d.from, config.UDPPort), f.lay, d.err
}

func (f *fakeUDP) Ready() <-chan struct{} { return f.ready }

func (f *fakeUDP) WriteTo(b []byte, to netip.AddrPort) error { return f.WriteFrom(b, netip.Addr{}, to) }

func (f *fakeUDP) WriteFrom(b []byte, from netip.Addr, to netip.AddrPort) error {
	f.source = from
	f.sent = append(f.sent, to)
	if f.keep {
		f.bytes = append(f.bytes, bytes.Clone(b))
	}
	return f.fail
}

func (f *fakeUDP) Close() error { return nil }

// newFakeHeartbeats is the UDP lane of host one of names' book, at 10.0.0.1.
func newFakeHeartbeats(n *names, f *fakeUDP) (*heartbeats, *output) {
	out := newOutput()
	b := n.book()
	b.set(1, []netip.Addr{addr("10.0.0.1")})
	return newHeartbeats(1, b.tasks, b, newLimits(b.len(), usualBeat), newDrops(newLines(out, 0, nil)), nil, f, newSources(b, 1, netip.Addr{})), out
}

// Reading goes on after failures and datagrams of any kind; each is told once.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	m, odd := heartbeat(3), probe(3, 1, 1)
	good, _ := types.AppendMessage(nil, &m)
	wrong, _ := types.AppendMessage(nil, &odd)
	f := &fakeUDP{reads: []datagram{
		{err: errors.New("connection refused")},
		{err: errors.New("connection refused")},
		{from: addr("10.0.0.1"), bytes: good},          // its own
		{from: addr("10.0.0.9"), bytes: []byte("hey")}, // a stranger's
		{from: addr("::ffff:10.0.0.3"), bytes: []byte("hey")},
		{from: addr("10.0.0.3"), bytes: wrong},
		{from: addr("10.0.0.3"), bytes: []byte{types.Version, 7, 0, 9}},
		{from: addr("::ffff:10.0.0.3"), bytes: good},
	}}
	p, out := newFakeHeartbeats(&names{}, f)
	if n := p.count(); n != 1 || p.heard.From != 3 || p.heard.Number != 3 {
		t.Errorf("heard %d, the last %+v; want one", n, p.heard)
	}
	p.drops.notice.close(patience)
	for _, words := range []string{"Error reading from UDP connection: connection refused\n",
		"Error getting hostname from address: ", "Error decoding byte array to integers: ",
		"Error: member ID not found in peerIdToName map: 9"} {
		out.await(t, words)
	}
	if got := p.drops.all(); got[dropMalformed] != 2 || got[dropStranger] != 1 || got[dropNoMember] != 1 {
		t.Errorf("counted %v", got)
	}
}

// A heartbeat from an address that is not known has the name looked up that it claims: the
// next one is heard.
func TestHeartbeatFromNewAddress(t *testing.T) {
	t.Parallel()
	m := heartbeat(2)
	b, _ := types.AppendMessage(nil, &m)
	p, _ := newFakeHeartbeats(&names{addrs: map[string]string{"two": "10.0.0.2"}}, &fakeUDP{})
	if n := p.hear(addr("10.0.0.2"), b); n != 0 || len(p.queries) != 1 {
		t.Fatalf("%d messages and %d queries, want 0 and 1", n, len(p.queries))
	}
	q := <-p.queries
	p.answer(q)
	if p.hear(addr("10.0.0.2"), b) != 1 {
		t.Error("the next heartbeat was not heard")
	}
}

// count polls until nothing has come, waiting where reading is held back, and returns how many
// heartbeats it heard.
func (p *heartbeats) count() (heard int) {
	for began := time.Now(); ; {
		<-time.After(p.polling.held - time.Since(began))
		if e, ok := p.poll(time.Since(began), true); ok && e.kind == received {
			heard++
		} else if !p.polling.more {
			return heard
		}
	}
}

// hear returns 1 if a datagram is a heartbeat to be handed on, else 0.
func (p *heartbeats) hear(from netip.Addr, b []byte) int {
	return int(min(1, p.receive(from, b, &p.heard)))
}

// A socket without Ready is polled when that is wanted, or half of pollEvery after none was left,
// until none is.
func TestPoll(t *testing.T) {
	t.Parallel()
	m := heartbeat(3)
	good, _ := types.AppendMessage(nil, &m)
	from3 := datagram{from: addr("10.0.0.3"), bytes: good}
	f := &fakeUDP{}
	p, out := newFakeHeartbeats(&names{}, f)
	const start = time.Hour
	poll := func(at time.Duration, wanted bool, want string) {
		t.Helper()
		got := "nothing"
		if e, ok := p.poll(start+at, wanted); ok && e.kind == ignored {
			got = "ignored"
		} else if ok {
			got = fmt.Sprintf("peer %d, %v ago", e.message.From, e.message.Waited)
			if e.host != 3 || e.conn != nil {
				t.Errorf("it is %+v", e)
			}
		}
		if got != want {
			t.Errorf("at %v: %s, want %s", at, got, want)
		}
	}
	poll(0, true, "nothing")
	f.reads, f.lay = []datagram{from3, {from: addr("10.0.0.9")}, from3}, 20*time.Millisecond
	poll(pollEvery/2-1, false, "nothing")
	poll(pollEvery/2, false, "peer 3, 20ms ago")
	poll(pollEvery/2, false, "ignored")
	if at := p.polling.next(); at > start+pollEvery/2 {
		t.Errorf("more has come, and the next poll is at %v", at-start)
	}
	f.lay = time.Hour // the clock was set: it came after the last poll
	poll(pollEvery/2, false, "peer 3, 50ms ago")
	poll(pollEvery/2, false, "nothing")
	if at := p.polling.next(); at != start+3*pollEvery/2 {
		t.Errorf("the next poll is at %v", at-start)
	}
	f.reads, f.lay = []datagram{from3, {err: errors.New("odd")}, from3}, -time.Hour
	poll(pollEvery, true, "peer 3, 0s ago")
	poll(pollEvery, true, "nothing")
	poll(pollEvery+readPause-1, true, "nothing")
	poll(pollEvery+readPause, false, "peer 3, 0s ago")
	p.limits.datagrams.allot(0.001, 1)
	f.reads = []datagram{from3, from3, from3}
	poll(2*pollEvery, true, "peer 3, 0s ago")
	poll(2*pollEvery, true, "peer 3, 0s ago")
	poll(3*pollEvery, true, "nothing")
	if at := p.polling.next(); at < start+2*pollEvery+time.Second {
		t.Errorf("with too many, the next poll is at %v", at-start)
	}
	poll(p.polling.next()-start, true, "peer 3, 0s ago")
	p.drops.notice.close(patience)
	if want := "Error reading from UDP connection: odd\n"; !strings.Contains(out.String(), want) {
		t.Errorf("said %q, want %q", out.String(), want)
	}
}

// In the steady state heartbeats cost no memory, neither sent nor received.
func TestHeartbeatsAllocateNothing(t *testing.T) {
	m := heartbeat(3)
	b, _ := types.AppendMessage(nil, &m)
	f := &fakeUDP{sent: make([]netip.AddrPort, 0, 1<<20)}
	p, _ := newFakeHeartbeats(&names{}, f)
	for id := types.ID(4); id <= 9; id++ { // nor do they in a peer that has grown
		p.limits.grow(int(id))
		p.addresses.list(id, types.Host{Name: fmt.Sprint("host", id), Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(id)})})
	}
	p.limits.of(3)[limitHeartbeats].allot(0, 1e6)
	p.broadcast(b)
	if n := testing.AllocsPerRun(1000, func() {
		p.send(&m)
		b := <-p.beats
		p.broadcast(b)
		p.buffers <- b
	}); n != 0 {
		t.Errorf("sending takes %v allocations", n)
	}
	if len(f.sent) == 0 || f.sent[0] != netip.AddrPortFrom(addr("10.0.0.3"), config.UDPPort) {
		t.Errorf("sent to %v", f.sent[:min(len(f.sent), 3)])
	}
	waiting := []datagram{{from: addr("10.0.0.3"), bytes: b}}
	if n := testing.AllocsPerRun(1000, func() {
		f.reads = waiting
		p.poll(0, true)
	}); n != 0 {
		t.Errorf("receiving takes %v allocations", n)
	}
}

// Where sending fails, that is told once, and the networks are looked at again.
func TestHeartbeatFails(t *testing.T) {
	t.Parallel()
	f := &fakeUDP{fail: errors.New("network is unreachable")}
	p, out := newFakeHeartbeats(&names{}, f)
	p.broadcast([]byte("x"))
	if !p.found.IsZero() {
		t.Error("the networks are not looked at again")
	}
	p.broadcast([]byte("x"))
	f.fail, f.sent = syscall.EAGAIN, nil
	if p.broadcast([]byte("x")); p.found.IsZero() {
		t.Error("the networks are looked at again for want of room to send")
	}
	if len(f.sent) != maxTries {
		t.Errorf("for want of room it is tried %d times", len(f.sent))
	}
	p.drops.notice.close(patience)
	if got, want := out.String(), "Error sending heartbeat: network is unreachable\nError sending heartbeat: "+syscall.EAGAIN.Error()+"\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	if got := p.drops.all()[dropUnsent]; got != 3 {
		t.Errorf("counted %d, want 3", got)
	}
}

// Datagrams leave from the address that is listed for this host, if this machine has it and the sockets are not on the
// loopback network alone.
func TestHeartbeatsFromListedAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ only, has, want string }{
		{"", "10.0.0.7/24 10.0.0.1/24", "10.0.0.1"}, {"", "10.0.0.7/24", ""}, {"127.0.0.1", "10.0.0.1/24", ""},
	} {
		f := &fakeUDP{}
		p, _ := newFakeHeartbeats(&names{}, f)
		if c.only != "" {
			p.sources.only = addr(c.only)
		}
		a := &attachment{}
		for _, prefix := range strings.Fields(c.has) {
			a.networks = append(a.networks, utils.Network{Prefix: netip.MustParsePrefix(prefix)})
		}
		p.sources.attached.Store(a)
		p.socket.WriteTo([]byte("x"), netip.AddrPortFrom(addr("10.0.0.3"), config.UDPPort))
		if got := f.source; got.IsValid() != (c.want != "") || got.IsValid() && got != addr(c.want) {
			t.Errorf("%+v: sent from %v", c, got)
		}
	}
}

// A socket on all addresses hears IPv4, IPv6 and broadcasts, and can send all of them.
func TestAllAddresses(t *testing.T) {
	t.Parallel()
	socket, err := net.ListenPacket("udp", local(netip.Addr{}, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	all := socket.(*net.UDPConn)
	port := all.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	targets := []netip.Addr{addr("127.0.0.1")}
	attached, err := utils.Attached()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range attached {
		own := n.Prefix.Addr()
		if own.Is6() && own.IsGlobalUnicast() {
			targets = append(targets, own)
		}
		if own.Is4() && !own.IsLoopback() {
			broadcasts, _ := utils.Targets([]netip.Addr{own.Next()}, attached)
			targets = append(targets, broadcasts...)
		}
	}
	buf := make([]byte, rawio.MaxDatagram)
	all.SetReadDeadline(time.Now().Add(patience))
	for _, to := range targets {
		if _, err := all.WriteToUDPAddrPort([]byte(to.String()), netip.AddrPortFrom(to, port)); err != nil {
			t.Errorf("sending to %v: %v", to, err)
			continue
		}
		if n, _, err := all.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != to.String() {
			t.Errorf("sent to %v, got %q, %v", to, buf[:n], err)
		}
	}
}
