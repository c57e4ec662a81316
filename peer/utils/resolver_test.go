package utils

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAddrs(t *testing.T) {
	t.Parallel()
	noSuch := &net.DNSError{Err: "no such host", Name: "one", IsNotFound: true}
	cases := []struct {
		what   string
		fixed  string
		found  string // by the name service
		err    error  // of the name service
		want   string
		noName bool
	}{
		{what: "one address", found: "10.0.0.1", want: "10.0.0.1"},
		{what: "several, repeated and mapped", found: "::ffff:10.0.0.1 fd00::1 10.0.0.1 fd00::1", want: "10.0.0.1 fd00::1"},
		{what: "fixed", fixed: "10.0.0.2", err: errors.New("asked"), want: "10.0.0.2"},
		{what: "fixed and mapped", fixed: "::ffff:10.0.0.2", err: errors.New("asked"), want: "10.0.0.2"},
		{what: "no such name", err: noSuch, noName: true},
		{what: "no such name, wrapped", err: fmt.Errorf("looking up: %w", noSuch), noName: true},
		{what: "server failure", err: &net.DNSError{Err: "server misbehaving", IsTemporary: true}},
		{what: "not found for now", err: &net.DNSError{IsNotFound: true, IsTemporary: true}},
		{what: "not found in time", err: &net.DNSError{IsNotFound: true, IsTimeout: true}},
		{what: "time out", err: context.DeadlineExceeded},
		{what: "no answer and no error"},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r := Resolver{Lookup: func(_ context.Context, network, host string) ([]netip.Addr, error) {
				if network != "ip4" && network != "ip6" || host != "one" {
					t.Errorf("asked for %q on %q", host, network)
				}
				return addrs(c.found), c.err
			}}
			var fixed netip.Addr
			if c.fixed != "" {
				fixed = netip.MustParseAddr(c.fixed)
			}
			got, err := r.Addrs(t.Context(), "one", fixed)
			slices.SortFunc(got, netip.Addr.Compare)
			if !slices.Equal(got, addrs(c.want)) {
				t.Errorf("got %v, want %s", got, c.want)
			}
			if (err == nil) != (c.want != "") {
				t.Errorf("got error %v with %v", err, got)
			}
			if NoSuchName(err) != c.noName {
				t.Errorf("NoSuchName(%v) = %t", err, !c.noName)
			}
		})
	}
}

// Only the strict look-up may say that there is no such name.
func TestAskStrictlyFirst(t *testing.T) {
	t.Parallel()
	noSuch := &net.DNSError{Err: "no such host", IsNotFound: true}
	failed := &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	cases := []struct {
		what            string
		strict, lenient error // nil if it finds something
		want            error
	}{
		{"both find it", nil, nil, nil},
		{"only the lenient finds it", failed, nil, nil},
		{"no such name", noSuch, nil, noSuch},
		{"no such name for the lenient alone", failed, noSuch, failed},
		{"both fail", failed, context.Canceled, failed},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			answer := func(err error) LookupFunc {
				return func(context.Context, string, string) ([]netip.Addr, error) {
					if err != nil {
						return nil, err
					}
					return addrs("10.0.0.1"), nil
				}
			}
			a := ask(t.Context(), "ip4", "one", answer(c.strict), answer(c.lenient), nil)
			if a.Err != c.want || (a.Err == nil) != (len(a.Addrs) == 1) {
				t.Errorf("got %+v; want error %v", a, c.want)
			}
		})
	}
}

// The zero Resolver answers for an address without a name service, and stops with its context.
func TestAddrsOfThisMachine(t *testing.T) {
	t.Parallel()
	got, err := Resolver{}.Addrs(t.Context(), "127.0.0.3", netip.Addr{})
	if err != nil || !slices.Equal(got, addrs("127.0.0.3")) {
		t.Errorf("127.0.0.3 is %v, %v", got, err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := (Resolver{}).Addrs(over, "name.invalid", netip.Addr{}); err == nil || NoSuchName(err) {
		t.Errorf("after the context's end: %v, %v", got, err)
	}
}

// timed is a LookupFunc that answers for each family at a time, and never at a negative one. No addresses
// stand for "no such name".
type timed map[string]struct {
	at    time.Duration
	found string
}

func (f timed) lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	a := f[network]
	if a.at < 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(a.at):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if a.found == "" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs(a.found), nil
}

// Addresses of one family wait a little for those of the other, and "no such name" is what both say.
func TestFamilies(t *testing.T) {
	t.Parallel()
	const never, bound = -1, 15 * time.Second
	for _, c := range []struct {
		what   string
		f      timed
		want   string
		noName bool
		took   time.Duration
	}{
		{"both at once", timed{"ip4": {0, "10.0.0.1"}, "ip6": {0, "fd00::1"}}, "10.0.0.1 fd00::1", false, 0},
		{"IPv6 soon after", timed{"ip4": {0, "10.0.0.1"}, "ip6": {200 * time.Millisecond, "fd00::1"}}, "10.0.0.1 fd00::1", false, 200 * time.Millisecond},
		{"IPv6 too late", timed{"ip4": {0, "10.0.0.1"}, "ip6": {time.Second, "fd00::1"}}, "10.0.0.1", false, FamilyGrace},
		{"IPv6 never", timed{"ip4": {time.Second, "10.0.0.1"}, "ip6": {never, ""}}, "10.0.0.1", false, time.Second + FamilyGrace},
		{"IPv4 never", timed{"ip4": {never, ""}, "ip6": {0, "fd00::1"}}, "fd00::1", false, FamilyGrace},
		{"no IPv4, IPv6 late", timed{"ip4": {0, ""}, "ip6": {5 * time.Second, "fd00::1"}}, "fd00::1", false, 5 * time.Second},
		{"neither", timed{"ip4": {0, ""}, "ip6": {2 * time.Second, ""}}, "", true, 2 * time.Second},
		{"no IPv4, IPv6 never", timed{"ip4": {0, ""}, "ip6": {never, ""}}, "", false, bound},
		{"none ever", timed{"ip4": {never, ""}, "ip6": {never, ""}}, "", false, bound},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), bound)
				defer cancel()
				began := time.Now()
				got, err := Resolver{Lookup: c.f.lookup}.Addrs(ctx, "one", netip.Addr{})
				slices.SortFunc(got, netip.Addr.Compare)
				if !slices.Equal(got, addrs(c.want)) || NoSuchName(err) != c.noName || (err == nil) != (c.want != "") {
					t.Errorf("got %v, %v; want %q", got, err, c.want)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
			})
		})
	}
}

// A strict look-up that fails slowly does not double the time: a lenient one runs beside it.
func TestLenientBesideStrict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const slow = 10 * time.Second
		failed := errors.New("server misbehaving")
		strict := func(context.Context, string, string) ([]netip.Addr, error) {
			<-time.After(slow)
			return nil, failed
		}
		for _, c := range []struct {
			err  error
			took time.Duration
		}{{nil, lenientAfter + time.Second}, {failed, slow}} {
			lenient := func(context.Context, string, string) ([]netip.Addr, error) {
				<-time.After(time.Second)
				return addrs("10.0.0.1"), c.err
			}
			began := time.Now()
			if a := ask(t.Context(), "ip4", "one", strict, lenient, nil); a.Err != c.err || time.Since(began) != c.took {
				t.Errorf("got %+v after %v, want %v after %v", a, time.Since(began), c.err, c.took)
			}
		}
	})
}

// A name of /etc/hosts without an address of one family has none of it.
func TestHostsFileOfOneFamily(t *testing.T) {
	t.Parallel()
	if a := (Resolver{}).Family(t.Context(), "127.0.0.3", true); !NoSuchName(a.Err) {
		t.Errorf("got %+v, want that there is no such address", a)
	}
}
