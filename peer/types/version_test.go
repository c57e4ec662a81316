//go:build !memberly_next

package types

// firstByte is what every message of this version begins with, in hexadecimal.
const firstByte = "02"

// addedBytes has, by kind, what this version adds to the bytes of a sample of version 2.
var addedBytes map[Kind]string
