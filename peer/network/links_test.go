package network

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"

	"memberly/peer/handlers"
	"memberly/peer/network/connections"
	"memberly/peer/types"
)

func send(messages ...types.Message) handlers.Output { return handlers.Output{Messages: messages} }

// One connection serves both directions, whoever dialled it.
func TestBothDirections(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	two := n.listen(t, 2)
	s := newStage(t, n.config(), nil)
	s.answer(send(probe(1, 2, 1), probe(1, 2, 2)))
	o := accept(t, two)
	if a, b := o.hears(), o.hears(); a.Request != 1 || b.Request != 2 {
		t.Errorf("requests %d and %d came, want 1 and 2", a.Request, b.Request)
	}
	o.says(probe(2, 1, 3))
	if st := s.expect("message"); st.host != 2 || st.message.Request != 3 {
		t.Errorf("got %+v", st)
	}
	s.answer(send(probe(1, 2, 4)))
	if m := o.hears(); m.Request != 4 {
		t.Errorf("request %d came, want 4", m.Request)
	}
	o.socket.Close()
	if st := s.expect("closed"); st.host != 2 {
		t.Errorf("host %d is told to have closed", st.host)
	}
	s.answer(handlers.Output{})

	o = n.dial(t, 2)
	o.says(probe(2, 1, 5))
	s.expect("message")
	s.answer(send(probe(1, 2, 6)))
	if m := o.hears(); m.Request != 6 {
		t.Errorf("request %d came, want 6", m.Request)
	}
}

// A redial opens another connection, which is then the one in use; that the older one ends is
// no news, that it does is.
func TestRedial(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	two := n.listen(t, 2)
	s := newStage(t, n.config(), nil)
	s.answer(send(probe(1, 2, 1)))
	older := accept(t, two)
	older.hears()
	older.says(probe(2, 1, 1))
	s.expect("message")
	s.answer(handlers.Output{Redial: []types.ID{2}, Messages: []types.Message{probe(1, 2, 2)}})
	newer := accept(t, two)
	if m := newer.hears(); m.Request != 2 {
		t.Errorf("request %d came over the new connection, want 2", m.Request)
	}
	newer.says(probe(2, 1, 2))
	s.expect("message")
	s.answer(send(probe(1, 2, 3)))
	if m := newer.hears(); m.Request != 3 {
		t.Errorf("request %d came over the new connection, want 3", m.Request)
	}
	older.socket.Close()
	newer.says(probe(2, 1, 4))
	s.expect("message")
	s.answer(handlers.Output{})
	newer.socket.Close()
	s.expect("closed")
	s.answer(handlers.Output{})
}

// There are four connections with a host at most: the oldest is closed, and nobody is told.
func TestMostConnections(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	var open []other
	for i := range connections.MaxOpen + 1 {
		o := n.dial(t, 2)
		o.says(probe(2, 1, uint64(i)))
		s.expect("message")
		s.answer(handlers.Output{})
		open = append(open, o)
	}
	open[0].closed()
	open[1].says(probe(2, 1, 9))
	if st := s.expect("message"); st.message.Request != 9 {
		t.Errorf("got %+v", st)
	}
	s.answer(handlers.Output{})
}

// What came of a dial that failed.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	there := &names{addrs: map[string]string{"two": n.Host(2).String() + " " + n.Host(3).String()}}
	for _, c := range []struct {
		what   string
		addr   netip.Addr
		lookup func(context.Context, string, string) ([]netip.Addr, error)
		want   types.Outcome
	}{
		{"its address refuses", n.Host(2), nil, types.Refusal},
		{"all addresses refuse", netip.Addr{}, there.lookup, types.Refusal},
		{"no such name", netip.Addr{}, (&names{}).lookup, types.NoName},
		{"no name service", netip.Addr{}, func(context.Context, string, string) ([]netip.Addr, error) {
			return nil, errors.New("server misbehaving")
		}, types.Unresolved},
		{"a name service that is silent", netip.Addr{}, func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, types.Unresolved},
		{"an address that cannot be reached", addr("255.255.255.255"), nil, types.NoAnswer},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			g := newSubnet(t).config()
			g.Hosts[1].Addr = c.addr
			s := newStage(t, g, c.lookup)
			s.answer(send(probe(1, 2, 1)))
			st := s.expect("undialed")
			if st.host != 2 || st.outcome != c.want || st.began > st.now.Run || st.began < 0 {
				t.Errorf("got %+v, want %v", st, c.want)
			}
			s.answer(handlers.Output{})
		})
	}
}

// A name that does not resolve is asked for again: when it does, its host is reached.
func TestNameComesUp(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	two := n.listen(t, 2)
	c := n.config()
	c.Hosts[1] = types.Host{Name: "two"}
	service := &names{}
	s := newStage(t, c, service.lookup)
	s.answer(send(probe(1, 2, 1)))
	s.expect("undialed")
	service.set("two", n.Host(2).String())
	s.answer(send(probe(1, 2, 2)))
	if m := accept(t, two).hears(); m.Request != 2 {
		t.Errorf("request %d came, want 2", m.Request)
	}
}

// A host that shows up at an unknown address is found there.
func TestAddressChanges(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	c := n.config()
	c.Hosts[1] = types.Host{Name: "two"}
	s := newStage(t, c, (&names{addrs: map[string]string{"two": n.Host(9).String()}}).lookup)
	s.answer(handlers.Output{})
	o := n.dial(t, 9)
	o.says(probe(2, 1, 1))
	if st := s.expect("message"); st.host != 2 {
		t.Errorf("the message is from host %d, want 2", st.host)
	}
	s.answer(send(probe(1, 2, 2)))
	o.hears()
}

// What is queued goes out in one write, and leaves alone a frame that another connection shares.
func TestGather(t *testing.T) {
	t.Parallel()
	shared := append(make([]byte, 0, 64), "shared "...)
	var writes [][]byte
	for _, more := range []string{"with one", "with two"} {
		c := &connection{out: make(chan []byte, maxFrames)}
		c.out <- []byte(more[:4])
		c.out <- []byte(more[4:])
		c.finish()
		writes = append(writes, c.gather(shared))
	}
	if got, want := string(bytes.Join(writes, []byte("|"))), "shared with one|shared with two"; got != want {
		t.Errorf("writes are %q, want %q", got, want)
	}
}

// A host that does not read stops nobody: its connection is closed.
func TestStuckReceiver(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	n.dial(t, 2).says(probe(2, 1, 1)) // and never reads
	s.expect("message")
	view := types.View{Group: types.Group{Made: 1, Maker: 1}, Number: 1, Leader: 1, Members: []types.ID{1},
		Last: make([]types.Past, 4096)}
	view.Last[0].Incarnation = 1
	var flood []types.Message
	for range 1000 { // 37 MB
		flood = append(flood, types.Message{Kind: types.NewView, From: 1, To: 2, Group: view.Group, Number: 1, View: &view})
	}
	s.answer(send(flood...))
	s.expect("closed")
	s.answer(handlers.Output{})
	if got := s.peer.drops.all()[dropStuck]; got == 0 {
		t.Error("not counted")
	}
}
