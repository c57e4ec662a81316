package network

import (
	"errors"
	"net"
	"time"

	"memberly/peer/types"
)

const (
	// introduction is how long one may take to say it.
	introduction = 2 * time.Second
	// acceptPause is the wait after a failure to accept, such as a lack of file descriptors.
	acceptPause = 50 * time.Millisecond
	// acceptTurn is after how many connections the door pauses, so that who floods it does not
	// keep Go's scheduler, which has one processor, from looking at the other sockets.
	acceptTurn, turnPause = 128, time.Millisecond
)

// door lets connections in. Each waits in the lobby until it has sent one sound message from
// an address of a host; only then is it used.
type door struct {
	*exchange
	listener net.Listener
	lobby    lobby
}

// accept lets connections in until the listener closes.
func (d *door) accept() {
	for n := 1; ; n++ {
		if n%acceptTurn == 0 {
			d.pause(turnPause)
		}
		socket, err := d.listener.Accept()
		switch {
		case err == nil:
			if g, ok := d.greet(socket); ok {
				d.tasks.Go(func() { d.welcome(g) })
			}
		case errors.Is(err, net.ErrClosed):
			return
		default:
			d.drops.failure("Error accepting TCP connection", err)
			d.lobby.clear()
			d.pause(acceptPause)
		}
	}
}

// welcome finds out who a new connection, that is in the lobby, is from, and reads it until it
// ends.
func (d *door) welcome(g guest) {
	socket := g.socket
	c := newConnection(socket)
	defer d.tie(c)()
	socket.SetReadDeadline(time.Now().Add(introduction))
	m, err := d.identify(c)
	_, toBlame := errors.AsType[*fault](err)
	switch {
	case !d.lobby.leave(g):
		d.drops.count(PendingFull)
	case toBlame:
		d.drops.blame(c.addr, err)
	case err != nil:
		d.drops.count(Silent)
	default:
		socket.SetReadDeadline(time.Time{})
		d.converse(c, m)
	}
}

// identify sets c.host, whose address c comes from, and returns the first message. An error
// that is no fault is the end of c, or its silence: it may be a host's that has just ended.
// Of an address that the book does not know, it reads no more than the id that it claims
// before that host has been looked up. The id may be beyond the hosts file, or mean another
// host in it, where c.host has another file.
func (d *door) identify(c *connection) (*types.Message, error) {
	header, err := c.in.Peek(lengthSize + headerSize)
	if from, ok := sender(header[min(lengthSize, len(header)):]); ok {
		d.book.claim(d.ctx, c.addr, from)
	}
	if c.host = d.book.of(c.addr); c.host == 0 {
		return nil, &fault{Stranger, errors.New("it belongs to no host of the hosts file")}
	}
	if err != nil {
		return nil, err
	}
	if err := d.shake(c); err != nil {
		return nil, err
	}
	return c.receive(len(d.book.hosts))
}
