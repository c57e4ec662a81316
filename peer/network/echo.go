package network

import (
	"net/netip"

	"memberly/peer/config"
	"memberly/peer/types"
)

// This file answers doctors (package doctor), which ask what comes through before there is a peer. The
// protocol does not know, and nothing that a doctor says changes anything.

// isEcho reports whether m is from a doctor, or an answer for one.
func isEcho(m *types.Message) bool { return m.Kind == types.Echo || m.Kind == types.Echoed }

// echo answers a doctor over TCP: on the connection in use, which is most likely its own, and on one
// dialled back, so that it sees whether this host can reach it. That evicts no connection in use.
func (p *Peer) echo(host types.ID, m *types.Message) {
	if m.Kind != types.Echo {
		return
	}
	p.links.dialBack(host)
	view := p.protocol.View()
	answer := types.Message{Kind: types.Echoed, From: p.config.ID, To: host, Request: m.Request,
		Group: view.Group, Number: view.Number, Digest: p.config.Digest, Standing: types.Fresh}
	if view.Number > 0 {
		answer.Standing = types.Joined
	}
	p.links.send(&answer)
}

// echo answers a doctor over UDP, at the port where a peer hears heartbeats. So a datagram causes one of
// its own size, and only to where heartbeats go anyway.
func (h *heartbeats) echo(addr netip.Addr, m *types.Message) {
	if m.Kind != types.Echo {
		return
	}
	answer := types.Message{Kind: types.Echoed, From: h.self, Request: m.Request, Broadcast: m.Broadcast}
	b, err := types.AppendMessage(nil, &answer)
	if err == nil {
		err = h.socket.WriteTo(h.keys.seal(b), netip.AddrPortFrom(addr, config.UDPPort))
	}
	if err != nil {
		h.drops.count(Unsent)
		h.drops.failure("Error answering a doctor", err)
	}
}
