//go:build linux && !386 && !s390x

package network

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// wakeMonitor wakes Go's monitor thread. While goroutines never rest, only that looks whether
// other sockets have something to be read, and nothing else here wakes it.
func wakeMonitor() { syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }

// kernelTimer is an alarm that the kernel keeps: for one of Go's own, Go's monitor thread would
// wake too, each time.
type kernelTimer struct {
	file *os.File
	raw  syscall.RawConn
	c    chan time.Time
	at   [2]syscall.Timespec // no interval, and when it is to ring
	wind func(fd uintptr)    // sets it to at; made once, so that setting takes no memory
}

// The constants of timerfd_create(2) that package syscall lacks.
const (
	clockMonotonic = 1
	timerNonblock  = syscall.O_NONBLOCK
	timerCloexec   = syscall.O_CLOEXEC
)

func newAlarm() (alarm, error) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, timerNonblock|timerCloexec, 0)
	if errno != 0 {
		return newTimer(), nil // a sandbox may forbid it
	}
	a := &kernelTimer{file: os.NewFile(fd, "alarm"), c: make(chan time.Time, 1)}
	raw, err := a.file.SyscallConn()
	if err != nil {
		a.file.Close()
		return nil, err
	}
	a.raw = raw
	a.wind = func(fd uintptr) {
		syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&a.at)), 0, 0, 0)
	}
	go a.run()
	return a, nil
}

// run hands on that it rang, until close.
func (a *kernelTimer) run() {
	var times [8]byte
	rang := func(fd uintptr) bool {
		_, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&times)), unsafe.Sizeof(times))
		return errno != syscall.EAGAIN
	}
	for a.raw.Read(rang) == nil {
		select {
		case a.c <- time.Time{}:
		default:
		}
	}
}

func (a *kernelTimer) set(d time.Duration) {
	a.at[1] = syscall.NsecToTimespec(int64(max(d, 1)))
	a.raw.Control(a.wind)
}

func (a *kernelTimer) rings() <-chan time.Time { return a.c }

func (a *kernelTimer) close() { a.file.Close() }
