// Package rawio has a timer and a UDP socket that cost the processor less than Go's own, where
// the system is Linux, and portable ones that do the same elsewhere. It knows nothing of the
// rest of the project.
//
// Two things make Go's own expensive for a process that is idle almost all the time: each timer
// and each system call that may block wakes the runtime's monitor thread, and each datagram
// wakes the process.
package rawio

import (
	"errors"
	"net/netip"
	"time"
)

// Timer fires at a time that can be moved. One goroutine may set it.
type Timer interface {
	// Set makes the timer fire in d, and at no time that was set before.
	Set(d time.Duration)
	// C delivers when the timer fires. It may also deliver at a time that was set before.
	C() <-chan time.Time
	Close()
}

// MaxDatagram is the size that longer datagrams are cut to.
const MaxDatagram = 2048

// ErrEmpty is the error of Socket.Next while no datagram waits.
var ErrEmpty = errors.New("no datagram has come")

// Socket is a UDP socket that its owner reads without waiting. One goroutine may read it; any
// goroutine may write and close it. Neither reading nor writing allocates memory.
type Socket interface {
	// Next returns the next datagram, which is valid until Next is called again, its sender,
	// and how long it has waited since it came; zero if that is not known.
	// It returns ErrEmpty if no datagram waits, and net.ErrClosed after Close.
	Next() (b []byte, from netip.AddrPort, waited time.Duration, err error)
	// Ready delivers after datagrams came to a socket whose Next returned ErrEmpty. It is nil if
	// the socket does not report that: its owner calls Next from time to time.
	Ready() <-chan struct{}
	// WriteTo sends a datagram. While the kernel has no room for it, a socket with Ready waits, and
	// one without returns syscall.EAGAIN.
	WriteTo(b []byte, to netip.AddrPort) error
	// WriteFrom is WriteTo with an address of this machine as the sender's. Where the system does not let
	// its caller choose, or from is not valid, the system chooses.
	WriteFrom(b []byte, from netip.Addr, to netip.AddrPort) error
	Close() error
}
