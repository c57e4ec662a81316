package containers_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// twice is in the line that every peer concerned writes.
const twice = " runs twice, at "

// TestRunsTwice starts a second container under the name of a peer, as `up --scale two=2` does. The
// group refuses it, all peers concerned report that, and none writes a record. When the first is
// killed, the second may join.
func TestRunsTwice(t *testing.T) {
	t.Parallel()
	needContainers(t)
	for _, c := range []struct {
		name  string
		whose func(*group) []*peer
		says  func(g *group, first *peer) []*peer // who refuses the second
	}{
		{"member", aMember, func(g *group, _ *peer) []*peer { return theLeader(g) }},
		{"leader", theLeader, func(g *group, _ *peer) []*peer { return g.followers() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, image+"-twice-"+c.name, false)
			first := c.whose(g)[0]
			g.judge.begin(condition{})
			if err := g.runTwice(t, first, append(c.says(g, first), first)); err != nil {
				g.noteRest()
				t.Fatalf("peer %d runs twice: %v\n%s", first.id, err, g.transcript.String())
			}
		})
	}
}

// runTwice runs first a second time, waits until these and the second report that, then kills the first.
func (g *group) runTwice(t *testing.T, first *peer, tell []*peer) error {
	second, err := g.second(t, first)
	if err != nil {
		return err
	}
	if err := g.until(usualLimit, func() bool {
		for _, p := range tell {
			if strings.Count(p.output, first.name+twice) != 1 {
				return false
			}
		}
		return true
	}); err != nil {
		return err
	}
	if err := said(second, first.name+twice); err != nil {
		return err
	}
	if err := g.watch(usualLimit, func(*peer) bool { return true }); err != nil {
		return err
	}
	g.judge.begin(condition{victims: []types.ID{first.id}})
	if err := g.kill(first); err != nil {
		return err
	}
	first.life++
	first.running, first.up = true, true
	killed, life := time.Now(), first.life
	g.readers.Go(func() {
		for l := range second {
			l.peer, l.life = first, life
			select {
			case g.lines <- l:
			case <-g.ctx.Done():
			}
		}
	})
	at, err := g.settle(g.ids(), ruleSix)
	t.Logf("the second of %s is in the view %.1fs after the first was killed", first.name, at.Sub(killed).Seconds())
	return err
}

// second starts a container with the name of first, and returns the lines that it writes.
func (g *group) second(t *testing.T, first *peer) (<-chan line, error) {
	container := first.container + "-again"
	_, err := docker(g.ctx, "create", "--name", container, "--hostname", first.name, "--network", g.name,
		"--network-alias", first.name, image, "-h", "hostsfile.txt", "-n", first.name)
	if err != nil {
		return nil, err
	}
	lines := make(chan line, 4096)
	run := exec.CommandContext(g.ctx, "docker", "start", "-a", container)
	g.readers.Go(func() {
		follow(run, func(from stream, text string) { lines <- line{from: from, text: text, at: time.Now()} })
		close(lines)
	})
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "rm", "-f", container).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	return lines, nil
}

// said waits for a line with text. It fails if a record comes before.
func said(lines <-chan line, text string) error {
	deadline := time.After(usualLimit)
	for {
		select {
		case l, ok := <-lines:
			switch {
			case !ok:
				return errors.New("the second has ended")
			case l.from == stderr:
				return errors.New("the second writes " + l.text)
			case strings.Contains(l.text, text):
				return nil
			}
		case <-deadline:
			return errors.New("the second does not report that it runs twice")
		}
	}
}
