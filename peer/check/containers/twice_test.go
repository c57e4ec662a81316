package containers_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// twice is in the line that all who are concerned say.
const twice = " runs twice, at "

// TestRunsTwice starts a second container under the name of a peer, as `up --scale two=2` does. It
// is refused, all who are concerned say so, and nobody writes a record. When the first is killed the
// second is let in.
func TestRunsTwice(t *testing.T) {
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
			g.judge.open(plight{})
			if err := g.double(t, first, append(c.says(g, first), first)); err != nil {
				g.aftermath()
				t.Fatalf("peer %d runs twice: %v\n%s", first.id, err, g.play.String())
			}
		})
	}
}

// double runs first a second time, expects these and the second to say so, and then kills the first.
func (g *group) double(t *testing.T, first *peer, tell []*peer) error {
	second, err := g.second(t, first)
	if err != nil {
		return err
	}
	if err := g.until(patience, func() bool {
		for _, p := range tell {
			if strings.Count(p.said, first.name+twice) != 1 {
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
	if err := g.watch(patience, func(*peer) bool { return true }); err != nil {
		return err
	}
	g.judge.open(plight{victims: []types.ID{first.id}})
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

// second starts a container of the same name as first, and returns what it writes.
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

// said waits for a line with text, and none on stderr before.
func said(lines <-chan line, text string) error {
	deadline := time.After(patience)
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
			return errors.New("the second does not say that it runs twice")
		}
	}
}
