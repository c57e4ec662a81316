package e2e

import (
	"slices"
	"strconv"
	"syscall"
	"testing"

	"memberly/peer/check/browser"
	"memberly/peer/check/loopback"
)

// The page in a real browser, through a join, a crash, a partition and its healing. It is loaded only
// once, and must update itself.
func TestPage(t *testing.T) {
	t.Parallel()
	b := browser.New(t)
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three", "four", "five")
	daemons := []*daemon{start(t, file, "one", "-http", "8082")}
	for _, name := range []string{"two", "three", "four"} {
		daemons = append(daemons, start(t, file, name))
	}
	awaitView(daemons, 4)
	b.Look(1000, 1250, "light")
	b.Open("http://" + s.Host(1).String() + ":8082/")
	b.Awaits("state", "one leads view 4 with 4 of 5 hosts; five is missing since ")
	b.Awaits("host-rows", "never was a member")

	five := start(t, file, "five")
	awaitView(append(daemons, five), 5)
	b.Awaits("state", "one leads view 5 with 5 members")
	b.Awaits("timeline", "five asked to join")
	b.Awaits("facts", "any 2 at once")
	matrixIs(b, "✓", 20)
	b.Picture("joined")
	keyboardAndReader(t, b)
	const kept = `[...document.querySelectorAll("#host-rows th, #timeline li")].filter(e => e.kept).length`
	b.Text(`document.querySelectorAll("#host-rows *, #timeline li").forEach(e => e.kept = true)`)
	marked := b.Text(kept)
	b.Until(`document.querySelector("#host-rows [data-key='2'] td:nth-child(4)").kept ?? "replaced"`, "replaced")

	five.signal(syscall.SIGKILL)
	b.Awaits("timeline", "five is unreachable", "removed by one")
	b.Awaits("host-rows", "removed")
	b.Awaits("state", "view 6 with 4 of 5 hosts; five is missing since ")
	if now := b.Text(kept); now != marked {
		t.Errorf("of %s parts that did not change, %s were left alone", marked, now)
	}
	b.Picture("crashed")

	daemons = append(daemons, start(t, file, "five"))
	b.Awaits("state", "view 7 with 5 members")
	matrixIs(b, "✓", 20)
	for _, d := range daemons[1:4] {
		d.signal(syscall.SIGSTOP)
	}
	b.Awaits("state", "the group cannot make progress", "it waits for a quorum of the group; missing: ")
	b.Awaits("host-rows", "unreachable")
	matrixIs(b, "✕", 6) // five says the same as one
	matrixIs(b, "?", 12)
	b.Contrast(8)
	b.Look(1280, 900, "light")
	b.Picture("partitioned") // docs/page.png, in fewer colours
	b.Look(390, 1400, "dark")
	b.Fits()
	b.Picture("partitioned-phone-dark")

	for _, d := range daemons[1:] {
		d.signal(syscall.SIGCONT)
	}
	b.Awaits("timeline", "the group makes progress")
	b.Awaits("state", "5 members")
	matrixIs(b, "✓", 20)
	b.Look(1000, 1250, "dark")
	b.Picture("healed-dark")

	daemons[0].signal(syscall.SIGKILL)
	b.Awaits("link", "No answer from this peer since")
	b.Clean()
}

// matrixIs waits until this many cells of the matrix have this mark.
func matrixIs(b *browser.Browser, mark string, cells int) {
	b.Until(`[...document.querySelectorAll(".matrix td span[aria-hidden]")].filter(c => c.textContent === "`+mark+`").length`,
		strconv.Itoa(cells))
}

// keyboardAndReader checks that Tab reaches all controls, and that a screen reader finds a name for
// each.
func keyboardAndReader(t *testing.T, b *browser.Browser) {
	want := []string{"Skip to the hosts", "Hosts", "What happened", "Which members hear each other", "status", "events", "metrics", "ready", "live"}
	if got := b.Tabs(len(want) + 1); !slices.Equal(got, want) {
		t.Errorf("Tab goes to %q, want %q", got, want)
	}
	found := b.Spoken()
	for _, want := range []string{"heading Hosts", "heading Which members hear each other", "heading What happened", "region Hosts",
		"columnheader State", "rowheader two", "rowheader two hears"} {
		if !found[want] {
			t.Errorf("a screen reader finds no %s, but %v", want, found)
		}
	}
}
