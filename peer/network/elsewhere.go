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

// corrects answers the first message of c, which is from an unknown address and says that it is from host from, and
// reports whether it did. If that is a host which is listed elsewhere, by a hosts file with the same names, that host
// and stdout are told that the addresses differ. A host beyond the list is told that it is not listed, and one that the
// group has retired, whose address is unknown therefore, is told that.
func (a *acceptor) corrects(c *connection, from types.ID) bool {
	header, _ := c.in.Peek(lengthSize)
	if len(header) < lengthSize || binary.BigEndian.Uint32(header) > maxShort || from == 0 || from == a.addresses.self {
		return false
	}
	listed, ok := types.Addr{}, from > types.ID(a.addresses.len()) || a.addresses.host(from).Retired
	if !ok {
		listed, ok = a.addresses.listed(from)
	}
	if !ok || !a.corrections.allow(time.Now()) || a.reader.handshake(c) != nil {
		return false
	}
	m, err := c.receive(a.addresses.len())
	if err != nil || m.From != from || m.Kind != types.Join && m.Kind != types.Probe {
		return false
	}
	answer := types.Message{Kind: types.Refused, From: a.addresses.self, To: from,
		For: m.Incarnation, Request: m.Request, Reason: types.Elsewhere, Lives: [2]types.Addr{listed, c.addr}}
	switch {
	case !listed.IsValid():
		if answer, ok = a.turnAway(m); !ok {
			return false
		}
	case !a.addresses.agrees(m.Lines, m.Digest):
		return false
	default:
		defer a.addresses.elsewhere(from, listed, c.addr)
	}
	if frame, err := types.AppendFrame(nil, &answer); err == nil {
		c.socket.SetWriteDeadline(time.Now().Add(writeTimeout))
		c.socket.Write(c.pack(nil, frame))
	}
	return true
}

// turnAway returns what the protocol answers to m, of a host that is not listed, or retired; false if the peer has ended, or
// if only the hosts file here retires that host.
func (a *acceptor) turnAway(m *types.Message) (types.Message, bool) {
	answer := make(chan types.Message, 1)
	if !a.tasks.put(event{kind: asked, message: m, answer: answer}) {
		return types.Message{}, false
	}
	select {
	case r := <-answer:
		return r, r.Reason == types.IsRetired || !a.addresses.in(m.From) // else the file alone retires it
	case <-a.tasks.ctx.Done():
		return types.Message{}, false
	}
}

// elsewhere reports that messages of host id arrive from another address than the listed one.
func (b *addressBook) elsewhere(id types.ID, listed, from netip.Addr) {
	h := b.host(id)
	lister, first := "name service", "correct the name service"
	if h.Addr.IsValid() {
		lister, first = "hosts file", "use the same hosts file everywhere"
	}
	b.troubles.rarely(id, fmt.Sprintf("%s is at %v by the %s here, but its messages arrive from %v: %s. If that is right, %s",
		h.Name, listed, lister, from, first, untranslate(h.Name, listed, from)))
}

// corrected reports that host by has this host at the first of two addresses, while this host's messages arrive there
// from the second.
func (b *addressBook) corrected(by types.ID, lives [2]types.Addr) {
	self, there := b.host(b.self), b.host(by).Name
	remedy := "correct the name service there, or write the address after the name in the hosts files"
	switch {
	case slices.ContainsFunc(b.known(b.self), func(a netip.Addr) bool { return bare(a) == lives[0] }): // they agree
		remedy = untranslate(self.Name, lives[0], lives[1])
	case self.Addr.IsValid():
		remedy = fmt.Sprintf("the hosts file here has %v, so use the same hosts file everywhere", self.Addr)
	}
	b.troubles.rarely(b.self, fmt.Sprintf("%s has this host, %s, at %v, but its messages arrive there from %v: %s",
		there, self.Name, lives[0], lives[1], remedy))
}

// untranslate says what to do if a host is listed as it should be, and its messages arrive from another address.
func untranslate(name string, listed, from netip.Addr) string {
	return fmt.Sprintf("start %s on the machine that has %v; if it runs there, an address translation (NAT) on the way changes "+
		"the address: remove that, or write %v after the name in all hosts files", name, listed, from)
}
