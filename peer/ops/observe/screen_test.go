package observe

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var escapes = regexp.MustCompile("\x1b\\[[?0-9;]*[A-Za-z]")

// drawn returns the lines of a picture, without what moves the cursor or colours.
func drawn(t *testing.T, p *picture) []string {
	t.Helper()
	frame := p.draw()
	if !strings.HasPrefix(frame, beginFrame) || !strings.HasSuffix(frame, endFrame) {
		t.Errorf("the frame is %q", frame)
	}
	text := escapes.ReplaceAllString(frame, "")
	if strings.Contains(text, "\x1b") {
		t.Errorf("%q has other escapes", text)
	}
	return strings.Split(text, "\r\n")
}

// In any size of a terminal the picture fits, what matters comes first, and hosts with problems before others.
func TestDraw(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		hosts         int
		state         func(*fake)
		width, height int
		want          string // in this order
		not           string
	}{
		{"five, well", 5, nil, 80, 24, `alpha leads view 3 with 5 members: ready\nleader: alpha\nquorum reached: 5 of 5, 3 needed\ncan lose now: any 2 at once\n\nid .*\n1 .*\n2 .*\n3 .*\n4 .*\n5 [^\n]*$`, "hidden|missing"},
		{"five in trouble", 5, (*fake).troubled, 100, 24, `missing: 2: delta, echo\nhosts file: The hosts file of bravo is not .*\n1 .*\n2 .*\n3 .*\n4 .*\n5 [^\n]*$`, "hidden"},
		{"five stopped", 5, (*fake).stopped, 80, 24, `not ready: it waits for a quorum.*leader: no host\nquorum not reached: 2 of 5, 3 needed\nmissing: 3: charlie, delta, echo\n`, "hidden"},
		{"forty, high", 40, nil, 80, 60, `\n1 .*\n20 .*\n40 [^\n]*$`, "hidden"},
		{"forty, low", 40, nil, 80, 24, `\n1 .*\n17 [^\n]*\nand 23 hosts hidden, without problems$`, "\n18 "},
		{"forty in trouble", 40, (*fake).troubled, 100, 24, `\n34 .*\n35 .*\n37 .*\n38 .*\n39 .*\n40 .*\n1 .*\n2 .*\nand \d+ hosts hidden, without problems$`, "\n36 "},
		{"forty in trouble, tiny", 40, (*fake).troubled, 30, 6, `^\S+  alpha leads view.*\n\nid [^\n]*\n34 [^\n]*\nand 39 hosts hidden, 6 with p…$`, ""},
		{"forty in trouble, absurd", 40, (*fake).troubled, 1, 1, `^\S+  alpha`, ""},
	} {
		f, names := crowd(c.hosts)
		if c.state != nil {
			c.state(f)
		}
		p := &picture{width: c.width, height: c.height}
		p.update(newServer(Config{Names: names, Monitor: time.Hour}, f).report(), nil, time.Time{})
		lines := drawn(t, p)
		text := strings.Join(lines, "\n")
		if !regexp.MustCompile("(?s)"+c.want).MatchString(text) || c.not != "" && regexp.MustCompile(c.not).MatchString(text) {
			t.Errorf("%s: it shows\n%s\nwant %s and not %s", c.name, text, c.want, c.not)
		}
		if len(lines) > max(c.height, leastHeight) {
			t.Errorf("%s: it has %d lines", c.name, len(lines))
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > max(c.width, leastWidth) {
				t.Errorf("%s: a line is too long: %q", c.name, l)
			}
		}
	}
}

// Without an answer the last one stays, said to be old; colours are optional; and what a server writes moves no cursor.
func TestDrawFaults(t *testing.T) {
	t.Parallel()
	p := &picture{width: 80, height: 24}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.Local)
	p.update(nil, errors.New("no answer\x1b[2J"), noon)
	if got := drawn(t, p); len(got) != 1 || !strings.HasPrefix(got[0], "12:00:00  no answer") {
		t.Errorf("at first it shows %q", got)
	}
	f, names := crowd(5)
	f.troubled()
	r := newServer(Config{Names: names, Monitor: time.Hour}, f).report()
	r.Hosts[1].Name, r.Follows, r.View.Leader = "b\x1b[2Jad", 77, 78
	p.update(r, nil, noon.Add(time.Second))
	if text := strings.Join(drawn(t, p), "\n"); strings.Contains(text, "no answer") || !strings.Contains(text, "leader: no host") {
		t.Errorf("then it shows\n%s", text)
	}
	if strings.Contains(p.draw(), yellow) {
		t.Error("it has colours")
	}
	p.colours = true
	if got := p.draw(); !strings.Contains(got, yellow) || !strings.Contains(got, red) || !strings.Contains(got, bold) {
		t.Errorf("with colours it is %q", got)
	}
	p.update(nil, errors.New("no answer"), noon.Add(2*time.Second))
	p.update(nil, errors.New("no answer"), noon.Add(3*time.Second))
	if got := drawn(t, p); !strings.HasPrefix(got[0], "12:00:02  no answer") || got[1] != "What follows is old." || len(got) < 10 {
		t.Errorf("when the peer has gone it shows %q", got)
	}
}

// Only a terminal that can move its cursor is drawn on.
func TestNewScreen(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	env := func(string) string { return "xterm" }
	if newScreen(null, env) != nil || newScreen(write, env) != nil || newScreen(&bytes.Buffer{}, env) != nil {
		t.Error("it draws on what is no terminal")
	}
	env = func(name string) string { return map[string]string{"COLUMNS": "100", "LINES": "-1"}[name] }
	if w, h := (&screen{write, write, false, env}).size(); w != 100 || h != usualHeight {
		t.Errorf("its size is %d by %d", w, h)
	}
}
