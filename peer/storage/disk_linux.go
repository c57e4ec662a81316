package storage

import (
	"os"
	"syscall"
)

// datasync waits until the disk has what was written to f. Its times of change, which nothing needs, may come later.
func datasync(f *os.File) error { return control(f, syscall.Fdatasync) }
