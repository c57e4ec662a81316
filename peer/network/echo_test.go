package network

import (
	"net/netip"
	"testing"
	"time"

	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/network/rawio"
	"memberly/peer/types"
)

// A doctor's question over TCP is answered on its own connection and on one dialled back, and
// never reaches the protocol; the answer to it, gone astray, is dropped.
func TestEcho(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	two := n.listen(t, 2)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	o := n.dial(t, 2)
	o.says(types.Message{Kind: types.Echoed, From: 2, To: 1, Request: 4})
	o.says(types.Message{Kind: types.Echo, From: 3, To: 1, Request: 5}) // from a longer hosts file
	for _, end := range []other{o, accept(t, two)} {
		m := end.hears()
		if m.Kind != types.Echoed || m.Request != 5 || m.Digest != digest || m.From != 1 || m.Standing != types.Fresh {
			t.Errorf("got %+v", m)
		}
	}
	o.says(probe(2, 1, 6))
	if st := s.expect("message"); st.message.Request != 6 {
		t.Errorf("the protocol got %+v", st)
	}
	s.answer(handlers.Output{})
}

// So is one over UDP, at the port for heartbeats.
func TestEchoDatagram(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	two, err := listenUDP(n.Host(2))
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	for _, kind := range []types.Kind{types.Echoed, types.Echo} { // the first is nobody's
		b, err := types.AppendMessage(nil, &types.Message{Kind: kind, From: 2, Request: 5, Broadcast: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := two.WriteToUDPAddrPort(b, netip.AddrPortFrom(n.Host(1), config.UDPPort)); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, rawio.MaxDatagram)
	two.SetReadDeadline(time.Now().Add(patience))
	size, from, err := two.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	var m types.Message
	if err := types.DecodeMessage(buf[:size], &m); err != nil || m.Kind != types.Echoed || m.From != 1 ||
		m.Request != 5 || !m.Broadcast || from != netip.AddrPortFrom(n.Host(1), config.UDPPort) {
		t.Errorf("got %+v from %v, %v", m, from, err)
	}
}
