package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/connections"
	"memberly/peer/types"
	"memberly/peer/utils"
)

const (
	// dialTimeout is how long a host has to answer a dial; the look-up of its name is part of it.
	dialTimeout = time.Second
	// maxShort has room for every message but a whole view.
	maxShort = 128
	// flushTime bounds the wait for frames to be written when the peer ends.
	flushTime = 200 * time.Millisecond
)

// links carry out, with sockets, what package connections decides. The goroutine that owns the protocol
// owns them.
type links struct {
	tasks     *tasks
	reader    *reader
	addresses *addressBook
	limits    *limits
	drops     *drops
	confirmer *confirmer // nil without -key
	dialer    net.Dialer
	run       func() time.Duration // the time, as an Instant.Run

	table   *connections.Table[*connection, []byte]
	writers sync.WaitGroup
}

// dialFrom returns what dials from one address, if it is valid.
func dialFrom(self netip.Addr) net.Dialer {
	if !self.IsValid() {
		return net.Dialer{}
	}
	return net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(self, 0))}
}

// send sends m to its To, over the newest connection with its Addr, if that is valid; see Table.Send.
func (l *links) send(m *types.Message) {
	frame, err := types.AppendFrame(make([]byte, 0, maxShort), m)
	if err != nil {
		l.drops.count(dropUnencodable)
		l.drops.failure("Error encoding integer", err)
		return
	}
	l.limits.of(m.To)[limitBytes].spend(time.Now(), len(frame))
	l.do(l.table.Send(m.To, m.Addr, frame))
}

// redial opens another connection with id, even if there are some; with at alone, if that is valid.
func (l *links) redial(id types.ID, at netip.Addr) { l.do(l.table.Redial(id, at)) }

// dialBack dials id, if that closes no connection in use.
func (l *links) dialBack(id types.ID) { l.do(l.table.DialIfRoom(id)) }

// opened takes c into use.
func (l *links) opened(c *connection) {
	l.writers.Go(c.write)
	l.do(l.table.Opened(c.host, c, c.addr, c.dialled))
}

// undialed ends a dial that failed; at is the only address that was dialled, and invalid if all were.
func (l *links) undialed(id types.ID, at netip.Addr) { l.do(l.table.DialFailed(id, at)) }

// broken ends what opened began, once what is queued is written. It reports whether c was the connection
// in use.
func (l *links) broken(c *connection) bool {
	actions, inUse := l.table.Broken(c.host, c)
	if len(actions) > 0 {
		l.addresses.trustRecent(c.host, c.addr)
	}
	l.do(actions)
	return inUse
}

// renew closes the connections with id that were made with other keys than the current ones, once what
// is queued is written. It reports whether the one in use was among them.
func (l *links) renew(id types.ID) (inUse bool) {
	for _, c := range l.table.Open(id) {
		if l.reader.stale(c) && l.broken(c) {
			inUse = true
		}
	}
	return inUse
}

// close closes all connections once the queued frames are written, or flushTime has passed.
func (l *links) close() {
	l.do(l.table.Clear())
	written := make(chan struct{})
	go func() {
		l.writers.Wait()
		close(written)
	}()
	select {
	case <-written:
	case <-time.After(flushTime):
	}
}

// do carries out actions.
func (l *links) do(actions []connections.Action[*connection, []byte]) {
	for _, a := range actions {
		switch a.Verb {
		case connections.Dial:
			l.dial(a.Host, a.At)
		case connections.Queue:
			l.queue(a.Conn, a.Frame)
		case connections.Close:
			a.Conn.finish()
		}
	}
}

// queue queues a frame on c.
func (l *links) queue(c *connection, frame []byte) {
	if !c.send(frame) {
		l.drops.count(dropStuck)
		c.abort()
	}
}

// dial dials id in a goroutine; at alone, if that is valid and not the only address known.
func (l *links) dial(id types.ID, at netip.Addr) {
	if known := l.addresses.known(id); len(known) == 1 && bare(known[0]) == at {
		at = netip.Addr{}
	}
	began := l.run()
	l.tasks.run(func() {
		deadline := time.Now().Add(dialTimeout)
		socket, outcome := l.connect(id, at)
		if socket == nil {
			outcome = l.confirmer.confirm(id, outcome)
			l.tasks.put(event{kind: undialed, host: id, at: at, began: began, outcome: outcome})
			return
		}
		c := newConnection(socket)
		defer l.reader.tie(c)()
		c.host, c.dialled = id, true
		if err := l.reader.handshakeBy(c, deadline); err != nil {
			l.drops.blame(c.addr, err)
			l.addresses.expire(id)
			l.tasks.put(event{kind: undialed, host: id, at: at, began: began, outcome: types.NoAnswer})
			return
		}
		l.reader.converse(c, nil)
	})
}

// connect returns a connection with id, by whichever of its addresses answers first; else the outcome.
// That is a Refusal only if all addresses that the name service confirmed refused. If at is valid,
// connect dials it alone, and the outcome says nothing about the host.
func (l *links) connect(id types.ID, at netip.Addr) (net.Conn, types.Outcome) {
	ctx, cancel := context.WithTimeout(l.tasks.ctx, dialTimeout)
	defer cancel()
	if at.IsValid() {
		socket, _ := l.race(ctx, l.addresses.named(id, at))
		if socket == nil {
			l.addresses.expire(id)
		}
		return socket, types.NoAnswer
	}
	addrs, err := l.addresses.toDial(ctx, id)
	if utils.NoSuchName(err) {
		return nil, types.NoName
	}
	if len(addrs) == 0 {
		return nil, types.Unresolved
	}
	socket, refused := l.race(ctx, addrs)
	if socket != nil {
		return socket, 0
	}
	l.addresses.expire(id)
	if refused && err == nil && !l.addresses.moved(ctx, id, addrs) {
		return nil, types.Refusal
	}
	return nil, types.NoAnswer
}

// race dials all addrs and returns the first connection, or reports whether all refused, of at least one.
func (l *links) race(ctx context.Context, addrs []netip.Addr) (first net.Conn, refused bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type attempt struct {
		socket net.Conn
		err    error
	}
	attempts := make(chan attempt, len(addrs))
	for _, addr := range addrs {
		go func() {
			socket, err := l.dialer.DialContext(ctx, "tcp", endpoint(addr))
			attempts <- attempt{socket, err}
		}()
	}
	refused = len(addrs) > 0
	for range addrs {
		a := <-attempts
		refused = refused && errors.Is(a.err, syscall.ECONNREFUSED)
		switch {
		case a.err != nil:
		case first == nil:
			first = a.socket
			cancel()
		default:
			a.socket.Close()
		}
	}
	return first, refused
}

// endpoint returns where the peer at addr listens.
func endpoint(addr netip.Addr) string {
	return net.JoinHostPort(addr.String(), strconv.Itoa(config.TCPPort))
}
