package e2e

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"memberly/peer/check/loopback"
)

// The page in a real browser, through a join, a crash, a partition and its healing. It is loaded only
// once, and must update itself.
func TestPage(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three", "four", "five")
	daemons := []*daemon{start(t, file, "one", "-http", "8082")}
	for _, name := range []string{"two", "three", "four"} {
		daemons = append(daemons, start(t, file, name))
	}
	awaitView(daemons, 4)
	b.look(1000, 1250, "light")
	b.call("Page.navigate", map[string]any{"url": "http://" + s.Host(1).String() + ":8082/"}, nil)
	b.until("document.readyState", "complete")
	b.awaits("state", "one leads view 4 with 4 of 5 hosts; five is missing since ")
	b.awaits("host-rows", "never was a member")

	five := start(t, file, "five")
	awaitView(append(daemons, five), 5)
	b.awaits("state", "one leads view 5 with 5 members")
	b.awaits("timeline", "five asked to join")
	b.awaits("facts", "any 2 at once")
	b.matrixIs("✓", 20)
	b.picture("joined")
	b.keyboardAndReader()
	const kept = `[...document.querySelectorAll("#host-rows th, #timeline li")].filter(e => e.kept).length`
	b.text(`document.querySelectorAll("#host-rows *, #timeline li").forEach(e => e.kept = true)`)
	marked := b.text(kept)
	b.until(`document.querySelector("#host-rows [data-key='2'] td:nth-child(4)").kept ?? "replaced"`, "replaced")

	five.signal(syscall.SIGKILL)
	b.awaits("timeline", "five is unreachable", "removed by one")
	b.awaits("host-rows", "removed")
	b.awaits("state", "view 6 with 4 of 5 hosts; five is missing since ")
	if now := b.text(kept); now != marked {
		b.t.Errorf("of %s parts that did not change, %s were left alone", marked, now)
	}
	b.picture("crashed")

	daemons = append(daemons, start(t, file, "five"))
	b.awaits("state", "view 7 with 5 members")
	b.matrixIs("✓", 20)
	for _, d := range daemons[1:4] {
		d.signal(syscall.SIGSTOP)
	}
	b.awaits("state", "the group cannot make progress", "it waits for a quorum of the group; missing: ")
	b.awaits("host-rows", "unreachable")
	b.matrixIs("✕", 6) // five says the same as one
	b.matrixIs("?", 12)
	b.look(760, 1090, "light")
	b.picture("partitioned") // docs/page.png, in fewer colours
	b.look(390, 1400, "dark")
	b.fits()
	b.picture("partitioned-phone-dark")

	for _, d := range daemons[1:] {
		d.signal(syscall.SIGCONT)
	}
	b.awaits("timeline", "the group makes progress")
	b.awaits("state", "5 members")
	b.matrixIs("✓", 20)
	b.look(1000, 1250, "dark")
	b.picture("healed-dark")

	daemons[0].signal(syscall.SIGKILL)
	b.awaits("link", "No answer from this peer since")
	b.clean()
}

// matrixIs waits until this many cells of the matrix have this mark.
func (b *browser) matrixIs(mark string, cells int) {
	b.t.Helper()
	b.until(`[...document.querySelectorAll(".matrix td span[aria-hidden]")].filter(c => c.textContent === "`+mark+`").length`,
		strconv.Itoa(cells))
}

// keyboardAndReader checks that Tab reaches all controls, and that a screen reader finds a name for
// each.
func (b *browser) keyboardAndReader() {
	b.t.Helper()
	var reached []string
	for range 12 {
		b.press("Tab", 9)
		reached = append(reached, b.text(`document.activeElement.getAttribute("aria-labelledby") ?? document.activeElement.textContent`))
	}
	for _, want := range []string{"Skip to the hosts", "hosts", "matrix", "history", "metrics"} {
		if !slices.Contains(reached, want) {
			b.t.Errorf("Tab reaches %q, not %q", reached, want)
		}
	}
	found := b.spoken()
	for _, want := range []string{"heading Hosts", "heading Which members hear each other", "heading What happened", "region Hosts",
		"columnheader State", "rowheader two", "rowheader two hears"} {
		if !found[want] {
			b.t.Errorf("a screen reader finds no %s, but %v", want, found)
		}
	}
	b.text("document.activeElement.blur()")
}

// fits checks that only elements that scroll are wider than the window.
func (b *browser) fits() {
	b.t.Helper()
	if got := b.text("document.documentElement.scrollWidth <= innerWidth"); got != "true" {
		b.t.Errorf("the page is %s pixels wide, the window %s", b.text("document.documentElement.scrollWidth"), b.text("innerWidth"))
	}
}

// clean checks that the page threw no exception, kept its content security policy, and loaded nothing
// from other hosts. The report of its killed peer is no fault.
func (b *browser) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range b.faults {
		if !strings.Contains(fault, "net::ERR_") {
			b.t.Error(fault)
		}
	}
}
