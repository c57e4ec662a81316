package network

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"memberly/peer/types"
)

const (
	// acceptPause is the wait after a failure to accept, such as a lack of file descriptors.
	acceptPause = 50 * time.Millisecond
	// acceptTurn is after how many connections the acceptor pauses, so that a flood does not keep
	// Go's scheduler, which has one processor, from looking at the other sockets.
	acceptTurn, turnPause = 128, time.Millisecond
	// maxLookedInto is how many connections from unknown addresses may be looked into. It includes those
	// that were evicted and still wait for the name service.
	maxLookedInto = 256
)

// acceptor accepts connections. Each is pending until it has sent one sound message from an address
// of a host; only then is it used.
type acceptor struct {
	tasks     *tasks
	reader    *reader
	addresses *addressBook
	limits    *limits
	drops     *drops
	listener  net.Listener
	pending   pendingConns

	corrections bucket // of hosts elsewhere
}

// accept accepts connections until the listener closes.
func (a *acceptor) accept() {
	for n := 1; ; n++ {
		if n%acceptTurn == 0 {
			a.tasks.pause(turnPause)
		}
		socket, err := a.listener.Accept()
		switch {
		case err == nil:
			if p, ok := a.admit(socket); ok {
				a.tasks.run(func() { a.serve(p) })
			}
		case errors.Is(err, net.ErrClosed):
			return
		default:
			a.drops.failure("Error accepting TCP connection", err)
			a.pending.clear()
			a.tasks.pause(acceptPause)
		}
	}
}

// admit adds a connection that was accepted to the pending ones, or closes it and returns false.
func (a *acceptor) admit(socket net.Conn) (pendingConn, bool) {
	addr := netip.Addr{}
	if tcp, ok := socket.RemoteAddr().(*net.TCPAddr); ok {
		addr = bare(tcp.AddrPort().Addr())
	}
	p := pendingConn{socket, a.addresses.of(addr)}
	hurried := !a.limits.connections(addr, p.host).allow(time.Now())
	if !hurried && a.pending.add(p) {
		return p, true
	}
	switch {
	case p.host != 0:
		a.drops.blame(addr, tooManyConnections)
	case hurried:
		a.drops.count(dropConnRate)
		a.drops.stranger(addr)
	default:
		a.drops.count(dropPendingFull)
	}
	reset(socket)
	return p, false
}

// serve identifies a pending connection, and reads it until it ends.
func (a *acceptor) serve(p pendingConn) {
	socket := p.socket
	c := newConnection(socket)
	defer a.reader.tie(c)()
	socket.SetReadDeadline(time.Now().Add(introduction))
	m, err := a.identify(c)
	_, toBlame := errors.AsType[*fault](err)
	switch {
	case !a.pending.remove(p):
		a.drops.count(dropPendingFull)
	case err == errElsewhere:
		a.drops.count(dropElsewhere)
	case toBlame:
		a.drops.blame(c.addr, err)
	case err != nil:
		a.drops.count(dropSilent)
	default:
		socket.SetReadDeadline(time.Time{})
		a.reader.converse(c, m)
	}
}

// identify sets c.host, whose address c comes from, and returns the first message. An error other
// than a fault means that c ended or timed out, which is normal for a host that has just exited.
// From an unknown address it reads no more than the id that c claims before it has looked up that
// host. The id may be beyond the hosts file, or mean another host in it, if c.host has another file.
func (a *acceptor) identify(c *connection) (*types.Message, error) {
	header, err := c.in.Peek(lengthSize + headerSize)
	if from, ok := sender(header[min(lengthSize, len(header)):]); ok {
		a.addresses.resolves(a.tasks.ctx, c.addr, from)
	}
	if c.host = a.addresses.of(c.addr); c.host == 0 {
		if from, ok := sender(header[min(lengthSize, len(header)):]); ok && a.corrects(c, from) {
			return nil, errElsewhere
		}
		return nil, &fault{dropStranger, errors.New("it belongs to no host of the hosts file")}
	}
	if err != nil {
		return nil, err
	}
	if err := a.reader.handshake(c); err != nil {
		return nil, err
	}
	return c.receive(a.addresses.len())
}

// pendingConns are the connections that have not identified themselves. Unknown addresses share one
// quota and each host has its own, so that no other can exhaust a host's.
// Any goroutine may use it.
type pendingConns struct {
	mu      sync.Mutex
	conns   []pendingConn // the oldest first
	unknown int           // those from unknown addresses that were added and not yet removed
}

// pendingConn is a connection that has not identified itself.
type pendingConn struct {
	socket net.Conn
	host   types.ID // whose address it is from; 0 if that is unknown
}

// quota returns how many may be pending from where c is.
func (c pendingConn) quota() int {
	if c.host == 0 {
		return maxPendingUnknown
	}
	return maxPendingOfHost
}

// add adds c, and evicts the oldest of the same quota if that is full. It returns false if too many
// unknown addresses are being looked into.
func (p *pendingConns) add(c pendingConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.host == 0 {
		if p.unknown == maxLookedInto {
			return false
		}
		p.unknown++
	}
	oldest, n := -1, 0
	for i, other := range p.conns {
		if other.host == c.host {
			if n++; n == 1 {
				oldest = i
			}
		}
	}
	if n == c.quota() {
		p.evict(oldest)
	}
	p.conns = append(p.conns, c)
	return true
}

// remove ends what add began. It returns false if c was evicted.
func (p *pendingConns) remove(c pendingConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.host == 0 {
		p.unknown--
	}
	i := slices.Index(p.conns, c)
	if i < 0 {
		return false
	}
	p.conns = slices.Delete(p.conns, i, i+1)
	return true
}

// clear evicts all, because their file descriptors are needed. A host dials again.
func (p *pendingConns) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.conns) > 0 {
		p.evict(0)
	}
}

func (p *pendingConns) evict(i int) {
	reset(p.conns[i].socket)
	p.conns = slices.Delete(p.conns, i, i+1)
}

// reset closes a connection so that the kernel keeps nothing of it.
func reset(socket net.Conn) {
	if tcp, ok := socket.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	socket.Close()
}
