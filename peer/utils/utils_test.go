package utils

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestHostName(t *testing.T) {
	t.Parallel()
	name, err := HostName()
	if err != nil || name == "" || strings.TrimSpace(name) != name {
		t.Errorf("HostName() = %q, %v", name, err)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	const (
		lan      = "10.0.0.2/24"
		wide     = "10.9.9.9/8"
		odd      = "192.168.4.130/20"
		loopback = "-127.0.0.1/8"
		tunnel   = "-10.0.0.129/25" // "-": no broadcast
	)
	cases := []struct {
		what       string
		attached   string
		hosts      string
		broadcasts string
		singles    string
	}{
		{"no hosts", lan, "", "", ""},
		{"one network", lan, "10.0.0.2 10.0.0.3 10.0.0.4", "10.0.0.255", ""},
		{"alone on it", lan, "10.0.0.2", "", ""},
		{"bits that are no whole byte", odd, "192.168.15.7", "192.168.15.255", ""},
		{"two networks", lan + " " + odd, "192.168.4.1 10.0.0.3 192.168.4.2", "192.168.15.255 10.0.0.255", ""},
		{"two interfaces on one network", lan + " 10.0.0.7/24", "10.0.0.3 10.0.0.7", "10.0.0.255", ""},
		{"some beyond", lan, "172.16.0.1 10.0.0.3 172.16.0.1", "10.0.0.255", "172.16.0.1"},
		{"nothing attached", "", "10.0.0.3 10.0.0.4", "", "10.0.0.3 10.0.0.4"},
		{"the narrowest network counts", lan + " " + wide, "10.0.0.3 10.1.0.1", "10.0.0.255 10.255.255.255", ""},
		{"the narrowest, listed first", wide + " " + lan, "10.0.0.3", "10.0.0.255", ""},
		{"the narrowest cannot broadcast", lan + " " + tunnel, "10.0.0.3 10.0.0.130", "10.0.0.255", "10.0.0.130"},
		{"loopback", lan + " " + loopback, "127.0.0.1 127.0.0.2", "", "127.0.0.1 127.0.0.2"},
		{"loopback that claims to broadcast", "127.0.0.1/8", "127.0.0.2", "", "127.0.0.2"},
		{"IPv6", "fd00::2/64 fe80::1/64", "fd00::2 fd00::3 ::1", "", "fd00::3 ::1"},
		{"IPv6 with zone", "fe80::1/64", "fe80::1%eth0 fe80::2%eth0", "", "fe80::2%eth0"},
		{"mapped", lan, "::ffff:10.0.0.2 ::ffff:10.0.0.3", "10.0.0.255", ""},
		{"too small for a broadcast", "10.0.0.2/31", "10.0.0.3", "", "10.0.0.3"},
		{"point to point", "10.0.0.2/32", "10.0.0.3", "", "10.0.0.3"},
		{"everything is one network", "10.0.0.2/0", "11.0.0.3", "255.255.255.255", ""},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			broadcasts, singles := Targets(addrs(c.hosts), attachedTo(c.attached))
			if !slices.Equal(broadcasts, addrs(c.broadcasts)) {
				t.Errorf("broadcasts %v, want %s", broadcasts, c.broadcasts)
			}
			if !slices.Equal(singles, addrs(c.singles)) {
				t.Errorf("singles %v, want %s", singles, c.singles)
			}
		})
	}
	if broadcasts, singles := Targets(make([]netip.Addr, 2), attachedTo(lan)); broadcasts != nil || singles != nil {
		t.Errorf("addresses that are none: %v, %v", broadcasts, singles)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, to, listed, attached, want string }{
		{"the only address", "10.0.0.2", "10.0.0.1", "10.0.0.1/24", "10.0.0.1"},
		{"a second address", "10.0.0.2", "10.0.0.11", "10.0.0.1/24 10.0.0.11/24", "10.0.0.11"},
		{"beyond a router", "172.16.0.2", "10.0.0.11", "10.0.0.1/24 10.0.0.11/24", "10.0.0.11"},
		{"the one on the network", "10.1.0.2", "10.0.0.1 10.1.0.1", "10.0.0.1/24 10.1.0.1/24", "10.1.0.1"},
		{"a broadcast", "10.1.0.255", "10.0.0.1 10.1.0.1", "10.0.0.1/24 10.1.0.1/24", "10.1.0.1"},
		{"several beyond a router", "172.16.0.2", "10.0.0.1 10.1.0.1", "10.0.0.1/24 10.1.0.1/24", ""},
		{"no address of this machine", "10.0.0.2", "10.0.0.9", "10.0.0.1/24", ""},
		{"nothing listed", "10.0.0.2", "", "10.0.0.1/24", ""},
		{"mapped", "::ffff:10.0.0.2", "::ffff:10.0.0.11", "10.0.0.1/24 10.0.0.11/24", "10.0.0.11"},
		{"IPv6, not the temporary one", "fd00::2", "fd00::1", "fd00::abcd/64 fd00::1/64", "fd00::1"},
		{"the family of the other", "fd00::2", "10.0.0.1 fd00::1", "10.0.0.1/24 fd00::1/64", "fd00::1"},
		{"another family alone", "fd00::2", "10.0.0.1", "10.0.0.1/24 fd00::1/64", ""},
		{"127.0.1.1 in /etc/hosts", "10.0.0.2", "127.0.1.1", "127.0.1.1/8 10.0.0.1/24", ""},
		{"loopback to loopback", "127.0.0.2", "127.0.0.1", "127.0.0.1/8", "127.0.0.1"},
		{"this machine to itself", "127.0.0.1", "10.0.0.1", "127.0.0.1/8 10.0.0.1/24", ""},
		{"link-local", "fe80::2%eth0", "fe80::1%eth0", "fe80::1/64", "fe80::1%eth0"},
		{"link-local, another interface", "fe80::2%eth1", "fe80::1%eth0", "fe80::1/64", ""},
		{"link-local does not go beyond", "fd00::2", "fe80::1%eth0", "fe80::1/64", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var want netip.Addr
			if c.want != "" {
				want = netip.MustParseAddr(c.want)
			}
			if got := Source(netip.MustParseAddr(c.to), addrs(c.listed), attachedTo(c.attached)); got != want {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	_, other, _ := net.ParseCIDR("fd00::/64")
	given := []net.Addr{
		&net.IPNet{IP: net.IPv4(10, 0, 0, 2), Mask: net.CIDRMask(24, 32)},
		&net.IPNet{IP: net.IPv4(10, 0, 0, 2), Mask: net.IPv4Mask(255, 0, 255, 0)}, // no network's mask
		&net.IPAddr{IP: net.IPv4(10, 0, 0, 9)},
		&net.IPNet{},
		other,
	}
	got := networks(net.FlagUp|net.FlagBroadcast, given)
	want := []Network{{netip.MustParsePrefix("10.0.0.2/24"), true}, {netip.MustParsePrefix("fd00::/64"), true}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := networks(net.FlagBroadcast, given); got != nil {
		t.Errorf("an interface that is down is attached to %v", got)
	}
	if got := networks(net.FlagUp, given[:1]); len(got) != 1 || got[0].Broadcast {
		t.Errorf("an interface without broadcast is attached to %v", got)
	}
}

func TestAttached(t *testing.T) {
	t.Parallel()
	attached, err := Attached()
	if err != nil {
		t.Fatal(err)
	}
	loopback := func(n Network) bool { return n.Prefix.Addr().IsLoopback() }
	if !slices.ContainsFunc(attached, loopback) {
		t.Errorf("no loopback among %v", attached)
	}
	hosts := addrs("127.0.0.1 127.0.0.2")
	if broadcasts, singles := Targets(hosts, attached); broadcasts != nil || !slices.Equal(singles, hosts) {
		t.Errorf("on this machine, %v are reached by %v and %v", hosts, broadcasts, singles)
	}
}

// addrs returns the addresses in s, which spaces separate; nil if there are none.
func addrs(s string) []netip.Addr {
	var all []netip.Addr
	for _, field := range strings.Fields(s) {
		all = append(all, netip.MustParseAddr(field))
	}
	return all
}

// attachedTo returns the networks in s, which spaces separate; "-" before one means that it
// cannot broadcast.
func attachedTo(s string) []Network {
	var all []Network
	for _, field := range strings.Fields(s) {
		prefix, silent := strings.CutPrefix(field, "-")
		all = append(all, Network{netip.MustParsePrefix(prefix), !silent})
	}
	return all
}
