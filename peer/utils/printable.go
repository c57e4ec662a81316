package utils

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Printable returns s with runes that a terminal could interpret as Go escapes: control characters,
// marks that change the direction of text, and invalid UTF-8. Use it before printing text from outside.
func Printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if strconv.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			b.WriteString(s[i : i+n])
		} else {
			quoted := strconv.QuoteToASCII(s[i : i+n])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}
