package network

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/config"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// names is a name service whose answers the test changes.
type names struct {
	addrs map[string]string
	asked int
}

func (n *names) lookup(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.asked++
	var addrs []netip.Addr
	for _, a := range strings.Fields(n.addrs[host]) {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if addrs == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

func (n *names) book() *addressBook {
	return newAddressBook([]config.Host{{Name: "one"}, {Name: "two"}, {Name: "three", Addr: addr("10.0.0.3")}},
		utils.Resolver{Lookup: n.lookup})
}

// bookOf is an address book of so many hosts, whose names are all the same.
func (n *names) bookOf(hosts int) *addressBook {
	return newAddressBook(slices.Repeat([]config.Host{{Name: "x"}}, hosts), utils.Resolver{Lookup: n.lookup})
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
		if n.asked != 2 { // for one and for two; three's address is fixed
			t.Errorf("the name service was asked %d times, want 2", n.asked)
		}
		n.addrs["one"] = "10.0.0.9"
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
		b.toDial(t.Context(), 1)
		b.toDial(t.Context(), 2)
		n.addrs = map[string]string{"one": "10.0.0.2"}
		<-time.After(time.Second)
		if !b.resolves(t.Context(), addr("10.0.0.2"), 1) {
			t.Error("one's new address is not its own")
		}
		if got := b.known(2); len(got) != 0 {
			t.Errorf("two still has %v", got)
		}
		if _, err := b.toDial(t.Context(), 2); !utils.NoSuchName(err) {
			t.Errorf("dialling two: %v, want that there is no such name", err)
		}
	})
}

// A name is looked up before its host is dialled, unless its address was right just now.
func TestToDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &names{addrs: map[string]string{"one": "10.0.0.1"}}
		b := n.book()
		dial := func(what string, asked int) {
			t.Helper()
			n.asked = 0
			got, err := b.toDial(t.Context(), 1)
			if err != nil || !slices.Equal(got, []netip.Addr{addr("10.0.0.1")}) || n.asked != asked {
				t.Errorf("%s: got %v, %v, asked %d times, want %d", what, got, err, n.asked, asked)
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
		for began := time.Now(); time.Since(began) < seconds*time.Second; <-time.After(lookupPause) {
			for id := range types.ID(hosts) {
				b.resolves(t.Context(), addr("10.0.0.9"), id+1)
			}
			if n.asked < hosts {
				t.Fatalf("it was asked %d times, want %d at first", n.asked, hosts)
			}
		}
		if most := hosts + limitTable[limitLookups].rate*(seconds+1); n.asked > most {
			t.Errorf("it was asked %d times, want at most %d", n.asked, most)
		}
	})
}

// The same addresses in another order are no change.
func TestAddressesInTurn(t *testing.T) {
	t.Parallel()
	n := &names{addrs: map[string]string{"one": "10.0.0.1 10.0.0.2"}}
	b := n.book()
	before, err := b.toDial(t.Context(), 1)
	changes := b.changes.Load()
	n.addrs["one"] = "10.0.0.2 10.0.0.1"
	b.expire(1)
	if err != nil || b.moved(t.Context(), 1, before) || b.changes.Load() != changes {
		t.Errorf("%v became %v (%v)", before, b.known(1), err)
	}
}
