package network

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/network/rawio"
	"memberly/peer/seal"
	"memberly/peer/types"
)

// newRing returns the ring of these lines of a key file, and of new keys for the empty ones.
func newRing(t *testing.T, lines ...string) seal.Keyring {
	t.Helper()
	for i, line := range lines {
		if line == "" {
			lines[i] = newKey(t)
		}
	}
	ring, err := seal.Parse(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func newKey(t *testing.T) string {
	t.Helper()
	line, err := seal.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// sealedConfig is config with the key of ring.
func (s subnet) sealedConfig(ring seal.Keyring) config.Config {
	c := s.config()
	c.Keys, c.KeyFile = ring, "group.key"
	return c
}

// shakes agrees with the peer, as host two, on what is sealed with.
func (o other) shakes(ring seal.Keyring, dialler bool) {
	o.Helper()
	o.socket.SetReadDeadline(time.Now().Add(patience))
	var err error
	if o.sealed, _, err = seal.Handshake(o.in, o.socket, rand.Reader, ring, 2, dialler); err != nil {
		o.Fatal(err)
	}
}

// seals sends a sealed message.
func (o other) seals(m types.Message) {
	o.Helper()
	b, err := types.AppendMessage(nil, &m)
	if err != nil {
		o.Fatal(err)
	}
	if _, err := o.socket.Write(o.sealed.Append(nil, b)); err != nil {
		o.Fatal(err)
	}
}

// With keys both directions of a connection are sealed, whoever dialled it, also what waited for
// it, and what goes out in one write.
func TestSealedConnections(t *testing.T) {
	t.Parallel()
	n, ring := newSubnet(t), newRing(t, "")
	two := n.listen(t, 2)
	s := newStage(t, n.sealedConfig(ring), nil)
	s.stdout.await(t, "Read 1 key from \"group.key\", which seals and opens\n")
	var batch []types.Message
	for i := range 50 {
		batch = append(batch, probe(1, 2, uint64(i)))
	}
	s.answer(send(batch[:10]...))
	o := accept(t, two)
	o.shakes(ring, false)
	for i := range 10 {
		if m := o.hears(); m.Request != uint64(i) {
			t.Errorf("request %d came, want %d", m.Request, i)
		}
	}
	o.seals(probe(2, 1, 3))
	if st := s.expect("message"); st.host != 2 || st.message.Request != 3 {
		t.Errorf("got %+v", st)
	}
	s.answer(send(batch...))
	for i := range batch {
		if m := o.hears(); m.Request != uint64(i) {
			t.Errorf("request %d came, want %d", m.Request, i)
		}
	}
	in := n.dial(t, 2)
	in.shakes(ring, true)
	in.seals(probe(2, 1, 5))
	s.expect("message")
	s.answer(send(probe(1, 2, 6)))
	if m := in.hears(); m.Request != 6 {
		t.Errorf("request %d came, want 6", m.Request)
	}
	if got := s.peer.drops.all(); len(got) > 0 {
		t.Errorf("dropped %v", got)
	}
}

// A frame that waits for two connections is sealed for each by itself.
func TestSealedGather(t *testing.T) {
	t.Parallel()
	ring := newRing(t, "")
	m := probe(1, 2, 7)
	shared, err := types.AppendFrame(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(shared)
	for range 2 {
		a, b := net.Pipe()
		far, near := newConnection(a), newConnection(b)
		done := make(chan error, 1)
		go func() {
			var err error
			far.sealed, _, err = seal.Handshake(far.in, a, rand.Reader, ring, 2, false)
			done <- err
		}()
		hello := make(chan error, 1)
		go func() {
			var err error
			near.sealed, _, err = seal.Handshake(near.in, buffered{b}, rand.Reader, ring, 1, true)
			hello <- err
		}()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := <-hello; err != nil {
			t.Fatal(err)
		}
		near.out <- shared
		near.out <- shared
		near.finish()
		go func() {
			b.Write(near.gather(shared))
			b.Close()
		}()
		for range 3 {
			if got, err := far.receive(2); err != nil || got.Request != 7 {
				t.Fatalf("got %+v, %v", got, err)
			}
		}
	}
	if !bytes.Equal(shared, before) {
		t.Error("the frame was changed")
	}
}

// buffered lets a pipe's ends both write first, as sockets do.
type buffered struct{ net.Conn }

func (b buffered) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	go b.Conn.Write(p)
	return len(p), nil
}

// What is not sealed, or with another key, is dropped, counted and told with what to do, once for
// an address, though it comes again and again.
func TestSealedFaults(t *testing.T) {
	t.Parallel()
	ring, wrong := newRing(t, ""), newRing(t, "")
	plain := func(o other) { o.says(probe(2, 1, 1)) }
	for _, c := range []struct {
		what   string
		keys   seal.Keyring // the peer's
		do     func(o other)
		reason dropReason
		words  string
	}{
		{"no key", ring, plain, dropUnsealed, "Error opening message: it is not sealed with a key, as all must be that comes here: start all with the same -key, or none"},
		{"another key", ring, func(o other) {
			o.shakes(wrong, true)
			o.seals(probe(2, 1, 1))
		}, dropUnopened, "Error opening message: no key here opens it: "},
		{"not sealed after the hello", ring, func(o other) {
			o.shakes(ring, true)
			o.says(probe(2, 1, 1))
		}, dropUnopened, "Error opening message: no key here opens it: "},
		{"no hello", ring, func(o other) {
			o.socket.Write(frame(36, append([]byte{types.Sealed, 1, 0, 2}, make([]byte, 32)...)...))
		},
			dropUnopened, "Error opening message: no key here opens it: "},
		{"its own id", ring, func(o other) {
			o.socket.Write(frame(36, append([]byte{types.Sealed, 0, 0, 1}, make([]byte, 32)...)...))
		},
			dropImpostor, "Error opening message: it bears this host's own id: use the same hosts file on all hosts"},
		{"another version", ring, func(o other) {
			o.socket.Write(frame(36, append([]byte{types.Sealed + 1, 0, 0, 2}, make([]byte, 32)...)...))
		},
			dropMalformed, "Error decoding byte array to integers: unknown wire version 3, sealed; "},
		{"a key, and none here", seal.Keyring{}, func(o other) {
			o.socket.Write(frame(36, append([]byte{types.Sealed, 0, 0, 2}, make([]byte, 32)...)...))
		},
			dropMalformed, "it is sealed with a key, and this peer has none: start all with the same -key, or none"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			n := newSubnet(t)
			s := newStage(t, n.sealedConfig(c.keys), nil)
			s.answer(handlers.Output{})
			for range 3 {
				o := n.dial(t, 2)
				c.do(o)
				o.ended()
			}
			from := fmt.Sprintf("(from %v)", n.Host(2))
			s.stdout.await(t, from)
			if got := s.stdout.String(); strings.Count(got, from) != 1 || !strings.Contains(got, c.words) {
				t.Errorf("said %q, want once %q", got, c.words)
			}
			if got := s.peer.drops.all()[c.reason]; got != 3 {
				t.Errorf("counted %d, want 3: %v", got, s.peer.drops.all())
			}
		})
	}
}

// ended waits until the connection is closed by the peer, whatever comes before.
func (o other) ended() {
	o.Helper()
	o.socket.SetReadDeadline(time.Now().Add(patience))
	for {
		if _, err := o.in.Discard(1); os.IsTimeout(err) {
			o.Fatalf("the connection was not closed within %v", patience)
		} else if err != nil {
			return
		}
	}
}

// A host that lets itself be dialled and does not agree is as one that does not answer, in the
// time of a dial; one that has no key is told of.
func TestSealedDialFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		do     func(o other)
		reason dropReason
		count  uint64
	}{
		{"silence", func(other) {}, dropUnsealed, 0},
		{"the end", func(o other) { o.socket.Close() }, dropUnsealed, 0},
		{"no key", func(o other) { o.says(probe(2, 1, 1)) }, dropUnsealed, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			n := newSubnet(t)
			two := n.listen(t, 2)
			s := newStage(t, n.sealedConfig(newRing(t, "")), nil)
			s.answer(send(probe(1, 2, 1)))
			c.do(accept(t, two))
			if st := s.expect("undialed"); st.host != 2 || st.outcome != types.NoAnswer || st.now.Run-st.began > 2*dialTimeout {
				t.Errorf("got %+v", st)
			}
			s.answer(handlers.Output{})
			if got := s.peer.drops.all()[c.reason]; got != c.count {
				t.Errorf("counted %d, want %d", got, c.count)
			}
		})
	}
}

// keyFile writes a key file.
func keyFile(t *testing.T, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// When the keys change, only a connection that they are not for is closed, what is queued being
// written first, and the protocol is told, as of any that closes. A bad file changes nothing.
func TestRekey(t *testing.T) {
	t.Parallel()
	n, path := newSubnet(t), filepath.Join(t.TempDir(), "group.key")
	a, b := newKey(t), newKey(t)
	two := n.listen(t, 2)
	c := n.sealedConfig(newRing(t, a))
	c.KeyFile = path
	s := newStage(t, c, nil)
	s.answer(send(probe(1, 2, 1)))
	o := accept(t, two)
	o.shakes(newRing(t, a, b), false)
	o.hears()
	o.seals(probe(2, 1, 1))
	s.expect("message")
	s.answer(handlers.Output{})

	s.peer.Rekey() // there is no file
	keyFile(t, path, a, a)
	s.peer.Rekey()
	keyFile(t, path, a, b)
	s.peer.Rekey()
	o.seals(probe(2, 1, 2))
	s.expect("message") // and nothing was closed
	s.answer(handlers.Output{})

	keyFile(t, path, b, a)
	s.peer.Rekey()
	if st := s.expect("closed"); st.host != 2 {
		t.Errorf("host %d is told to have closed", st.host)
	}
	s.answer(handlers.Output{Redial: []types.ID{2}, Messages: []types.Message{probe(1, 2, 2)}})
	o.closed()
	newer := accept(t, two)
	newer.shakes(newRing(t, a, b), false)
	if m := newer.hears(); m.Request != 2 {
		t.Errorf("request %d came, want 2", m.Request)
	}
	if !newer.sealed.Stale(newRing(t, a)) {
		t.Error("the new connection is not sealed with the new key")
	}
	newer.seals(probe(2, 1, 3)) // with a, as two has not changed yet
	s.expect("message")
	s.answer(handlers.Output{})
	keyFile(t, path, b)
	s.peer.Rekey()
	s.expect("closed")
	s.answer(handlers.Output{})
	newer.closed()
	if _, _, err := lane(t, newRing(t, b), 2).Open(1, s.peer.keys.seal([]byte("x")), 0); err != nil {
		t.Errorf("datagrams are not sealed with the new key: %v", err)
	}

	want := fmt.Sprintf("Read 1 key from %[1]q, which seals and opens\n"+
		"Error reading keys: key file %[1]q: cannot read it: no such file or directory: name a text file, one key per line, after -key; memberly keygen FILE makes one; the keys in use stay\n"+
		"Error reading keys: key file %[1]q: line 2: this key is on line 1 already: remove one of the two; the keys in use stay\n"+
		"Read 2 keys from %[1]q: the first seals, all open\n"+
		"Read 2 keys from %[1]q: the first seals, all open\n"+
		"Read 1 key from %[1]q, which seals and opens\n", path)
	s.stdout.await(t, want)
	if got := s.stdout.String(); got != want {
		t.Errorf("said\n%swant\n%s", got, want)
	}
}

// A connection that was being agreed on with the keys of before is replaced too.
func TestRekeyWhileDialling(t *testing.T) {
	t.Parallel()
	n, path := newSubnet(t), filepath.Join(t.TempDir(), "group.key")
	a, b := newKey(t), newKey(t)
	two := n.listen(t, 2)
	c := n.sealedConfig(newRing(t, a))
	c.KeyFile = path
	s := newStage(t, c, nil)
	s.answer(send(probe(1, 2, 1)))
	o := accept(t, two)
	if _, err := o.in.Peek(lengthSize + headerSize); err != nil { // its hello: it has taken its keys
		t.Fatal(err)
	}
	keyFile(t, path, b, a)
	s.peer.Rekey()
	o.shakes(newRing(t, a), false)
	s.expect("closed")
	s.answer(send(probe(1, 2, 2)))
	if m := o.hears(); m.Request != 1 {
		t.Errorf("request %d came, want 1", m.Request)
	}
	o.closed()
	newer := accept(t, two)
	newer.shakes(newRing(t, b), false)
	if m := newer.hears(); m.Request != 2 {
		t.Errorf("request %d came, want 2", m.Request)
	}
}

// Without keys there is nothing to read again.
func TestRekeyWithoutKeys(t *testing.T) {
	t.Parallel()
	s := newStage(t, newSubnet(t).config(), nil)
	s.answer(handlers.Output{})
	s.peer.Rekey()
	if got := s.stdout.String(); got != "" {
		t.Errorf("said %q", got)
	}
}

// A message for another incarnation counts always; with keys it is told too, once for an address.
func TestMisled(t *testing.T) {
	t.Parallel()
	for _, ring := range []seal.Keyring{{}, newRing(t, "")} {
		n := newSubnet(t)
		s := newStage(t, n.sealedConfig(ring), nil)
		s.answer(handlers.Output{})
		o := n.dial(t, 2)
		o.shakes(ring, true)
		for _, late := range []bool{true, false, false} {
			m := probe(2, 1, 1)
			if late {
				m.Kind = types.Leave // told, it would be the one that is
			}
			o.seals(m)
			s.expect("message")
			s.answer(handlers.Output{Misled: true, Late: late})
		}
		o.seals(probe(2, 1, 1))
		s.expect("message")
		s.answer(handlers.Output{})
		want := 0
		if ring.Len() > 0 {
			want = 1
			s.stdout.await(t, "Error: message for another incarnation: PROBE from peer 2 ")
		}
		if got := strings.Count(s.stdout.String(), "another incarnation"); got != want {
			t.Errorf("with %d keys it was told %d times: %q", ring.Len(), got, s.stdout)
		}
		if got := s.peer.DropsByName()["other incarnation"]; got != 3 {
			t.Errorf("counted %d, want 3", got)
		}
	}
}

// seal gives the heartbeats of newFakeHeartbeats keys.
func (p *heartbeats) seal(t *testing.T, ring seal.Keyring) {
	t.Helper()
	var err error
	if p.keys, err = newKeys(config.Config{ID: p.self, Keys: ring}, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// lane is the UDP lane of another host.
func lane(t *testing.T, ring seal.Keyring, id types.ID) *seal.Datagrams {
	t.Helper()
	l, err := seal.NewDatagrams(ring, id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Heartbeats of hosts with the key are heard once they have answered who they are; what is not
// sealed, not with this key, another host's, or came before, is not, and counts.
func TestSealedDatagrams(t *testing.T) {
	t.Parallel()
	ring := newRing(t, "")
	f := &fakeUDP{keep: true}
	p, out := newFakeHeartbeats(&names{}, f)
	p.seal(t, ring)
	three := lane(t, ring, 3)
	m := heartbeat(3)
	plain, _ := types.AppendMessage(nil, &m)
	first := three.SealHeartbeat(nil, plain, 0)
	heard := p.hear(addr("10.0.0.3"), first)
	if heard != 0 || len(f.sent) != 1 || f.sent[0] != netip.AddrPortFrom(addr("10.0.0.3"), config.UDPPort) {
		t.Fatalf("%d heartbeats, sent to %v, want a challenge", heard, f.sent)
	}
	_, answer, err := three.Open(1, f.bytes[0], 0)
	if err != nil || answer == nil {
		t.Fatalf("the challenge is answered with %x, %v", answer, err)
	}
	heard += p.hear(addr("10.0.0.3"), bytes.Clone(answer))
	second := three.SealHeartbeat(nil, plain, 0)
	heard += p.hear(addr("10.0.0.3"), second)
	if heard != 2 {
		t.Fatalf("%d heartbeats, want 2", heard)
	}
	heard += p.hear(addr("10.0.0.3"), bytes.Clone(answer))
	if n := len(p.drops.reported); n > 0 || p.drops.all()[dropReplayed] != 1 {
		t.Errorf("an answer that nobody waits for is told: %d reports; counted %v", n, p.drops.all())
	}
	for range 2 { // again, and again
		heard += p.hear(addr("10.0.0.3"), first)
		heard += p.hear(addr("10.0.0.3"), plain)
		heard += p.hear(addr("10.0.0.3"), lane(t, newRing(t, ""), 3).Seal(nil, plain))
		heard += p.hear(addr("10.0.0.3"), lane(t, ring, 2).Seal(nil, plain))
	}
	if heard != 2 || len(f.sent) != 1 {
		t.Errorf("%d heartbeats, %d answers; want 2 and 1", heard, len(f.sent))
	}
	if q := <-p.queries; q != (query{2, addr("10.0.0.3")}) {
		t.Errorf("asks %v", q)
	}
	p.drops.notice.close(patience)
	if got := p.drops.all(); got[dropReplayed] != 3 || got[dropUnsealed] != 2 || got[dropUnopened] != 2 || got[dropImpostor] != 2 {
		t.Errorf("counted %v", got)
	}
	if got := out.String(); strings.Count(got, "(from 10.0.0.3)\n") != 3 || strings.Count(got, "\n") != 3 {
		t.Errorf("said %q, want one line for each of three reasons", got)
	}
}

// All targets get the same datagram: what was recorded on its way to one is nothing new to another,
// and a host with two addresses takes it once. Nothing of the heartbeat can be read in it.
func TestSealedSpread(t *testing.T) {
	t.Parallel()
	ring := newRing(t, "")
	f := &fakeUDP{keep: true}
	p, _ := newFakeHeartbeats(&names{}, f)
	p.addresses.set(3, []netip.Addr{addr("10.0.0.3"), addr("10.0.0.4")})
	p.seal(t, ring)
	m := heartbeat(1)
	plain, _ := types.AppendMessage(nil, &m)
	p.broadcast(plain)
	three := lane(t, ring, 3)
	_, challenge, _ := three.Open(1, f.bytes[0], 0)
	p.hear(addr("10.0.0.3"), bytes.Clone(challenge))
	introduction, _, err := three.Open(1, f.bytes[len(f.bytes)-1], 0)
	if err != nil || !bytes.Equal(introduction, plain) {
		t.Fatalf("the answer brings %x, %v", introduction, err)
	}
	f.bytes = nil
	p.broadcast(plain)
	if len(f.bytes) < 2 {
		t.Fatalf("%d datagrams, want one for each address", len(f.bytes))
	}
	for i, b := range f.bytes {
		want := plain
		if i > 0 {
			want = nil
		}
		if got, _, err := three.Open(1, b, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("datagram %d: got %x, %v", i, got, err)
		}
		if b[0] != types.Sealed || bytes.Contains(b, plain[4:12]) {
			t.Errorf("%x shows the heartbeat", b)
		}
	}
}

// In the steady state sealed heartbeats cost no memory, neither sent nor received.
func TestSealedHeartbeatsAllocateNothing(t *testing.T) {
	ring := newRing(t, "")
	f := &fakeUDP{sent: make([]netip.AddrPort, 0, 1<<20)}
	p, _ := newFakeHeartbeats(&names{}, f)
	p.seal(t, ring)
	m := heartbeat(1)
	step := func() {
		p.send(&m)
		b := <-p.beats
		p.broadcast(b)
		p.buffers <- b
	}
	step()
	p.limits.of(3)[limitHeartbeats].allot(0, 1e6)
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("sending takes %v allocations", n)
	}
	three, now := lane(t, ring, 3), time.Duration(0)
	beat := heartbeat(3)
	plain, _ := types.AppendMessage(nil, &beat)
	f.keep = true
	p.hear(addr("10.0.0.3"), three.SealHeartbeat(nil, plain, now))
	_, answer, err := three.Open(1, f.bytes[0], now)
	if err != nil {
		t.Fatal(err)
	}
	p.hear(addr("10.0.0.3"), bytes.Clone(answer))
	b := make([]byte, 0, rawio.MaxDatagram)
	if n := testing.AllocsPerRun(1000, func() {
		b = three.SealHeartbeat(b[:0], plain, now)
		if p.hear(addr("10.0.0.3"), b) != 1 {
			t.Error("it was not heard")
		}
	}); n != 0 {
		t.Errorf("receiving takes %v allocations", n)
	}
}

// A doctor's question is sealed, and so is the answer, over both lanes.
func TestSealedEcho(t *testing.T) {
	t.Parallel()
	n, ring := newSubnet(t), newRing(t, "")
	listener := n.listen(t, 2)
	two, err := listenUDP(n.Host(2))
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	s := newStage(t, n.sealedConfig(ring), nil)
	s.answer(handlers.Output{})
	o := n.dial(t, 2)
	o.shakes(ring, true)
	o.seals(types.Message{Kind: types.Echo, From: 2, To: 1, Request: 5})
	back := accept(t, listener)
	back.shakes(ring, false)
	for _, end := range []other{o, back} {
		if m := end.hears(); m.Kind != types.Echoed || m.Request != 5 {
			t.Errorf("got %+v", m)
		}
	}
	l := lane(t, ring, 2)
	b, err := types.AppendMessage(nil, &types.Message{Kind: types.Echo, From: 2, Request: 6})
	if err != nil {
		t.Fatal(err)
	}
	at, buf := netip.AddrPortFrom(n.Host(1), config.UDPPort), make([]byte, rawio.MaxDatagram)
	exchange := func(out []byte) []byte {
		t.Helper()
		two.WriteToUDPAddrPort(out, at)
		two.SetReadDeadline(time.Now().Add(patience))
		size, _, err := two.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		return buf[:size]
	}
	_, reply, err := l.Open(1, exchange(l.Seal(nil, b)), 0) // its challenge
	if err != nil {
		t.Fatal(err)
	}
	two.WriteToUDPAddrPort(reply, at)
	_, reply, err = l.Open(1, exchange(l.Seal(nil, b)), 0) // the answer, which is challenged
	if err != nil || reply == nil {
		t.Fatalf("the answer is not sealed by one who is unknown: %x, %v", reply, err)
	}
	if _, _, err = l.Open(1, exchange(reply), 0); err != nil {
		t.Fatal(err)
	}
	message, _, err := l.Open(1, exchange(l.Seal(nil, b)), 0)
	var m types.Message
	if err != nil || types.DecodeMessage(message, &m) != nil || m.Kind != types.Echoed || m.Request != 6 {
		t.Errorf("got %+v, %v", m, err)
	}
}
