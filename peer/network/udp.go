package network

import (
	"net"
	"net/netip"

	"memberly/peer/config"
	"memberly/peer/network/rawio"
)

// manyHosts is the number of hosts from which on datagrams do not wake the process: waking for each heartbeat
// would cost a peer of a thousand a twentieth of a core.
const manyHosts = 32

func listenUDP(self netip.Addr) (*net.UDPConn, error) {
	conn, err := net.ListenPacket("udp", local(self, config.UDPPort))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// openUDP opens the socket of a peer in a group of so many hosts.
func openUDP(self netip.Addr, hosts int) (rawio.Socket, error) {
	conn, err := listenUDP(self)
	if err != nil {
		return nil, err
	}
	if hosts < manyHosts {
		return rawio.NewPolled(conn)
	}
	return rawio.NewUnpolled(conn)
}
