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
// file finds that out and reports it on both sides, with what may be the cause: the hosts files differ in its address,
// the name service is wrong, its machine does not have the address, or an address translation changes it. The digest
// of the hosts files covers names alone, as the first column is what must agree.

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

// elsewhere reports that messages of host id arrive from another address than the listed one.
func (b *addressBook) elsewhere(id types.ID, listed, from netip.Addr) {
	e := &b.hosts[id-1]
	lister, first := "name service", "correct the name service"
	if e.fixed.IsValid() {
		lister, first = "hosts file", "use the same hosts file everywhere"
	}
	b.troubles.rarely(id, fmt.Sprintf("%s is at %v by the %s here, but its messages arrive from %v: %s. If that is right, %s",
		e.name, listed, lister, from, first, untranslate(e.name, listed, from)))
}

// corrected reports that host by has this host at the first of two addresses, while this host's messages arrive there
// from the second.
func (b *addressBook) corrected(by types.ID, lives [2]types.Addr) {
	e, there := &b.hosts[b.self-1], b.hosts[by-1].name
	remedy := "correct the name service there, or write the address after the name in the hosts files"
	switch {
	case slices.ContainsFunc(b.known(b.self), func(a netip.Addr) bool { return bare(a) == lives[0] }): // they agree
		remedy = untranslate(e.name, lives[0], lives[1])
	case e.fixed.IsValid():
		remedy = fmt.Sprintf("the hosts file here has %v, so use the same hosts file everywhere", e.fixed)
	}
	b.troubles.rarely(b.self, fmt.Sprintf("%s has this host, %s, at %v, but its messages arrive there from %v: %s",
		there, e.name, lives[0], lives[1], remedy))
}

// untranslate says what to do if a host is listed as it should be, and its messages arrive from another address.
func untranslate(name string, listed, from netip.Addr) string {
	return fmt.Sprintf("start %s on the machine that has %v; if it runs there, an address translation (NAT) on the way changes "+
		"the address: remove that, or write %v after the name in all hosts files", name, listed, from)
}
