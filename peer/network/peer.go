// Package network is the peer as a process: the sockets, the clock and the streams around
// the protocol of package handlers. It decides nothing about the group.
//
// One goroutine owns the protocol (peer.go) and, with it, the connections in use (links.go).
// The others read sockets and tell it what happened there, in events (tasks.go).
package network

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/network/connections"
	"memberly/peer/network/rawio"
	"memberly/peer/seal"
	"memberly/peer/types"
	"memberly/peer/utils"
)

const (
	// maxNotices is how many lines wait for a reader of stdout.
	maxNotices = 1000
	// drainTime bounds the wait, at the end, for readers of stdout and of stderr.
	drainTime = time.Second
)

// protocol is handlers.Handler, which says what its methods do.
type protocol interface {
	Start(now handlers.Instant) *handlers.Output
	Tick(now handlers.Instant) *handlers.Output
	Message(now handlers.Instant, remote types.ID, m *types.Message) *handlers.Output
	Closed(now handlers.Instant, host types.ID) *handlers.Output
	Undialed(now handlers.Instant, host types.ID, began time.Duration, o types.Outcome) *handlers.Output
	Saved(now handlers.Instant, number uint64) *handlers.Output
	Reread(now handlers.Instant, hosts []types.Host) *handlers.Output
	Unreached(now handlers.Instant, host types.ID, began time.Duration, addr netip.Addr) *handlers.Output
	Resign(now handlers.Instant) *handlers.Output
	Stranger(m *types.Message) types.Message
	Leave(now handlers.Instant) *handlers.Output
	Crash(now handlers.Instant) *handlers.Output
	View() types.View
	Status() *handlers.Status
}

// Peer is one peer of the group.
type Peer struct {
	config    config.Config
	protocol  protocol
	start     time.Time // Instant.Run counts from here
	asleep    asleep
	listeners []handlers.Listener

	notice     *lines // stdout
	drops      *drops
	addresses  *addressBook
	names      *types.Names
	limits     *limits
	keys       *keys // nil without -key
	tasks      *tasks
	acceptor   *acceptor
	links      *links
	heartbeats *heartbeats
	timer      rawio.Timer
	store      *store
	file       *hostsFile // nil without Config.HostsFile

	schedule schedule // the loop's
	left     bool     // the loop's: it was told to leave, and has

	looping sync.Mutex    // held by Run
	quit    chan struct{} // closed by Close
	once    sync.Once
}

// New opens the sockets of the peer that c describes. Its caller waits for c.Delay first. Records
// go to stderr, and everything else for operators to stdout, in whole lines. If a socket cannot be opened,
// New writes the reference's words to stdout, and the error says what to do about it.
func New(c config.Config, stdout, stderr io.Writer) (*Peer, error) {
	h := handlers.Config{Listed: c.Hosts, ID: c.ID, Heartbeat: c.Heartbeat, Monitor: c.Monitor, Drill: c.Drill, Salt: rand.Uint32(), ReformOnRefusal: c.Reform, JoinOnly: c.JoinOnly}
	if c.Keys.Len() == 0 {
		h.ReformOnRefusal = true
	} else {
		h.RefusalTakes = confirmWithin(len(c.Hosts) >= manyHosts)
	}
	s, err := openStore(c)
	if err != nil {
		return nil, err
	}
	h.Stored = s.stored
	p, err := open(c, handlers.New(h), utils.Resolver{}, stdout, stderr)
	if err != nil {
		s.close()
		return nil, err
	}
	p.use(s)
	return p, nil
}

// open is New with any protocol and any name service.
func open(c config.Config, h protocol, names utils.Resolver, stdout, stderr io.Writer) (*Peer, error) {
	self := address(c)
	listener, err := listenTCP(self)
	if err != nil {
		return nil, refused(stdout, "Error starting TCP listener", config.TCPPort, err)
	}
	socket, err := openUDP(self, len(c.Hosts))
	if err != nil {
		listener.Close()
		return nil, refused(stdout, "Error starting UDP listener", config.UDPPort, err)
	}
	p := &Peer{config: c, protocol: h, start: time.Now(), quit: make(chan struct{})}
	p.asleep.begin()
	p.notice, p.store = newLines(stdout, maxNotices, nil), &store{}
	var k *keys
	if p.timer, err = rawio.NewTimer(); err == nil {
		k, err = newKeys(c, p.start)
	}
	if err != nil {
		listener.Close()
		socket.Close()
		if p.timer != nil {
			p.timer.Close()
		}
		p.notice.close(drainTime)
		return nil, err
	}
	p.Listen(recorder{newLines(stderr, 0, func(err error) { p.Say("Error writing records: %v", err) }), c.ID, c.Times})
	if k != nil {
		p.sayKeys(c.Keys)
	}
	p.connect(self, listener, socket, newAddressBook(c.Hosts, names, newTasks()), k)
	return p, nil
}

// connect makes the parts of the peer that use its sockets.
func (p *Peer) connect(self netip.Addr, listener net.Listener, socket rawio.Socket, book *addressBook, k *keys) {
	t, d, l := book.tasks, newDrops(p.notice), newLimits(book.len(), p.config.Heartbeat)
	r := &reader{tasks: t, addresses: book, limits: l, drops: d, keys: k}
	p.names, p.limits = types.NewNames(p.config.Hosts...), l
	book.self, book.troubles = p.config.ID, newTroubles(p.notice, p.names)
	s := newSources(book, p.config.ID, self)
	p.tasks, p.drops, p.addresses, p.keys = t, d, book, k
	p.file = newHostsFile(p.config, p.Say, func(hosts []types.Host) { t.put(event{kind: reread, hosts: hosts}) })
	p.acceptor = &acceptor{tasks: t, reader: r, addresses: book, limits: l, drops: d, listener: listener}
	p.acceptor.corrections.allot(correctionRate, correctionRate)
	p.heartbeats = newHeartbeats(p.config.ID, t, book, l, d, k, socket, s)
	p.links = &links{tasks: t, reader: r, addresses: book, limits: l, drops: d, sources: s, confirmer: p.heartbeats.confirmer, run: p.run,
		table: connections.New[*connection, []byte](book.len())}
}

// Listen has l told of every step from now on, after the listeners before it. It is called before Run.
func (p *Peer) Listen(l handlers.Listener) { p.listeners = append(p.listeners, l) }

// Say writes a line to stdout. It never waits: if stdout is not read, the oldest lines are dropped. Any
// goroutine may call it.
func (p *Peer) Say(format string, args ...any) { p.notice.printf(format, args...) }

// Run runs the peer until it is done, and returns its exit code. The end of ctx makes it
// leave the group first. It is called once, and closes the peer.
func (p *Peer) Run(ctx context.Context) int {
	code := p.loop(ctx)
	p.Close()
	return code
}

// Close closes the sockets, and waits: for Run, for the listeners, the last one first, and up to a second
// for the reader of stdout. It may be called more than once, and without Run.
func (p *Peer) Close() {
	p.once.Do(func() {
		close(p.quit)
		p.looping.Lock()
		defer p.looping.Unlock()
		p.acceptor.listener.Close()
		p.links.close()
		p.tasks.end()
		p.heartbeats.socket.Close()
		p.timer.Close()
		p.tasks.running.Wait()
		p.store.close()
		for _, l := range slices.Backward(p.listeners) {
			l.Ended(p.left)
		}
		p.notice.close(drainTime)
	})
}

// loop is the goroutine that owns the protocol. It returns the exit code.
func (p *Peer) loop(ctx context.Context) int {
	p.looping.Lock()
	defer p.looping.Unlock()
	for _, task := range []func(){p.acceptor.accept, p.heartbeats.sendLoop, p.heartbeats.resolve,
		func() { p.links.sources.watch(p.tasks, p.notice) }} {
		p.tasks.run(task)
	}
	m := signals{leave: ctx.Done(), quit: p.quit}
	if p.config.Crash > 0 {
		m.crash = time.After(p.config.Crash)
	}
	p.store.begin(p.notice.printf)
	out := p.protocol.Start(p.now())
	for out != nil {
		if p.carry(out); out.Exit {
			p.left = out.Code == 0
			return out.Code
		}
		out = p.next(&m)
	}
	return 0
}

// signals are what the loop waits for besides events.
type signals struct {
	crash <-chan time.Time
	leave <-chan struct{} // nil once it has happened
	ended <-chan struct{} // after leave: every Finisher has ended what it has to end
	quit  <-chan struct{}
}

// next waits for the next step of the protocol and takes it: input comes before time. It returns nil
// when the peer is closed.
func (p *Peer) next(m *signals) *handlers.Output {
	for {
		if e, ok := p.input(); ok {
			if out := p.handle(e); out != nil {
				return out
			}
			continue
		}
		select {
		case <-p.store.saved:
			return p.protocol.Saved(p.now(), p.store.number.Load())
		default:
		}
		now := p.now()
		if p.schedule.tick(now.Run) {
			return p.protocol.Tick(now)
		}
		if in, change := p.schedule.arm(now.Run, p.heartbeats.polling.next()); change {
			p.timer.Set(in)
		}
		select {
		case e := <-p.tasks.events:
			if out := p.handle(e); out != nil {
				return out
			}
		case <-p.store.saved:
			return p.protocol.Saved(p.now(), p.store.number.Load())
		case <-p.timer.C():
			p.schedule.fired()
		case <-p.heartbeats.socket.Ready():
		case <-m.crash:
			return p.protocol.Crash(p.now())
		case <-m.leave:
			m.leave = nil
			p.carry(p.protocol.Resign(p.now()))
			m.ended = p.finish()
		case <-m.ended:
			m.ended = nil
			return p.protocol.Leave(p.now())
		case <-m.quit:
			return nil
		}
	}
}

// finish returns a channel that is closed once every listener has ended what it has to end before the peer leaves.
func (p *Peer) finish() <-chan struct{} {
	ended := make(chan struct{})
	var waits []<-chan struct{}
	for _, l := range p.listeners {
		if f, ok := l.(handlers.Finisher); ok {
			if c := f.Finished(); c != nil {
				waits = append(waits, c)
			}
		}
	}
	p.tasks.run(func() {
		defer close(ended)
		for _, c := range waits {
			select {
			case <-c:
			case <-p.tasks.ctx.Done():
				return
			}
		}
	})
	return ended
}

// input returns an event that waits; false if there is none, or too many came in a row.
func (p *Peer) input() (event, bool) {
	if !p.schedule.takesInput() {
		rawio.WakeMonitor()
		return event{}, false
	}
	if e, ok := p.heartbeats.poll(p.run(), p.schedule.urgent()); ok { // first, as limits bound these in all
		return e, true
	}
	select {
	case e := <-p.tasks.events:
		return e, true
	default:
		return event{}, false
	}
}

// handle takes the step that e stands for. It returns nil if the protocol has none for e.
func (p *Peer) handle(e event) *handlers.Output {
	switch e.kind {
	case received:
		return p.received(e)
	case opened:
		p.links.opened(e.conn)
		return p.renew(e.host) // it may have begun before the keys changed
	case rekeyed:
		return p.renew(e.host)
	case asked:
		e.answer <- p.protocol.Stranger(e.message)
	case reread:
		return p.protocol.Reread(p.now(), e.hosts)
	case broken:
		if p.links.broken(e.conn) {
			return p.protocol.Closed(p.now(), e.host)
		}
	case undialed:
		p.links.undialed(e.host, e.at)
		if p.links.table.Retired(e.host) {
			return nil
		}
		if e.at.IsValid() {
			return p.protocol.Unreached(p.now(), e.host, e.began, e.at)
		}
		return p.protocol.Undialed(p.now(), e.host, e.began, e.outcome)
	}
	return nil
}

// received takes the step of a message. It returns nil for an echo, and for a message that came before its host was
// retired.
func (p *Peer) received(e event) *handlers.Output {
	if e.conn != nil && p.links.table.Retired(e.host) {
		return nil
	}
	if isEcho(e.message) {
		p.echo(e.host, e.message)
		return nil
	}
	if e.message.Kind == types.State {
		e.message.Stale = !p.addresses.current(e.host)
		if e.message.Stale {
			p.addresses.refresh(e.host) // so that the next one need not be
		}
	}
	now := p.again() // poll looked
	if e.conn != nil {
		now = p.now()
	}
	out := p.protocol.Message(now, e.host, e.message)
	if out.Misled {
		p.misled(e, out.Late)
	}
	if e.conn != nil {
		messages.Put(e.message) // that of a datagram belongs to heartbeats
	}
	return out
}

// echo answers a doctor over TCP: on the connection in use, which is most likely its own, and on one dialled
// back, so that it sees whether this host can reach it. That evicts no connection in use.
func (p *Peer) echo(host types.ID, m *types.Message) {
	if m.Kind != types.Echo {
		return
	}
	p.links.dialBack(host)
	lines, digest := p.addresses.digest()
	answer := echoTCP(p.config.ID, host, m, lines, digest, p.protocol.View())
	p.links.send(&answer)
}

// Rekey reads the key file again, and seals and opens with its keys from now on. If the file is
// unsound, it reports that and the keys stay. It replaces the connections that were made with keys that
// are gone or no longer first. It does nothing without Config.Keys. One goroutine may call it, at any
// time; it may wait for the file.
func (p *Peer) Rekey() {
	if p.keys == nil {
		return
	}
	ring, err := seal.Reread(p.config.KeyFile)
	if err != nil {
		p.notice.printf("Error reading keys: %v; the keys in use stay", err)
		return
	}
	p.keys.use(ring)
	p.sayKeys(ring)
	for i := range p.addresses.len() {
		p.tasks.put(event{kind: rekeyed, host: types.ID(i + 1)})
	}
}

// sayKeys reports which keys were read.
func (p *Peer) sayKeys(ring seal.Keyring) {
	if ring.Len() == 1 {
		p.notice.printf("Read 1 key from %q, which seals and opens", p.config.KeyFile)
		return
	}
	p.notice.printf("Read %d keys from %q: the first seals, all open", ring.Len(), p.config.KeyFile)
}

// renew replaces the connections with a host that the current keys are not for. The protocol looks
// into the one that closes by PROBE, over a new one, so this makes no host unreachable.
func (p *Peer) renew(host types.ID) *handlers.Output {
	if p.links.renew(host) {
		return p.protocol.Closed(p.now(), host)
	}
	return nil
}

// misled counts a message for another incarnation. It reports the message unless anyone could have sent
// it, as there are no keys, or it is only late.
func (p *Peer) misled(e event, late bool) {
	if p.keys == nil || e.conn == nil || late {
		p.drops.count(dropMisled)
		return
	}
	p.drops.blame(e.conn.addr, &fault{dropMisled, fmt.Errorf("%v from peer %d was for another life of this peer: "+
		"nothing needs to be done if this one has just begun", e.message.Kind, e.message.From)})
}

// carry carries out what a step asks for.
func (p *Peer) carry(out *handlers.Output) {
	p.store.save(&out.Save)
	for _, c := range out.Hosts {
		p.list(c.ID, c.Host)
	}
	now := p.again().Run // the step was told what time it is
	p.schedule.stepped(now, out.Wake)
	p.file.stepped(now)
	step := handlers.Step{At: now, Events: out.Events, View: p.protocol.View(), Beats: out.Heartbeat != nil,
		Stalled: p.schedule.stalled, Exit: out.Exit, Lease: out.Lease, Status: p.protocol.Status}
	for _, l := range p.listeners {
		l.Stepped(&step)
	}
	for i, id := range out.Redial {
		p.links.redial(id, out.RedialAt[i])
	}
	for i := range out.Messages {
		p.links.send(&out.Messages[i])
	}
	if out.Heartbeat != nil {
		p.heartbeats.send(out.Heartbeat)
	}
}

// Now returns the present moment as an Instant.Run of this peer, by which its leases are judged. Any goroutine may
// call it.
func (p *Peer) Now() time.Duration { return p.run() }

// run returns how long the peer has existed. While its machine is suspended, that goes on, because a leader's lease
// must not outlast a suspension that the clock does not count.
func (p *Peer) run() time.Duration { return time.Since(p.start) + p.asleep.total() }

func (p *Peer) now() handlers.Instant {
	now := time.Now()
	return handlers.Instant{Run: now.Sub(p.start) + p.asleep.total(), Wall: now.UnixNano()}
}

// again is now right after run or now, without their system calls: whether the machine was suspended in between, the next
// step sees. So each heartbeat takes one look, not three, which in a large group is a tenth of what a peer does.
func (p *Peer) again() handlers.Instant {
	now := time.Now()
	return handlers.Instant{Run: now.Sub(p.start) + p.asleep.known(), Wall: now.UnixNano()}
}

// asleep is how long the machine was suspended, on systems that tell. It never falls. Any goroutine may use it.
type asleep struct {
	first  time.Duration // when the peer was made
	newest atomic.Int64
}

// total returns how long the machine was suspended since the peer was made.
func (a *asleep) total() time.Duration {
	now, _ := rawio.Suspended()
	for {
		newest := a.newest.Load()
		if int64(now) <= newest {
			return time.Duration(newest) - a.first
		}
		if a.newest.CompareAndSwap(newest, int64(now)) {
			return now - a.first
		}
	}
}

// known returns what total last returned.
func (a *asleep) known() time.Duration { return time.Duration(a.newest.Load()) - a.first }

// begin begins to count.
func (a *asleep) begin() {
	a.first, _ = rawio.Suspended()
	a.newest.Store(int64(a.first))
}

// Addresses returns those that a host was last found to have. Any goroutine may call it.
func (p *Peer) Addresses(id types.ID) []netip.Addr {
	if !p.addresses.in(id) {
		return nil
	}
	return p.addresses.known(id)
}

// Names returns the names of all hosts, which become more while the peer runs. Any goroutine may call it.
func (p *Peer) Names() *types.Names { return p.names }

// DropsByName returns how often something was dropped, for every reason there is. Any goroutine may call it.
func (p *Peer) DropsByName() map[string]uint64 {
	counted := make(map[string]uint64, reasons)
	for reason := range reasons {
		counted[reason.String()] = p.drops.counts[reason].Load()
	}
	return counted
}
