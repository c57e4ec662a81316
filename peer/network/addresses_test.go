package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/types"
	"memberly/peer/utils"
)

// names is a name service whose answers the test changes.
type names struct {
	mu    sync.Mutex
	addrs map[string]string
	asked int // for IPv4
}

func (n *names) lookup(_ context.Context, network, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if network == "ip4" {
		n.asked++
	}
	var addrs []netip.Addr
	for _, a := range strings.Fields(n.addrs[host]) {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if addrs == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

// set gives a name these addresses, and takes them from all others.
func (n *names) set(name, addrs string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs = map[string]string{name: addrs}
}

// count returns how often it was asked since the last count.
func (n *names) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := n.asked
	n.asked = 0
	return asked
}

func (n *names) book() *addressBook {
	return newAddressBook([]types.Host{{Name: "one"}, {Name: "two"}, {Name: "three", Addr: addr("10.0.0.3")}},
		utils.Resolver{Lookup: n.lookup}, newTasks())
}

// bookOf is an address book of so many hosts, whose names are all the same.
func (n *names) bookOf(hosts int) *addressBook {
	return newAddressBook(slices.Repeat([]types.Host{{Name: "x"}}, hosts), utils.Resolver{Lookup: n.lookup}, newTasks())
}

// dial does what a dial does: it returns the addresses, once they are confirmed, or the error.
func (b *addressBook) dial(t *testing.T, id types.ID) ([]netip.Addr, error) {
	t.Helper()
	addrs, l := b.toDial(id)
	if l == nil {
		return addrs, nil
	}
	if !l.wait(t.Context()) {
		t.Fatal("the look-up did not end")
	}
	return b.known(id), l.err
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// An address that shows up is looked up by the host that it claims to be, five times a second
// at most; what the look-up does not confirm is nobody's.
func TestClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &names{addrs: map[string]string{"one": "10.0.0.1 fd00::1"}}
		b := n.book()
		for _, c := range []struct {
			addr string
			id   types.ID
			want bool
		}{
			{"10.0.0.1", 1, true}, {"fd00::1", 1, true}, {"10.0.0.3", 3, true},
			{"10.0.0.9", 1, false}, {"10.0.0.9", 2, false}, {"10.0.0.1", 3, false},
			{"10.0.0.9", 0, false}, {"10.0.0.9", 4, false},
		} {
			if got := b.resolves(t.Context(), addr(c.addr), c.id); got != c.want {
				t.Errorf("%s is host %d: %t, want %t", c.addr, c.id, got, c.want)
			}
		}
		if asked := n.count(); asked != 2 { // for one and for two; three's address is fixed
			t.Errorf("the name service was asked %d times, want 2", asked)
		}
		n.set("one", "10.0.0.9")
		if b.resolves(t.Context(), addr("10.0.0.9"), 1) {
			t.Error("one was looked up again at once")
		}
		<-time.After(lookupPause + 1)
		if !b.resolves(t.Context(), addr("10.0.0.9"), 1) || b.of(addr("10.0.0.1")) != 0 {
			t.Error("one's new address is not known, or its old one is")
		}
	})
}

// A host that takes another's address leaves it without, until it is looked up itself.
func TestAddressTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &names{addrs: map[string]string{"one": "10.0.0.1 10.0.0.5", "two": "10.0.0.2"}}
		b := n.book()
		b.dial(t, 1)
		b.dial(t, 2)
		n.set("one", "10.0.0.2")
		<-time.After(time.Second)
		if !b.resolves(t.Context(), addr("10.0.0.2"), 1) {
			t.Error("one's new address is not its own")
		}
		if got := b.known(2); len(got) != 0 {
			t.Errorf("two still has %v", got)
		}
		if _, err := b.dial(t, 2); !utils.NoSuchName(err) {
			t.Errorf("dialling two: %v, want that there is no such name", err)
		}
	})
}

// A name is looked up when its host is dialled, unless its address was right just now.
func TestToDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &names{addrs: map[string]string{"one": "10.0.0.1"}}
		b := n.book()
		dial := func(what string, want int) {
			t.Helper()
			n.count()
			got, err := b.dial(t, 1)
			if asked := n.count(); err != nil || !slices.Equal(got, []netip.Addr{addr("10.0.0.1")}) || asked != want {
				t.Errorf("%s: got %v, %v, asked %d times, want %d", what, got, err, asked, want)
			}
		}
		dial("at first", 1)
		dial("just after", 0)
		<-time.After(addressTrust + 1)
		dial("when that was long ago", 1)
		b.expire(1)
		<-time.After(1)
		dial("after a dial that failed", 1)
		<-time.After(addressTrust + 1)
		b.trustRecent(1, addr("10.0.0.1"))
		dial("after a connection's end", 0)
		<-time.After(addressTrust + 1)
		b.trustRecent(1, addr("10.0.0.9"))
		dial("after the end of a connection with another address", 1)
	})
}

// Who claims to be every host in turn has the name service asked for each once, and then at a
// bounded rate.
func TestClaimsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const hosts, seconds = 500, 10
		n := &names{}
		b := n.bookOf(hosts)
		asked := 0
		for began := time.Now(); time.Since(began) < seconds*time.Second; <-time.After(lookupPause) {
			for id := range types.ID(hosts) {
				b.resolves(t.Context(), addr("10.0.0.9"), id+1)
			}
			if asked += n.count(); asked < hosts {
				t.Fatalf("it was asked %d times, want %d at first", asked, hosts)
			}
		}
		if most := hosts + limitTable[limitLookups].rate*(seconds+1); asked > most {
			t.Errorf("it was asked %d times, want at most %d", asked, most)
		}
	})
}

// The same addresses in another order are no change.
func TestAddressesInTurn(t *testing.T) {
	t.Parallel()
	n := &names{addrs: map[string]string{"one": "10.0.0.1 10.0.0.2"}}
	b := n.book()
	before, err := b.dial(t, 1)
	changes := b.changes.Load()
	n.set("one", "10.0.0.2 10.0.0.1")
	b.expire(1)
	after, _ := b.dial(t, 1)
	if err != nil || !slices.Equal(before, after) || b.changes.Load() != changes {
		t.Errorf("%v became %v (%v)", before, after, err)
	}
}

// A look-up outlives the dial that began it, and its late answer is kept. There is one at a time for each
// family of a host.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := make(map[string]int)
		var mu sync.Mutex
		b := newAddressBook([]types.Host{{Name: "one"}}, utils.Resolver{Lookup: func(ctx context.Context, network, _ string) ([]netip.Addr, error) {
			mu.Lock()
			asked[network]++
			mu.Unlock()
			select {
			case <-time.After(map[string]time.Duration{"ip4": 5 * time.Second, "ip6": 12 * time.Second}[network]):
				return []netip.Addr{addr("10.0.0.1"), addr("fd00::1")}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}, newTasks())
		first, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, l := b.toDial(1); l.wait(first) {
			t.Error("it did not wait for the name service")
		}
		if _, l := b.toDial(1); !l.wait(t.Context()) || l.err != nil {
			t.Errorf("the second dial is told %v", l.err)
		}
		if got := b.known(1); len(got) != 1 {
			t.Errorf("at first it has %v, want the IPv4 address", got)
		}
		b.expire(1)
		b.toDial(1)
		<-time.After(8 * time.Second)
		if got := b.known(1); len(got) != 2 {
			t.Errorf("in the end it has %v, want both addresses", got)
		}
		mu.Lock()
		defer mu.Unlock()
		if asked["ip4"] != 4 || asked["ip6"] != 2 { // each strictly and leniently
			t.Errorf("it was asked %v", asked)
		}
	})
}

// What the name service gave stays when it fails or knows the name no more, also for one family alone.
func TestAddressesStay(t *testing.T) {
	t.Parallel()
	noSuch := &net.DNSError{Err: "no such host", IsNotFound: true}
	failed := errors.New("server misbehaving")
	for _, c := range []struct {
		what       string
		ipv4, ipv6 error
		want       string
	}{
		{"both are confirmed", nil, nil, "10.0.0.1 fd00::1"},
		{"it knows nobody", noSuch, noSuch, "10.0.0.1 fd00::1"},
		{"it fails", failed, failed, "10.0.0.1 fd00::1"},
		{"it fails for IPv6", nil, failed, "10.0.0.1 fd00::1"},
		{"there is no IPv6 address any more", nil, noSuch, "10.0.0.1"},
		{"there is no IPv4 address any more", noSuch, nil, "fd00::1"},
		{"it fails for one, and knows none of the other", failed, noSuch, "10.0.0.1 fd00::1"},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var says [2]error
				b := newAddressBook([]types.Host{{Name: "one"}}, utils.Resolver{Lookup: func(_ context.Context, network, _ string) ([]netip.Addr, error) {
					if network == "ip4" {
						return []netip.Addr{addr("10.0.0.1")}, says[0]
					}
					return []netip.Addr{addr("fd00::1")}, says[1]
				}}, newTasks())
				b.dial(t, 1)
				says = [2]error{c.ipv4, c.ipv6}
				b.expire(1)
				b.dial(t, 1)
				var got []string
				for _, a := range b.known(1) {
					got = append(got, a.String())
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("it has %v, want %s", got, c.want)
				}
			})
		})
	}
}
