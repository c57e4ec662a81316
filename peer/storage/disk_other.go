//go:build !linux

package storage

import "os"

// datasync waits until the disk has what was written to f.
func datasync(f *os.File) error { return f.Sync() }
