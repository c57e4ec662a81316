//go:build linux || darwin || freebsd

package network

import (
	"net"
	"syscall"
)

// limitUnacked makes socket end once its data stays unacknowledged for unackedTime. Where the
// system refuses that, socket ends as late as the system has it.
func limitUnacked(socket *net.TCPConn) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, int(unackedTime/userTimeoutUnit))
	})
}
