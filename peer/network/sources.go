package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"memberly/peer/network/rawio"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// sources choose the address from which a dial or a datagram leaves: one that the hosts file or the name service
// gives this host, because the others drop what comes from another. The system alone would take the first address
// of an interface, or a temporary one. Any goroutine may use them.
type sources struct {
	addresses *addressBook
	self      types.ID
	only      netip.Addr // the address of all sockets, if they have but one
	attached  atomic.Pointer[attachment]
	find      func() ([]utils.Network, error)
	lost      chan struct{} // of one: look found none of this host's addresses
}

// attachment is what this machine was found to be attached to.
type attachment struct {
	networks []utils.Network
	at       time.Time
}

func newSources(b *addressBook, self types.ID, only netip.Addr) *sources {
	s := &sources{addresses: b, self: self, only: only, find: utils.Attached, lost: make(chan struct{}, 1)}
	s.attached.Store(new(attachment))
	return s
}

// look finds the networks that this machine is attached to. If the machine does not have this host's address, look
// wakes watch.
func (s *sources) look() ([]utils.Network, error) {
	networks, err := s.find()
	s.attached.Store(&attachment{networks, time.Now()})
	if listed := s.addresses.known(s.self); err == nil && len(listed) > 0 && !placed(listed, networks) {
		select {
		case s.lost <- struct{}{}:
		default:
		}
	}
	return networks, err
}

// watch looks up this host's own name and reports, at most once a minute, if this machine does not have the address
// that it is listed with; and that it has it again. While it has, watch sleeps until look finds otherwise: heartbeats
// and dials look anyway, so that costs no wake-up of its own.
func (s *sources) watch(t *tasks, notice *lines) {
	if s.only.IsValid() {
		return
	}
	said, at := "", time.Time{}
	for t.ctx.Err() == nil {
		if _, l := s.addresses.toDial(s.self); l != nil {
			l.wait(t.ctx)
		}
		listed := s.addresses.known(s.self)
		networks, err := s.look()
		s.addresses.expire(s.self) // so that the next look at the name is fresh
		if len(listed) == 0 || err != nil {
			t.pause(targetsLast)
			continue
		}
		self := s.addresses.host(s.self)
		words := misplaced(self.Name, self.Addr.IsValid(), listed, networks)
		if words != "" {
			if words != said && time.Since(at) >= reportPause {
				said, at = words, time.Now()
				notice.printf("%s", words)
			}
			t.pause(targetsLast)
			continue
		}
		if said != "" {
			notice.printf("Names are found again: %s", self.Name)
			said = ""
		}
		select {
		case <-s.lost:
		case <-t.ctx.Done():
		}
	}
}

// placed reports whether this machine has one of the addresses that its host is listed with.
func placed(listed []netip.Addr, networks []utils.Network) bool {
	return slices.ContainsFunc(networks, func(n utils.Network) bool {
		own := n.Prefix.Addr()
		return !own.IsLoopback() && slices.ContainsFunc(listed, func(a netip.Addr) bool { return bare(a) == own })
	})
}

// misplaced says that this machine has none of the addresses that its host is listed with, in the hosts file or by
// its name; "" if it has one.
func misplaced(name string, inFile bool, listed []netip.Addr, networks []utils.Network) string {
	if placed(listed, networks) {
		return ""
	}
	var here []string
	for _, n := range networks {
		own := n.Prefix.Addr()
		if !own.IsLoopback() && !own.IsLinkLocalUnicast() {
			here = append(here, own.String())
		}
	}
	var at []string
	for _, a := range listed {
		at = append(at, a.String())
	}
	const remedy = "or start it with the name that it has in the hosts file (-n NAME)"
	if here == nil {
		here = []string{"none"}
	}
	is := fmt.Sprintf("This host, %s, is at %s by ", name, strings.Join(at, ", "))
	has := fmt.Sprintf(", but this machine has %s: the other hosts drop what it sends. ", strings.Join(here, ", "))
	switch {
	case inFile:
		return is + "the hosts file" + has + "Correct the address in the file, " + remedy
	case !slices.ContainsFunc(listed, func(a netip.Addr) bool { return !a.IsLoopback() }):
		return is + "its own /etc/hosts: it cannot tell by which address the other hosts know it, and the system chooses " +
			"where it sends from. Correct /etc/hosts, or write the address after the name in the hosts file"
	}
	return is + "the name service" + has + "Correct the name service, write the address after the name in the hosts file, " + remedy
}

// to returns the address from which to send to another. The system chooses if that is not valid.
func (s *sources) to(addr netip.Addr) netip.Addr {
	if s.only.IsValid() {
		return netip.Addr{} // the sockets have an address
	}
	return utils.Source(addr, s.addresses.known(s.self), s.attached.Load().networks)
}

// dialer returns what dials an address.
func (s *sources) dialer(to netip.Addr) net.Dialer {
	if s.only.IsValid() {
		return dialFrom(s.only)
	}
	if time.Since(s.attached.Load().at) >= targetsLast {
		s.look() // on failure the system chooses
	}
	return dialFrom(s.to(to))
}

// sourced is a socket that sends from the addresses that sources choose.
type sourced struct {
	rawio.Socket
	sources *sources
}

// WriteTo sends a datagram.
func (s sourced) WriteTo(b []byte, to netip.AddrPort) error {
	return s.WriteFrom(b, s.sources.to(to.Addr()), to)
}
