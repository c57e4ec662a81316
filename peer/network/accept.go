package network

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"memberly/peer/types"
)

const (
	// introduction is how long a connection may take to identify itself.
	introduction = 2 * time.Second
	// acceptPause is the wait after a failure to accept, such as a lack of file descriptors.
	acceptPause = 50 * time.Millisecond
	// acceptTurn is after how many connections the acceptor pauses, so that a flood does not keep
	// Go's scheduler, which has one processor, from looking at the other sockets.
	acceptTurn, turnPause = 128, time.Millisecond
)

// acceptor accepts connections. Each is pending until it has sent one sound message from an address
// of a host; only then is it used.
type acceptor struct {
	*shared
	listener net.Listener
	pending  pendingConns
}

// accept accepts connections until the listener closes.
func (a *acceptor) accept() {
	for n := 1; ; n++ {
		if n%acceptTurn == 0 {
			a.pause(turnPause)
		}
		socket, err := a.listener.Accept()
		switch {
		case err == nil:
			if p, ok := a.admit(socket); ok {
				a.tasks.Go(func() { a.serve(p) })
			}
		case errors.Is(err, net.ErrClosed):
			return
		default:
			a.drops.failure("Error accepting TCP connection", err)
			a.pending.clear()
			a.pause(acceptPause)
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
		a.drops.count(ConnRate)
		a.drops.stranger(addr)
	default:
		a.drops.count(PendingFull)
	}
	reset(socket)
	return p, false
}

// serve identifies a pending connection, and reads it until it ends.
func (a *acceptor) serve(p pendingConn) {
	socket := p.socket
	c := newConnection(socket)
	defer a.tie(c)()
	socket.SetReadDeadline(time.Now().Add(introduction))
	m, err := a.identify(c)
	_, toBlame := errors.AsType[*fault](err)
	switch {
	case !a.pending.remove(p):
		a.drops.count(PendingFull)
	case toBlame:
		a.drops.blame(c.addr, err)
	case err != nil:
		a.drops.count(Silent)
	default:
		socket.SetReadDeadline(time.Time{})
		a.converse(c, m)
	}
}

// identify sets c.host, whose address c comes from, and returns the first message. An error other
// than a fault means that c ended or timed out, which is normal for a host that has just exited.
// From an unknown address it reads no more than the id that c claims before it has looked up that
// host. The id may be beyond the hosts file, or mean another host in it, if c.host has another file.
func (a *acceptor) identify(c *connection) (*types.Message, error) {
	header, err := c.in.Peek(lengthSize + headerSize)
	if from, ok := sender(header[min(lengthSize, len(header)):]); ok {
		a.addresses.resolves(a.ctx, c.addr, from)
	}
	if c.host = a.addresses.of(c.addr); c.host == 0 {
		return nil, &fault{Stranger, errors.New("it belongs to no host of the hosts file")}
	}
	if err != nil {
		return nil, err
	}
	if err := a.handshake(c); err != nil {
		return nil, err
	}
	return c.receive(len(a.addresses.hosts))
}
