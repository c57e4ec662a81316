package network

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"memberly/peer/config"
	"memberly/peer/network/rawio"
	"memberly/peer/types"
)

const (
	// confirmTime is how long a host has to answer after it refused a connection.
	confirmTime = 250 * time.Millisecond
	// confirmTries is how often it is asked. Each side may have to answer a challenge first.
	confirmTries = 4
	// confirmEvery is between two of these.
	confirmEvery = 50 * time.Millisecond
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

	mu    sync.Mutex
	asked map[uint64]inquiry // by the number of the echo
}

// inquiry is an echo that is not answered yet.
type inquiry struct {
	host     types.ID
	answered chan struct{} // closed by the answer
}

func newConfirmer(self types.ID, t *tasks, b *addressBook, d *drops, k *keys, socket rawio.Socket) *confirmer {
	if k == nil {
		return nil
	}
	return &confirmer{self: self, tasks: t, addresses: b, drops: d, keys: k, socket: socket,
		asked: make(map[uint64]inquiry)}
}

// confirm returns what the outcome of a dial of host id shows. A refusal shows nothing if the host answers, or
// if this process stood still and may have missed that. That there is no such name never shows anything.
func (c *confirmer) confirm(id types.ID, o types.Outcome) types.Outcome {
	switch {
	case c == nil:
		return o
	case o == types.NoName:
		return types.Unresolved
	case o != types.Refusal:
		return o
	}
	began := time.Now()
	if c.answers(id) || time.Since(began) > c.time()+lateness {
		return types.NoAnswer
	}
	return types.Refusal
}

// time is how long a host has to answer.
func (c *confirmer) time() time.Duration { return confirmWithin(c.socket.Ready() == nil) }

// confirmWithin is how long a host has to answer: longer if datagrams wake neither it nor this process.
func confirmWithin(polled bool) time.Duration {
	if polled {
		return confirmTime + confirmTries*pollEvery
	}
	return confirmTime
}

// answers reports whether host id answers in time.
func (c *confirmer) answers(id types.ID) bool {
	var random [8]byte
	rand.Read(random[:]) // never fails
	number, answered := binary.BigEndian.Uint64(random[:]), make(chan struct{})
	c.mu.Lock()
	c.asked[number] = inquiry{id, answered}
	c.mu.Unlock()
	defer c.forget(number)
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	end := time.After(c.time())
	for try := 0; ; {
		if try++; try <= confirmTries {
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if q, ok := c.asked[number]; ok && q.host == host {
		delete(c.asked, number)
		close(q.answered)
	}
}

func (c *confirmer) forget(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asked, number)
}
