package doctor

import (
	"net/netip"
	"time"

	"memberly/peer/config"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// findings is all that an examination found: what judge goes by.
type findings struct {
	config   config.Config
	attached []utils.Network
	hosts    []evidence // by ID-1
	tcp, udp error      // why the port could not be opened here
	stall    time.Duration
}

// route is how a datagram is sent.
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

// kind is what runs on a host, as far as is known.
type kind int

const (
	unidentified kind = iota // or nobody knows who
	aDoctor
	aPeer
)

// evidence is what was found of one host. Of this host, only the names count.
type evidence struct {
	addrs  []netip.Addr
	lookup error // of the name; nil if there are addrs

	dialled   error        // the last failure to dial it; nil once a connection was opened
	reached   bool         // a connection to it was opened
	echoed    bool         // it answered over TCP
	called    bool         // it opened a connection to here, and said something
	version   error        // it speaks another wire version
	keys      error        // what it sends cannot be understood: types.ErrSealed, seal.ErrUnsealed or seal.ErrUnopened
	sameID    bool         // it says that it has this host's id
	digest    uint64       // of its hosts file, if it said so
	kind      kind         // what runs there
	view      int64        // that this peer holds, if it echoed; 0 for none
	answered  [routes]bool // a datagram of this lane reached it, and its answer came back
	received  [routes]bool // a datagram of this lane came from it
	heartbeat bool         // a heartbeat came from it
	foreign   netip.Addr   // it came from this address, which is not its own
	seen      bool         // anything came from it
}

// other tells of every host but this one.
func (f *findings) other(yield func(types.ID, *evidence) bool) {
	for i := range f.hosts {
		if id := types.ID(i + 1); id != f.config.ID && !yield(id, &f.hosts[i]) {
			return
		}
	}
}

// broadcastTo returns the address of the broadcast that is to reach the host, if there is one.
func (f *findings) broadcastTo(e *evidence) (netip.Addr, bool) {
	if found, _ := utils.Targets(e.addrs, f.attached); len(found) > 0 {
		return found[0], true
	}
	return netip.Addr{}, false
}

// uses returns the lane of heartbeats between here and a host.
func (f *findings) uses(e *evidence) route {
	if _, ok := f.broadcastTo(e); ok {
		return broadcast
	}
	return unicast
}

// isOwn reports whether addr is this machine's, loopback aside.
func (f *findings) isOwn(addr netip.Addr) bool {
	for _, n := range f.attached {
		if n.Prefix.Addr() == addr && !addr.IsLoopback() {
			return true
		}
	}
	return false
}
