package hold

import "syscall"

// attributes puts the command into a process group of its own. The kernel kills the command when the supervisor ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// adopt has the system hand this process all that the command leaves behind, so that it can collect that, and kill
// what has left the command's process group.
func adopt() {
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER, which package syscall lacks
	syscall.Syscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
}
