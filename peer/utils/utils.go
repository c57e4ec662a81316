// Package utils knows host names and addresses: what this machine is called, what addresses
// a host has, and how a datagram reaches it. It imports nothing of this project.
package utils

import (
	"context"
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

// LookupFunc asks a name service for the addresses of a host, as net.Resolver.LookupNetIP does.
type LookupFunc func(ctx context.Context, network, host string) ([]netip.Addr, error)

// Resolver turns hosts into addresses. The zero Resolver asks the machine's name service.
// Any goroutine may use it.
type Resolver struct {
	Lookup LookupFunc // asked in place of the name service, if set; twice if it fails
}

// The machine's name service. The first reports the failure of any part of a look-up (a search
// domain, IPv6); the second overlooks it where another part was answered, even by "no such host".
var (
	strictly  LookupFunc = (&net.Resolver{StrictErrors: true}).LookupNetIP
	leniently LookupFunc = net.DefaultResolver.LookupNetIP
)

// Addrs returns the addresses of the host name, at least one and each once, IPv4 ones always
// as IPv4. A valid fixed is the whole answer, and nobody is asked. It takes as long as the
// name service does: bound it by ctx. NoSuchName tells what an error means.
func (r Resolver) Addrs(ctx context.Context, name string, fixed netip.Addr) ([]netip.Addr, error) {
	if fixed.IsValid() {
		return []netip.Addr{fixed.Unmap()}, nil
	}
	strict, lenient := strictly, leniently
	if r.Lookup != nil {
		strict, lenient = r.Lookup, r.Lookup
	}
	found, err := ask(ctx, name, strict, lenient)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("lookup %s: the name service gave no address", name)
	}
	return unique(found), nil
}

// ask asks strictly first, because that nobody has a name is taken for evidence that its host
// does not run. When that fails it takes what it can get, but no other error than the first.
func ask(ctx context.Context, name string, strict, lenient LookupFunc) ([]netip.Addr, error) {
	found, err := strict(ctx, "ip", name)
	if err == nil || NoSuchName(err) {
		return found, err
	}
	if found, err := lenient(ctx, "ip", name); err == nil {
		return found, nil
	}
	return nil, err
}

// NoSuchName reports whether err, of Addrs, is the name service's word that the name does not
// exist or has no address. Any other error (no answer in time, no name service) says nothing
// about the host.
func NoSuchName(err error) bool {
	failure, ok := errors.AsType[*net.DNSError](err)
	return ok && failure.IsNotFound && !failure.IsTemporary && !failure.IsTimeout
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

// unique returns addrs unmapped, in their order, each once.
func unique(addrs []netip.Addr) []netip.Addr {
	var once []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); !slices.Contains(once, a) {
			once = append(once, a)
		}
	}
	return once
}
