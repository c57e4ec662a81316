package containers_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"memberly/peer/types"
)

// Strangers run on this machine, whose address on the containers' network belongs to no peer. What
// they send is bounded.
const (
	silentStrangers = 50   // connections to each peer that send nothing
	noisyStrangers  = 50   // connections to each peer that send garbage
	noisyDatagrams  = 1000 // to each peer
	slowStranger    = 2 * time.Second
)

// garbageSent sends garbage to both ports of all peers. The connections stay open until the repair.
var garbageSent = fault{
	inject: func(g *group, _ []*peer) error {
		seed := uint64(time.Now().UnixNano())
		g.log(time.Now(), "garbage of seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		for _, p := range g.peers {
			if err := g.sendGarbage(p, r); err != nil {
				return err
			}
		}
		return nil
	},
	repair: func(g *group, _ []*peer) error {
		for _, c := range g.strangers {
			c.Close()
		}
		g.strangers = nil
		return nil
	},
}

func (g *group) sendGarbage(p *peer, r *rand.Rand) error {
	addr, err := g.addr(p)
	if err != nil {
		return err
	}
	for i := range silentStrangers + noisyStrangers {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, "8080"), slowStranger)
		if err != nil {
			return err
		}
		g.strangers = append(g.strangers, c)
		if i >= silentStrangers {
			c.SetDeadline(time.Now().Add(slowStranger))
			c.Write(garbage(r)) // it may be cut short
		}
	}
	return sendDatagrams(addr, r)
}

// sendDatagrams sends datagrams of garbage to a peer.
func sendDatagrams(addr string, r *rand.Rand) error {
	c, err := net.Dial("udp", net.JoinHostPort(addr, "8081"))
	if err != nil {
		return err
	}
	for i := range noisyDatagrams {
		b := garbage(r)
		if i%2 == 0 {
			b = b[4:] // a datagram has no length before it
		}
		if _, failed := c.Write(b[:min(len(b), 1400)]); failed != nil {
			err = failed
		}
	}
	return errors.Join(err, c.Close())
}

// garbage returns random bytes, frames of random bytes, frames with wrong or absurd lengths, or
// messages that peers would obey if they came from a peer.
func garbage(r *rand.Rand) []byte {
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

// forgery returns a well-formed message that claims to be a host's, and would depose the leader.
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
