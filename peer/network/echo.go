package network

import "memberly/peer/types"

// A doctor (package doctor) asks what comes through before there is a peer on its host, and a peer asks whether
// a host runs that refused a connection (see confirmer). The network answers: the protocol does not know, and
// nothing that a doctor says changes anything.

// isEcho reports whether m is an echo, or the answer to one.
func isEcho(m *types.Message) bool { return m.Kind == types.Echo || m.Kind == types.Echoed }

// echoUDP answers m, which came over UDP. The answer has the size of m.
func echoUDP(self types.ID, m *types.Message) types.Message {
	return types.Message{Kind: types.Echoed, From: self, Request: m.Request, Broadcast: m.Broadcast}
}

// echoTCP answers m, which a doctor sent over TCP, for a peer that lists hosts with this digest, and holds a view, or none.
func echoTCP(self, to types.ID, m *types.Message, lines int, digest uint64, view types.View) types.Message {
	answer := types.Message{Kind: types.Echoed, From: self, To: to, Request: m.Request,
		Group: view.Group, Number: view.Number, Lines: lines, Digest: digest, Standing: types.Fresh}
	if view.Number > 0 {
		answer.Standing = types.Joined
	}
	return answer
}
