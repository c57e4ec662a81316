package network

import "memberly/peer/types"

// list makes h the host id, which is known or the next, in all parts of the peer. A host that is retired loses its
// addresses, which may belong to another from then on, and its connections. Only the loop calls it.
//
// The address book follows all parts that grow: who finds a host there uses what they have of it.
func (p *Peer) list(id types.ID, h types.Host) {
	hosts := max(int(id), p.addresses.len())
	p.names.Set(id, h)
	p.limits.grow(hosts)
	p.heartbeats.grow(hosts)
	p.links.table.Grow(hosts)
	p.addresses.list(id, h)
	p.addresses.troubles.forget(id)
	if h.Retired {
		p.links.retire(id)
	} else {
		p.links.table.List(id)
		p.links.abandon(id)
	}
}
