package config

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// nobody is a user's id that has no rights.
const nobody = 65534

// A user who may not read the hosts file is told so. Root may read everything, so it gives up that right first.
func TestForbiddenHostsFile(t *testing.T) {
	t.Parallel()
	path := write(t, five)
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	parsed := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, which is now nobody's, ends with this function
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0); errno != 0 {
			t.Error(errno)
		}
		_, err := Parse([]string{"-h", path}, unasked(t))
		parsed <- err
	}()
	unreadable(t, <-parsed, path, "permission denied: name a readable text file")
}
