//go:build linux && !386 && !s390x

package network

import (
	"io"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// pwritev2 is the number of that system call, which package syscall lacks, by GOARCH.
var pwritev2 = map[string]uintptr{"amd64": 328, "arm64": 287, "loong64": 287, "riscv64": 287, "ppc64le": 381}

const noWait = 8 // RWF_NOWAIT

// quietFile is a file whose writes, as long as they need not wait, are not announced to Go's
// scheduler, which would wake its monitor thread for each. One goroutine may write it.
type quietFile struct {
	*os.File
	raw     syscall.RawConn
	vector  syscall.Iovec
	n       uintptr
	errno   syscall.Errno
	attempt func(fd uintptr) // writes what it can; made once, so that it takes no memory
}

// quietLines returns to, or what writes it with less work for the processor.
func quietLines(to io.Writer) io.Writer {
	file, ok := to.(*os.File)
	trap := pwritev2[runtime.GOARCH]
	if !ok || trap == 0 {
		return to
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return to
	}
	f := &quietFile{File: file, raw: raw}
	const here = ^uintptr(0) // where the file is
	f.attempt = func(fd uintptr) {
		f.n, _, f.errno = syscall.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(&f.vector)), 1, here, here, noWait)
	}
	return f
}

func (f *quietFile) Write(b []byte) (int, error) {
	f.vector.Base = unsafe.SliceData(b)
	f.vector.SetLen(len(b))
	err := f.raw.Control(f.attempt)
	f.vector.Base = nil
	if err != nil || f.errno != 0 {
		return f.File.Write(b) // it must wait, cannot say, or fails, which that tells
	}
	written := int(f.n)
	if written == len(b) {
		return written, nil
	}
	n, err := f.File.Write(b[written:])
	return written + n, err
}
