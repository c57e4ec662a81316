package local

import "syscall"

// attributes puts a child into its own process group, so that Ctrl-C reaches it only through this
// process. The kernel kills the child when the thread that starts it ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
