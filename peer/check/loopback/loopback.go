// Package loopback gives each test its own part of 127.0.0.0/8, so that tests of all packages can start
// peers at the same time, and collects what the peers write.
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

// Subnet is a 127.x.y.0/24 that no other test on this machine uses.
type Subnet [4]byte

// subnets counts the subnets of this process. It uses none twice, because processes of an earlier test
// may take a moment to end.
var subnets atomic.Int64

// NewSubnet finds a free subnet. It reserves the subnet until the test ends by listening on one of its
// addresses.
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

// HostsFile writes a hosts file with these names and addresses of s, and returns its path.
func (s Subnet) HostsFile(t testing.TB, names ...string) string {
	t.Helper()
	var lines []string
	for i, name := range names {
		lines = append(lines, fmt.Sprint(name, " ", s.Host(i+1)))
	}
	return WriteHostsFile(t, lines...)
}

// WriteHostsFile writes a hosts file with these lines, and returns its path.
func WriteHostsFile(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hostsfile.txt")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Occupy listens on addr of network "tcp" or "udp" until the test ends.
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
