package doctor

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
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
	// retryEvery is how often everything that is not well yet is tried again.
	retryEvery = 300 * time.Millisecond
	// timeout bounds one look-up, one dial, and one answer.
	timeout = time.Second
	// maxAsked is how many hosts are asked at a time, and mostCallers how many may ask.
	maxAsked   = 64
	maxCallers = 256
	// stallTick is how often the clock is looked at.
	stallTick = 50 * time.Millisecond

	maxDatagram = 2048
)

// examination is one at work. The goroutines at the sockets share the findings.
type examination struct {
	self      netip.Addr // the only address to use, if it is on the loopback network
	nonce     uint64     // marks what this doctor asks
	socket    *net.UDPConn
	datagrams *seal.Datagrams
	began     time.Time
	ctx       context.Context
	tasks     sync.WaitGroup

	mu    sync.Mutex
	found findings
	owner map[netip.Addr]types.ID
}

// examine examines until ctx ends, or all is well and nobody else needs an answer.
func examine(ctx context.Context, c config.Config) *findings {
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	x := &examination{ctx: ctx, began: began, nonce: mrand.Uint64(), owner: make(map[netip.Addr]types.ID),
		found: findings{config: c, hosts: make([]evidence, len(c.Hosts))}}
	if own := c.Hosts[c.ID-1].Addr.Unmap(); own.IsLoopback() {
		x.self = own
	}
	x.found.attached, _ = utils.Attached()                        // none found shows in the addresses
	x.datagrams, _ = seal.NewDatagrams(c.Keys, c.ID, rand.Reader) // which never fails
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
	x.tasks.Go(func() { x.watchStalls(began) })
	x.rounds()
	cancel()
	x.tasks.Wait()
	return &x.found
}

// here is where this doctor listens.
func (x *examination) here(port int) string {
	if x.self.IsValid() {
		return net.JoinHostPort(x.self.String(), strconv.Itoa(port))
	}
	return net.JoinHostPort("", strconv.Itoa(port))
}

// rounds asks everybody again and again.
func (x *examination) rounds() {
	for x.ctx.Err() == nil && !x.done() {
		x.round()
		x.pause()
	}
}

// pause waits for the next round, or the end.
func (x *examination) pause() {
	select {
	case <-time.After(retryEvery):
	case <-x.ctx.Done():
	}
}

// done reports whether all is well, and only peers run on the others, who ask nothing.
func (x *examination) done() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.found.other {
		if e.kind != aPeer {
			return false
		}
	}
	return judge(&x.found).well()
}

// round looks up and asks each host once.
func (x *examination) round() {
	var asking sync.WaitGroup
	places := make(chan struct{}, maxAsked)
	for id := range x.found.hosts {
		places <- struct{}{}
		asking.Go(func() {
			x.ask(types.ID(id + 1))
			<-places
		})
	}
	asking.Wait()
	x.broadcast()
}

// ask looks a host up, and asks it over TCP and by a datagram of its own.
func (x *examination) ask(id types.ID) {
	addrs := x.resolve(id)
	if id == x.found.config.ID {
		return
	}
	for _, addr := range addrs {
		x.sendEcho(addr, unicast)
	}
	if e := x.of(id); !e.echoed || !e.called {
		x.dial(id, addrs)
	}
}

// of returns what is known of a host at the moment.
func (x *examination) of(id types.ID) evidence {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.found.hosts[id-1]
}

// note has change note something of a host.
func (x *examination) note(id types.ID, change func(e *evidence)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change(&x.found.hosts[id-1])
}

// resolve looks a host up.
func (x *examination) resolve(id types.ID) []netip.Addr {
	ctx, cancel := context.WithTimeout(x.ctx, timeout)
	defer cancel()
	host := x.found.config.Hosts[id-1]
	addrs, err := utils.Resolver{}.Addrs(ctx, host.Name, host.Addr)
	if x.ctx.Err() != nil {
		return nil // not the name service's fault
	}
	x.note(id, func(e *evidence) {
		e.addrs, e.lookup = addrs, err
		for _, a := range addrs {
			x.owner[bare(a)] = id
		}
	})
	return addrs
}

func bare(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// dial asks a host over TCP, at the first of its addresses that lets a connection be opened.
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

// message is one of this doctor's, about all that is to be told.
func (x *examination) message(kind types.Kind, l route) *types.Message {
	c := &x.found.config
	return &types.Message{Kind: kind, From: c.ID, Request: x.nonce, Digest: c.Digest, Broadcast: l == broadcast}
}

// converse sends first, if there is one, and hears what comes until it is the answer, or
// nothing comes any more.
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
				err = seal.ErrUnopened // it agreed on keys, and could not open what came with them
			}
			x.noteUnreadable(addr, err, first == nil)
			return
		}
		var m types.Message
		err = types.DecodeMessage(payload, len(x.found.hosts), &m)
		known := x.overTCP(addr, &m, err, first == nil)
		switch {
		case !known:
			return // as a peer would
		case err == nil && m.Kind == types.Echo:
			answer := x.message(types.Echoed, unicast)
			answer.Request = m.Request
			x.write(c, sealed, answer)
		case first != nil && m.Kind == types.Echoed:
			return
		}
	}
}

// ended reports whether err is that the other end closed a connection.
func ended(err error) bool { return err == io.EOF || errors.Is(err, syscall.ECONNRESET) }

// noteUnreadable notes of the host at addr that what it sent could not be read, if that is what err says.
func (x *examination) noteUnreadable(addr netip.Addr, err error, called bool) {
	if keyFault(err) != nil || errors.Is(err, types.ErrVersion) || errors.Is(err, seal.ErrImpostor) {
		x.overTCP(addr, new(types.Message), err, called)
	}
}

// keyFault returns that of the errors about keys which err is, if any.
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
		c.Write(sealed.Append(nil, b)) // what fails shows in that no answer comes
	}
}

// overTCP notes what m from addr shows: called, that it came by a connection which the other
// side opened. What is no message of this release, such as a view over other hosts, shows
// that too. It returns false if addr is no host's.
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
		e.digest, e.kind = m.Digest, aDoctor
	case types.Echoed:
		if m.Request == x.nonce {
			e.echoed, e.digest, e.kind, e.view = true, m.Digest, aDoctor, m.Number
			if m.Standing != 0 {
				e.kind = aPeer
			}
		}
	}
	return true
}

// understand notes why what came from a host could not be understood, if err says so.
func (e *evidence) understand(err error) {
	switch fault := keyFault(err); {
	case fault != nil && (e.keys == nil || fault != seal.ErrUnopened): // anybody can send what does not open
		e.keys = fault
	case fault == nil && errors.Is(err, types.ErrVersion):
		e.version = err
	case errors.Is(err, seal.ErrImpostor):
		e.sameID = true
	}
}

// sender returns the host that addr belongs to. If it is nobody's, that is noted of the host
// that the message says it is from. The caller holds mu.
func (x *examination) sender(addr netip.Addr, m *types.Message) *evidence {
	if id := x.owner[addr]; id != 0 && id != x.found.config.ID {
		x.found.hosts[id-1].seen = true
		return &x.found.hosts[id-1]
	}
	if id := m.From; id >= 1 && int(id) <= len(x.found.hosts) && id != x.found.config.ID && x.owner[addr] == 0 {
		x.found.hosts[id-1].foreign = addr
	}
	return nil
}

// accept answers those who ask over TCP.
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

// broadcast asks everybody by broadcast.
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
		x.sendEcho(addr, broadcast)
	}
}

// sendEcho sends a question.
func (x *examination) sendEcho(to netip.Addr, l route) { x.send(to, x.message(types.Echo, l)) }

func (x *examination) send(to netip.Addr, m *types.Message) {
	b, err := types.AppendMessage(nil, m)
	if x.socket == nil || err != nil {
		return
	}
	x.sendBytes(to, x.datagrams.Seal(nil, b))
}

func (x *examination) sendBytes(to netip.Addr, b []byte) {
	// What fails shows in that no answer comes.
	x.socket.WriteToUDPAddrPort(b, netip.AddrPortFrom(to, config.UDPPort))
}

// readDatagrams notes and answers datagrams.
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

// datagramFrom notes and answers a datagram.
func (x *examination) datagramFrom(from netip.Addr, b []byte) {
	var m types.Message
	b, err := x.open(from, b, &m)
	if b == nil && err == nil {
		return
	}
	if err == nil {
		err = types.DecodeMessage(b, len(x.found.hosts), &m)
	}
	if x.overUDP(bare(from), &m, err) && m.Kind == types.Echo {
		m.Kind, m.From = types.Echoed, x.found.config.ID
		x.send(from, &m)
	}
}

// open returns the message in a datagram, if there is one, and replies to what is none. Of a
// sealed one that comes from an address that is no host's, it tells only who m claims to be from.
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

// overUDP notes what the datagram m from addr shows, or that it was none of this release. It
// returns false if that is no host's.
func (x *examination) overUDP(addr netip.Addr, m *types.Message, err error) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	odd := errors.Is(err, types.ErrVersion) || keyFault(err) != nil
	if x.found.isOwn(addr) || err != nil && !odd {
		return false // this doctor's own broadcast, or rubbish
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
		e.heartbeat, e.kind = true, aPeer
	}
	return true
}

// watchStalls looks at the clock for moments in which this process did not run, from began to the end:
// the time may have ended in one.
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
