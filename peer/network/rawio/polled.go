package rawio

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// readAhead is how many datagrams a polled socket reads before its owner asks. The kernel keeps
// further ones.
const readAhead = 16

// polled is a Socket that Go's poller watches. A goroutine of its own reads ahead.
type polled struct {
	conn    *net.UDPConn
	receive func(b []byte) (int, netip.AddrPort, error)
	ready   chan struct{}
	read    chan *datagram // closed when the socket is
	unused  chan *datagram
	last    *datagram // what Next returned
	closed  chan struct{}
	once    sync.Once
}

// datagram is one that was read, or the error of reading.
type datagram struct {
	b    [MaxDatagram]byte
	n    int
	from netip.AddrPort
	err  error
}

// NewPolled returns a Socket that reports on Ready what comes to conn. It closes conn.
func NewPolled(conn *net.UDPConn) (Socket, error) {
	receive, err := receiver(conn)
	if err != nil {
		return nil, err
	}
	p := &polled{conn: conn, receive: receive, last: new(datagram), closed: make(chan struct{}),
		ready: make(chan struct{}, 1), read: make(chan *datagram, readAhead), unused: make(chan *datagram, readAhead)}
	for range readAhead {
		p.unused <- new(datagram)
	}
	go p.run()
	return p, nil
}

// run reads ahead until the socket is closed.
func (p *polled) run() {
	defer p.signal()
	defer close(p.read)
	for {
		select {
		case d := <-p.unused:
			d.n, d.from, d.err = p.receive(d.b[:])
			if errors.Is(d.err, net.ErrClosed) {
				return
			}
			p.read <- d // has room for every datagram
			p.signal()
		case <-p.closed:
			return
		}
	}
}

func (p *polled) signal() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

func (p *polled) Next() ([]byte, netip.AddrPort, time.Duration, error) {
	select {
	case d, ok := <-p.read:
		if !ok {
			return nil, netip.AddrPort{}, 0, net.ErrClosed
		}
		p.unused <- p.last
		p.last = d
		return d.b[:d.n], d.from, 0, d.err
	default:
		return nil, netip.AddrPort{}, 0, ErrEmpty
	}
}

// SetReadBuffer sets how many bytes of datagrams the kernel keeps.
func (p *polled) SetReadBuffer(bytes int) error { return p.conn.SetReadBuffer(bytes) }

func (p *polled) Ready() <-chan struct{} { return p.ready }

func (p *polled) WriteTo(b []byte, to netip.AddrPort) error {
	_, err := p.conn.WriteToUDPAddrPort(b, to)
	return err
}

func (p *polled) WriteFrom(b []byte, from netip.Addr, to netip.AddrPort) error {
	if !choosesSource || !from.IsValid() {
		return p.WriteTo(b, to)
	}
	var c sourceControl
	_, _, err := p.conn.WriteMsgUDPAddrPort(b, c.set(from), to)
	return err
}

func (p *polled) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.conn.Close()
}
