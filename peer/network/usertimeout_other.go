//go:build !linux && !darwin && !freebsd

package network

import "net"

// limitUnacked leaves socket as it is: this system has no such option, or one not known here.
func limitUnacked(*net.TCPConn) {}
