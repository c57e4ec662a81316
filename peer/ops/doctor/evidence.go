package doctor

import (
	"net/netip"
	"time"

	"memberly/peer/config"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// findings is the result of an examination, and the input of judge.
type findings struct {
	config   config.Config
	attached []utils.Network
	hosts    []evidence // by ID-1
	tcp, udp error      // from listening on the port; nil if it worked
	stall    time.Duration
	state    *stateEvidence // nil without -state
}

// route is how a datagram is sent. The protocol's heartbeats use broadcast where they can.
type route int

const (
	unicast route = iota
	broadcast
	routes
)

func routeOf(m *types.Message) route {
	if m.Broadcast {
		return broadcast
	}
	return unicast
}

// kind is the kind of process that runs on a host.
type kind int

const (
	unidentified kind = iota // nothing, or something that has not shown which
	aDoctor
	aPeer
)

// evidence is what the examination found of one host. For this host, only addrs, lookup and slowest are set.
type evidence struct {
	addrs   []netip.Addr
	lookup  error         // from looking up the name; nil if there are addrs
	slowest time.Duration // how long a look-up took that gave addrs

	dialled   error        // the last failure to dial it; nil once a connection was opened
	reached   bool         // it accepted a connection
	echoed    bool         // it answered over TCP
	called    bool         // it opened a connection to this host and sent something
	version   error        // it speaks another wire version
	keys      error        // why its messages cannot be read: types.ErrSealed, seal.ErrUnsealed or seal.ErrUnopened
	sameID    bool         // it claims this host's id
	lines     int          // how many hosts it lists, as far as it said; 0 if unknown
	shares    int          // how many of them, from the first on, are those of the hosts file here
	differs   bool         // it lists other hosts than the file here, on a line that both have
	kind      kind         // what runs there
	view      int64        // the number of the peer's view, if it echoed; 0 for none
	answered  [routes]bool // it answered a datagram on this route
	received  [routes]bool // it sent a datagram on this route
	heartbeat bool         // it sent a heartbeat
	speaks    uint8        // the highest wire version of the peer, as its heartbeat said; 0 if unknown
	foreign   netip.Addr   // a message claimed to be its, but came from this address of no host
	seen      bool         // anything came from its addresses
}

// compare notes what a message says of the list of hosts of its sender: the digest of the first so many of them. Of more
// than the hosts file here has, it cannot tell whether they begin with those.
func (f *findings) compare(e *evidence, lines int, digest uint64) {
	if lines == 0 {
		return
	}
	e.lines = max(e.lines, lines)
	if lines > len(f.config.Hosts) {
		return
	}
	if e.differs = digest != f.digest(lines); !e.differs {
		e.shares = max(e.shares, lines)
	}
}

// digest returns the digest of the first n hosts of the hosts file here.
func (f *findings) digest(n int) uint64 {
	if n == len(f.config.Hosts) {
		return f.config.Digest
	}
	return types.Digest(f.config.Hosts[:n])
}

// retired reports whether the hosts file here retires a host.
func (f *findings) retired(id types.ID) bool { return f.config.Hosts[id-1].Retired }

// other yields every host but this one, and but those that are retired.
func (f *findings) other(yield func(types.ID, *evidence) bool) {
	for i := range f.hosts {
		if id := types.ID(i + 1); id != f.config.ID && !f.retired(id) && !yield(id, &f.hosts[i]) {
			return
		}
	}
}

// broadcastTo returns the broadcast address that should reach the host, if there is one.
func (f *findings) broadcastTo(e *evidence) (netip.Addr, bool) {
	if found, _ := utils.Targets(e.addrs, f.attached); len(found) > 0 {
		return found[0], true
	}
	return netip.Addr{}, false
}

// uses returns the route of heartbeats between this host and another.
func (f *findings) uses(e *evidence) route {
	if _, ok := f.broadcastTo(e); ok {
		return broadcast
	}
	return unicast
}
