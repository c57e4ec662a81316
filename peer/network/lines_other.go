//go:build !linux || 386 || s390x

package network

import "io"

// quietLines returns to as it is: only on Linux is there a cheaper way to write it.
func quietLines(to io.Writer) io.Writer { return to }
