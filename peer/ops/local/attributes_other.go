//go:build !linux

package local

import "syscall"

// attributes puts a child into a process group of its own, so that the terminal's Ctrl-C
// reaches it through this process alone. Killing this process does not end it here.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
