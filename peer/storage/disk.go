package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// disk is a file as this package uses it. A ReadAt returns what was written last. What was written reaches the disk
// in any order, sector by sector, and is there for certain only when Sync has returned nil. A Sync that fails may
// have dropped any part of it for ever.
type disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Size() (int64, error)
	Truncate(size int64) error
	Close() error
}

// osDisk is a file of the system.
type osDisk struct{ *os.File }

func (d osDisk) Sync() error { return datasync(d.File) }

func (d osDisk) Size() (int64, error) {
	s, err := d.Stat()
	if err != nil {
		return 0, err
	}
	return s.Size(), nil
}

// openDisk opens and locks the file at path. If there is none, it makes an empty one.
func openDisk(path string) (disk, error) {
	// Before it is opened: that could wait for ever, or have an effect on a device.
	if s, err := os.Stat(path); err == nil && !s.Mode().IsRegular() {
		return nil, fmt.Errorf("it is %s: name a file", kind(s.Mode()))
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, inaccessible(err)
	}
	if err = lock(f); err == nil {
		err = syncFolder(path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return osDisk{f}, nil
}

// errUsed is the error of lock for a file that another process has locked.
var errUsed = errors.New("it is used by another process: end that one, or give each peer a file of its own")

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// syncFolder waits until the disk has the entry of the file in its folder: the process that made the file may have
// ended before it did.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" { // it opens no folder for that
		return nil
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return inaccessible(err)
	}
	folder, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrPermission) {
		return nil // so another user has made the file, long ago
	}
	if err != nil {
		return inaccessible(err)
	}
	defer folder.Close()
	// Some file systems know no such wait.
	if err := folder.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return inaccessible(err)
	}
	return nil
}
