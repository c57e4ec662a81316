// Package loopback is test support: a part of 127.0.0.0/8 for each test, so that tests which start
// peers, in whatever packages, can run at the same time.
package loopback

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"memberly/peer/config"
)

// Subnet is 127.x.y.0/24, in use by one test alone, of all that run on this machine.
type Subnet [4]byte

// subnets counts those that were given out. None is used twice, as what -local started may take a
// moment to end.
var subnets atomic.Int64

// NewSubnet finds a subnet that is free. It is taken until the test ends: a port of it is held.
func NewSubnet(t testing.TB) Subnet {
	t.Helper()
	for {
		i := os.Getpid() + int(subnets.Add(1))
		s := Subnet{127, byte(64 + i/256%128), byte(i), 0}
		if guard, err := net.Listen("tcp", fmt.Sprint(s.Host(254), ":", config.TCPPort)); err == nil {
			t.Cleanup(func() { guard.Close() })
			return s
		}
	}
}

// Host returns address n of the subnet, 1 to 253.
func (s Subnet) Host(n int) netip.Addr { return netip.AddrFrom4([4]byte{s[0], s[1], s[2], byte(n)}) }

// HostsFile writes a hosts file of these names, with addresses from s, and returns its path.
func (s Subnet) HostsFile(t testing.TB, names ...string) string {
	t.Helper()
	var lines []string
	for i, name := range names {
		lines = append(lines, fmt.Sprint(name, " ", s.Host(i+1)))
	}
	return WriteHostsFile(t, lines...)
}

// WriteHostsFile writes a hosts file of these lines, and returns its path.
func WriteHostsFile(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hostsfile.txt")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Occupy holds an address of network "tcp" or "udp" until the test ends.
func Occupy(t testing.TB, network, addr string) {
	t.Helper()
	if network == "udp" {
		socket, err := net.ListenPacket(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { socket.Close() })
		return
	}
	listener, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
}
