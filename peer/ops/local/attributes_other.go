//go:build !linux && !windows

package local

import "syscall"

// attributes puts a child into its own process group, so that Ctrl-C reaches it only through this
// process. On these systems the child survives if this process is killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
