package utils

import "testing"

func TestPrintable(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"":                       "",
		`one, "two" \ 三 é`:       `one, "two" \ 三 é`,
		"\x1b[31mred\a\r\n\x00":  `\x1b[31mred\a\r\n\x00`,
		"a\u202eb\u2066c\u200b":  `a\u202eb\u2066c\u200b`,
		"\u0085\u009b31m\u2028x": `\u0085\u009b31m\u2028x`,
		"\xff\xc3(\ufffd":        "\\xff\\xc3(\ufffd",
	} {
		if got := Printable(s); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	}
}
