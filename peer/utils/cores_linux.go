package utils

import "syscall"

// ForbidCores makes the system write no core dump of this process, and keeps other processes of its
// user from reading its memory. It does not affect processes that this one starts.
func ForbidCores() {
	const prSetDumpable = 4
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0)
}
