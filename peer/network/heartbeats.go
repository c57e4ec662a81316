package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/network/rawio"
	"memberly/peer/types"
	"memberly/peer/utils"
)

const (
	// readPause is the wait after a failure to read datagrams, so that it cannot spin.
	readPause = 20 * time.Millisecond
	// targetsLast is how long the networks found at this machine are taken to be those.
	targetsLast = 10 * time.Second
	// mostBeats is how many heartbeats wait to be sent.
	mostBeats = 2
	// mostQueries is how many questions to the name service wait; more are dropped.
	mostQueries = 64
	// mostTries is how often a heartbeat is sent while the kernel has no room for it, a
	// millisecond apart.
	mostTries = 10
)

// pulse is the UDP lane: heartbeats out and in. In the steady state it takes no memory for
// either.
type pulse struct {
	*exchange
	socket  rawio.Socket
	queries chan query
	beats   chan []byte // to be sent
	buffers chan []byte // for the next ones

	own atomic.Pointer[[]netip.Addr] // this machine's addresses

	// These belong to the loop.
	polling polling
	heard   types.Message // what poll returned

	// The rest belongs to send.
	sealed  []byte // the heartbeat, if there are keys
	targets []netip.AddrPort
	found   time.Time // when targets were
	changes uint64    // of the book, at that time
	turn    int       // whose name is looked up next
}

// query is a question to the name service: does addr, if valid, belong to host?
type query struct {
	host types.ID
	addr netip.Addr
}

func newPulse(x *exchange, socket rawio.Socket) *pulse {
	p := &pulse{exchange: x, socket: socket, queries: make(chan query, mostQueries),
		beats: make(chan []byte, mostBeats), buffers: make(chan []byte, mostBeats)}
	for range mostBeats {
		p.buffers <- make([]byte, 0, rawio.MaxDatagram)
	}
	p.polling.reports = socket.Ready() != nil
	p.own.Store(new([]netip.Addr))
	return p
}

// beat has a heartbeat sent, and never waits.
func (p *pulse) beat(m *types.Message) {
	select {
	case b := <-p.buffers:
		b, err := types.AppendMessage(b[:0], m)
		if err != nil {
			p.drops.count(Unencodable)
			p.drops.failure("Error encoding integer", err)
		}
		p.beats <- b // has room for every buffer
	default:
		p.drops.count(Unsent)
	}
}

// send sends heartbeats, until the peer ends.
func (p *pulse) send() {
	for {
		select {
		case b := <-p.beats:
			p.spread(b)
			p.buffers <- b
		case <-p.ctx.Done():
			return
		}
	}
}

// spread sends b to every host, the same bytes to all, be they sealed. Where that fails, and not for
// want of room, the networks are looked at again the next time.
func (p *pulse) spread(b []byte) {
	if len(b) == 0 {
		return
	}
	if time.Since(p.found) >= targetsLast || p.changes != p.book.changes.Load() {
		p.aim()
	}
	if p.keys != nil {
		p.sealed = p.keys.beat(p.sealed[:0], b)
		b = p.sealed
	}
	for _, to := range p.targets {
		err := p.socket.WriteTo(b, to)
		for try := 1; errors.Is(err, syscall.EAGAIN) && try < mostTries; try++ {
			p.pause(time.Millisecond)
			err = p.socket.WriteTo(b, to)
		}
		if err != nil {
			p.drops.count(Unsent)
			p.drops.failure("Error sending heartbeat", err)
			if !errors.Is(err, syscall.EAGAIN) {
				p.found = time.Time{}
			}
		}
	}
}

// aim finds out where heartbeats go, and has the names looked up that have no address yet.
func (p *pulse) aim() {
	p.found, p.changes = time.Now(), p.book.changes.Load()
	attached, err := utils.Attached()
	if err != nil {
		p.drops.failure("Error finding networks, so heartbeats go to each host by itself", err)
	}
	var own, hosts []netip.Addr
	for _, n := range attached {
		own = append(own, bare(n.Prefix.Addr()))
	}
	p.own.Store(&own)
	for i := range p.book.hosts {
		if id := types.ID(i + 1); id != p.self {
			hosts = append(hosts, p.book.known(id)...)
		}
	}
	broadcasts, singles := utils.Targets(hosts, attached)
	p.targets = p.targets[:0]
	for _, addr := range slices.Concat(broadcasts, singles) {
		p.targets = append(p.targets, netip.AddrPortFrom(addr, config.UDPPort))
	}
	p.seek()
}

// seek asks for the addresses of hosts that have none, some at a time.
func (p *pulse) seek() {
	hosts := len(p.book.hosts)
	for range min(hosts, mostQueries/2) {
		p.turn = p.turn%hosts + 1
		if id := types.ID(p.turn); id != p.self && len(p.book.known(id)) == 0 {
			p.ask(query{host: id})
		}
	}
}

// ask has q answered by resolve, and never waits.
func (p *pulse) ask(q query) {
	select {
	case p.queries <- q:
	default:
	}
}

// resolve answers queries, one at a time, until the peer ends.
func (p *pulse) resolve() {
	for {
		select {
		case q := <-p.queries:
			p.answer(q)
		case <-p.ctx.Done():
			return
		}
	}
}

// answer asks the name service, and reports an address that is nobody's.
func (p *pulse) answer(q query) {
	if !q.addr.IsValid() {
		p.book.refresh(p.ctx, q.host)
	} else if !p.book.claim(p.ctx, q.addr, q.host) && p.book.of(q.addr) == 0 {
		p.drops.stranger(q.addr)
	}
}

// poll returns the next heartbeat that has come, or an event to be ignored for another datagram;
// false if none waits, or it is too early to look. now is an Instant.Run. Only the loop calls it, and
// it handles what it gets before it calls it again.
func (p *pulse) poll(now time.Duration, wanted bool) (event, bool) {
	if !p.polling.due(now, wanted) {
		return event{}, false
	}
	b, from, waited, err := p.socket.Next()
	switch {
	case err == rawio.ErrEmpty:
		p.polling.none(now)
		return event{}, false
	case err != nil:
		p.polling.some(now + readPause)
		p.drops.failure("Error reading from UDP connection", err)
		return event{}, false
	}
	p.polling.some(now + p.spend())
	host := p.read(bare(from.Addr()), b, &p.heard)
	if host == 0 {
		return event{kind: ignored}, true
	}
	p.heard.Waited = max(0, min(waited, now-p.polling.empty)) // the wall clock may have been set
	return event{kind: said, host: host, message: &p.heard}, true
}

// read decodes the heartbeat that the datagram b from addr is into m, and returns the host it
// came from; 0 if it is none.
func (p *pulse) read(addr netip.Addr, b []byte, m *types.Message) types.ID {
	host := p.book.of(addr)
	switch {
	case host == p.self, host == 0 && slices.Contains(*p.own.Load(), addr):
		return 0 // this peer's own broadcast
	case host == 0:
		p.drops.count(Stranger)
		p.question(addr, b)
		return 0
	case !p.limits.of(host)[limitHeartbeats].allow(time.Now()):
		p.drops.blame(addr, tooManyHeartbeats)
		return 0
	}
	if p.keys != nil {
		if b = p.open(addr, host, b); b == nil {
			return 0
		}
	}
	err := decode(b, len(p.book.hosts), m)
	if err == nil && isEcho(m) {
		p.echo(addr, m)
		return 0
	}
	if err == nil && m.Kind != types.Heartbeat {
		err = &fault{Malformed, fmt.Errorf("%v came over UDP, not TCP", m.Kind)}
	}
	if err != nil {
		p.drops.blame(addr, err)
		return 0
	}
	if m.From != host {
		p.drops.count(Impostor)
		p.ask(query{m.From, addr})
	}
	m.Addr = addr
	return host
}

// question looks into a datagram from an address that the book does not know. Should it be a
// host's new one, the next heartbeat will be heard.
func (p *pulse) question(addr netip.Addr, b []byte) {
	if from, ok := sender(b); ok && p.book.in(from) {
		p.ask(query{from, addr})
		return
	}
	p.drops.stranger(addr)
}

// spend counts a datagram, and returns how long to wait before the next is read: what comes
// meanwhile is lost, unless the kernel keeps it. Whoever is not heard because of that is asked over TCP.
func (p *pulse) spend() time.Duration {
	wait := p.limits.datagrams.spend(time.Now(), 1)
	if wait > 0 {
		p.drops.failure("Error reading from UDP connection", errFlood)
	}
	return wait
}

var errFlood = errors.New("more datagrams come than all peers send; some are lost")
