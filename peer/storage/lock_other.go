//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd

package storage

import "os"

// lock does nothing: this system has no lock that package syscall offers.
func lock(*os.File) error { return nil }
