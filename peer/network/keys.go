package network

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/seal"
	"memberly/peer/types"
)

// This file seals everything that goes out, and opens everything that comes in, if there are keys
// (package seal). The protocol does not know.

// keys are the current keys, and what seals datagrams with them. Any goroutine may use it, except for
// Datagrams.Open, which belongs to the reader of datagrams.
type keys struct {
	ring  atomic.Pointer[seal.Keyring]
	lane  *seal.Datagrams
	start time.Time
}

// newKeys returns the keys that c gives the peer, or nil for none.
func newKeys(c config.Config, start time.Time) (*keys, error) {
	if c.Keys.Len() == 0 {
		return nil, nil
	}
	lane, err := seal.NewDatagrams(c.Keys, c.ID, rand.Reader)
	if err != nil {
		return nil, err
	}
	k := &keys{lane: lane, start: start}
	k.ring.Store(&c.Keys)
	return k, nil
}

// stale reports whether c is to be closed because it was made with other keys than the current ones.
func (k *keys) stale(c *connection) bool { return c.sealed.Stale(*k.ring.Load()) }

func (k *keys) now() time.Duration { return time.Since(k.start) }

// seal returns the datagram with a message: the message itself without keys.
func (k *keys) seal(message []byte) []byte {
	if k == nil {
		return message
	}
	return k.lane.Seal(nil, message)
}

// sealHeartbeat appends to b the datagram with a heartbeat.
func (k *keys) sealHeartbeat(b, message []byte) []byte {
	return k.lane.SealHeartbeat(b, message, k.now())
}

// Rekey reads the key file again, and seals and opens with its keys from now on. If the file is
// unsound, it reports that and the keys stay. It replaces the connections that were made with keys that
// are gone or no longer first. It does nothing without Config.Keys. One goroutine may call it, at any
// time; it may wait for the file.
func (p *Peer) Rekey() {
	k := p.shared.keys
	if k == nil {
		return
	}
	ring, err := seal.Reread(p.config.KeyFile)
	if err != nil {
		p.notice.printf("Error reading keys: %v; the keys in use stay", err)
		return
	}
	k.ring.Store(&ring)
	k.lane.Rekey(ring)
	p.sayKeys(ring)
	for i := range p.config.Hosts {
		p.shared.put(event{kind: rekeyed, host: types.ID(i + 1)})
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
	if p.shared.keys == nil || e.conn == nil || late {
		p.shared.drops.count(Misled)
		return
	}
	p.shared.drops.blame(e.conn.addr, &fault{Misled, fmt.Errorf("%v from peer %d was for another life of this peer: "+
		"nothing needs to be done if this one has just begun", e.message.Kind, e.message.From)})
}

// handshakeBy is handshake on a dialled connection, within the time of the dial.
func (s *shared) handshakeBy(c *connection, deadline time.Time) error {
	if s.keys == nil {
		return nil
	}
	c.socket.SetReadDeadline(deadline)
	err := s.handshake(c)
	c.socket.SetReadDeadline(time.Time{})
	return err
}

// handshake agrees with the other end of c on how to seal. Its errors are like those of receive.
func (s *shared) handshake(c *connection) error {
	if s.keys == nil {
		return nil
	}
	// The id that the other end claims does not matter: its messages carry one, and its hosts file
	// may differ.
	sealed, _, err := seal.Handshake(c.in, c.socket, rand.Reader, *s.keys.ring.Load(), s.self, c.dialled)
	if errors.Is(err, seal.ErrImpostor) {
		return &fault{Impostor, errors.New("it bears this host's own id: use the same hosts file on all hosts, and start each once")}
	}
	if err != nil {
		return blamed(err)
	}
	c.sealed = sealed
	return nil
}

// unopenable returns the reason to drop what could not be read or opened.
func unopenable(err error) Drop {
	switch {
	case errors.Is(err, seal.ErrUnsealed):
		return Unsealed
	case errors.Is(err, seal.ErrUnopened):
		return Unopened
	case errors.Is(err, seal.ErrReplayed):
		return Replayed
	}
	return Malformed
}

// open returns the message in a sealed datagram from addr, which is a host's; nil if it has none for
// this peer.
func (h *heartbeats) open(addr netip.Addr, host types.ID, b []byte) []byte {
	message, reply, err := h.keys.lane.Open(host, b, h.keys.now())
	if reply != nil {
		if err := h.socket.WriteTo(reply, netip.AddrPortFrom(addr, config.UDPPort)); err != nil {
			h.drops.count(Unsent)
			h.drops.failure("Error sending heartbeat", err)
		}
	}
	switch {
	case errors.Is(err, seal.ErrImpostor):
		h.drops.count(Impostor)
		from, _ := sender(b)
		h.ask(query{from, addr})
	case errors.Is(err, seal.ErrUnasked):
		h.drops.count(Replayed)
	case err != nil:
		h.drops.blame(addr, &fault{unopenable(err), err})
	}
	return message
}
