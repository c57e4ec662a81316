package observe

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// What is written to a terminal (ECMA-48).
const (
	// beginFrame hides the cursor, has lines that are too long cut off, and goes to the top left.
	beginFrame = "\x1b[?25l\x1b[?7l\x1b[H"
	// endFrame clears what is below, and shows the cursor again: whatever ends the program, the terminal is as it was.
	endFrame = "\x1b[0m\x1b[J\x1b[?7h\x1b[?25h"
	// endLine clears the rest of a line.
	endLine = "\x1b[0m\x1b[K"

	plain, bold, red, yellow = "", "\x1b[1m", "\x1b[1;31m", "\x1b[33m"
)

const (
	// usualWidth and usualHeight are the size of a terminal that tells none.
	usualWidth, usualHeight = 80, 24
	// leastWidth and leastHeight are the least that is drawn for.
	leastWidth, leastHeight = 20, 6
)

// screen is a terminal on which the status is drawn in place.
type screen struct {
	io.Writer
	file    *os.File // behind it
	colours bool
	env     func(string) string
}

// newScreen returns the terminal that w is; nil if it is none, or one that cannot move its cursor.
func newScreen(w io.Writer, env func(string) string) *screen {
	behind := w
	if wrapped, ok := w.(interface{ Unwrap() io.Writer }); ok {
		behind = wrapped.Unwrap()
	}
	file, ok := behind.(*os.File)
	if !ok || env("TERM") == "" || env("TERM") == "dumb" {
		return nil
	}
	if info, err := file.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 || !drawable(file) {
		return nil
	}
	return &screen{w, file, env("NO_COLOR") == "", env}
}

// size returns the columns and lines of the terminal now.
func (s *screen) size() (width, height int) {
	width, height = terminalSize(s.file)
	if width <= 0 || height <= 0 {
		width, _ = strconv.Atoi(s.env("COLUMNS"))
		height, _ = strconv.Atoi(s.env("LINES"))
	}
	return cmp.Or(max(width, 0), usualWidth), cmp.Or(max(height, 0), usualHeight)
}

// follow draws the status whenever it changes, or the terminal's size does, until ctx ends, and returns the exit code.
func (s *screen) follow(ctx context.Context, c *command) int {
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	defer io.WriteString(s, "\r\n")
	p := picture{colours: s.colours}
	for before := ""; ; {
		r, _, err := c.fetch(ctx)
		if ctx.Err() != nil {
			return yes
		}
		p.update(r, err, time.Now())
		p.width, p.height = s.size()
		if now := p.draw(); now != before {
			before = now
			if _, err := io.WriteString(s, now); err != nil {
				return no // the terminal has gone
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return yes
		}
	}
}

// picture is what a terminal shows.
type picture struct {
	width, height int
	colours       bool
	status        *statusJSON // the last; nil for none yet
	fault         string      // why there is no newer one
	since         time.Time   // of fault
}

// line is one of a picture, or, before it is laid out, a sentence.
type line struct{ style, text string }

// update takes what the peer has answered, or why it has not.
func (p *picture) update(r *statusJSON, err error, now time.Time) {
	if err == nil {
		r.clean()
		p.status, p.fault = r, ""
		return
	}
	if p.fault == "" {
		p.since = now
	}
	p.fault = shown(err.Error(), maxSentence)
}

// draw returns what to write for the picture: no more lines than the terminal has, none longer than it is wide, as far
// as each character takes one column.
func (p *picture) draw() string {
	width, height := max(p.width, leastWidth), max(p.height, leastHeight)
	var lines []line
	for _, l := range p.head() {
		for _, text := range wrap(l.text, width) {
			lines = append(lines, line{l.style, text})
		}
	}
	if p.status != nil && len(p.status.Hosts) > 0 {
		const table = 4 // an empty line, the names of the columns, a host, and how many are hidden
		lines = append(lines[:min(len(lines), max(height-table, 1))], line{})
		lines = append(lines, p.table(height-len(lines))...)
	}
	lines = lines[:min(len(lines), height)]
	var b strings.Builder
	b.WriteString(beginFrame)
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		if p.colours {
			b.WriteString(l.style)
		}
		b.WriteString(cut(l.text, width) + endLine)
	}
	return b.String() + endFrame
}

// head returns the sentences above the hosts, what matters first.
func (p *picture) head() (lines []line) {
	if p.fault != "" {
		lines = append(lines, line{red, p.since.Format(time.TimeOnly) + "  " + p.fault})
	}
	r := p.status
	if r == nil {
		return lines
	}
	if p.fault != "" {
		lines = append(lines, line{yellow, "What follows is old."})
	}
	if r.Ready {
		lines = append(lines, line{bold, r.Time.Local().Format(time.TimeOnly) + "  " + r.Summary + ": ready"})
	} else {
		lines = append(lines, line{bold, r.Time.Local().Format(time.TimeOnly) + "  " + r.Summary}, line{red, "not ready: " + r.Reason})
	}
	leader, quorum := "no host", line{plain, "quorum: none without a view"}
	if r.led() {
		leader = r.nameOf(int(r.Follows))
	}
	if v := r.View; v != nil {
		quorum.text = "quorum " + v.quorum(r.nameOf(int(v.Leader)))
		if !v.Quorate {
			quorum.style = red
		}
	}
	lines = append(lines, line{plain, "leader: " + leader}, quorum)
	if missing := lacking(r); len(missing) > 0 {
		lines = append(lines, line{yellow, "missing: " + briefly(missing)})
	}
	if r.File.Words != "" {
		lines = append(lines, line{yellow, "hosts file: " + r.File.Words})
	}
	lines = append(lines, line{plain, "can lose now: " + r.CanLose.Words})
	if words := r.Peer.stored(); words != "" {
		lines = append(lines, line{plain, "stored: " + words})
	}
	return lines
}

// nameOf returns the name of a host; the server may not be a peer, and have no such host.
func (r *statusJSON) nameOf(id int) string {
	if id < 1 || id > len(r.Hosts) {
		return "no host"
	}
	return r.Hosts[id-1].Name
}

// table returns the hosts in this many lines: all by id if there is room, or else those with problems first, and how many
// are hidden.
func (p *picture) table(room int) []line {
	r := p.status
	hosts := make([]*hostJSON, len(r.Hosts))
	for i := range r.Hosts {
		hosts[i] = &r.Hosts[i]
	}
	hidden := max(len(hosts)+1-room, 0)
	if hidden > 0 {
		hidden = min(hidden+1, len(hosts)) // a line says so
		slices.SortStableFunc(hosts, byTrouble)
	}
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, columns)
	for _, h := range hosts {
		fmt.Fprintln(t, r.line(h))
	}
	t.Flush()
	texts := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	lines := []line{{bold, texts[0]}}
	for i, h := range hosts[:len(hosts)-hidden] {
		lines = append(lines, line{h.style(), texts[i+1]})
	}
	if hidden > 0 {
		lines = append(lines, concealed(hosts[len(hosts)-hidden:]))
	}
	return lines
}

// style is how a host is drawn.
func (h *hostJSON) style() string {
	switch {
	case !h.troubled():
		return plain
	case h.State == "unreachable":
		return red
	}
	return yellow
}

// concealed says how many hosts are hidden, and how many of them have problems.
func concealed(hosts []*hostJSON) line {
	troubled := 0
	for _, h := range hosts {
		if h.troubled() {
			troubled++
		}
	}
	if troubled > 0 {
		return line{yellow, fmt.Sprintf("and %s hidden, %d with problems", count(len(hosts), "host"), troubled)}
	}
	return line{plain, fmt.Sprintf("and %s hidden, without problems", count(len(hosts), "host"))}
}

// cut returns no more of a text than fits into a width.
func cut(text string, width int) string {
	text = strings.TrimRight(text, " ")
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// wrap lays out a sentence in lines of a width, between words.
func wrap(text string, width int) (lines []string) {
	rest := []rune(text)
	for len(rest) > width {
		at := width
		for at > 0 && rest[at] != ' ' {
			at--
		}
		if at == 0 {
			at = width // one long word
		}
		lines = append(lines, strings.TrimRight(string(rest[:at]), " "))
		rest = []rune(strings.TrimLeft(string(rest[at:]), " "))
	}
	return append(lines, string(rest))
}
