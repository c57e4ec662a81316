//go:build linux && !386 && !s390x

package network

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// quietConn is a TCP connection whose system calls are not announced to Go's scheduler: they
// cannot wait, and its monitor thread would wake for each. One goroutine may read it, and one
// write.
type quietConn struct {
	*net.TCPConn
	raw syscall.RawConn
	in  transfer
	out transfer
}

// transfer is one way of a quietConn.
type transfer struct {
	b       []byte // what is to be filled, or sent
	n       int    // how much was
	errno   syscall.Errno
	attempt func(fd uintptr) bool // returns false if it takes waiting; made once, so that it takes no memory
}

// quiet returns socket, or what uses it with less work for the processor.
func quiet(socket net.Conn) net.Conn {
	tcp, ok := socket.(*net.TCPConn)
	if !ok {
		return socket
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return socket
	}
	c := &quietConn{TCPConn: tcp, raw: raw}
	c.in.attempt = func(fd uintptr) bool { return c.in.call(syscall.SYS_READ, fd) }
	c.out.attempt = func(fd uintptr) bool {
		for c.out.call(syscall.SYS_WRITE, fd) {
			if c.out.errno != 0 || c.out.n == len(c.out.b) {
				return true
			}
		}
		return false
	}
	return c
}

// call reads or writes the rest of b. It returns false if that takes waiting.
func (t *transfer) call(trap, fd uintptr) bool {
	rest := t.b[t.n:]
	n, _, errno := syscall.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uintptr(len(rest)))
	if t.errno = errno; errno == 0 {
		t.n += int(n)
	}
	return errno != syscall.EAGAIN
}

func (t *transfer) do(wait func(func(uintptr) bool) error, call string, b []byte) (int, error) {
	t.b, t.n = b, 0
	if err := wait(t.attempt); err != nil {
		return t.n, err
	}
	if t.errno != 0 {
		return t.n, &net.OpError{Op: call, Net: "tcp", Err: os.NewSyscallError(call, t.errno)}
	}
	return t.n, nil
}

func (c *quietConn) Read(b []byte) (int, error) {
	n, err := c.in.do(c.raw.Read, "read", b)
	if n == 0 && err == nil && len(b) > 0 {
		return 0, io.EOF
	}
	return n, err
}

func (c *quietConn) Write(b []byte) (int, error) { return c.out.do(c.raw.Write, "write", b) }
