package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"memberly/peer/types"
)

// A host whose messages come from another address than the one that it is listed with is dropped as a stranger. This
// file finds out whether that is because the hosts files differ in its address, or the name service is wrong, and
// reports it on both sides. The digest of the hosts files covers names alone, as the first column is what must agree.

// correctionRate is how many connections of unknown addresses are looked into in a second, and at once.
const correctionRate = 8

var errElsewhere = errors.New("a host sends from an address that is not listed for it")

// corrects reports whether the first message of c, which is from an unknown address, is from host from by a hosts
// file with the same names. If so, it tells that host, and stdout, that the addresses differ.
func (a *acceptor) corrects(c *connection, from types.ID) bool {
	header, _ := c.in.Peek(lengthSize)
	if len(header) < lengthSize || binary.BigEndian.Uint32(header) > maxShort || !a.addresses.in(from) ||
		from == a.addresses.self || !a.addresses.lists(from) || !a.corrections.allow(time.Now()) {
		return false
	}
	if a.reader.handshake(c) != nil {
		return false
	}
	m, err := c.receive(a.addresses.len())
	if err != nil || m.From != from || m.Kind != types.Join && m.Kind != types.Probe || m.Digest != a.digest {
		return false
	}
	listed := bare(a.addresses.known(from)[0])
	frame, err := types.AppendFrame(nil, &types.Message{Kind: types.Refused, From: a.addresses.self, To: from,
		For: m.Incarnation, Request: m.Request, Reason: types.Elsewhere, Lives: [2]types.Addr{listed, c.addr}})
	if err == nil {
		c.socket.SetWriteDeadline(time.Now().Add(writeTimeout))
		c.socket.Write(c.pack(nil, frame))
	}
	a.addresses.elsewhere(from, listed, c.addr)
	return true
}

// elsewhere reports that host id sends from another address than the listed one.
func (b *addressBook) elsewhere(id types.ID, listed, from netip.Addr) {
	e := &b.hosts[id-1]
	if e.fixed.IsValid() {
		b.troubles.rarely(id, fmt.Sprintf("Hosts files differ in the address of %s: %v here, %v there: use the same file "+
			"everywhere, and start %s on the machine that has the address", e.name, listed, from, e.name))
		return
	}
	b.troubles.rarely(id, fmt.Sprintf("%s is at %v by the name service here, but sends from %v: correct the name service, "+
		"or write its address after its name in the hosts files", e.name, listed, from))
}

// corrected reports that host by has this host at the first of two addresses, while this host sends from the second.
func (b *addressBook) corrected(by types.ID, lives [2]types.Addr) {
	if slices.ContainsFunc(b.known(b.self), func(a netip.Addr) bool { return bare(a) == lives[0] }) {
		return // the files agree: this machine lacks the address, which is reported (sources.watch)
	}
	e, there := &b.hosts[b.self-1], b.hosts[by-1].name
	if e.fixed.IsValid() {
		b.troubles.rarely(b.self, fmt.Sprintf("Hosts files differ in the address of %s: %v here, %v at %s: use the same file "+
			"everywhere", e.name, lives[1], lives[0], there))
		return
	}
	b.troubles.rarely(b.self, fmt.Sprintf("%s has this host, %s, at %v, but it sends from %v: correct the name service there, "+
		"or write the address after the name in the hosts files", there, e.name, lives[0], lives[1]))
}
