//go:build !windows

package local

import "syscall"

// resume is the signal that has a frozen child go on.
const resume = syscall.SIGCONT
