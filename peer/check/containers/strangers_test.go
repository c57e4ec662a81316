package containers_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"memberly/peer/types"
)

// Strangers are this machine, which the containers' network reaches by an address that belongs
// to no peer. All that they send is bounded.
const (
	silentStrangers = 50   // connections to each peer that say nothing
	rudeStrangers   = 50   // connections to each peer that send rubbish
	rudeDatagrams   = 1000 // to each peer
	slowStranger    = 2 * time.Second
)

// harassed peers, all of the group, are sent rubbish on both ports. The connections stay until
// it heals.
var harassed = ailment{
	strike: func(g *group, _ []*peer) error {
		seed := uint64(time.Now().UnixNano())
		g.tell(time.Now(), "rubbish of seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		for _, p := range g.peers {
			if err := g.harass(p, r); err != nil {
				return err
			}
		}
		return nil
	},
	heal: func(g *group, _ []*peer) error {
		for _, c := range g.strangers {
			c.Close()
		}
		g.strangers = nil
		return nil
	},
}

func (g *group) harass(p *peer, r *rand.Rand) error {
	addr, err := g.addr(p)
	if err != nil {
		return err
	}
	for i := range silentStrangers + rudeStrangers {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, "8080"), slowStranger)
		if err != nil {
			return err
		}
		g.strangers = append(g.strangers, c)
		if i >= silentStrangers {
			c.SetDeadline(time.Now().Add(slowStranger))
			c.Write(rubbish(r)) // it may be cut short
		}
	}
	return pelt(addr, r)
}

// pelt sends datagrams of rubbish to a peer.
func pelt(addr string, r *rand.Rand) error {
	c, err := net.Dial("udp", net.JoinHostPort(addr, "8081"))
	if err != nil {
		return err
	}
	for i := range rudeDatagrams {
		b := rubbish(r)
		if i%2 == 0 {
			b = b[4:] // a datagram has no length before it
		}
		if _, failed := c.Write(b[:min(len(b), 1400)]); failed != nil {
			err = failed
		}
	}
	return errors.Join(err, c.Close())
}

// rubbish draws what a stranger sends: bytes; frames of random bytes, of lengths that lie, of
// absurd lengths; messages that would be obeyed if they came from a peer.
func rubbish(r *rand.Rand) []byte {
	b := make([]byte, 4+r.IntN(2000))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	switch r.IntN(5) {
	case 0:
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	case 1:
		binary.BigEndian.PutUint32(b, uint32(r.IntN(1<<16)))
	case 2:
		binary.BigEndian.PutUint32(b, 1<<32-1-uint32(r.IntN(1<<16)))
	case 3:
		return forgery(r)
	}
	return b
}

// forgery is a well-formed message of a host that did not send it, to depose whoever leads.
func forgery(r *rand.Rand) []byte {
	from := types.ID(1 + r.IntN(len(hosts)))
	last := make([]types.Past, len(hosts))
	last[from-1] = types.Past{Incarnation: 1 << 62}
	group := types.Group{Made: 1, Maker: from}
	m := types.Message{From: from, Incarnation: 1 << 62, Group: group, Number: 1 << 40,
		Term: types.Term{Counter: 1 << 40, Peer: from}}
	m.Kind = types.Heartbeat
	m.Leads = true
	if r.IntN(2) == 0 {
		m.Kind, m.Leads, m.Request = types.NewView, false, 1
		m.View = &types.View{Group: group, Number: m.Number, Leader: from, Members: []types.ID{from}, Last: last}
	}
	b, err := types.AppendFrame(nil, &m)
	if err != nil {
		panic(err) // it is well-formed
	}
	return b
}
