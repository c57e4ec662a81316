package containers_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// fault injects a fault into peers, and repairs it. Both functions return when that is done.
type fault struct {
	inject, repair func(g *group, victims []*peer) error
	blinds         bool // the affected peers may rightly report others unreachable
}

var (
	killed = fault{inject: func(g *group, v []*peer) error { return g.kill(v...) },
		repair: func(g *group, v []*peer) error { return g.start(v...) }}
	paused = fault{inject: all("pause"), repair: all("unpause")}

	// cutOff peers reach no other peer; partitioned ones reach one another, on another network.
	cutOff      = fault{inject: each(disconnect), repair: each(reconnect), blinds: true}
	partitioned = fault{inject: each(moveToIsland), repair: each(moveBack), blinds: true}

	// lo stays open, because names are looked up over it.
	unheard    = packets("output", `oifname != "lo"`)
	notHearing = packets("input", `iifname != "lo"`)
	withoutUDP = everywhere(packets("input", `iifname != "lo" meta l4proto udp`))
	losingUDP  = everywhere(packets("input", `iifname != "lo" meta l4proto udp numgen random mod 100 < 30`))

	notHearingLeader = fault{inject: each(dropFromLeader), repair: each(restorePackets), blinds: true}
	unheardByLeader  = fault{inject: each(dropToLeader), repair: each(restoreToLeader), blinds: true}
)

// split is one fault of the first victim, and another of the rest.
func split(first, others fault) fault {
	return fault{
		inject: func(g *group, v []*peer) error {
			return errors.Join(first.inject(g, v[:1]), others.inject(g, v[1:]))
		},
		repair: func(g *group, v []*peer) error {
			return errors.Join(first.repair(g, v[:1]), others.repair(g, v[1:]))
		},
		blinds: first.blinds || others.blinds,
	}
}

// during is a second fault that occurs while a first lasts.
func during(first, then fault) fault {
	return fault{
		inject: func(g *group, v []*peer) error { return errors.Join(first.inject(g, v), then.inject(g, v)) },
		repair: func(g *group, v []*peer) error { return errors.Join(then.repair(g, v), first.repair(g, v)) },
		blinds: first.blinds || then.blinds,
	}
}

// everywhere is a fault of all peers, whatever its victims are: the peers are expected to tolerate
// it.
func everywhere(a fault) fault {
	return fault{
		inject: func(g *group, _ []*peer) error { return a.inject(g, g.peers) },
		repair: func(g *group, _ []*peer) error { return a.repair(g, g.peers) },
	}
}

// all runs one docker command for all victims.
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

// each calls do for all victims at the same time.
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

func disconnect(g *group, p *peer) error {
	_, err := docker(g.ctx, "network", "disconnect", g.name, p.netContainer)
	return err
}

// reconnect connects p again, with a new address from Docker.
func reconnect(g *group, p *peer) error {
	_, err := docker(g.ctx, "network", "connect", "--alias", p.name, g.name, p.netContainer)
	return err
}

func moveToIsland(g *group, p *peer) error {
	if err := disconnect(g, p); err != nil {
		return err
	}
	_, err := docker(g.ctx, "network", "connect", "--alias", p.name, g.island, p.netContainer)
	return err
}

func moveBack(g *group, p *peer) error {
	if _, err := docker(g.ctx, "network", "disconnect", g.island, p.netContainer); err != nil {
		return err
	}
	return reconnect(g, p)
}

// packets is the loss of the packets that match an nftables expression, on one of nftables' hooks
// in the victims' network namespaces.
func packets(hook, match string) fault {
	drop := func(g *group, p *peer) error { return dropPackets(g, p, hook, match) }
	return fault{inject: each(drop), repair: each(restorePackets), blinds: true}
}

func dropPackets(g *group, p *peer, hook, match string) error {
	_, err := nft(g, p, fmt.Sprintf("table inet fault { chain drops { type filter hook %s priority 0; %s counter drop; }; }", hook, match))
	return err
}

// restorePackets ends a loss. It fails if no packet was lost, because then there was no fault.
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

// nft runs this machine's nft in the network namespace of p, because the image has none.
func nft(g *group, p *peer, rules string) (string, error) {
	pid, err := docker(g.ctx, "inspect", "-f", "{{.State.Pid}}", p.netContainer)
	if err != nil {
		return "", err
	}
	return command(g.ctx, "nsenter", "-t", pid, "-n", "nft", rules)
}

// dropFromLeader drops at p what the leader sends to it.
func dropFromLeader(g *group, p *peer) error { return dropBetween(g, g.leader(), p) }

// dropToLeader drops at the leader what p sends to it.
func dropToLeader(g *group, p *peer) error { return dropBetween(g, p, g.leader()) }

func restoreToLeader(g *group, _ *peer) error { return restorePackets(g, g.leader()) }

// dropBetween drops packets of one peer at another.
func dropBetween(g *group, from, to *peer) error {
	addr, err := g.addr(from)
	if err != nil {
		return err
	}
	return dropPackets(g, to, "input", "ip saddr "+addr)
}
