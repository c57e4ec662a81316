package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"memberly/peer/config"
	"memberly/peer/network/rawio"
)

// This file opens the sockets of a peer.

// manyHosts is the number of hosts from which on datagrams do not wake the process: waking for each heartbeat
// would cost a peer of a thousand a twentieth of a core.
const manyHosts = 32

// roomForMany is what a socket that does not wake the process has room for, in bytes as SO_RCVBUF counts them: the
// default, 277 heartbeats or fewer, is little more than what a peer of a thousand finds at one look.
const roomForMany = 512 << 10

// address returns the only address that the peer uses, which it has if it is on the loopback network,
// so that a whole group can run on one machine.
func address(c config.Config) netip.Addr {
	if own := c.Hosts[c.ID-1].Addr.Unmap(); own.IsLoopback() {
		return own
	}
	return netip.Addr{}
}

func listenTCP(self netip.Addr) (net.Listener, error) {
	return net.Listen("tcp", local(self, config.TCPPort))
}

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
	conn.SetReadBuffer(roomForMany) // if the kernel allows less, that
	return rawio.NewUnpolled(conn)
}

// local returns where to listen: on all addresses if self is not valid.
func local(self netip.Addr, port int) string {
	if self.IsValid() {
		return net.JoinHostPort(self.String(), strconv.Itoa(port))
	}
	return net.JoinHostPort("", strconv.Itoa(port))
}

// refused writes what failed to stdout, and returns the remedy.
func refused(stdout io.Writer, what string, port int, err error) error {
	fmt.Fprintf(stdout, "%s: %v\n", what, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d is in use: end the peer that runs on this machine already, or whatever else uses the port", port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("this machine does not have the address that the hosts file gives it: %w", err)
	}
	return fmt.Errorf("port %d cannot be opened: %w", port, err)
}
