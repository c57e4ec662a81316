package local

import "syscall"

// attributes is never called: config refuses -local on Windows, where a child could neither be sent SIGTERM nor read
// its hosts file from a pipe.
func attributes() *syscall.SysProcAttr { return nil }

// resume is not known to Windows.
const resume = syscall.Signal(0)
