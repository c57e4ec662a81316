package network

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"memberly/peer/types"
)

const (
	// mostUnknown is how many connections may be open that have not said who they are.
	mostUnknown = 64
	// introduction is how long one may take to say it.
	introduction = 2 * time.Second
	// acceptPause is the wait after a failure to accept, such as a lack of file descriptors.
	acceptPause = 50 * time.Millisecond
)

// door lets connections in. Each waits in the lobby until it has sent one sound message from
// an address of a host; only then is it used.
type door struct {
	*exchange
	listener net.Listener

	mu    sync.Mutex
	lobby []net.Conn // the oldest first
}

// accept lets connections in until the listener closes.
func (d *door) accept() {
	for {
		socket, err := d.listener.Accept()
		switch {
		case err == nil:
			d.tasks.Go(func() { d.welcome(socket) })
		case errors.Is(err, net.ErrClosed):
			return
		default:
			d.drops.failure("Error accepting TCP connection", err)
			d.pause(acceptPause)
		}
	}
}

// welcome finds out who a new connection is from, and reads it until it ends.
func (d *door) welcome(socket net.Conn) {
	c := newConnection(socket)
	defer d.tie(c)()
	d.enter(socket)
	socket.SetReadDeadline(time.Now().Add(introduction))
	m, err := d.identify(c)
	_, toBlame := errors.AsType[*fault](err)
	switch {
	case !d.leave(socket):
		d.drops.count(Crowded)
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

// enter notes a connection that has not said who it is; the oldest such makes room.
func (d *door) enter(socket net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.lobby) == mostUnknown {
		d.lobby[0].Close()
		d.lobby = slices.Delete(d.lobby, 0, 1)
	}
	d.lobby = append(d.lobby, socket)
}

// leave ends what enter began. It returns false if the connection had to make room.
func (d *door) leave(socket net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.lobby, socket)
	if i < 0 {
		return false
	}
	d.lobby = slices.Delete(d.lobby, i, i+1)
	return true
}
