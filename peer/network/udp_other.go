//go:build !linux || 386 || s390x

package network

import "net"

// frugal returns the socket as it is: only on Linux is there a cheaper way to use it.
func frugal(socket *net.UDPConn, _ int) (udpSocket, error) { return socket, nil }
