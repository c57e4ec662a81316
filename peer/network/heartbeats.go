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
	"memberly/peer/seal"
	"memberly/peer/types"
	"memberly/peer/utils"
)

const (
	// readPause is the wait after a failure to read datagrams, so that it cannot spin.
	readPause = 20 * time.Millisecond
	// targetsLast is how long the networks found at this machine are used before it looks again.
	targetsLast = 10 * time.Second
	// maxBeats is how many heartbeats wait to be sent.
	maxBeats = 2
	// maxQueries is how many claims wait for the name service; more are dropped.
	maxQueries = 64
	// maxTries is how often a heartbeat is sent while the kernel has no room for it, a
	// millisecond apart.
	maxTries = 10
)

// heartbeats sends and receives heartbeats over UDP. In the steady state neither allocates memory.
type heartbeats struct {
	self      types.ID
	tasks     *tasks
	addresses *addressBook
	limits    *limits
	drops     *drops
	keys      *keys      // nil without -key
	confirmer *confirmer // nil without -key
	socket    rawio.Socket
	sources   *sources

	queries chan query
	beats   chan []byte // to be sent
	buffers chan []byte // for the next ones

	own atomic.Pointer[[]netip.Addr] // this machine's addresses

	// These belong to the loop.
	polling polling
	heard   types.Message // what poll returned
	roomy   bool          // the socket was told that there are many hosts

	// The rest belongs to sendLoop.
	sealed  []byte // the heartbeat, if there are keys
	targets []netip.AddrPort
	found   time.Time // when targets were
	changes uint64    // of the address book, at that time
	turn    int       // whose name is looked up next
}

// query is a question to the name service: does addr belong to host?
type query struct {
	host types.ID
	addr netip.Addr
}

func newHeartbeats(self types.ID, t *tasks, b *addressBook, l *limits, d *drops, k *keys, socket rawio.Socket, s *sources) *heartbeats {
	from := sourced{socket, s}
	h := &heartbeats{self: self, tasks: t, addresses: b, limits: l, drops: d, keys: k, socket: from, sources: s,
		confirmer: newConfirmer(self, t, b, d, k, from),
		queries:   make(chan query, maxQueries), beats: make(chan []byte, maxBeats), buffers: make(chan []byte, maxBeats)}
	for range maxBeats {
		h.buffers <- make([]byte, 0, rawio.MaxDatagram)
	}
	h.polling.reports = socket.Ready() != nil
	if h.confirmer != nil {
		h.polling.awaited = &h.confirmer.awaited
	}
	h.own.Store(new([]netip.Addr))
	return h
}

// grow makes room for so many hosts. A socket stays as it was made for the hosts at the start: if it wakes the process
// for each datagram, it goes on to do so, until the process is started again.
func (h *heartbeats) grow(hosts int) {
	h.confirmer.grow(hosts)
	if s, ok := h.socket.(sourced); ok && hosts >= manyHosts && !h.roomy {
		h.roomy = true
		if s, ok := s.Socket.(interface{ SetReadBuffer(bytes int) error }); ok {
			s.SetReadBuffer(roomForMany) // if the kernel allows less, that
		}
	}
}

// send queues a heartbeat for sendLoop, and never waits.
func (h *heartbeats) send(m *types.Message) {
	select {
	case b := <-h.buffers:
		b, err := types.AppendMessage(b[:0], m)
		if err != nil {
			h.drops.count(dropUnencodable)
			h.drops.failure("Error encoding integer", err)
		}
		h.beats <- b // has room for every buffer
	default:
		h.drops.count(dropUnsent)
	}
}

// sendLoop sends heartbeats until the peer ends.
func (h *heartbeats) sendLoop() {
	for {
		select {
		case b := <-h.beats:
			h.broadcast(b)
			h.buffers <- b
		case <-h.tasks.ctx.Done():
			return
		}
	}
}

// broadcast sends b to every host, sealed if there are keys, and with the same bytes for all. If that
// fails, and not for want of room, the next broadcast looks at the networks again.
func (h *heartbeats) broadcast(b []byte) {
	if len(b) == 0 {
		return
	}
	if time.Since(h.found) >= targetsLast || h.changes != h.addresses.changes.Load() {
		h.refreshTargets()
	}
	if h.keys != nil {
		h.sealed = h.keys.sealHeartbeat(h.sealed[:0], b)
		b = h.sealed
	}
	for _, to := range h.targets {
		err := h.socket.WriteTo(b, to)
		for try := 1; errors.Is(err, syscall.EAGAIN) && try < maxTries; try++ {
			h.tasks.pause(time.Millisecond)
			err = h.socket.WriteTo(b, to)
		}
		if err != nil {
			h.drops.count(dropUnsent)
			h.drops.failure("Error sending heartbeat", err)
			if !errors.Is(err, syscall.EAGAIN) {
				h.found = time.Time{}
			}
		}
	}
}

// refreshTargets finds out where heartbeats go, and asks for the names that have no address yet.
func (h *heartbeats) refreshTargets() {
	h.found, h.changes = time.Now(), h.addresses.changes.Load()
	attached, err := h.sources.look()
	if err != nil {
		h.drops.failure("Error finding networks, so heartbeats go to each host by itself", err)
	}
	var own, hosts []netip.Addr
	for _, n := range attached {
		own = append(own, bare(n.Prefix.Addr()))
	}
	h.own.Store(&own)
	for i := range h.addresses.len() {
		if id := types.ID(i + 1); id != h.self {
			hosts = append(hosts, h.addresses.known(id)...)
		}
	}
	broadcasts, singles := utils.Targets(hosts, attached)
	h.targets = h.targets[:0]
	for _, addr := range slices.Concat(broadcasts, singles) {
		h.targets = append(h.targets, netip.AddrPortFrom(addr, config.UDPPort))
	}
	h.resolveMissing()
}

// resolveMissing asks for the addresses of hosts that have none, or whose latest look-up failed, of some at a time.
func (h *heartbeats) resolveMissing() {
	hosts := h.addresses.len()
	for range min(hosts, maxQueries/2) {
		h.turn = h.turn%hosts + 1
		if id := types.ID(h.turn); len(h.addresses.known(id)) == 0 || h.addresses.troubles.has(id) {
			h.addresses.refresh(id)
		}
	}
}

// ask queues q for resolve, and never waits.
func (h *heartbeats) ask(q query) {
	select {
	case h.queries <- q:
	default:
	}
}

// resolve answers queries until the peer ends, as many at the same time as may wait: the name service may answer
// for some hosts and not for others.
func (h *heartbeats) resolve() {
	places := make(chan struct{}, maxQueries)
	for {
		select {
		case places <- struct{}{}:
		case <-h.tasks.ctx.Done():
			return
		}
		select {
		case q := <-h.queries:
			h.tasks.run(func() {
				h.answer(q)
				<-places
			})
		case <-h.tasks.ctx.Done():
			return
		}
	}
}

// answer asks the name service, and reports a first address that belongs to no host.
func (h *heartbeats) answer(q query) {
	if !h.addresses.resolves(h.tasks.ctx, q.addr, q.host) && h.addresses.of(q.addr) == 0 {
		h.drops.foreign(q.addr)
	}
}

// poll returns the next heartbeat that has come, or an event to be ignored for another datagram;
// false if none waits, or it is too early to look. now is an Instant.Run. Only the loop calls it, and
// it handles what it gets before it calls it again.
func (h *heartbeats) poll(now time.Duration, wanted bool) (event, bool) {
	if !h.polling.due(now, wanted) {
		return event{}, false
	}
	b, from, waited, err := h.socket.Next()
	switch {
	case err == rawio.ErrEmpty:
		h.polling.none(now)
		return event{}, false
	case err != nil:
		h.polling.some(now + readPause)
		h.drops.failure("Error reading from UDP connection", err)
		return event{}, false
	}
	h.polling.some(now + h.spend())
	host := h.receive(bare(from.Addr()), b, &h.heard)
	if host == 0 {
		return event{kind: ignored}, true
	}
	h.heard.Waited = max(0, min(waited, now-h.polling.empty)) // the wall clock may have been set
	return event{kind: received, host: host, message: &h.heard}, true
}

// receive decodes the heartbeat in the datagram b from addr into m, and returns the host that it came
// from; 0 if there is none.
func (h *heartbeats) receive(addr netip.Addr, b []byte, m *types.Message) types.ID {
	host := h.addresses.of(addr)
	switch {
	case host == h.self, host == 0 && slices.Contains(*h.own.Load(), addr):
		return 0 // this peer's own broadcast
	case host == 0:
		h.drops.count(dropStranger)
		h.question(addr, b)
		return 0
	}
	if h.keys != nil {
		if b = h.open(addr, host, b); b == nil {
			return 0
		}
	}
	if !h.limits.of(host)[limitHeartbeats].allow(time.Now()) { // with keys, what anybody can send does not count
		h.drops.blame(addr, tooManyHeartbeats)
		return 0
	}
	err := decode(b, h.addresses.len(), m)
	if err == nil && isEcho(m) {
		h.echo(addr, host, m)
		return 0
	}
	if err == nil && m.Kind != types.Heartbeat {
		err = &fault{dropMalformed, fmt.Errorf("%v came over UDP, not TCP", m.Kind)}
	}
	if err != nil {
		h.drops.blame(addr, err)
		return 0
	}
	if m.From != host {
		h.drops.count(dropImpostor)
		h.ask(query{m.From, addr})
	}
	m.Addr = addr
	return host
}

// open returns the message in a sealed datagram from addr, which is a host's; nil if it has none for
// this peer. Where too many do not open, it tries one key alone, so that they cost little and the host is
// heard all the same.
func (h *heartbeats) open(addr netip.Addr, host types.ID, b []byte) []byte {
	unopened, now := &h.limits.of(host)[limitUnopened], time.Now()
	message, reply, err := h.keys.open(host, b, !unopened.has(now))
	if reply != nil {
		if err := h.socket.WriteTo(reply, netip.AddrPortFrom(addr, config.UDPPort)); err != nil {
			h.drops.count(dropUnsent)
			h.drops.failure("Error sending heartbeat", err)
		}
	}
	switch {
	case errors.Is(err, seal.ErrImpostor):
		h.drops.count(dropImpostor)
		from, _ := sender(b)
		h.ask(query{from, addr})
	case errors.Is(err, seal.ErrUnasked):
		h.drops.count(dropReplayed)
	case err != nil:
		if errors.Is(err, seal.ErrUnopened) {
			unopened.allow(now)
		}
		h.drops.blame(addr, &fault{unopenable(err), err})
	}
	return message
}

// echo answers a doctor or a peer that was refused, at the port where a peer hears heartbeats. So a datagram
// causes one of its own size, and only to where heartbeats go anyway. An answer goes to the confirmer.
func (h *heartbeats) echo(addr netip.Addr, host types.ID, m *types.Message) {
	if m.Kind == types.Echoed {
		h.confirmer.answered(host, m.Request)
		return
	}
	answer := echoUDP(h.self, m)
	b, err := types.AppendMessage(nil, &answer)
	if err == nil {
		err = h.socket.WriteTo(h.keys.seal(b), netip.AddrPortFrom(addr, config.UDPPort))
	}
	if err != nil {
		h.drops.count(dropUnsent)
		h.drops.failure("Error answering an echo", err)
	}
}

// question looks up the host that a datagram from an unknown address claims to be from. If it is that
// host's new address, the next heartbeat will be heard.
func (h *heartbeats) question(addr netip.Addr, b []byte) {
	if from, ok := sender(b); ok && h.addresses.in(from) {
		h.ask(query{from, addr})
		return
	}
	h.drops.foreign(addr)
}

// spend counts a datagram, and returns how long to wait before the next is read. What comes meanwhile
// is lost unless the kernel keeps it. The protocol probes members over TCP that are not heard because of that.
func (h *heartbeats) spend() time.Duration {
	wait := h.limits.datagrams.spend(time.Now(), 1)
	if wait > 0 {
		h.drops.failure("Error reading from UDP connection", errFlood)
	}
	return wait
}

var errFlood = errors.New("more datagrams come than all peers send; some are lost")
