package network

import (
	"net"
	"slices"
	"sync"

	"memberly/peer/types"
)

const (
	// maxPendingUnknown is how many connections may be pending from addresses that belong to no host
	// as far as is known: one may be a host's new address.
	maxPendingUnknown = 64
	// maxPendingOfHost is how many may be pending from one host.
	maxPendingOfHost = 8
	// maxLookedInto is how many connections from such addresses may be looked into. It includes those
	// that were evicted and still wait for the name service.
	maxLookedInto = 256
)

// pendingConns are the connections that have not identified themselves. Unknown addresses share one
// quota and each host has its own, so that no other can exhaust a host's.
// Any goroutine may use it.
type pendingConns struct {
	mu      sync.Mutex
	conns   []pendingConn // the oldest first
	unknown int           // those from unknown addresses that were added and not yet removed
}

// pendingConn is a connection that has not identified itself.
type pendingConn struct {
	socket net.Conn
	host   types.ID // whose address it is from; 0 if that is unknown
}

// quota returns how many may be pending from where c is.
func (c pendingConn) quota() int {
	if c.host == 0 {
		return maxPendingUnknown
	}
	return maxPendingOfHost
}

// add adds c, and evicts the oldest of the same quota if that is full. It returns false if too many
// unknown addresses are being looked into.
func (p *pendingConns) add(c pendingConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.host == 0 {
		if p.unknown == maxLookedInto {
			return false
		}
		p.unknown++
	}
	oldest, n := -1, 0
	for i, other := range p.conns {
		if other.host == c.host {
			if n++; n == 1 {
				oldest = i
			}
		}
	}
	if n == c.quota() {
		p.evict(oldest)
	}
	p.conns = append(p.conns, c)
	return true
}

// remove ends what add began. It returns false if c was evicted.
func (p *pendingConns) remove(c pendingConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.host == 0 {
		p.unknown--
	}
	i := slices.Index(p.conns, c)
	if i < 0 {
		return false
	}
	p.conns = slices.Delete(p.conns, i, i+1)
	return true
}

// clear evicts all, because their file descriptors are needed. A host dials again.
func (p *pendingConns) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.conns) > 0 {
		p.evict(0)
	}
}

func (p *pendingConns) evict(i int) {
	reset(p.conns[i].socket)
	p.conns = slices.Delete(p.conns, i, i+1)
}

// reset closes a connection so that the kernel keeps nothing of it.
func reset(socket net.Conn) {
	if tcp, ok := socket.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	socket.Close()
}
