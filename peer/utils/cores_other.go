//go:build !linux

package utils

import "syscall"

// ForbidCores keeps the system from writing this process's memory to a file when it crashes. The processes
// that this one starts have no cores either.
func ForbidCores() { syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }
