//go:build !linux || 386 || s390x

package network

import "net"

// quiet returns the socket as it is: only on Linux is there a cheaper way to use it.
func quiet(socket net.Conn) net.Conn { return socket }
