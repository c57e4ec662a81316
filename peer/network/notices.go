package network

import (
	"fmt"
	"strings"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// maxNamed is how many hosts a notice names.
const maxNamed = 8

// wording says n for a person.
func (p *Peer) wording(n handlers.Notice) []byte {
	hosts := p.names(n.Hosts)
	switch n.Topic {
	case handlers.AwaitGroup:
		if len(n.Hosts) == 0 {
			return []byte("Waiting to be let into the group; no host runs that is in one")
		}
		return fmt.Appendf(nil, "Waiting to be let into the group; no answer from %s", hosts)
	case handlers.AwaitHosts:
		return fmt.Appendf(nil, "Waiting to make a group until it is known whether they run: %s", hosts)
	case handlers.AwaitNames:
		return fmt.Appendf(nil, "Waiting to make a group: the name service knows none of the other hosts: %s; "+
			"check their names in the hosts file, and the name service", hosts)
	case handlers.AwaitQuorum:
		return fmt.Appendf(nil, "Waiting for a quorum of the group; missing: %s", hosts)
	case handlers.FilesDiffer:
		return fmt.Appendf(nil, "The hosts file of %s differs from the one here: use the same file everywhere, "+
			"names in the same order", hosts)
	case handlers.RunsTwice:
		return fmt.Appendf(nil, "%s runs twice, at %v and at %v: stop one", hosts, n.Lives[0], n.Lives[1])
	}
	return fmt.Appendf(nil, "Notice %d about %s", n.Topic, hosts)
}

func (p *Peer) names(ids []types.ID) string {
	if len(ids) == 0 {
		return "anybody"
	}
	names := make([]string, 0, maxNamed)
	for _, id := range ids[:min(len(ids), maxNamed)] {
		names = append(names, p.config.Hosts[id-1].Name)
	}
	list := strings.Join(names, ", ")
	if more := len(ids) - len(names); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}
