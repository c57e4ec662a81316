package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/types"
	"memberly/peer/utils"
)

const (
	// dialTimeout is how long a host has to answer a dial; the look-up of its name is part of it.
	dialTimeout = time.Second
	// maxConnections is how many connections there may be with one host.
	maxConnections = 4
	// maxWaiting is how many frames wait for a host to be dialled. The protocol sends
	// everything again, so the newest are enough.
	maxWaiting = 16
	// maxShort has room for every message but a whole view.
	maxShort = 128
	// flushTime bounds the wait for frames to be written when the peer ends.
	flushTime = 200 * time.Millisecond
)

// links are the TCP connections with all hosts. The goroutine that owns the protocol owns them.
type links struct {
	*shared
	dialer  net.Dialer
	run     func() time.Duration // the time, as an Instant.Run
	byHost  []link               // by ID-1
	writers sync.WaitGroup
}

// link is the state of the connections with one host.
type link struct {
	open     []*connection // the oldest first
	dialling bool
	at       netip.Addr     // the only address that is being dialled; invalid for all
	again    bool           // a dial is to follow the one under way, which began too early
	againAt  netip.Addr     // the only address for that one
	waiting  []waitingFrame // for the connection that is being dialled; the oldest first
}

// waitingFrame is a frame, and the only address that it may go to; any of the host's if that is invalid.
type waitingFrame struct {
	frame []byte
	at    netip.Addr
}

func newLinks(s *shared, from netip.Addr, run func() time.Duration) *links {
	l := &links{shared: s, run: run, byHost: make([]link, len(s.addresses.hosts))}
	if from.IsValid() {
		l.dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return l
}

// send sends m to its To, over the newest connection with its Addr, if that is valid. If there is none,
// m goes over the newest connection, as the host may have moved. While a dial is in progress m is also
// queued for the new connection. The host may receive m twice, which is harmless.
func (l *links) send(m *types.Message) {
	frame, err := types.AppendFrame(make([]byte, 0, maxShort), m)
	if err != nil {
		l.drops.count(Unencodable)
		l.drops.failure("Error encoding integer", err)
		return
	}
	l.limits.of(m.To)[limitBytes].spend(time.Now(), len(frame))
	k := &l.byHost[m.To-1]
	c := k.newest(m.Addr)
	if c == nil {
		l.dial(m.To, m.Addr)
		c = k.newest(netip.Addr{})
	}
	if c != nil {
		l.queue(c, frame)
	}
	if k.dialling {
		k.wait(waitingFrame{frame, m.Addr})
	}
}

// newest returns the newest connection with that address, or with any if at is not valid; nil if there
// is none.
func (k *link) newest(at netip.Addr) *connection {
	for _, c := range slices.Backward(k.open) {
		if !at.IsValid() || c.addr == at {
			return c
		}
	}
	return nil
}

// queue queues a frame on c.
func (l *links) queue(c *connection, frame []byte) {
	if !c.send(frame) {
		l.drops.count(Stuck)
		c.abort()
	}
}

func (k *link) wait(f waitingFrame) {
	if len(k.waiting) == maxWaiting {
		k.waiting = slices.Delete(k.waiting, 0, 1)
	}
	k.waiting = append(k.waiting, f)
}

// redial opens another connection with id, even if there are some; with at alone, if that is valid.
func (l *links) redial(id types.ID, at netip.Addr) {
	if k := &l.byHost[id-1]; k.dialling {
		k.again, k.againAt = true, at
		return
	}
	l.dial(id, at)
}

// opened takes c into use. Beyond maxConnections it closes the oldest, of c's own address if there is
// one, so that a host that runs twice does not take the other's.
func (l *links) opened(c *connection) {
	k := &l.byHost[c.host-1]
	if len(k.open) == maxConnections {
		oldest := max(0, slices.IndexFunc(k.open, func(o *connection) bool { return o.addr == c.addr }))
		k.open[oldest].finish()
		k.open = slices.Delete(k.open, oldest, oldest+1)
	}
	k.open = append(k.open, c)
	l.writers.Go(c.write)
	k.waiting = slices.DeleteFunc(k.waiting, func(p waitingFrame) bool {
		fits := !p.at.IsValid() || p.at == c.addr
		if fits {
			l.queue(c, p.frame)
		}
		return fits
	})
	if c.dialled {
		l.dialled(c.host, false)
	}
}

// broken ends what opened began. It reports whether c was the connection in use. The end of an older
// one means nothing, because the other end closes its oldest too.
func (l *links) broken(c *connection) bool {
	k := &l.byHost[c.host-1]
	i := slices.Index(k.open, c)
	if i < 0 {
		return false
	}
	c.finish()
	l.addresses.trustRecent(c.host, c.addr)
	newest := i == len(k.open)-1
	k.open = slices.Delete(k.open, i, i+1)
	return newest
}

// renew closes the connections with id that were made with other keys than the current ones, once what
// is queued is written. It reports whether the one in use was among them.
func (l *links) renew(id types.ID) bool {
	k := &l.byHost[id-1]
	last := len(k.open) - 1
	if l.keys == nil || last < 0 {
		return false
	}
	inUse := l.keys.stale(k.open[last])
	k.open = slices.DeleteFunc(k.open, func(c *connection) bool {
		if !l.keys.stale(c) {
			return false
		}
		c.finish()
		l.addresses.trustRecent(c.host, c.addr)
		return true
	})
	return inUse
}

// dialled ends a dial that failed, or whose connection was opened. If frames still wait for another
// address of the host, it dials that.
func (l *links) dialled(id types.ID, failed bool) {
	k := &l.byHost[id-1]
	k.dialling = false
	k.waiting = slices.DeleteFunc(k.waiting, func(p waitingFrame) bool {
		return !p.at.IsValid() || failed && (!k.at.IsValid() || k.at == p.at) || k.newest(p.at) != nil
	})
	if k.again {
		k.again = false
		l.dial(id, k.againAt)
	} else if len(k.waiting) > 0 {
		l.dial(id, k.waiting[0].at)
	}
}

// close closes all connections once the queued frames are written, or flushTime has passed.
func (l *links) close() {
	for i := range l.byHost {
		for _, c := range l.byHost[i].open {
			c.finish()
		}
		l.byHost[i].open = nil
	}
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

// dial dials id in a goroutine, unless a dial is in progress; at alone, if that is valid and not the
// only address known.
func (l *links) dial(id types.ID, at netip.Addr) {
	k := &l.byHost[id-1]
	if k.dialling {
		return
	}
	if known := l.addresses.known(id); len(known) == 1 && bare(known[0]) == at {
		at = netip.Addr{}
	}
	k.dialling, k.at = true, at
	began := l.run()
	l.tasks.Go(func() {
		deadline := time.Now().Add(dialTimeout)
		socket, outcome := l.connect(id, at)
		if socket == nil {
			l.put(event{kind: undialed, host: id, at: at, began: began, outcome: outcome})
			return
		}
		c := newConnection(socket)
		defer l.tie(c)()
		c.host, c.dialled = id, true
		if err := l.handshakeBy(c, deadline); err != nil {
			l.drops.blame(c.addr, err)
			l.addresses.expire(id)
			l.put(event{kind: undialed, host: id, at: at, began: began, outcome: types.NoAnswer})
			return
		}
		l.converse(c, nil)
	})
}

// connect returns a connection with id, by whichever of its addresses answers first; else the outcome.
// That is a Refusal only if all addresses that the name service confirmed refused. If at is valid,
// connect dials it alone, and the outcome says nothing about the host.
func (l *links) connect(id types.ID, at netip.Addr) (net.Conn, types.Outcome) {
	ctx, cancel := context.WithTimeout(l.ctx, dialTimeout)
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
