package network

import (
	"errors"
	"memberly/peer/config"
	"net"
	"net/netip"
	"time"
)

const (
	// manyHosts is from how many hosts on the UDP lane is read at a pace: to wake for each
	// heartbeat would cost a peer of a thousand a twentieth of a core.
	manyHosts = 32
	// pace is the longest time between two readings then. Where the process is awake anyway, half
	// of it is enough.
	pace = 100 * time.Millisecond
)

// udpSocket is what pulse needs of a net.UDPConn. One goroutine reads it. With a pacer, that one
// does not wait: where nothing has come, the error is errNothing.
type udpSocket interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// pacer is a udpSocket that wakes nobody: who reads it looks, from time to time, what has come.
type pacer interface {
	udpSocket
	// waited is how long the datagram read last lay there, as far as is known.
	waited() time.Duration
}

var errNothing = errors.New("no datagram has come")

func listenUDP(self netip.Addr) (*net.UDPConn, error) {
	socket, err := net.ListenPacket("udp", local(self, config.UDPPort))
	if err != nil {
		return nil, err
	}
	return socket.(*net.UDPConn), nil
}

// openUDP opens the socket of a peer in a group of so many hosts.
func openUDP(self netip.Addr, hosts int) (udpSocket, error) {
	socket, err := listenUDP(self)
	if err != nil {
		return nil, err
	}
	return frugal(socket, hosts)
}
