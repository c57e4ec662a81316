//go:build linux || darwin || freebsd

package network

import (
	"net"
	"syscall"
	"time"
)

// unackedTime is how long data may stay unacknowledged before the connection ends. Else the kernel sends it
// again at growing intervals, up to 120 s apart, and the connection stays useless for that long after the
// network has healed. 5 s leave room for several sendings.
const unackedTime = 5 * time.Second

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
