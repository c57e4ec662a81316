package doctor

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/seal"
	"memberly/peer/types"
	"memberly/peer/utils"
)

const (
	// retryEvery is the pause between two rounds of checks.
	retryEvery = 300 * time.Millisecond
	// timeout bounds each dial and each conversation, and how long a round waits for a look-up.
	timeout = time.Second
	// lookupTimeout bounds each look-up, as a peer does: Go's resolver asks each name server for 5 s, twice.
	lookupTimeout = 15 * time.Second
	// lookupPatience is how long a look-up may go on when the examination ends, before the name service is to blame:
	// longer than Go's resolver takes to pass over a name server that does not answer.
	lookupPatience = 6 * time.Second
	// maxAsked bounds how many hosts are asked at once, and looked up at once, maxCallers how many connections
	// are served.
	maxAsked   = 64
	maxCallers = 256
	// stallTick is how often watchStalls reads the clock.
	stallTick = 50 * time.Millisecond

	maxDatagram = 2048
)

// examination is a running examination. Its goroutines share the findings.
type examination struct {
	self      netip.Addr // the only address to use, if it is on the loopback network
	nonce     uint64     // marks this doctor's questions
	socket    *net.UDPConn
	datagrams *seal.Datagrams
	began     time.Time
	ctx       context.Context
	tasks     sync.WaitGroup
	resolver  utils.Resolver
	lookups   chan struct{} // holds one for each look-up in progress

	mu      sync.Mutex
	found   findings
	owner   map[netip.Addr]types.ID
	pending []<-chan struct{} // by ID-1: closed when the look-up in progress ends; nil for none
}

func newExamination(ctx context.Context, c config.Config) *examination {
	return &examination{ctx: ctx, began: time.Now(), nonce: mrand.Uint64(), owner: make(map[netip.Addr]types.ID),
		lookups: make(chan struct{}, maxAsked), pending: make([]<-chan struct{}, len(c.Hosts)),
		found: findings{config: c, hosts: make([]evidence, len(c.Hosts))}}
}

// examine runs until ctx ends, or until all is well and no other doctor may still need answers.
func examine(ctx context.Context, c config.Config) *findings {
	ctx, cancel := context.WithCancel(ctx)
	x := newExamination(ctx, c)
	if own := c.Hosts[c.ID-1].Addr.Unmap(); own.IsLoopback() {
		x.self = own
	}
	x.found.attached, _ = utils.Attached()                        // on failure judge finds that no address is this machine's
	x.datagrams, _ = seal.NewDatagrams(c.Keys, c.ID, rand.Reader) // crypto/rand never fails
	listener, err := net.Listen("tcp", x.here(config.TCPPort))
	if x.found.tcp = err; err == nil {
		x.tasks.Go(func() { x.accept(listener) })
		context.AfterFunc(ctx, func() { listener.Close() })
	}
	socket, err := net.ListenPacket("udp", x.here(config.UDPPort))
	if x.found.udp = err; err == nil {
		x.socket = socket.(*net.UDPConn)
		x.tasks.Go(x.readDatagrams)
		context.AfterFunc(ctx, func() { socket.Close() })
	}
	x.tasks.Go(func() { x.watchStalls(x.began) })
	state := examineState(ctx, c)
	x.mu.Lock()
	x.found.state = state
	x.mu.Unlock()
	x.rounds()
	cancel()
	x.tasks.Wait()
	return &x.found
}

// here returns the address on which this doctor listens.
func (x *examination) here(port int) string {
	if x.self.IsValid() {
		return net.JoinHostPort(x.self.String(), strconv.Itoa(port))
	}
	return net.JoinHostPort("", strconv.Itoa(port))
}

// rounds asks all hosts again and again.
func (x *examination) rounds() {
	for x.ctx.Err() == nil && !x.done() {
		x.round()
		x.pause()
	}
}

// pause waits for the next round, or the end of the examination.
func (x *examination) pause() {
	select {
	case <-time.After(retryEvery):
	case <-x.ctx.Done():
	}
}

// done reports whether all is well and peers run on all other hosts, which ask nothing.
func (x *examination) done() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.found.other {
		if e.kind != aPeer {
			return false
		}
	}
	if own := x.found.hosts[x.found.config.ID-1]; own.addrs == nil && own.lookup == nil {
		return false // its name is still looked up
	}
	return judge(&x.found).well()
}

// round looks up and asks each host once.
func (x *examination) round() {
	var asking sync.WaitGroup
	places := make(chan struct{}, maxAsked)
	for i := range x.found.hosts {
		id := types.ID(i + 1)
		if x.found.retired(id) {
			continue
		}
		places <- struct{}{}
		asking.Go(func() {
			x.ask(id)
			<-places
		})
	}
	asking.Wait()
	x.broadcast()
}

// ask looks up a host, and asks it over UDP and TCP.
func (x *examination) ask(id types.ID) {
	addrs := x.resolve(id)
	if id == x.found.config.ID {
		return
	}
	for _, addr := range addrs {
		x.send(addr, x.message(types.Echo, unicast))
	}
	if e := x.of(id); !e.echoed || !e.called {
		x.dial(id, addrs)
	}
}

// of returns the evidence about a host so far.
func (x *examination) of(id types.ID) evidence {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.found.hosts[id-1]
}

// note applies change to the evidence about a host.
func (x *examination) note(id types.ID, change func(e *evidence)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change(&x.found.hosts[id-1])
}

// resolve looks up a host, and returns its addresses as far as they are known. It does not wait long: a slow look-up
// goes on, for a later round.
func (x *examination) resolve(id types.ID) []netip.Addr {
	x.mu.Lock()
	done := x.pending[id-1]
	if done == nil {
		ended := make(chan struct{})
		done, x.pending[id-1] = ended, ended
		x.tasks.Go(func() {
			x.lookup(id)
			x.mu.Lock()
			defer x.mu.Unlock()
			x.pending[id-1] = nil
			close(ended)
		})
	}
	x.mu.Unlock()
	select {
	case <-done:
	case <-time.After(timeout):
	case <-x.ctx.Done():
	}
	return x.of(id).addrs
}

// lookup asks the name service for a host, and notes the answer.
func (x *examination) lookup(id types.ID) {
	select {
	case x.lookups <- struct{}{}:
		defer func() { <-x.lookups }()
	case <-x.ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(x.ctx, lookupTimeout)
	defer cancel()
	began, host := time.Now(), x.found.config.Hosts[id-1]
	addrs, err := x.resolver.Addrs(ctx, host.Name, host.Addr)
	took := time.Since(began)
	if x.ctx.Err() != nil {
		if took < lookupPatience || x.of(id).addrs != nil {
			return // the examination ended: the name service is not to blame
		}
		err = fmt.Errorf("lookup %s: no answer in %v", host.Name, took.Round(100*time.Millisecond))
	}
	x.note(id, func(e *evidence) {
		if e.addrs, e.lookup = addrs, err; err == nil {
			e.slowest = max(e.slowest, took)
		}
		for _, a := range addrs {
			x.owner[bare(a)] = id
		}
	})
}

func bare(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// dial asks a host over TCP, at the first of its addresses that accepts a connection.
func (x *examination) dial(id types.ID, addrs []netip.Addr) {
	ctx, cancel := context.WithTimeout(x.ctx, timeout)
	defer cancel()
	var d net.Dialer
	if x.self.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(x.self, 0))
	}
	for _, addr := range addrs {
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(config.TCPPort)))
		if x.ctx.Err() != nil {
			return
		}
		x.note(id, func(e *evidence) {
			if e.reached = e.reached || err == nil; !e.reached {
				e.dialled = err
			}
		})
		if err == nil {
			x.converse(c, x.message(types.Echo, unicast))
			return
		}
	}
}

// message returns a message of this doctor.
func (x *examination) message(kind types.Kind, l route) *types.Message {
	c := &x.found.config
	return &types.Message{Kind: kind, From: c.ID, Request: x.nonce, Lines: len(c.Hosts), Digest: c.Digest, Broadcast: l == broadcast}
}

// answer returns the answer to m, an ECHO over TCP. It compares no more hosts than m does, so that the other end can.
func (x *examination) answer(m *types.Message) *types.Message {
	a := x.message(types.Echoed, unicast)
	a.Request = m.Request
	if m.Lines > 0 && m.Lines < a.Lines {
		a.Lines, a.Digest = m.Lines, x.found.digest(m.Lines)
	}
	return a
}

// converse sends first, if it is not nil, and reads messages until the answer to it, the end of the
// connection, or the timeout. It answers every ECHO.
func (x *examination) converse(c net.Conn, first *types.Message) {
	defer c.Close()
	defer context.AfterFunc(x.ctx, func() { c.Close() })()
	addr := bare(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
	c.SetDeadline(time.Now().Add(timeout))
	in := bufio.NewReader(c)
	ring := x.found.config.Keys
	sealed, _, err := seal.Handshake(in, c, rand.Reader, ring, x.found.config.ID, first != nil)
	if err != nil {
		x.noteUnreadable(addr, err, first == nil)
		return
	}
	if first != nil {
		x.write(c, sealed, first)
	}
	for heard := false; ; heard = true {
		payload, err := sealed.Read(in, nil)
		if err != nil {
			if !heard && first != nil && ring.Len() > 0 && ended(err) {
				err = seal.ErrUnopened // it completed the handshake, then closed: it could not open first
			}
			x.noteUnreadable(addr, err, first == nil)
			return
		}
		var m types.Message
		err = types.DecodeMessage(payload, &m)
		known := x.overTCP(addr, &m, err, first == nil)
		switch {
		case !known:
			return // a peer too closes connections from unknown addresses
		case err == nil && m.Kind == types.Echo:
			x.write(c, sealed, x.answer(&m))
		case first != nil && m.Kind == types.Echoed:
			return
		}
	}
}

// ended reports whether err means that the other end closed the connection.
func ended(err error) bool { return err == io.EOF || errors.Is(err, syscall.ECONNRESET) }

// noteUnreadable records that the host at addr sent something unreadable, if that is what err says.
func (x *examination) noteUnreadable(addr netip.Addr, err error, called bool) {
	if keyFault(err) != nil || errors.Is(err, types.ErrVersion) || errors.Is(err, seal.ErrImpostor) {
		x.overTCP(addr, new(types.Message), err, called)
	}
}

// keyFault returns which of the errors about keys err wraps, or nil.
func keyFault(err error) error {
	for _, fault := range []error{types.ErrSealed, seal.ErrUnsealed, seal.ErrUnopened} {
		if errors.Is(err, fault) {
			return fault
		}
	}
	return nil
}

func (x *examination) write(c net.Conn, sealed *seal.Conn, m *types.Message) {
	if b, err := types.AppendMessage(nil, m); err == nil {
		c.Write(sealed.Append(nil, b)) // a failure shows as a missing answer
	}
}

// overTCP records what the message m from addr shows. called says that the other side opened the
// connection, which even a message that failed to decode (err) proves. It returns false if addr
// belongs to no host.
func (x *examination) overTCP(addr netip.Addr, m *types.Message, err error, called bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.sender(addr, m)
	if e == nil {
		return false
	}
	e.called = e.called || called
	e.understand(err)
	switch m.Kind {
	case types.Echo:
		x.found.compare(e, m.Lines, m.Digest)
		e.kind = aDoctor
	case types.Echoed:
		if m.Request == x.nonce {
			e.answers()
			x.found.compare(e, m.Lines, m.Digest)
			e.kind, e.view = aDoctor, m.Number
			if m.Standing != 0 {
				e.kind = aPeer
			}
		}
	}
	return true
}

// answers records that the host has answered: so it has the same key, even if a connection ended before it had sent anything.
func (e *evidence) answers() {
	e.echoed = true
	if e.keys == seal.ErrUnopened {
		e.keys = nil
	}
}

// understand records why a message from a host could not be read, if err says so.
func (e *evidence) understand(err error) {
	switch fault := keyFault(err); {
	case fault == seal.ErrUnopened && e.echoed: // it has answered, and so has the same key; a doctor that ends closes connections, too
	case fault != nil && (e.keys == nil || fault != seal.ErrUnopened): // ErrUnopened proves least: anyone can cause it
		e.keys = fault
	case fault == nil && errors.Is(err, types.ErrVersion):
		e.version = err
	case errors.Is(err, seal.ErrImpostor):
		e.sameID = true
	}
}

// sender returns the evidence about the host that addr belongs to. If addr belongs to no host, it
// returns nil, and records addr with the host that the message claims to be from. The caller holds mu.
func (x *examination) sender(addr netip.Addr, m *types.Message) *evidence {
	if id := x.owner[addr]; id != 0 && id != x.found.config.ID {
		x.found.hosts[id-1].seen = true
		return &x.found.hosts[id-1]
	}
	if id := m.From; id >= 1 && int(id) <= len(x.found.hosts) && id != x.found.config.ID && !x.found.retired(id) && x.owner[addr] == 0 {
		x.found.hosts[id-1].foreign = addr
	}
	return nil
}

// accept serves connections from other hosts.
func (x *examination) accept(l net.Listener) {
	places := make(chan struct{}, maxCallers)
	for {
		c, err := l.Accept()
		if err != nil {
			if x.ctx.Err() != nil {
				return
			}
			x.pause()
			continue
		}
		places <- struct{}{}
		x.tasks.Go(func() {
			x.converse(c, nil)
			<-places
		})
	}
}

// broadcast asks all hosts by broadcast.
func (x *examination) broadcast() {
	x.mu.Lock()
	targets := make(map[netip.Addr]bool)
	for _, e := range x.found.other {
		if addr, ok := x.found.broadcastTo(e); ok {
			targets[addr] = true
		}
	}
	x.mu.Unlock()
	for addr := range targets {
		x.send(addr, x.message(types.Echo, broadcast))
	}
}

func (x *examination) send(to netip.Addr, m *types.Message) {
	b, err := types.AppendMessage(nil, m)
	if x.socket == nil || err != nil {
		return
	}
	x.sendBytes(to, x.datagrams.Seal(nil, b))
}

func (x *examination) sendBytes(to netip.Addr, b []byte) {
	// A failure shows as a missing answer.
	x.socket.WriteToUDPAddrPort(b, netip.AddrPortFrom(to, config.UDPPort))
}

// readDatagrams records and answers datagrams.
func (x *examination) readDatagrams() {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := x.socket.ReadFromUDPAddrPort(buf)
		if err != nil {
			if x.ctx.Err() != nil {
				return
			}
			x.pause()
			continue
		}
		x.datagramFrom(from.Addr().Unmap(), buf[:n])
	}
}

// datagramFrom records and answers a datagram.
func (x *examination) datagramFrom(from netip.Addr, b []byte) {
	var m types.Message
	b, err := x.open(from, b, &m)
	if b == nil && err == nil {
		return
	}
	if err == nil {
		err = types.DecodeMessage(b, &m)
	}
	if x.overUDP(bare(from), &m, err) && m.Kind == types.Echo {
		m.Kind, m.From = types.Echoed, x.found.config.ID
		x.send(from, &m)
	}
}

// open returns the message in a datagram, if it has one, and sends the reply that a handshake of
// sealed datagrams needs. From a sealed datagram of an unknown address it records only the claimed
// sender.
func (x *examination) open(from netip.Addr, b []byte, m *types.Message) ([]byte, error) {
	if x.found.config.Keys.Len() == 0 {
		return b, nil
	}
	x.mu.Lock()
	host := x.owner[bare(from)]
	x.mu.Unlock()
	if host == x.found.config.ID {
		return nil, nil // its own broadcast
	}
	if host == 0 && len(b) >= 4 && b[0] == types.Sealed {
		m.From = types.ID(binary.BigEndian.Uint16(b[2:]))
		x.overUDP(bare(from), m, nil)
		return nil, nil
	}
	b, reply, err := x.datagrams.Open(host, b, time.Since(x.began))
	if reply != nil {
		x.sendBytes(from, reply)
	}
	return b, err
}

// overUDP records what the datagram m from addr shows, or that it could not be read (err). It
// returns false if addr belongs to no other host.
func (x *examination) overUDP(addr netip.Addr, m *types.Message, err error) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	odd := errors.Is(err, types.ErrVersion) || keyFault(err) != nil
	if utils.IsOwn(addr, x.found.attached) || err != nil && !odd {
		return false // this doctor's own broadcast, or garbage
	}
	e := x.sender(addr, m)
	if e == nil {
		return false
	}
	if odd {
		e.understand(err)
		return true
	}
	switch m.Kind {
	case types.Echo:
		e.received[routeOf(m)], e.kind = true, aDoctor
	case types.Echoed:
		e.answered[routeOf(m)] = e.answered[routeOf(m)] || m.Request == x.nonce
	case types.Heartbeat:
		e.heartbeat, e.kind, e.speaks = true, aPeer, m.Speaks
	}
	return true
}

// watchStalls measures the longest time in which this process did not run, from began to the end of
// the examination, which may itself come late because of a stall.
func (x *examination) watchStalls(began time.Time) {
	tick := time.NewTicker(stallTick)
	defer tick.Stop()
	for last, ended := began, false; !ended; {
		select {
		case <-tick.C:
		case <-x.ctx.Done():
			ended = true
		}
		now := time.Now()
		x.mu.Lock()
		x.found.stall = max(x.found.stall, now.Sub(last)-stallTick)
		x.mu.Unlock()
		last = now
	}
}
