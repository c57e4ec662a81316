package containers_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// ailment is what can befall peers, and what ends it. Both return when it is done.
type ailment struct {
	strike, heal func(g *group, victims []*peer) error
	blinds       bool // who has it may rightly hold others unreachable
}

var (
	killed = ailment{strike: func(g *group, v []*peer) error { return g.kill(v...) },
		heal: func(g *group, v []*peer) error { return g.start(v...) }}
	paused = ailment{strike: all("pause"), heal: all("unpause")}

	// disconnected peers see nobody; marooned ones see one another, elsewhere.
	disconnected = ailment{strike: each(unplug), heal: each(plug), blinds: true}
	marooned     = ailment{strike: each(exile), heal: each(repatriate), blinds: true}

	// Names are looked up over lo.
	mute       = packets("output", `oifname != "lo"`)
	deaf       = packets("input", `iifname != "lo"`)
	withoutUDP = everywhere(packets("input", `iifname != "lo" meta l4proto udp`))
	losingUDP  = everywhere(packets("input", `iifname != "lo" meta l4proto udp numgen random mod 100 < 30`))

	deafToLeader = ailment{strike: each(shutOutLeader), heal: each(restorePackets), blinds: true}
	muteToLeader = ailment{strike: each(hideFromLeader), heal: each(showToLeader), blinds: true}
)

// split is one ailment of the first victim, and another of the rest.
func split(first, others ailment) ailment {
	return ailment{
		strike: func(g *group, v []*peer) error {
			return errors.Join(first.strike(g, v[:1]), others.strike(g, v[1:]))
		},
		heal: func(g *group, v []*peer) error {
			return errors.Join(first.heal(g, v[:1]), others.heal(g, v[1:]))
		},
		blinds: first.blinds || others.blinds,
	}
}

// amid is an ailment that strikes while another lasts.
func amid(first, then ailment) ailment {
	return ailment{
		strike: func(g *group, v []*peer) error { return errors.Join(first.strike(g, v), then.strike(g, v)) },
		heal:   func(g *group, v []*peer) error { return errors.Join(then.heal(g, v), first.heal(g, v)) },
		blinds: first.blinds || then.blinds,
	}
}

// everywhere is an ailment that all peers have, whoever its victims are said to be: those that
// have it are expected to bear it.
func everywhere(a ailment) ailment {
	return ailment{
		strike: func(g *group, _ []*peer) error { return a.strike(g, g.peers) },
		heal:   func(g *group, _ []*peer) error { return a.heal(g, g.peers) },
	}
}

// all is a verb of docker, done to all victims at once.
func all(verb string) func(*group, []*peer) error {
	return func(g *group, victims []*peer) error {
		args := []string{verb}
		for _, p := range victims {
			args = append(args, p.container)
		}
		_, err := docker(g.ctx, args...)
		return err
	}
}

// each does something to every victim, to all at the same time.
func each(do func(*group, *peer) error) func(*group, []*peer) error {
	return func(g *group, victims []*peer) error {
		var wg sync.WaitGroup
		errs := make([]error, len(victims))
		for i, p := range victims {
			wg.Go(func() { errs[i] = do(g, p) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}
}

func unplug(g *group, p *peer) error {
	_, err := docker(g.ctx, "network", "disconnect", g.name, p.lodging)
	return err
}

// plug connects p again, by whatever address Docker gives it now.
func plug(g *group, p *peer) error {
	_, err := docker(g.ctx, "network", "connect", "--alias", p.name, g.name, p.lodging)
	return err
}

func exile(g *group, p *peer) error {
	if err := unplug(g, p); err != nil {
		return err
	}
	_, err := docker(g.ctx, "network", "connect", "--alias", p.name, g.island, p.lodging)
	return err
}

func repatriate(g *group, p *peer) error {
	if _, err := docker(g.ctx, "network", "disconnect", g.island, p.lodging); err != nil {
		return err
	}
	return plug(g, p)
}

// packets is the loss of those that match, in the words of nftables, on one of its hooks in the
// victims' own network namespaces.
func packets(hook, match string) ailment {
	strike := func(g *group, p *peer) error { return dropPackets(g, p, hook, match) }
	return ailment{strike: each(strike), heal: each(restorePackets), blinds: true}
}

func dropPackets(g *group, p *peer, hook, match string) error {
	_, err := nft(g, p, fmt.Sprintf("table inet fault { chain drops { type filter hook %s priority 0; %s counter drop; }; }", hook, match))
	return err
}

// restorePackets ends a loss, and is an error if none was lost: then there was no fault.
func restorePackets(g *group, p *peer) error {
	lost, err := nft(g, p, "list table inet fault")
	if err != nil {
		return err
	}
	if strings.Contains(lost, "counter packets 0 ") {
		return fmt.Errorf("no packet of %s was lost:\n%s", p.name, lost)
	}
	_, err = nft(g, p, "delete table inet fault")
	return err
}

// nft runs this machine's nft, the image holding none, in the network namespace of p.
func nft(g *group, p *peer, rules string) (string, error) {
	pid, err := docker(g.ctx, "inspect", "-f", "{{.State.Pid}}", p.lodging)
	if err != nil {
		return "", err
	}
	return command(g.ctx, "nsenter", "-t", pid, "-n", "nft", rules)
}

// shutOutLeader drops at p what the leader sends it.
func shutOutLeader(g *group, p *peer) error { return dropBetween(g, g.leader(), p) }

// hideFromLeader drops at the leader what p sends it.
func hideFromLeader(g *group, p *peer) error { return dropBetween(g, p, g.leader()) }

func showToLeader(g *group, _ *peer) error { return restorePackets(g, g.leader()) }

// dropBetween drops at to what from sends it.
func dropBetween(g *group, from, to *peer) error {
	addr, err := g.addr(from)
	if err != nil {
		return err
	}
	return dropPackets(g, to, "input", "ip saddr "+addr)
}
