package network

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"memberly/peer/config"
	"memberly/peer/datastructures"
	"memberly/peer/network/rawio"
	"memberly/peer/types"
)

const (
	// confirmTime is how long a host has to answer after it refused a connection.
	confirmTime = 250 * time.Millisecond
	// confirmPolled is the same where datagrams do not wake a peer: it reads them every pollEvery. Until both know each
	// other's session, five datagrams take that long.
	confirmPolled = 800 * time.Millisecond
	// confirmEvery is between two echoes. Either side may have to answer a challenge first.
	confirmEvery = 50 * time.Millisecond
	// confirmRest is left, after the last echo, for its answer.
	confirmRest = 75 * time.Millisecond
)

// confirmer checks refused connections, if there are keys: anybody on the network can send a TCP reset, or
// the answer of a name service. It asks a host that refused, in a sealed datagram, for a sealed echo: only a
// process with a key that runs now can answer. Any goroutine may use it; nil confirms everything.
type confirmer struct {
	self      types.ID
	tasks     *tasks
	addresses *addressBook
	drops     *drops
	keys      *keys
	socket    rawio.Socket
	awaited   atomic.Int32                     // how many hosts are being asked
	hosts     datastructures.SafeTable[asking] // by ID-1
}

// asking is what the confirmer does about one host.
type asking struct {
	turn   chan struct{} // of one: who asks the host holds it, and others that it refused wait for the same answer
	failed time.Time     // when it had last not answered in time; belongs to the holder of turn

	mu       sync.Mutex
	number   uint64        // of the echo; 0 while none is awaited
	answered chan struct{} // closed by the answer
	heard    time.Time     // when it last answered
}

func newConfirmer(self types.ID, t *tasks, b *addressBook, d *drops, k *keys, socket rawio.Socket) *confirmer {
	if k == nil {
		return nil
	}
	c := &confirmer{self: self, tasks: t, addresses: b, drops: d, keys: k, socket: socket}
	c.grow(b.len())
	return c
}

// grow makes room for so many hosts.
func (c *confirmer) grow(hosts int) {
	if c != nil {
		c.hosts.Grow(hosts, func(h *asking) { h.turn = make(chan struct{}, 1) })
	}
}

// of returns what is done about host id.
func (c *confirmer) of(id types.ID) *asking { return c.hosts.At(int(id - 1)) }

// confirm returns what the outcome of a dial of host id shows. A refusal shows nothing if the host answers, or
// if this process stood still and may have missed that. That there is no such name never shows anything.
func (c *confirmer) confirm(id types.ID, o types.Outcome) types.Outcome {
	switch {
	case c == nil:
		return o
	case o == types.NoName:
		return types.Unresolved
	case o == types.Refusal && !c.silent(id):
		return types.NoAnswer
	case o == types.StaleRefusal && !c.silent(id):
		return types.Unresolved
	}
	return o
}

// time is how long a host has to answer.
func (c *confirmer) time() time.Duration { return confirmWithin(c.socket.Ready() == nil) }

// confirmWithin is how long a host has to answer.
func confirmWithin(polled bool) time.Duration {
	if polled {
		return confirmPolled
	}
	return confirmTime
}

// silent reports whether host id is certain not to answer. An answer is good for as long as the host has to answer,
// so that a forger who refuses every dial does not have it asked all the time.
func (c *confirmer) silent(id types.ID) bool {
	h, refused := c.of(id), time.Now()
	select {
	case h.turn <- struct{}{}:
	case <-c.tasks.ctx.Done():
		return false // the peer ends
	}
	defer func() { <-h.turn }()
	if h.lately(c.time()) {
		return false
	}
	if h.failed.After(refused) {
		return true
	}
	began := time.Now()
	if c.answers(id, h) || time.Since(began) > c.time()+lateness {
		return false
	}
	h.failed = time.Now()
	return true
}

// answers asks host id until it answers, or its time is over.
func (c *confirmer) answers(id types.ID, h *asking) bool {
	number, answered := h.begin()
	defer h.end()
	c.awaited.Add(1)
	defer c.awaited.Add(-1)
	c.tasks.put(event{kind: ignored}) // the loop now reads datagrams more often
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	end := time.After(c.time())
	for last := time.Now().Add(c.time() - confirmRest); ; {
		if !time.Now().After(last) {
			c.ask(id, number)
		}
		select {
		case <-answered:
			return true
		case <-tick.C:
		case <-end:
			return false
		case <-c.tasks.ctx.Done():
			return false
		}
	}
}

// ask sends the echo to all addresses of host id. All get the same bytes, as with a heartbeat.
func (c *confirmer) ask(id types.ID, number uint64) {
	b, err := types.AppendMessage(nil, &types.Message{Kind: types.Echo, From: c.self, Request: number})
	if err == nil {
		b = c.keys.seal(b)
		for _, addr := range c.addresses.known(id) {
			err = cmp.Or(c.socket.WriteTo(b, netip.AddrPortFrom(addr, config.UDPPort)), err)
		}
	}
	if err != nil && c.tasks.ctx.Err() == nil {
		c.drops.count(dropUnsent)
		c.drops.failure("Error asking whether a host runs", err)
	}
}

// answered notes that host answered an echo, if it was asked.
func (c *confirmer) answered(host types.ID, number uint64) {
	if c == nil {
		return
	}
	h := c.of(host)
	h.mu.Lock()
	defer h.mu.Unlock()
	if number != 0 && number == h.number {
		h.number, h.heard = 0, time.Now()
		close(h.answered)
	}
}

// begin returns a new number for echoes, and what its answer closes.
func (h *asking) begin() (number uint64, answered <-chan struct{}) {
	var random [8]byte
	rand.Read(random[:]) // never fails
	h.mu.Lock()
	defer h.mu.Unlock()
	h.number, h.answered = max(1, binary.BigEndian.Uint64(random[:])), make(chan struct{})
	return h.number, h.answered
}

// end makes answers that come later count for nothing.
func (h *asking) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.number = 0
}

// lately reports whether the host answered less than d ago.
func (h *asking) lately(d time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.heard.IsZero() && time.Since(h.heard) < d
}
