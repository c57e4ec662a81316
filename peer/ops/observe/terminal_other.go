//go:build !linux

package observe

import (
	"os"
	"runtime"
)

// terminalSize does not find out the size of a terminal: COLUMNS and LINES may tell.
func terminalSize(*os.File) (width, height int) { return 0, 0 }

// drawable reports whether a character device is taken for a terminal that understands ECMA-48.
func drawable(file *os.File) bool {
	device, err := file.Stat()
	null, failed := os.Stat(os.DevNull)
	return runtime.GOOS != "windows" && err == nil && failed == nil && !os.SameFile(device, null)
}
