package utils

import (
	"os"
	"syscall"
	"testing"
)

// ForbidCores makes the process not dumpable, so other processes of its user cannot read its memory.
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
