package containers_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"memberly/peer/types"
)

// group is five peers in containers, on a network of their own, all started at once. The
// goroutine of the test owns all of it; readers only send lines.
type group struct {
	ctx    context.Context // of all that it starts
	name   string          // of its network; the names of its containers begin with it
	island string          // another network, for partitioned peers
	peers  []*peer         // by ID-1
	judge  *judge

	strangers []net.Conn // connections of strangers to peers

	lines      chan line
	readers    sync.WaitGroup
	began      time.Time
	transcript strings.Builder // of all that happened, for failures
}

// peer is a host of a group.
type peer struct {
	id           types.ID
	name         string
	container    string
	netContainer string // the container whose network it uses: its own, or its separate host
	life         int    // how often it was started
	running      bool   // it should
	up           bool   // no end of its container was read yet
	output       string // its stdout, in this fault

	command func() *exec.Cmd // starts it
}

// line is a line that a peer wrote, or its end.
type line struct {
	peer  *peer
	life  int
	at    time.Time
	from  stream // empty for the end
	text  string
	ended error
}

// newGroup starts a group, and returns when all hold the view of all. With separateHosts, hosts stay
// up when a peer is killed, as machines do: each host is a container too, whose network its peer
// shares. The end of the test removes everything.
func newGroup(t *testing.T, name string, separateHosts bool) *group {
	t.Helper()
	g := &group{ctx: t.Context(), name: name, island: name + "-island", judge: newJudge(),
		lines: make(chan line, 4096), began: time.Now()}
	t.Cleanup(func() { g.remove(t) })
	err := g.create(separateHosts)
	if err == nil {
		err = g.start(g.peers...)
	}
	if err == nil {
		_, err = g.settle(g.ids(), startLimit)
	}
	if err != nil {
		t.Fatalf("starting group %s: %v\n%s", name, err, g.transcript.String())
	}
	return g
}

func (g *group) create(separateHosts bool) error {
	for _, network := range []string{g.name, g.island} {
		if _, err := docker(g.ctx, "network", "create", network); err != nil {
			return err
		}
	}
	for i, name := range hosts {
		p := &peer{id: types.ID(i + 1), name: name, container: g.name + "-" + name}
		g.peers = append(g.peers, p)
		if err := g.createPeer(p, separateHosts); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) createPeer(p *peer, separateHosts bool) error {
	network := []string{"--hostname", p.name, "--network", g.name, "--network-alias", p.name}
	p.netContainer = p.container
	if separateHosts {
		p.netContainer += "-host"
		asleep := append([]string{"run", "-d", "--name", p.netContainer}, network...)
		if _, err := docker(g.ctx, append(asleep, image, "-h", "hostsfile.txt", "-d", "3600")...); err != nil {
			return err
		}
		network = []string{"--network", "container:" + p.netContainer}
	}
	p.command = func() *exec.Cmd { return exec.CommandContext(g.ctx, "docker", "start", "-a", p.container) }
	create := append([]string{"create", "--name", p.container}, network...)
	_, err := docker(g.ctx, append(create, image, "-h", "hostsfile.txt", "-n", p.name)...)
	return err
}

func (g *group) remove(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rm := []string{"rm", "-f"}
	for _, p := range g.peers {
		rm = append(rm, p.container)
		if p.netContainer != p.container {
			rm = append(rm, p.netContainer)
		}
	}
	if _, err := docker(ctx, rm...); err != nil {
		t.Error(err)
	}
	g.readers.Wait()
	networks := []string{"network", "rm", g.name}
	if g.island != "" {
		networks = append(networks, g.island)
	}
	if _, err := docker(ctx, networks...); err != nil {
		t.Error(err)
	}
}

func (g *group) ids() []types.ID { return ids(g.peers) }

func ids(peers []*peer) []types.ID {
	var all []types.ID
	for _, p := range peers {
		all = append(all, p.id)
	}
	return all
}

// leader returns the peer that the healthy follow.
func (g *group) leader() *peer {
	fine := g.judge.healthy(g.ids())
	return g.peers[g.judge.held[fine[0]].Leader-1]
}

// followers returns all but the leader.
func (g *group) followers() []*peer {
	leader := g.leader()
	return slices.DeleteFunc(slices.Clone(g.peers), func(p *peer) bool { return p == leader })
}

// start starts peers at once; each begins another life.
func (g *group) start(peers ...*peer) error {
	if !slices.ContainsFunc(g.peers, func(p *peer) bool { return p.running }) {
		g.judge.forgetViews()
	}
	for _, p := range peers {
		p.life++
		p.running, p.up = true, true
		g.judge.restarted(p.id)
		life := p.life
		g.readers.Go(func() { g.live(p, life) })
	}
	return nil
}

// live runs one life of p, and sends the lines that it writes and its end.
func (g *group) live(p *peer, life int) {
	send := func(l line) {
		l.peer, l.life, l.at = p, life, time.Now()
		select {
		case g.lines <- l:
		case <-g.ctx.Done():
		}
	}
	err := follow(p.command(), func(from stream, text string) { send(line{from: from, text: text}) })
	send(line{ended: fmt.Errorf("it ended: %v", err)})
}

// kill kills peers with SIGKILL, and returns when they have ended.
func (g *group) kill(peers ...*peer) error {
	kill := []string{"kill"}
	for _, p := range peers {
		kill = append(kill, p.container)
		p.running = false
	}
	if _, err := docker(g.ctx, kill...); err != nil {
		return err
	}
	return g.ended(peers)
}

// ended waits for the end of peers that were killed.
func (g *group) ended(peers []*peer) error {
	deadline := time.After(usualLimit)
	for slices.ContainsFunc(peers, func(p *peer) bool { return p.up }) {
		select {
		case l := <-g.lines:
			if err := g.note(l); err != nil {
				return err
			}
		case <-deadline:
			return errors.New("the killed peers have not ended")
		}
	}
	return nil
}

// note checks a line. The error says what is wrong with it.
func (g *group) note(l line) error {
	if l.from != "" {
		g.log(l.at, "%-5s %s  %s", l.peer.name, l.from, l.text)
	}
	switch {
	case l.from == stdout:
		l.peer.output += l.text + "\n"
		return nil
	case l.from == stderr:
		return g.judge.note(l.peer.id, l.text, l.at)
	case l.peer.running && l.life == l.peer.life:
		return fmt.Errorf("%s: %w", l.peer.name, l.ended)
	}
	g.log(l.at, "%-5s has ended", l.peer.name)
	l.peer.up = false
	g.judge.restarted(l.peer.id)
	return nil
}

// log adds a line to the transcript.
func (g *group) log(at time.Time, format string, args ...any) {
	fmt.Fprintf(&g.transcript, "%s %8.3f  %s\n", at.UTC().Format("15:04:05.000"), at.Sub(g.began).Seconds(),
		fmt.Sprintf(format, args...))
}

// settle waits until all of want hold one view, of exactly them, and no peer writes anything for a
// while. It returns the time at which the last of them installed it.
func (g *group) settle(want []types.ID, limit time.Duration) (time.Time, error) {
	err := g.until(limit, func() bool { return g.judge.agreed(want) })
	if err != nil {
		return time.Time{}, fmt.Errorf("waiting for one view of %v: %w", want, err)
	}
	return g.judge.last(want), nil
}

// until notes lines until done has held for a while in which no peer writes anything. It fails if
// done does not hold when limit has passed, or stops holding later.
func (g *group) until(limit time.Duration, done func() bool) error {
	deadline := time.After(limit)
	late := false
	for {
		var silence <-chan time.Time
		if done() {
			silence = time.After(quiet)
		} else if late {
			return fmt.Errorf("not within %v", limit)
		}
		select {
		case l := <-g.lines:
			if err := g.note(l); err != nil {
				return err
			}
		case <-silence:
			return nil
		case <-deadline:
			late = true
		}
	}
}

// watch notes lines for d. It fails if a peer for which silent is true writes a record.
func (g *group) watch(d time.Duration, silent func(*peer) bool) error {
	end := time.After(d)
	for {
		select {
		case l := <-g.lines:
			if err := g.note(l); err != nil {
				return err
			}
			if l.from == stderr && silent(l.peer) {
				return fmt.Errorf("%s must not write a record, but wrote: %s", l.peer.name, l.text)
			}
		case <-end:
			return nil
		}
	}
}

// noteRest adds the lines that still come after a failure to the transcript, without checking them.
func (g *group) noteRest() {
	end := time.After(quiet)
	for {
		select {
		case l := <-g.lines:
			g.log(l.at, "%-5s %s  %s", l.peer.name, l.from, l.text)
		case <-end:
			return
		}
	}
}

// addr returns the address that p has in the group's network at the moment.
func (g *group) addr(p *peer) (string, error) {
	return docker(g.ctx, "inspect", "-f",
		fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", g.name), p.netContainer)
}
