package network

import (
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"memberly/peer/config"
	"memberly/peer/network/connections"
	"memberly/peer/types"
)

const (
	// dialTimeout is how long a host has to answer a dial; a wait for its name is part of it.
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
	sources   *sources
	confirmer *confirmer           // nil without -key
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

// send sends m to its To, unless that is no host, over the newest connection with its Addr, if that is valid; see Table.Send.
func (l *links) send(m *types.Message) {
	frame, err := types.AppendFrame(make([]byte, 0, maxShort), m)
	if err != nil {
		l.drops.count(dropUnencodable)
		l.drops.failure("Error encoding integer", err)
		return
	}
	if !l.addresses.in(m.To) {
		l.drops.count(dropUnencodable)
		return
	}
	l.limits.of(m.To)[limitBytes].spend(time.Now(), len(frame))
	l.do(l.table.Send(m.To, m.Addr, frame))
}

// redial opens another connection with id, unless that is no host, even if there are some; with at alone, if that is
// valid.
func (l *links) redial(id types.ID, at netip.Addr) {
	if l.addresses.in(id) {
		l.do(l.table.Redial(id, at))
	}
}

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

// retire closes the connections with id, once what is queued is written, and makes no more.
func (l *links) retire(id types.ID) { l.do(l.table.Retire(id)) }

// abandon closes the connections with id at addresses that are not its own any more.
func (l *links) abandon(id types.ID) {
	for _, c := range l.table.Open(id) {
		if l.addresses.of(c.addr) != id {
			c.abort() // its reader reports the end
		}
	}
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
			l.tasks.put(event{kind: undialed, host: id, at: at, began: began, outcome: l.addresses.silence(id)})
			return
		}
		l.reader.converse(c, nil)
	})
}

// endpoint returns where the peer at addr listens.
func endpoint(addr netip.Addr) string {
	return net.JoinHostPort(addr.String(), strconv.Itoa(config.TCPPort))
}
