// Package utils has functions on host names and addresses: this machine's name, a host's addresses, and
// where to send datagrams for it. It imports no other package of this project.
package utils

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// HostName returns the kernel's name of this machine, such as "one" or "one.example.org".
func HostName() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", err
	}
	if name = strings.TrimSpace(name); name == "" {
		return "", errors.New("this machine has no host name")
	}
	return name, nil
}

// Network is an IP network that this machine is attached to.
type Network struct {
	Prefix    netip.Prefix // this machine's own address there, and the network's bits
	Broadcast bool         // its interface can broadcast
}

// Attached returns the networks that this machine is attached to now: one for each address of each
// interface that is up, including loopback.
func Attached() ([]Network, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing network interfaces: %w", err)
	}
	var attached []Network
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it was removed since it was listed
		}
		attached = append(attached, networks(i.Flags, addrs)...)
	}
	return attached, nil
}

// networks returns the networks of an interface with these flags and addresses.
func networks(flags net.Flags, addrs []net.Addr) []Network {
	if flags&net.FlagUp == 0 {
		return nil
	}
	var attached []Network
	for _, a := range addrs {
		own, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, _ := netip.AddrFromSlice(own.IP)
		ones, bits := own.Mask.Size() // 0, 0 if the mask is not that of a network
		if prefix := netip.PrefixFrom(addr.Unmap(), ones); prefix.IsValid() && bits > 0 {
			attached = append(attached, Network{prefix, flags&net.FlagBroadcast != 0})
		}
	}
	return attached
}

// Targets returns where to send a datagram so that it reaches all of hosts: broadcasts are the
// broadcast addresses of the attached networks that contain hosts, and singles are the hosts that none
// of these reaches, such as IPv6 and loopback addresses. Each address occurs once, in the order of
// hosts.
//
// Targets leaves out this machine's own addresses, except for loopback addresses, because a whole group
// can run on them. A caller with a loopback address leaves its own out of hosts.
func Targets(hosts []netip.Addr, attached []Network) (broadcasts, singles []netip.Addr) {
	named := make(map[netip.Addr]bool)
	for _, host := range hosts {
		host = host.Unmap()
		if !host.IsValid() || IsOwn(host, attached) {
			continue
		}
		target, broadcast := broadcastTo(host, attached)
		if !broadcast {
			target = host
		}
		switch {
		case named[target]:
		case broadcast:
			broadcasts = append(broadcasts, target)
		default:
			singles = append(singles, target)
		}
		named[target] = true
	}
	return broadcasts, singles
}

// IsOwn reports whether host is an address of this machine that no other machine can have: loopback
// addresses are not.
func IsOwn(host netip.Addr, attached []Network) bool {
	return !host.IsLoopback() && slices.ContainsFunc(attached, func(n Network) bool {
		return n.Prefix.Addr() == host.WithZone("")
	})
}

// broadcastTo returns the broadcast address that reaches host, if there is one. Like the kernel's
// routing, it uses the narrowest network that contains the host.
func broadcastTo(host netip.Addr, attached []Network) (netip.Addr, bool) {
	var narrowest Network
	for _, n := range attached {
		// The zero Network has -1 bits.
		if n.Prefix.Contains(host) && n.Prefix.Bits() > narrowest.Prefix.Bits() {
			narrowest = n
		}
	}
	return narrowest.broadcast()
}

// broadcast returns the broadcast address of n, if there is one.
func (n Network) broadcast() (netip.Addr, bool) {
	own := n.Prefix.Addr()
	// Networks of one or two addresses (/32, /31) have no broadcast address.
	if !n.Broadcast || !own.Is4() || own.IsLoopback() || n.Prefix.Bits() > 30 {
		return netip.Addr{}, false
	}
	last := own.As4()
	for bit := n.Prefix.Bits(); bit < 32; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(last), true
}

// Source returns the address from which to send to another, so that it comes from one of those that are listed for
// this host. That is one that this machine has: on the network of the other, or else the only one. If the result
// is not valid, the system is to choose.
func Source(to netip.Addr, listed []netip.Addr, attached []Network) netip.Addr {
	var found netip.Addr
	several := false
	to = to.Unmap()
	for _, addr := range listed {
		addr = addr.Unmap()
		i := slices.IndexFunc(attached, func(n Network) bool { return n.Prefix.Addr() == addr.WithZone("") })
		if i < 0 || !reaches(addr, to) {
			continue
		}
		if attached[i].Prefix.Contains(to.WithZone("")) {
			return addr
		}
		several = found.IsValid()
		found = addr
	}
	if several {
		return netip.Addr{}
	}
	return found
}

// reaches reports whether what leaves from an address can arrive at another, by what kinds they are.
func reaches(from, to netip.Addr) bool {
	if from.IsLinkLocalUnicast() && (!to.IsLinkLocalUnicast() || from.Zone() != to.Zone()) {
		return false
	}
	return from.Is4() == to.Is4() && from.IsLoopback() == to.IsLoopback()
}
