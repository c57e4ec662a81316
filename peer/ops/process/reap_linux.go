package process

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"
)

// What package syscall lacks.
const (
	allProcesses = 0 // P_ALL
	justLook     = syscall.WEXITED | syscall.WNOHANG | syscall.WNOWAIT
)

// reaping starts one reaper at most.
var reaping sync.Once

// Reap has the processes collected, once they end, that commands left behind. It does so in a process with the id 1,
// as the only one of a container has: the system hands it all processes whose parent has ended, and no other process
// collects them.
func Reap() {
	if os.Getpid() != 1 {
		return
	}
	reaping.Do(func() {
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGCHLD)
		go func() {
			for {
				select {
				case <-ended:
				case <-children.changed:
				}
				children.collect()
			}
		}()
	})
}

// collect collects the children of this process that have ended, up to one whose end is waited for elsewhere: once
// that has been waited for, changed has a value.
func (r *registry) collect() {
	r.Lock()
	defer r.Unlock()
	for {
		pid := ended()
		if pid <= 0 || r.own[pid] {
			return
		}
		syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	}
}

// ended returns a child of this process that has ended and was not waited for; 0 if there is none.
func ended() int {
	// A siginfo_t: three ints, and after the padding that a pointer needs, the process.
	var info [128 / unsafe.Sizeof(uintptr(0))]uintptr
	const at = (12 + unsafe.Sizeof(uintptr(0)) - 1) / unsafe.Sizeof(uintptr(0))
	_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, allProcesses, 0, uintptr(unsafe.Pointer(&info)), justLook, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(*(*int32)(unsafe.Pointer(&info[at])))
}
