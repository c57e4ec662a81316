package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// HTTPPort is the port that `memberly status` and `memberly ready` ask by default, so it is the one
// to use unless something else needs it.
const HTTPPort = 8082

// ParseHTTP parses where HTTP is served: a port, such as 8082 or :8082, which it returns with an
// invalid address, or an address and a port, such as 10.0.0.1:8082 or [::]:8082.
func ParseHTTP(s string) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(s); err == nil && at.Port() != 0 {
		return at, nil
	}
	port, err := strconv.ParseUint(strings.TrimPrefix(s, ":"), 10, 16)
	if err != nil || port == 0 {
		return netip.AddrPort{}, fmt.Errorf("give a port, such as %d, or an IP address and a port, such as 0.0.0.0:%d", HTTPPort, HTTPPort)
	}
	return netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil
}

// nameLetters are what a host's name consists of.
const nameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

// PeerURL returns the URL of the peer at addr, which is as for ParseHTTP, with a name in place of an address, or such a URL:
// of one on this machine if addr is a port alone or an unspecified address.
func PeerURL(addr string) (string, error) {
	addr = strings.TrimSuffix(strings.TrimPrefix(addr, "http://"), "/")
	at, err := ParseHTTP(addr)
	if err != nil {
		name, port, _ := strings.Cut(addr, ":")
		if _, portErr := ParseHTTP(port); portErr == nil && name != "" && strings.Trim(name, nameLetters) == "" {
			return "http://" + addr, nil
		}
		return "", fmt.Errorf("%q: %w", addr, err)
	}
	host := at.Addr().String()
	if !at.Addr().IsValid() || at.Addr().IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(int(at.Port()))), nil
}

// PeerAt is PeerURL for addr or, if that is "", for what the environment says: MEMBERLY_HTTP, or HTTPPort.
func PeerAt(addr string, variables Lookup) (string, error) {
	if addr == "" {
		var err error
		if addr, err = HTTPAddr(variables); err != nil {
			return "", err
		}
	}
	return PeerURL(addr)
}

// Serving says how a peer is started that would answer at url, which is of PeerURL, where none does.
func Serving(url string) string {
	addr := strings.TrimPrefix(url, "http://")
	if _, err := ParseHTTP(addr); err != nil {
		_, port, _ := strings.Cut(addr, ":")
		return fmt.Sprintf("start the peer there with -http ADDRESS:%s, if it runs without", port)
	}
	return "start the peer with -http " + strings.TrimPrefix(addr, "127.0.0.1:") + ", if it runs without"
}

// placeHTTP adds an address to an HTTP that is a port alone: this host's own if that is a loopback
// address, else 127.0.0.1.
func (c *Config) placeHTTP() {
	if c.HTTP.Port() == 0 || c.HTTP.Addr().IsValid() {
		return
	}
	addr := c.Hosts[c.ID-1].Addr.Unmap()
	if !addr.IsLoopback() {
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	c.HTTP = netip.AddrPortFrom(addr, c.HTTP.Port())
}
