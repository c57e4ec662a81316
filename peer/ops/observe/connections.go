package observe

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
)

const (
	// maxConnections bounds the connections of other machines, maxOwn those of this one: each `memberly hold` has two.
	maxConnections, maxOwn = 128, 16 + 2*maxHolders
	// maxPerAddress bounds the connections of one other address.
	maxPerAddress = 32
)

// connections bounds the connections of a server. A new one is always taken: beyond a bound it replaces an
// older one, so that no number of clients keeps a health check from being answered. The zero value is ready
// for use. Any goroutine may use it.
type connections struct {
	mu  sync.Mutex
	all []*client // the oldest first
}

// client is a connection.
type client struct {
	net.Conn
	address netip.Addr // of the other end; the zero Addr stands for this machine
	state   http.ConnState
}

// add adds a connection. It closes another one if there are too many: of the same address if that has too
// many, else of the address that has most. Of several such addresses, it takes the new connection's, or else the one
// whose connection is the oldest. Of its connections, add closes the oldest that waits for a request, or else the
// oldest.
func (c *connections) add(conn net.Conn) {
	added := &client{Conn: conn, address: origin(conn)}
	c.mu.Lock()
	defer c.mu.Unlock()
	n, of := make(map[netip.Addr]int), added.address
	for _, other := range c.all {
		n[other.address]++
	}
	local := n[netip.Addr{}]
	switch {
	case !of.IsValid() && local >= maxOwn, of.IsValid() && n[of] >= maxPerAddress:
		c.drop(of)
	case of.IsValid() && len(c.all)-local >= maxConnections:
		for _, other := range c.all {
			if other.address.IsValid() && n[other.address] > n[of] {
				of = other.address
			}
		}
		c.drop(of)
	}
	c.all = append(c.all, added)
}

// drop closes a connection of an address.
func (c *connections) drop(address netip.Addr) {
	var victim *client
	for _, other := range slices.Backward(c.all) {
		if other.address == address && (victim == nil || other.state == http.StateIdle || victim.state != http.StateIdle) {
			victim = other
		}
	}
	c.all = slices.DeleteFunc(c.all, func(other *client) bool { return other == victim })
	victim.Close()
}

// changed is http.Server's ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if state == http.StateNew {
		c.add(conn)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.all, func(other *client) bool { return other.Conn == conn })
	switch {
	case i < 0:
	case state == http.StateClosed || state == http.StateHijacked:
		c.all = slices.Delete(c.all, i, i+1)
	default:
		c.all[i].state = state
	}
}

// origin returns the address of the other end of conn; the zero Addr if that is this machine.
func origin(conn net.Conn) netip.Addr {
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	local, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	if at := remote.Addr().Unmap(); !at.IsLoopback() && at != local.Addr().Unmap() {
		return at
	}
	return netip.Addr{}
}
