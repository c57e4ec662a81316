//go:build !linux || 386 || s390x

package rawio

import (
	"net"
	"net/netip"
)

// NewUnpolled is NewPolled: no cheaper way to read a socket is known for this system.
func NewUnpolled(conn *net.UDPConn) (Socket, error) { return NewPolled(conn) }

// receiver returns a function that waits for the next datagram of conn.
func receiver(conn *net.UDPConn) (func(b []byte) (int, netip.AddrPort, error), error) {
	return conn.ReadFromUDPAddrPort, nil
}

// choosesSource says whether a socket can send from an address that its caller names.
const choosesSource = false

// sourceControl has nothing to say here.
type sourceControl struct{}

func (*sourceControl) set(netip.Addr) []byte { return nil }
