package network

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// doubled is the configuration of host one, where the name two stands for hosts 2 and 3 of n, and
// the name service that says so.
func (n subnet) doubled() (config.Config, utils.LookupFunc) {
	c := n.config()
	c.Hosts[1] = types.Host{Name: "two"}
	return c, (&names{addrs: map[string]string{"two": n.Host(2).String() + " " + n.Host(3).String()}}).lookup
}

// to sends a PROBE to host two, at an address.
func to(at netip.Addr, request uint64) types.Message {
	m := probe(1, 2, request)
	m.Addr = at
	return m
}

// The protocol is told which address a message came from, and says to which one goes.
func TestAddresses(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	c, lookup := n.doubled()
	s := newStage(t, c, lookup)
	s.answer(handlers.Output{})
	older, newer := n.dial(t, 2), n.dial(t, 3)
	older.says(probe(2, 1, 1))
	if st := s.expect("message"); st.message.Addr != n.Host(2) {
		t.Errorf("the message came from %v, want %v", st.message.Addr, n.Host(2))
	}
	s.answer(handlers.Output{})
	newer.says(probe(2, 1, 2))
	if st := s.expect("message"); st.message.Addr != n.Host(3) {
		t.Errorf("the message came from %v, want %v", st.message.Addr, n.Host(3))
	}
	s.answer(send(to(n.Host(2), 3), to(netip.Addr{}, 4), to(n.Host(2), 5)))
	if a, b := older.hears(), older.hears(); a.Request != 3 || b.Request != 5 {
		t.Errorf("requests %d and %d came over the older connection, want 3 and 5", a.Request, b.Request)
	}
	if m := newer.hears(); m.Request != 4 {
		t.Errorf("request %d came over the newest connection, want 4", m.Request)
	}
}

// Where there is no connection with the address, just that is dialled, whatever else is.
func TestDialOneAddress(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	c, lookup := n.doubled()
	first, second := n.listen(t, 2), n.listen(t, 3)
	s := newStage(t, c, lookup)
	s.answer(handlers.Output{})
	n.dial(t, 3).says(probe(2, 1, 1)) // so both addresses are known
	s.expect("message")
	s.answer(send(to(n.Host(2), 2)))
	if m := accept(t, first).hears(); m.Request != 2 {
		t.Errorf("request %d came, want 2", m.Request)
	}
	n.dial(t, 3).says(probe(2, 1, 3))
	s.expect("message")
	s.answer(handlers.Output{Redial: []types.ID{2, 2}, RedialAt: []netip.Addr{n.Host(2), n.Host(3)}})
	accept(t, first)
	accept(t, second)
}

// What waits for one address while another is dialled is sent there, and not to the other.
func TestWaitForOneAddress(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	c, lookup := n.doubled()
	first, second := n.listen(t, 2), n.listen(t, 3)
	s := newStage(t, c, lookup)
	s.answer(handlers.Output{})
	gone := n.dial(t, 2)
	gone.says(probe(2, 1, 1))
	s.expect("message")
	s.answer(handlers.Output{})
	gone.socket.Close()
	s.expect("closed")
	s.answer(send(to(n.Host(2), 2), to(n.Host(3), 3), to(n.Host(2), 4)))
	one, other := accept(t, first), accept(t, second)
	if a, b := one.hears(), one.hears(); a.Request != 2 || b.Request != 4 {
		t.Errorf("requests %d and %d came, want 2 and 4", a.Request, b.Request)
	}
	if m := other.hears(); m.Request != 3 {
		t.Errorf("request %d came, want 3", m.Request)
	}
}

// That one address of a host cannot be dialled says nothing of the host, unless it is the only one.
func TestUnreached(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	c, lookup := n.doubled()
	s := newStage(t, c, lookup)
	s.answer(handlers.Output{})
	o := n.dial(t, 3)
	o.says(probe(2, 1, 1))
	s.expect("message")
	s.answer(send(to(n.Host(2), 2)))
	if st := s.expect("unreached"); st.host != 2 || st.addr != n.Host(2) || st.began > st.now.Run {
		t.Errorf("got %+v", st)
	}
	if m := o.hears(); m.Request != 2 {
		t.Errorf("request %d came over the newest connection, want 2", m.Request)
	}
	s.answer(send(to(n.Host(9), 3)))
	if st := s.expect("unreached"); st.addr != n.Host(9) {
		t.Errorf("an address that is not the host's: got %+v", st)
	}
	s.answer(handlers.Output{})

	n = newSubnet(t)
	s = newStage(t, n.config(), nil)
	s.answer(send(to(n.Host(2), 1)))
	if st := s.expect("undialed"); st.outcome != types.Refusal {
		t.Errorf("the only address: got %+v", st)
	}
	s.answer(handlers.Output{})
}

// A group in which host two is started a second time, at another address: that one is refused, all
// three say so, and nobody is removed. When the first is stopped, the second is let in.
func TestRunsTwice(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	c, lookup := n.doubled()
	one := newLife(t, c, lookup)
	first := newLife(t, n.two(2), nil)
	one.stderr.await(t, "view_id: 2, leader: 1, memb_list: [<1,2>]}")
	first.stderr.await(t, "view_id: 2,")
	second := newLife(t, n.two(3), nil)
	line := "two runs twice, at " + n.Host(2).String() + " and at " + n.Host(3).String() + ": stop one\n"
	for _, l := range []*life{one, first, second} {
		l.stdout.await(t, line)
	}
	if got := one.stderr.String() + first.stderr.String() + second.stderr.String(); strings.Contains(got, "message") ||
		strings.Contains(got, "view_id: 3") || second.stderr.String() != "" {
		t.Errorf("while both run:\n%s", got)
	}
	first.peer.Close()
	second.stderr.await(t, "memb_list: [<1,2>]}")
	one.stderr.await(t, "view_id: 4,")
	for _, l := range []*life{one, first, second} {
		if strings.Count(l.stdout.String(), line) != 1 {
			t.Errorf("said %q", l.stdout.String())
		}
	}
	if got := one.stderr.String(); strings.Count(got, "memb_list") != 4 || strings.Count(got, "unreachable") > 1 {
		t.Errorf("four views and one failure are enough:\n%s", got)
	}
}

// life is a peer with the real protocol.
type life struct {
	peer           *Peer
	stdout, stderr *output
}

func newLife(t *testing.T, c config.Config, lookup utils.LookupFunc) *life {
	t.Helper()
	l := &life{stdout: newOutput(), stderr: newOutput()}
	c.Heartbeat, c.Monitor = 1100*time.Millisecond, 2200*time.Millisecond
	h := handlers.New(handlers.Config{ID: c.ID, Listed: c.Hosts, Heartbeat: c.Heartbeat, Monitor: c.Monitor})
	var err error
	if l.peer, err = open(c, h, utils.Resolver{Lookup: lookup}, l.stdout, l.stderr); err != nil {
		t.Fatal(err)
	}
	l.peer.Listen(twiceSayer{l.peer})
	go l.peer.Run(context.Background())
	t.Cleanup(l.peer.Close)
	return l
}

// twiceSayer is a listener that says on stdout which host runs twice, as the one of package observe does.
type twiceSayer struct{ peer *Peer }

func (s twiceSayer) Stepped(step *handlers.Step) {
	for _, e := range step.Events {
		if e.Kind == handlers.RunsTwice {
			s.peer.Say("%s runs twice, at %v and at %v: stop one", s.peer.config.Hosts[e.Host-1].Name, e.Lives[0], e.Lives[1])
		}
	}
}

func (s twiceSayer) Ended(bool) {}

// two is the configuration of host two, which runs at host m of n.
func (n subnet) two(m int) config.Config {
	c := n.config()
	c.Name, c.ID, c.Hosts[1].Addr = "two", 2, n.Host(m)
	return c
}
