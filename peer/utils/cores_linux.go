package utils

import "syscall"

// ForbidCores keeps the system from writing this process's memory to a file when it crashes, and other
// processes of its user from reading it. It does not concern the processes that this one starts.
func ForbidCores() {
	const prSetDumpable = 4
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0)
}
