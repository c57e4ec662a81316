//go:build !linux && !windows

package utils

import "syscall"

// ForbidCores makes the system write no core dump of this process, nor of the processes that it starts.
func ForbidCores() { syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }
