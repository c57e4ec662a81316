//go:build !linux && !windows

package hold

import "syscall"

// attributes puts the command into a process group of its own.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// adopt does nothing: another process collects what the command leaves behind.
func adopt() {}
