package network

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"memberly/peer/types"
)

const (
	// mostUnknown is how many connections may be open that have not said who they are, from
	// addresses that are no host's as far as is known: one may be a host's new one.
	mostUnknown = 64
	// mostShy is how many there may be from one host.
	mostShy = 8
	// mostStrangers is how many connections from addresses that are no host's may be looked into,
	// those counted that had to make room and still wait for the name service.
	mostStrangers = 256
)

// lobby is where connections wait until it is known who they are from. Strangers have a room of
// their own, and so has each host, so that nobody takes a host's place but itself.
// Any goroutine may use it.
type lobby struct {
	mu      sync.Mutex
	guests  []guest // the oldest first
	strange int     // strangers that have entered, and not come to leave
}

// guest is a connection in the lobby.
type guest struct {
	socket net.Conn
	host   types.ID // whose address it is from; 0: nobody's
}

// room is how many there may be of a guest's kind.
func (g guest) room() int {
	if g.host == 0 {
		return mostUnknown
	}
	return mostShy
}

// enter lets g in; the oldest of its room makes place. It returns false if too many strangers
// are being looked into.
func (l *lobby) enter(g guest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.host == 0 {
		if l.strange == mostStrangers {
			return false
		}
		l.strange++
	}
	oldest, n := -1, 0
	for i, other := range l.guests {
		if other.host == g.host {
			if n++; n == 1 {
				oldest = i
			}
		}
	}
	if n == g.room() {
		l.turnOut(oldest)
	}
	l.guests = append(l.guests, g)
	return true
}

// leave ends what enter began. It returns false if g had to make place.
func (l *lobby) leave(g guest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.host == 0 {
		l.strange--
	}
	i := slices.Index(l.guests, g)
	if i < 0 {
		return false
	}
	l.guests = slices.Delete(l.guests, i, i+1)
	return true
}

// clear turns everybody out: their file descriptors are needed. A host will dial again.
func (l *lobby) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.guests) > 0 {
		l.turnOut(0)
	}
}

func (l *lobby) turnOut(i int) {
	reset(l.guests[i].socket)
	l.guests = slices.Delete(l.guests, i, i+1)
}

// greet tells whether a connection that was accepted is to be welcomed; else it is closed. It
// has then entered the lobby.
func (d *door) greet(socket net.Conn) (guest, bool) {
	addr := netip.Addr{}
	if tcp, ok := socket.RemoteAddr().(*net.TCPAddr); ok {
		addr = bare(tcp.AddrPort().Addr())
	}
	g := guest{socket, d.book.of(addr)}
	hurried := !d.limits.connections(addr, g.host).allow(time.Now())
	if !hurried && d.lobby.enter(g) {
		return g, true
	}
	switch {
	case g.host != 0:
		d.drops.blame(addr, tooManyConnections)
	case hurried:
		d.drops.count(ConnRate)
		d.drops.stranger(addr)
	default:
		d.drops.count(PendingFull)
	}
	reset(socket)
	return g, false
}

// reset closes a connection so that the kernel keeps nothing of it.
func reset(socket net.Conn) {
	if tcp, ok := socket.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	socket.Close()
}
