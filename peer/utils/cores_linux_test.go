package utils

import (
	"os"
	"syscall"
	"testing"
)

// The file of this process's memory then belongs to root: nobody else of its user may read it, nor is it dumped.
func TestForbidCores(t *testing.T) {
	const prGetDumpable = 3
	dumpable := func() uintptr {
		r, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, prGetDumpable, 0, 0)
		return r
	}
	if dumpable() != 1 {
		t.Fatalf("the test's process is not dumpable as it is (%d)", dumpable())
	}
	ForbidCores()
	defer syscall.RawSyscall(syscall.SYS_PRCTL, 4, 1, 0)
	if dumpable() != 0 {
		t.Errorf("process %d is dumpable", os.Getpid())
	}
}
