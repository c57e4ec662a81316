package observe

import (
	"os"
	"syscall"
	"unsafe"
)

// terminalSize returns the columns and lines of a terminal; 0 if it does not tell.
func terminalSize(file *os.File) (width, height int) {
	var size struct{ lines, columns, x, y uint16 }
	if !ask(file, syscall.TIOCGWINSZ, unsafe.Pointer(&size)) {
		return 0, 0
	}
	return int(size.columns), int(size.lines)
}

// drawable reports whether a character device is a terminal.
func drawable(file *os.File) bool {
	var settings syscall.Termios
	return ask(file, syscall.TCGETS, unsafe.Pointer(&settings))
}

// ask makes a system call ioctl, without the file losing its place among those that Go waits for.
func ask(file *os.File, request uintptr, answer unsafe.Pointer) bool {
	done := false
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(answer))
		done = errno == 0
	})
	return err == nil && done
}
