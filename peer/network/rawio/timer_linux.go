//go:build linux && !386 && !s390x

package rawio

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// WakeMonitor wakes the monitor thread of Go's runtime. While goroutines are always ready to run,
// only that thread looks for input on other sockets, and no system call of this package wakes it.
func WakeMonitor() { syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }

// kernelTimer is a Timer that the kernel keeps. One of Go's own would also wake the monitor
// thread each time it fires.
type kernelTimer struct {
	file *os.File
	raw  syscall.RawConn
	c    chan time.Time
	at   [2]syscall.Timespec // the interval, which is zero, and when to fire
	arm  func(fd uintptr)    // sets the timer to at; made once, so that Set does not allocate
}

// These constants of timerfd_create(2) are missing in package syscall.
const (
	timerNonblock = syscall.O_NONBLOCK
	timerCloexec  = syscall.O_CLOEXEC
)

// NewTimer returns a timer that does not fire before it is set. Its caller closes it.
func NewTimer() (Timer, error) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, timerNonblock|timerCloexec, 0)
	if errno != 0 {
		return newRuntimeTimer(), nil // a sandbox may forbid the call
	}
	t := &kernelTimer{file: os.NewFile(fd, "timer"), c: make(chan time.Time, 1)}
	raw, err := t.file.SyscallConn()
	if err != nil {
		t.file.Close()
		return nil, err
	}
	t.raw = raw
	t.arm = func(fd uintptr) {
		syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&t.at)), 0, 0, 0)
	}
	go t.run()
	return t, nil
}

// run delivers each time the timer fires, until Close.
func (t *kernelTimer) run() {
	var times [8]byte
	fired := func(fd uintptr) bool {
		_, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&times)), unsafe.Sizeof(times))
		return errno != syscall.EAGAIN
	}
	for t.raw.Read(fired) == nil {
		select {
		case t.c <- time.Time{}:
		default:
		}
	}
}

func (t *kernelTimer) Set(d time.Duration) {
	t.at[1] = syscall.NsecToTimespec(int64(max(d, 1)))
	t.raw.Control(t.arm)
}

func (t *kernelTimer) C() <-chan time.Time { return t.c }

func (t *kernelTimer) Close() { t.file.Close() }
