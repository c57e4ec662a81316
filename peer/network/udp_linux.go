//go:build linux && !386 && !s390x

package network

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// This file uses the UDP socket with less work for the processor than package net does. A system
// call that cannot wait is not announced to Go's scheduler, which would wake its monitor thread
// for each; and where many datagrams come, the socket is kept from Go's poller, which would wake
// the process for each.

// frugal takes over socket, of a peer in a group of so many hosts, and returns it.
func frugal(socket *net.UDPConn, hosts int) (udpSocket, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	if hosts < manyHosts {
		return newPrompt(socket, raw), nil
	}
	var fd int
	if failed := raw.Control(func(old uintptr) { fd, err = syscall.Dup(int(old)) }); failed != nil {
		err = failed
	}
	if err != nil {
		return newPrompt(socket, raw), nil
	}
	syscall.CloseOnExec(fd)
	ipv4 := socket.LocalAddr().(*net.UDPAddr).IP.To4() != nil
	return newPaced(fd, ipv4), socket.Close()
}

// prompt is a socket whose reader wakes for every datagram. One goroutine may read it.
type prompt struct {
	*net.UDPConn
	raw     syscall.RawConn
	attempt func(fd uintptr) bool // tries to read, and returns false if it takes waiting

	b    []byte // to be filled by attempt, as is the rest
	n    int
	from netip.AddrPort
	err  error
}

func newPrompt(socket *net.UDPConn, raw syscall.RawConn) *prompt {
	p := &prompt{UDPConn: socket, raw: raw}
	p.attempt = func(fd uintptr) bool { // made once, so that reading takes no memory
		p.n, p.from, p.err = receiveFrom(fd, p.b)
		return p.err != syscall.EAGAIN
	}
	return p
}

func (p *prompt) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	p.b = b
	if err := p.raw.Read(p.attempt); err != nil {
		return 0, netip.AddrPort{}, err
	}
	return p.n, p.from, p.err
}

// paced is a socket that wakes nobody: whoever reads it looks what came.
type paced struct {
	ipv4 bool // it knows no other addresses
	lay  time.Duration

	// What one datagram is read into. With it comes when it arrived, by the wall clock.
	from    syscall.RawSockaddrInet6
	vector  syscall.Iovec
	control [64]byte
	header  syscall.Msghdr

	mu sync.RWMutex // held for writing to close fd, for reading to use it
	fd int          // -1 once closed
}

func newPaced(fd int, ipv4 bool) *paced {
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1) // without, nothing is said to have waited
	p := &paced{fd: fd, ipv4: ipv4}
	p.header.Name, p.header.Iov, p.header.Iovlen = (*byte)(unsafe.Pointer(&p.from)), &p.vector, 1
	p.header.Control = &p.control[0]
	return p
}

func (p *paced) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.fd < 0 {
		return 0, netip.AddrPort{}, net.ErrClosed
	}
	p.vector.Base = unsafe.SliceData(b)
	p.vector.SetLen(len(b))
	p.header.Namelen = uint32(unsafe.Sizeof(p.from))
	p.header.SetControllen(len(p.control))
	n, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&p.header)), syscall.MSG_DONTWAIT)
	switch errno {
	case 0:
		p.lay = p.age()
		return int(n), addrPort(&p.from), nil
	case syscall.EAGAIN:
		return 0, netip.AddrPort{}, errNothing
	}
	return 0, netip.AddrPort{}, errno
}

// age is how long ago the datagram read last arrived; zero if that is not known.
func (p *paced) age() time.Duration {
	c := (*syscall.Cmsghdr)(unsafe.Pointer(&p.control))
	size := syscall.CmsgLen(int(unsafe.Sizeof(syscall.Timespec{})))
	if int(p.header.Controllen) < size || c.Level != syscall.SOL_SOCKET || c.Type != syscall.SCM_TIMESTAMPNS {
		return 0
	}
	t := (*syscall.Timespec)(unsafe.Pointer(&p.control[syscall.CmsgLen(0)]))
	return time.Since(time.Unix(t.Unix()))
}

func (p *paced) waited() time.Duration { return p.lay }

func (p *paced) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.fd < 0 {
		return 0, net.ErrClosed
	}
	return sendTo(uintptr(p.fd), b, to, p.ipv4)
}

func (p *paced) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return net.ErrClosed
	}
	err := syscall.Close(p.fd)
	p.fd = -1
	return err
}

// receiveFrom reads a datagram from the socket fd; the error is syscall.EAGAIN if there is none.
func receiveFrom(fd uintptr, b []byte) (int, netip.AddrPort, error) {
	var from syscall.RawSockaddrInet6 // it has room for the one of IPv4
	size := uint32(unsafe.Sizeof(from))
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		syscall.MSG_DONTWAIT, uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, netip.AddrPort{}, errno
	}
	return int(n), addrPort(&from), nil
}

// addrPort is from, which may be an address of IPv4.
func addrPort(from *syscall.RawSockaddrInet6) netip.AddrPort {
	addr := netip.AddrFrom16(from.Addr)
	if from.Family == syscall.AF_INET {
		addr = netip.AddrFrom4((*syscall.RawSockaddrInet4)(unsafe.Pointer(from)).Addr)
	}
	return netip.AddrPortFrom(addr, swapped(from.Port))
}

// sendTo sends b from the socket fd, which may know no addresses but those of IPv4.
func sendTo(fd uintptr, b []byte, to netip.AddrPort, ipv4 bool) (int, error) {
	addr := to.Addr()
	at := syscall.RawSockaddrInet6{Family: syscall.AF_INET6, Port: swapped(to.Port()), Addr: addr.As16(), Scope_id: scope(addr)}
	size := unsafe.Sizeof(at)
	if ipv4 {
		if addr = addr.Unmap(); !addr.Is4() {
			return 0, syscall.EAFNOSUPPORT
		}
		at.Family, size = syscall.AF_INET, unsafe.Sizeof(syscall.RawSockaddrInet4{})
		(*syscall.RawSockaddrInet4)(unsafe.Pointer(&at)).Addr = addr.As4()
	}
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		syscall.MSG_DONTWAIT, uintptr(unsafe.Pointer(&at)), size)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
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
