package browser

import (
	_ "embed" // the script is part of the tests
	"fmt"
	"strings"
)

// judge.js measures the contrast of what a page shows.
//
//go:embed judge.js
var judge string

// Contrast checks that each text, outline of the focus and mark that the page shows has the contrast with what is behind
// it that WCAG 2.2 at level AA asks for, and that it found at least this many different pairs of colours of text.
func (b *Browser) Contrast(pairs int) {
	b.t.Helper()
	var found struct {
		Pairs []string
		Low   []string
	}
	b.value(judge+"\njudge()", &found)
	if len(found.Pairs) < pairs {
		b.t.Errorf("the page has %d pairs of colours, want at least %d: %q", len(found.Pairs), pairs, found.Pairs)
	}
	for _, low := range found.Low {
		b.t.Errorf("too little contrast: %s", low)
	}
}

// Above checks that these elements, given by selectors, are wholly in the window, without scrolling.
func (b *Browser) Above(selectors ...string) {
	b.t.Helper()
	b.Text("scrollTo(0, 0)")
	for _, selector := range selectors {
		got := b.Text(fmt.Sprintf(`(() => {
			const found = [...document.querySelectorAll(%q)].map(e => e.getBoundingClientRect());
			if (!found.length) return "is not on the page";
			const out = found.find(r => r.width === 0 || r.top < 0 || r.left < 0 || r.bottom > innerHeight || r.right > innerWidth);
			return out ? "reaches from " + [out.left, out.top].map(Math.round) + " to " + [out.right, out.bottom].map(Math.round) : "";
		})()`, selector))
		if got != "" {
			b.t.Errorf("%s %s, the window is %s", selector, got, b.Text("innerWidth + ' by ' + innerHeight"))
		}
	}
}

// Tabs presses Tab until the focus has left the page, and returns what it was on: by label, or else by text. It checks
// that the focus is always visible, and never goes back up.
func (b *Browser) Tabs(most int) (reached []string) {
	b.t.Helper()
	const at = `(() => {
		const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
		if (e === document.body) return "";
		const seen = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 && r.width > 1 && r.bottom > 0 && r.top < innerHeight;
		const name = e.getAttribute("aria-label") ?? document.getElementById(e.getAttribute("aria-labelledby"))?.textContent ?? e.textContent;
		return [name, seen, r.top + scrollY].join("\t");
	})()`
	above := -1.0
	for range most {
		b.press("Tab", 9)
		got := b.Text(at)
		if got == "" {
			break
		}
		var top float64
		name, rest, _ := strings.Cut(got, "\t")
		seen, place, _ := strings.Cut(rest, "\t")
		fmt.Sscan(place, &top)
		if seen != "true" {
			b.t.Errorf("the focus on %q is not visible", name)
		}
		if top < above-8 { // those in one line differ a little
			b.t.Errorf("Tab goes from %q up to %q", reached[len(reached)-1], name)
		}
		above, reached = top, append(reached, name)
	}
	b.Text("document.activeElement.blur()")
	return reached
}
