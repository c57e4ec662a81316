package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// These are the ways in which peers learn that their files have changed.
func (g *hosted) bySignal(ids ...int) { g.hangup(ids...) }

func (g *hosted) byWatching(...int) {}

// byCommand runs `memberly reload` for all hosts at once: each waits until the group has agreed.
func (g *hosted) byCommand(ids ...int) {
	g.Helper()
	want := fmt.Sprintf("%d hosts, agreed in view ", len(slices.DeleteFunc(slices.Clone(g.lines), func(l string) bool { return l[0] == '!' })))
	var running sync.WaitGroup
	for _, id := range ids {
		running.Go(func() {
			if out, errs, code := commandOf(g.T, "reload", g.at(id)); code != 0 || !strings.HasPrefix(out, want) {
				g.Errorf("memberly reload at host %d: exit code %d, %q, %q, want %q", id, code, out, errs, want)
			}
		})
	}
	running.Wait()
}

// A sixth host joins a running group of five, the last one is retired, and one in the middle is replaced. Nobody is unready
// meanwhile, the leader stays with its fence, and everybody has the same views.
func TestHostsChange(t *testing.T) {
	t.Parallel()
	bothKeys(t, func(t *testing.T, args ...string) {
		g := newHosted(t, 5, args...)
		add, retire, replace := g.bySignal, g.byCommand, g.byWatching
		if len(args) > 0 {
			add, retire, replace = g.byWatching, g.bySignal, g.byCommand
		}
		lead := g.found(5)
		look := g.look(&lead, 1, 2, 3, 4, 5)

		g.add()
		g.edit(1, 2, 3, 4, 5, 6)
		add(1, 2, 3, 4, 5)
		g.agree(6, nil, 1, 2, 3, 4, 5)
		g.begin(6)
		g.agree(6, nil, 1, 2, 3, 4, 5, 6)
		look.at(6)

		look.not(6)
		g.stop(6)
		g.retire(6)
		g.edit(1, 2, 3, 4, 5)
		retire(1, 2, 3, 4, 5)
		g.agree(6, []int{6}, 1, 2, 3, 4, 5)

		look.not(3)
		g.stop(3)
		g.retire(3)
		g.add()
		g.edit(1, 2, 4, 5, 7)
		replace(1, 2, 4, 5)
		g.agree(7, []int{3, 6}, 1, 2, 4, 5)
		g.begin(7)
		after := g.agree(7, []int{3, 6}, 1, 2, 4, 5, 7)
		look.end()
		if after.Group != lead.Group || after.View.Number != 5+2+2+4 {
			t.Errorf("at the end: %v, at the beginning %v; want eight views more", &after, &lead)
		}
		g.viewsAgree()
		for _, d := range g.all {
			if contains("Error")(d.stdout.Lines()) || contains("unreachable")(d.stderr.Lines()) {
				t.Errorf("%s said %q, wrote %q", d.name, d.stdout.Lines(), d.stderr.Lines())
			}
		}
		t.Logf("asked %d times", look.asked)
	})
}

// While the file is changed on some hosts only, nothing happens, but each says on which hosts what is missing.
func TestHostsFileOnSomeOnly(t *testing.T) {
	t.Parallel()
	const have, lack = "The hosts file here has six (host 6), which the group does not have yet: the %s not the same: make the same change there",
		"The hosts %s not the same as the one here: make them the same"
	for _, c := range []struct {
		what          string
		with, without []int
		names, others string
	}{
		{"with the leader's", []int{1, 2, 3}, []int{4, 5}, "files of four, five are", "files of one, two, three are"},
		{"without the leader's", []int{4, 5}, []int{1, 2, 3}, "files of one, two, three are", "files of four, five are"},
		{"the leader's alone", []int{1}, []int{2, 3, 4, 5}, "files of two, three, four, five are", "file of one is"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			g := newHosted(t, 5)
			lead := g.found(5)
			g.add()
			g.edit(c.with...)
			g.hangup(c.with...)
			g.unmoved(5*time.Second, &lead, 1, 2, 3, 4, 5)
			g.says(c.with, "Read 6 hosts from", fmt.Sprintf(have, c.names))
			g.says(c.without, fmt.Sprintf(lack, c.others))
			if out, errs, code := commandOf(t, "reload", "-wait", "1s", g.at(c.with[0])); code != 1 || out != fmt.Sprintf(have+"\n", c.names) {
				t.Errorf("memberly reload: exit code %d, %q, %q", code, out, errs)
			}
			g.edit(c.without...)
			g.hangup(c.without...)
			after := g.agree(6, nil, 1, 2, 3, 4, 5)
			if after.View.Number != 6 {
				t.Errorf("with all files: view %d, want 6", after.View.Number)
			}
			g.viewsAgree()
		})
	}
}

// A typo on one host changes nothing. It says so, or the others do; with the typo mended, the group goes on.
func TestHostsTypo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		typo func(lines []string, g *hosted) []string
		host string   // what it says
		rest []string // what the others say
	}{
		{"no name", func(l []string, g *hosted) []string { l[5] = "six," + g.Host(6).String(); return l },
			`Error reading hosts file: "%s": line 6: "six,`, []string{"five is not the same"}},
		{"another name", func(l []string, g *hosted) []string { l[5] = "sixx " + g.Host(6).String(); return l },
			"The hosts file here has sixx (host 6), which the group does not have yet", []string{"five is not the same"}},
		{"in a shared line", func(l []string, g *hosted) []string { l[1] = "twoo " + g.Host(2).String(); return l },
			`Host 2 has another name in the hosts file here, and the group has agreed on "two"`, []string{"five is not the same"}},
		{"its own line lost", func(l []string, _ *hosted) []string { return l[1:] },
			`Error reading hosts file: "%s": line 5: "six" is where this host, "five", was`, []string{"five is not the same"}},
		{"its own line retired", func(l []string, _ *hosted) []string { l[4] = "!" + l[4]; return l },
			`Error reading hosts file: "%s": line 5: this host, "five", is retired`, []string{"five is not the same"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			g := newHosted(t, 5)
			lead := g.found(5)
			look := g.look(&lead, 5)
			g.add()
			g.edit(1, 2, 3, 4)
			g.write(5, c.typo(slices.Clone(g.lines), g)...)
			g.hangup(1, 2, 3, 4, 5)
			g.unmoved(3*time.Second, &lead, 1, 2, 3, 4, 5)
			want := c.host
			if strings.Contains(want, "%s") {
				want = fmt.Sprintf(want, g.file(5))
			}
			g.says([]int{5}, want)
			g.says([]int{1, 2, 3, 4}, c.rest...)
			g.edit(5)
			g.hangup(5)
			g.agree(6, nil, 1, 2, 3, 4, 5)
			look.end()
			g.viewsAgree()
		})
	}
}

// A file that vanishes, becomes a folder or is empty is reported, once, and harms nothing; a file that is being written is
// not read.
func TestHostsFileGone(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 3)
	lead := g.found(3)
	look := g.look(&lead, 1, 2, 3)
	failures := func() int { return strings.Count(g.runs[3].stdout.String(), "Error reading hosts file: ") }
	for _, c := range []struct {
		what  string
		spoil func() error
		want  string
		quiet bool // found by the peer itself
	}{
		{"vanished", func() error { return os.Remove(g.file(3)) }, "no such file or directory", false},
		{"a folder", func() error { return os.Mkdir(g.file(3), 0o700) }, "is a directory", false},
		{"empty", func() error { g.write(3); return nil }, "lists no host", false},
		{"vanished, and nobody tells", func() error { return os.Remove(g.file(3)) }, "no such file or directory", true},
	} {
		if c.what == "empty" {
			if err := os.Remove(g.file(3)); err != nil {
				t.Fatal(err)
			}
		}
		before := failures()
		if err := c.spoil(); err != nil {
			t.Fatal(err)
		}
		if !c.quiet {
			g.hangup(3)
		}
		within(t, c.what+" is said", func() bool { return failures() == before+1 && strings.Contains(g.runs[3].stdout.String(), c.want) })
	}
	g.unmoved(time.Second, &lead, 1, 2, 3)
	g.edit(3)
	g.says([]int{3}, "Read 3 hosts from") // by itself
	if n := failures(); n != 4 {
		t.Errorf("host 3 said %d times that its file cannot be read, want 4", n)
	}

	// Half a line every half a second, for longer than two looks take.
	g.add()
	whole := strings.Join(g.lines, "\n") + "\n"
	f, err := os.Create(g.file(3))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	step := 0
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for piece := len(whole)/16 + 1; step*piece < len(whole); step++ {
		if _, err := f.WriteString(whole[step*piece : min(len(whole), (step+1)*piece)]); err != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
	g.edit(1, 2)
	g.agree(4, nil, 1, 2, 3)
	if n := failures(); n != 4 || strings.Count(g.runs[3].stdout.String(), "Read 4 hosts") != 1 {
		t.Errorf("host 3 said %q of a file that was being written", g.runs[3].stdout.Lines())
	}
	look.end()
	g.viewsAgree()
}

// SIGHUP ends no peer, with a hosts file that has not changed, nor with one that is a pipe.
func TestHostsHangup(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 2)
	lead := g.found(2)
	look := g.look(&lead, 1, 2)
	for range 20 {
		g.hangup(1, 2)
	}
	g.says([]int{1, 2}, "Read 2 hosts from", ": no change")
	g.unmoved(time.Second, &lead, 1, 2)
	look.end()
	for _, id := range []int{1, 2} {
		if err := syscall.Kill(g.runs[id].cmd.Process.Pid, 0); err != nil {
			t.Errorf("host %d: %v", id, err)
		}
	}
}
