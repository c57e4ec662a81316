package network

import (
	"net"
	"net/netip"
	"time"
)

const (
	// manyHosts is from how many hosts on the UDP lane is read at a pace: to wake for each
	// heartbeat would cost a peer of a thousand a twentieth of a core.
	manyHosts = 32
	// pace is the time between two readings then: by so much a heartbeat may be heard late.
	pace = 20 * time.Millisecond
)

// udpSocket is what pulse needs of a net.UDPConn.
type udpSocket interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

func listenUDP(self netip.Addr) (*net.UDPConn, error) {
	socket, err := net.ListenPacket("udp", local(self, UDPPort))
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
