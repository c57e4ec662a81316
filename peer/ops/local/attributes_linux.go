package local

import "syscall"

// attributes puts a child into a process group of its own, so that the terminal's Ctrl-C
// reaches it through this process alone, and has the kernel kill it when the thread that
// starts it ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
