//go:build linux && !386 && !s390x

package network

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
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
	defer socket.Close()
	p := &paced{ipv4: socket.LocalAddr().(*net.UDPAddr).IP.To4() != nil, closed: make(chan struct{})}
	if p.alarm, err = newAlarm(); err != nil {
		return nil, err
	}
	if failed := raw.Control(func(fd uintptr) { p.fd, err = syscall.Dup(int(fd)) }); failed != nil {
		err = failed
	}
	if err != nil {
		p.alarm.close()
		return nil, os.NewSyscallError("dup", err)
	}
	syscall.CloseOnExec(p.fd)
	return p, nil
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

// paced is a socket that wakes nobody: its reader looks whether something came, pace by pace.
type paced struct {
	ipv4   bool // it knows no other addresses
	alarm  alarm
	closed chan struct{}

	mu sync.RWMutex // held for writing to close fd, for reading to use it
	fd int          // -1 once closed
}

func (p *paced) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := p.poll(b)
		if err != syscall.EAGAIN {
			return n, from, err
		}
		p.alarm.set(pace)
		select {
		case <-p.alarm.rings():
		case <-p.closed:
		}
	}
}

func (p *paced) poll(b []byte) (int, netip.AddrPort, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.fd < 0 {
		return 0, netip.AddrPort{}, net.ErrClosed
	}
	return receiveFrom(uintptr(p.fd), b)
}

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
	p.alarm.close()
	close(p.closed)
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
	addr := netip.AddrFrom16(from.Addr)
	if from.Family == syscall.AF_INET {
		addr = netip.AddrFrom4((*syscall.RawSockaddrInet4)(unsafe.Pointer(&from)).Addr)
	}
	return int(n), netip.AddrPortFrom(addr, swapped(from.Port)), nil
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
