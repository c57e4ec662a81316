//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package storage

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock locks f until it is closed. Commands that this process runs do not inherit the lock.
func lock(f *os.File) error {
	err := control(f, func(fd int) error { return syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) })
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return errUsed
	case err != nil:
		return fmt.Errorf("cannot lock it: %w: name a file on a local disk", err)
	}
	return nil
}

// control makes a system call for the descriptor of f, again while signals interrupt it.
func control(f *os.File, call func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = c.Control(func(fd uintptr) {
		for failed = call(int(fd)); failed == syscall.EINTR; failed = call(int(fd)) {
		}
	})
	if err != nil {
		return err
	}
	return failed
}
