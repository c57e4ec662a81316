package storage

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// While one has the file open, no other can open it.
func TestLocked(t *testing.T) {
	t.Parallel()
	path := file(t)
	f, err := Open(path, owner(), hosts)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, path, "it is used by another process: end that one, or give each peer a file of its own")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = Open(path, owner(), hosts)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestPipe(t *testing.T) {
	t.Parallel()
	path := file(t)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "it is a pipe: name a file")
}

// A closed file can be neither locked nor synced nor measured.
func TestClosed(t *testing.T) {
	t.Parallel()
	f, err := os.Create(file(t))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := lock(f); err == nil || !strings.Contains(err.Error(), "cannot lock it: use of closed file: name a file on a local disk") {
		t.Error(err)
	}
	if _, err := (osDisk{f}).Size(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if err := control(nil, nil); err == nil {
		t.Error("no file has a descriptor")
	}
	if err := syncFolder(file(t)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// alone runs a function on a thread of its own, which ends with it, so that what it changes for the thread does no
// harm.
func alone(f func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked
		f()
	}()
	<-ended
}

// nobody is another user's id.
const nobody = 65534

// A user who may not read or write the file, or make one, is told so. One who may not read the folder can use a file
// in it.
func TestPermissions(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("it needs root")
	}
	folder := t.TempDir()
	for f := folder; strings.HasPrefix(f, os.TempDir()+"/"); f = filepath.Dir(f) {
		if err := os.Chmod(f, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	theirs, ours := filepath.Join(folder, "theirs"), filepath.Join(folder, "ours")
	for _, path := range []string{theirs, ours} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(ours, nobody, -1); err != nil {
		t.Fatal(err)
	}
	alone(func() {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0); errno != 0 {
			t.Error(errno)
			return
		}
		refused(t, theirs, "cannot access it: permission denied: name a file")
		refused(t, filepath.Join(folder, "new"), "cannot access it: permission denied: name a file")
		f, err := Open(ours, owner(), hosts)
		if err != nil {
			t.Error(err)
			return
		}
		f.Close()
	})
}

// On a file system that is full, no file can be made; but one that was made keeps its room when the file system fills
// up.
func TestFull(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("it needs root")
	}
	folder := t.TempDir()
	alone(func() {
		err := syscall.Unshare(syscall.CLONE_NEWNS)
		if err == nil {
			err = syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
		}
		if err == nil {
			err = syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=64k")
		}
		if err != nil { // as in a container without the capability
			t.Log("not tested:", err)
			return
		}
		defer syscall.Unmount(folder, syscall.MNT_DETACH)
		path := filepath.Join(folder, "state")
		refused(t, path, "cannot access it: no space left on device: name a file on a local disk with room for 256 KiB")
		if err := syscall.Mount("", folder, "", syscall.MS_REMOUNT, "size=512k"); err != nil {
			t.Error(err)
			return
		}
		f, err := Open(path, owner(), hosts)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if err := os.WriteFile(filepath.Join(folder, "filler"), make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("the file system is not full: %v", err)
		}
		for n := 1; n < 5; n++ {
			if err := f.Write(value(n)); err != nil {
				t.Error(err)
			}
		}
		refused(t, filepath.Join(folder, "other"), "no space left on device")
		if err := syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); !errors.Is(err, syscall.EBUSY) {
			t.Errorf("a file is open, but: %v", err)
		}
		f.Close()
		if err := syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			t.Error(err)
		}
		refused(t, path, "cannot access it: read-only file system")
	})
}
