// Package utils knows host names and addresses: what this machine is called, what addresses
// a host has, and how a datagram reaches it. It imports nothing of this project.
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

// HostName returns the name that this machine goes by, as its kernel has it: "one", or
// "one.example.org".
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

// Attached returns the networks that this machine is attached to at the moment: one for each
// address of each interface that is up, loopback included.
func Attached() ([]Network, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing network interfaces: %w", err)
	}
	var attached []Network
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it was taken away since it was listed
		}
		attached = append(attached, networks(i.Flags, addrs)...)
	}
	return attached, nil
}

// networks returns what an interface with these flags and addresses is attached to.
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
		ones, bits := own.Mask.Size() // 0 of 0 if it is no mask of a network
		if prefix := netip.PrefixFrom(addr.Unmap(), ones); prefix.IsValid() && bits > 0 {
			attached = append(attached, Network{prefix, flags&net.FlagBroadcast != 0})
		}
	}
	return attached
}

// Targets says where to send a datagram so that it reaches every one of hosts: broadcasts are
// the broadcast addresses of the attached networks that hold hosts, and singles are the hosts
// that none of these reaches, all IPv6 and loopback addresses among them. Each is named once,
// in the order of hosts.
//
// This machine's own addresses are left out, but not its loopback addresses, on which a whole
// group can live: a caller that has one leaves it out of hosts.
func Targets(hosts []netip.Addr, attached []Network) (broadcasts, singles []netip.Addr) {
	named := make(map[netip.Addr]bool)
	for _, host := range hosts {
		host = host.Unmap()
		if !host.IsValid() || isOwn(host, attached) {
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

// isOwn reports whether host is an address of this machine, by which no other peer can go.
func isOwn(host netip.Addr, attached []Network) bool {
	return !host.IsLoopback() && slices.ContainsFunc(attached, func(n Network) bool {
		return n.Prefix.Addr() == host.WithZone("")
	})
}

// broadcastTo returns the broadcast address that reaches host, if there is one. Like the
// kernel's routing, it goes by the narrowest network that holds the host.
func broadcastTo(host netip.Addr, attached []Network) (netip.Addr, bool) {
	var narrowest Network
	for _, n := range attached {
		// A Network that is not set has -1 bits.
		if n.Prefix.Contains(host) && n.Prefix.Bits() > narrowest.Prefix.Bits() {
			narrowest = n
		}
	}
	return narrowest.broadcast()
}

// broadcast returns the address that reaches everybody on n, if there is one.
func (n Network) broadcast() (netip.Addr, bool) {
	own := n.Prefix.Addr()
	// Networks of one or two addresses (/32, /31) have none to spare for it.
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
