//go:build linux && !386 && !s390x

package rawio

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// unpolled is a Socket that Go's poller does not know, so that datagrams do not wake the process.
type unpolled struct {
	ipv4 bool // the socket knows no other addresses
	b    [MaxDatagram]byte
	in   envelope

	mu sync.RWMutex // held for writing to close fd, for reading to use it
	fd int          // -1 once closed
}

// NewUnpolled returns a Socket without Ready, for what comes to conn; or the one that NewPolled
// returns if the kernel refuses. Either closes conn.
func NewUnpolled(conn *net.UDPConn) (Socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	if failed := raw.Control(func(old uintptr) { fd, err = syscall.Dup(int(old)) }); failed != nil || err != nil {
		return NewPolled(conn)
	}
	syscall.CloseOnExec(fd)
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1) // if this fails, waited is unknown
	u := &unpolled{fd: fd, ipv4: conn.LocalAddr().(*net.UDPAddr).IP.To4() != nil}
	u.in.init()
	return u, conn.Close()
}

func (u *unpolled) Next() ([]byte, netip.AddrPort, time.Duration, error) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if u.fd < 0 {
		return nil, netip.AddrPort{}, 0, net.ErrClosed
	}
	n, from, err := u.in.receive(uintptr(u.fd), u.b[:])
	switch err {
	case nil:
		return u.b[:n], from, u.in.age(), nil
	case syscall.EAGAIN:
		err = ErrEmpty
	}
	return nil, netip.AddrPort{}, 0, err
}

func (u *unpolled) Ready() <-chan struct{} { return nil }

func (u *unpolled) WriteTo(b []byte, to netip.AddrPort) error {
	return u.WriteFrom(b, netip.Addr{}, to)
}

func (u *unpolled) WriteFrom(b []byte, from netip.Addr, to netip.AddrPort) error {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if u.fd < 0 {
		return net.ErrClosed
	}
	return send(uintptr(u.fd), b, from, to, u.ipv4)
}

func (u *unpolled) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fd < 0 {
		return net.ErrClosed
	}
	err := syscall.Close(u.fd)
	u.fd = -1
	return err
}

// receiver returns a function that waits for the next datagram of conn. The system call that
// reads never blocks, so it need not be announced to Go's scheduler.
func receiver(conn *net.UDPConn) (func(b []byte) (int, netip.AddrPort, error), error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var in envelope
	in.init()
	var buf []byte // filled by try, which sets the rest; try is made once, so that reading does not allocate
	var n int
	var from netip.AddrPort
	try := func(fd uintptr) bool {
		n, from, err = in.receive(fd, buf)
		return err != syscall.EAGAIN
	}
	return func(b []byte) (int, netip.AddrPort, error) {
		buf = b
		if failed := raw.Read(try); failed != nil {
			return 0, netip.AddrPort{}, failed
		}
		return n, from, err
	}, nil
}

// envelope is what the kernel tells of a datagram that it hands over: its sender and, if the socket
// asks for that, when it came by the wall clock.
type envelope struct {
	from    syscall.RawSockaddrInet6 // or one of IPv4, which is shorter
	vector  syscall.Iovec
	control [64]byte
	header  syscall.Msghdr
}

func (e *envelope) init() {
	e.header.Name, e.header.Iov, e.header.Iovlen = (*byte)(unsafe.Pointer(&e.from)), &e.vector, 1
	e.header.Control = &e.control[0]
}

// receive reads a datagram into b from the socket fd. The error is syscall.EAGAIN if none waits.
func (e *envelope) receive(fd uintptr, b []byte) (int, netip.AddrPort, error) {
	e.vector.Base = unsafe.SliceData(b)
	e.vector.SetLen(len(b))
	e.header.Namelen = uint32(unsafe.Sizeof(e.from))
	e.header.SetControllen(len(e.control))
	n, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&e.header)), syscall.MSG_DONTWAIT)
	if errno != 0 {
		return 0, netip.AddrPort{}, errno
	}
	return int(n), addrPort(&e.from), nil
}

// age is how long ago the datagram came that was read last; zero if that is not known.
func (e *envelope) age() time.Duration {
	c := (*syscall.Cmsghdr)(unsafe.Pointer(&e.control))
	size := syscall.CmsgLen(int(unsafe.Sizeof(syscall.Timespec{})))
	if int(e.header.Controllen) < size || c.Level != syscall.SOL_SOCKET || c.Type != syscall.SCM_TIMESTAMPNS {
		return 0
	}
	t := (*syscall.Timespec)(unsafe.Pointer(&e.control[syscall.CmsgLen(0)]))
	return time.Since(time.Unix(t.Unix()))
}

// addrPort is from, which may be an address of IPv4.
func addrPort(from *syscall.RawSockaddrInet6) netip.AddrPort {
	addr := netip.AddrFrom16(from.Addr)
	if from.Family == syscall.AF_INET {
		addr = netip.AddrFrom4((*syscall.RawSockaddrInet4)(unsafe.Pointer(from)).Addr)
	}
	return netip.AddrPortFrom(addr, swapped(from.Port))
}

// send sends b over the socket fd, which may know no addresses but those of IPv4. The system chooses the address
// to send from, if from is not valid.
func send(fd uintptr, b []byte, from netip.Addr, to netip.AddrPort, ipv4 bool) error {
	addr := to.Addr()
	at := syscall.RawSockaddrInet6{Family: syscall.AF_INET6, Port: swapped(to.Port()), Addr: addr.As16(), Scope_id: scope(addr)}
	size := unsafe.Sizeof(at)
	if ipv4 {
		if addr = addr.Unmap(); !addr.Is4() {
			return syscall.EAFNOSUPPORT
		}
		at.Family, size = syscall.AF_INET, unsafe.Sizeof(syscall.RawSockaddrInet4{})
		(*syscall.RawSockaddrInet4)(unsafe.Pointer(&at)).Addr = addr.As4()
	}
	vector := syscall.Iovec{Base: unsafe.SliceData(b)}
	vector.SetLen(len(b))
	header := syscall.Msghdr{Name: (*byte)(unsafe.Pointer(&at)), Namelen: uint32(size), Iov: &vector, Iovlen: 1}
	var c sourceControl
	if from.IsValid() {
		control := c.set(from)
		header.Control = &control[0]
		header.SetControllen(len(control))
	}
	_, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&header)), syscall.MSG_DONTWAIT)
	if errno != 0 {
		return errno
	}
	return nil
}

// choosesSource says whether a socket can send from an address that its caller names.
const choosesSource = true

// sourceControl is the control message that names the address to send from. A socket for both families takes
// that of IPv4 for IPv4 addresses.
type sourceControl struct {
	header syscall.Cmsghdr
	info   syscall.Inet6Pktinfo // or one of IPv4, which is shorter
}

// set makes c name from, and returns its bytes.
func (c *sourceControl) set(from netip.Addr) []byte {
	size := syscall.SizeofInet6Pktinfo
	if from = from.Unmap(); from.Is4() {
		size = syscall.SizeofInet4Pktinfo
		c.header.Level, c.header.Type = syscall.IPPROTO_IP, syscall.IP_PKTINFO
		(*syscall.Inet4Pktinfo)(unsafe.Pointer(&c.info)).Spec_dst = from.As4()
	} else {
		c.header.Level, c.header.Type = syscall.IPPROTO_IPV6, syscall.IPV6_PKTINFO
		c.info.Addr = from.As16()
	}
	c.header.SetLen(syscall.CmsgLen(size))
	return unsafe.Slice((*byte)(unsafe.Pointer(c)), unsafe.Sizeof(*c))[:min(int(unsafe.Sizeof(*c)), syscall.CmsgSpace(size))]
}

// swapped is a port as the kernel has it, in network order, or back.
func swapped(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// scope is the number of the interface that addr's zone names; 0 without one.
func scope(addr netip.Addr) uint32 {
	if addr.Zone() == "" {
		return 0
	}
	zone, err := net.InterfaceByName(addr.Zone())
	if err != nil {
		return 0
	}
	return uint32(zone.Index)
}
