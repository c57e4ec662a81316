package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// named is a group on a subnet whose hosts find each other by a name server.
type named struct {
	subnet
	server *loopback.NameServer
	lookup utils.LookupFunc
	names  []string
	lives  []*life
}

// newNamed starts a group whose name server knows all of names, and waits until it has formed.
func newNamed(t *testing.T, names ...string) *named {
	t.Helper()
	n := &named{subnet: newSubnet(t), names: names}
	n.server = loopback.NewNameServer(t, netip.AddrPortFrom(n.Host(53), 0))
	n.lookup = lookupAt(n.server.Addr())
	for i, name := range names {
		n.server.Set(name, n.Host(i+1))
	}
	for id := range names {
		n.lives = append(n.lives, newLife(t, n.member(id+1), n.lookup))
	}
	for _, l := range n.lives {
		l.stderr.await(t, fmt.Sprintf("view_id: %d,", len(names)))
		l.findsAll(t)
	}
	return n
}

// findsAll waits until a peer knows an address of every host.
func (l *life) findsAll(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for id := 1; id <= l.peer.addresses.len(); {
		if len(l.peer.Addresses(types.ID(id))) > 0 {
			id++
			continue
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("no address of host %d was found", id)
		}
	}
}

// member is the configuration of a host, whose file has the address of that host alone.
func (n *named) member(id int) config.Config {
	c := config.Config{Name: n.names[id-1], ID: types.ID(id)}
	for _, name := range n.names {
		c.Hosts = append(c.Hosts, types.Host{Name: name})
	}
	c.Hosts[id-1].Addr = n.Host(id)
	return c
}

// lookupAt asks the name server at an address, as a peer asks those of the machine.
func lookupAt(at string) utils.LookupFunc {
	r := net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", at)
	}}
	return r.LookupNetIP
}

// badHabits are those of name services that do not work.
var badHabits = map[string]loopback.Habit{
	"well":                 {},
	"silent":               {Silent: true},
	"slow":                 {Late: 3 * time.Second},
	"lossy":                {Lose: 2},
	"failing":              {Fails: true},
	"knows nobody":         {NoName: true},
	"without IPv6 answers": {NoAAAA: true},
}

// A group that runs needs no name service: without a good one, a leader that crashes is followed at once by the
// next, and nobody else is removed.
func TestLeaderCrashesWithoutNames(t *testing.T) {
	t.Parallel()
	for what, habit := range badHabits {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			n := newNamed(t, "one", "two", "three", "four", "five")
			n.server.Become(habit)
			for _, l := range n.lives {
				for id := range l.peer.addresses.hosts {
					l.peer.addresses.expire(types.ID(id + 1)) // as after some seconds
				}
			}
			began := time.Now()
			n.lives[0].peer.Close()
			for _, l := range n.lives[1:] {
				l.stderr.await(t, "view_id: 6, leader: 2, memb_list: [<")
			}
			took := time.Since(began)
			t.Logf("the next leader has removed it after %v", took.Round(time.Millisecond))
			if took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
			for i, l := range n.lives[1:] {
				if got := l.stderr.String(); strings.Count(got, "unreachable") != strings.Count(got, "peer 1 (leader) unreachable") {
					t.Errorf("%s holds a healthy host unreachable:\n%s", n.names[i+1], got)
				}
			}
		})
	}
}

// newWitness starts host one, which knows where two was, while its name service has a habit.
func newWitness(t *testing.T, h loopback.Habit) (*stage, subnet, *loopback.NameServer) {
	t.Helper()
	n := newSubnet(t)
	server := loopback.NewNameServer(t, netip.AddrPortFrom(n.Host(53), 0))
	server.Become(h)
	c := n.config()
	c.Hosts[1].Addr = netip.Addr{}
	s := newStage(t, c, lookupAt(server.Addr()))
	s.peer.addresses.set(2, []netip.Addr{n.Host(2)})
	return s, n, server
}

// What came of dialling an address that was known before, by what the name service says of the name meanwhile.
func TestKnownAddress(t *testing.T) {
	t.Parallel()
	silent := loopback.Habit{Silent: true}
	for _, c := range []struct {
		what     string
		habit    loopback.Habit
		two      int // the host of the subnet at which the name service has two; 0 for no such name
		listens  int // the host of the subnet that listens; 0 for none
		known    string
		want     types.Outcome // 0 for a connection
		atLeast  time.Duration
		lessThan time.Duration
	}{
		{"it refuses, and is right", loopback.Habit{}, 2, 0, "", types.Refusal, 0, time.Second},
		{"it refuses, and nobody can say", silent, 2, 0, "", types.StaleRefusal, lookupGrace, time.Second},
		{"it refuses, and the name service fails", loopback.Habit{Fails: true}, 2, 0, "", types.StaleRefusal, 0, time.Second},
		{"it refuses, and there is no such name", loopback.Habit{}, 0, 0, "", types.StaleRefusal, 0, time.Second},
		{"it refuses, and the host has moved", loopback.Habit{}, 3, 3, "", 0, 0, time.Second},
		{"it refuses, and so does the new one", loopback.Habit{}, 3, 0, "", types.Refusal, 0, time.Second},
		{"it answers, and nobody can say", silent, 2, 2, "", 0, 0, time.Second},
		{"it answers, and there is no such name", loopback.Habit{}, 0, 2, "", 0, 0, time.Second},
		{"it is silent, and the host has moved", loopback.Habit{}, 3, 3, "255.255.255.255", 0, 0, time.Second},
		{"it is silent, and there is no such name", loopback.Habit{}, 0, 0, "255.255.255.255", types.Unresolved, 0, 2 * time.Second},
		{"it is silent, and nobody can say", silent, 2, 0, "255.255.255.255", types.Unresolved, 0, 2 * time.Second},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s, n, server := newWitness(t, c.habit)
			if c.two != 0 {
				server.Set("two", n.Host(c.two))
			}
			if c.known != "" {
				s.peer.addresses.set(2, []netip.Addr{addr(c.known)})
			}
			began := time.Now()
			if c.want == 0 {
				l := n.listen(t, c.listens)
				s.answer(send(probe(1, 2, 1)))
				accept(t, l).hears()
			} else {
				s.answer(send(probe(1, 2, 1)))
				if st := s.expect("undialed"); st.outcome != c.want {
					t.Errorf("the outcome is %v, want %v", st.outcome, c.want)
				}
				s.answer(handlers.Output{})
			}
			if took := time.Since(began); took < c.atLeast || took > c.lessThan {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// That there is no such name counts only if it was asked for since the dial began: an older question is asked again.
func TestNoNameIsAskedFor(t *testing.T) {
	t.Parallel()
	noSuch, failed := &net.DNSError{Err: "no such host", IsNotFound: true}, errors.New("server misbehaving")
	for _, c := range []struct {
		what  string
		joins bool
		later error // of the second look-up
		want  types.Outcome
	}{
		{"a look-up of its own", false, failed, types.NoName},
		{"an older one, and the next says the same", true, noSuch, types.NoName},
		{"an older one, and the next fails", true, failed, types.Unresolved},
	} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			b := newAddressBook([]types.Host{{Name: "one"}}, utils.Resolver{Lookup: func(context.Context, string, string) ([]netip.Addr, error) {
				select {
				case <-release:
					return nil, c.later
				default:
				}
				<-release
				return nil, noSuch
			}}, newTasks())
			if c.joins {
				b.toDial(1)
				<-time.After(time.Millisecond)
			}
			outcome := make(chan types.Outcome)
			go func() {
				_, o := (&links{tasks: b.tasks, addresses: b}).connect(1, netip.Addr{})
				outcome <- o
			}()
			synctest.Wait()
			close(release)
			if got := <-outcome; got != c.want {
				t.Errorf("%s: the outcome is %v, want %v", c.what, got, c.want)
			}
		})
	}
}

// However many names are asked for at a time, and however slow the name service is, few questions are open, and
// all are asked in the end.
func TestQuestionsAreBounded(t *testing.T) {
	t.Parallel()
	const many = 200
	for what, habit := range map[string]loopback.Habit{"slow": {Late: 100 * time.Millisecond}, "silent": {Silent: true}, "without IPv6 answers": {NoAAAA: true}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			n := newSubnet(t)
			server := loopback.NewNameServer(t, netip.AddrPortFrom(n.Host(53), 0))
			server.Become(habit)
			var hosts []types.Host
			for i := range many {
				hosts = append(hosts, types.Host{Name: fmt.Sprintf("host%d.", i)})
				server.Set(fmt.Sprintf("host%d", i), n.Host(2))
			}
			b := newAddressBook(hosts, utils.Resolver{Lookup: lookupAt(server.Addr())}, newTasks())
			var all []*lookup
			for id := range types.ID(many) {
				_, l := b.toDial(id + 1)
				all = append(all, l)
			}
			if !habit.Silent {
				for _, l := range all {
					if !l.wait(t.Context()) || l.err != nil {
						t.Fatalf("a look-up ended with %v", l.err)
					}
				}
			} else {
				ended, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if all[0].wait(ended) {
					t.Error("a silent name service has answered")
				}
			}
			b.tasks.end()
			b.tasks.running.Wait()
			if most := server.MostOpen(); most > maxLookups || most < maxLookups/2 {
				t.Errorf("%d questions were open at a time, want %d", most, maxLookups)
			}
		})
	}
}

// Questions wait for their turn in order, those for one family not for those of the other, and their time begins
// with their turn. A question that waits ends with the peer.
func TestQuestionsInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const many = 2*maxLookups + 1
		var hosts []types.Host
		for i := range many {
			hosts = append(hosts, types.Host{Name: fmt.Sprintf("host%d", i)})
		}
		b := newAddressBook(hosts, utils.Resolver{Lookup: func(ctx context.Context, network, host string) ([]netip.Addr, error) {
			if network == "ip4" && host == hosts[many-1].Name {
				return []netip.Addr{addr("10.0.0.1")}, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}}, newTasks())
		began := time.Now()
		var all []*lookup
		for id := range types.ID(many) {
			_, l := b.toDial(id + 1)
			all = append(all, l)
			synctest.Wait()
		}
		last := all[many-1]
		if !last.wait(t.Context()) || last.err != nil {
			t.Errorf("the last look-up ended with %v", last.err)
		}
		if took := time.Since(began); took < 4*lookupTimeout || took > 10*lookupTimeout {
			t.Errorf("the last look-up took %v", took)
		}
		b.expire(1)
		for id := range types.ID(many) {
			b.toDial(id + 1)
		}
		synctest.Wait()
		began = time.Now()
		b.tasks.end()
		b.tasks.running.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("questions ended %v after the peer", took)
		}
	})
}

// A host counts as found at its address while the hosts file has that, or the name service gave it lately and has
// not said since that there is no such name.
func TestAddressesGoStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		says := &names{addrs: map[string]string{"one": "10.0.0.1"}}
		b := says.book()
		is := func(what string, want bool) {
			t.Helper()
			if got := b.current(1); got != want {
				t.Errorf("%s: current %v, want %v", what, got, want)
			}
		}
		is("before any look-up", false)
		b.dial(t, 1)
		<-time.After(addressCurrent - 1)
		is("just before the end", true)
		<-time.After(1)
		is("at the end", false)
		b.trustRecent(1, addr("10.0.0.1"))
		is("after a connection", false)
		b.expire(1)
		b.dial(t, 1)
		is("after another look-up", true)
		says.set("two", "10.0.0.2")
		b.expire(1)
		b.dial(t, 1)
		is("when there is no such name any more", false)
		if len(b.known(1)) != 1 || !b.current(3) {
			t.Error("the address is forgotten, or that of the hosts file is not current")
		}
	})
}

// A fresh peer does not found a group because hosts refuse where they were long ago: while the name service is
// silent, they may be elsewhere. It does so once the name service says that they are still there.
func TestFoundsOnNoStaleRefusal(t *testing.T) {
	t.Parallel()
	n := &named{subnet: newSubnet(t), names: []string{"one", "two", "three"}}
	n.server = loopback.NewNameServer(t, netip.AddrPortFrom(n.Host(53), 0))
	n.server.Become(loopback.Habit{Silent: true})
	for i, name := range n.names {
		n.server.Set(name, n.Host(i+1))
	}
	l := newLife(t, n.member(1), lookupAt(n.server.Addr()))
	for id := types.ID(2); id <= 3; id++ {
		l.peer.addresses.set(id, []netip.Addr{n.Host(int(id))})
	}
	const asked = 2 * 2 * 2 // both hosts, each family, strictly and a second later leniently
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); n.server.MostOpen() < asked; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%d questions came, want %d", n.server.MostOpen(), asked)
		}
	}
	if got := l.stderr.String(); got != "" {
		t.Errorf("while nobody can say where the others are it wrote %s", got)
	}
	n.server.Become(loopback.Habit{})
	l.stderr.await(t, "{peer_id:1, view_id: 1,")
}

// A STATE shows that the name service finds its sender only if it does: it is asked when that was long ago.
func TestStaleState(t *testing.T) {
	t.Parallel()
	s, n, server := newWitness(t, loopback.Habit{})
	server.Set("two", n.Host(2))
	s.answer(handlers.Output{})
	o := n.dial(t, 2)
	for request, want := range []bool{true, false} {
		o.says(types.Message{Kind: types.State, From: 2, To: 1, Standing: types.Fresh, Request: uint64(request)})
		if st := s.expect("message"); st.message.Stale != want {
			t.Errorf("message %d is stale: %v, want %v", request, st.message.Stale, want)
		}
		s.answer(handlers.Output{})
		s.peer.addresses.mu.RLock()
		l := s.peer.addresses.hosts[1].lookup
		s.peer.addresses.mu.RUnlock()
		if l == nil || !l.wait(t.Context()) || l.err != nil {
			t.Fatal("the name service was not asked, or does not find the sender")
		}
	}
}
