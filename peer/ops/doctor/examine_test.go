package doctor

import (
	"bufio"
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/config"
	"memberly/peer/seal"
	"memberly/peer/types"
)

// three returns the configuration of the first of three hosts on a subnet of its own.
func three(t *testing.T) config.Config {
	t.Helper()
	s := loopback.NewSubnet(t)
	return config.Config{ID: 1, Name: "one", Digest: 7, Hosts: []types.Host{
		{Name: "one", Addr: s.Host(1)}, {Name: "two", Addr: s.Host(2)}, {Name: "three", Addr: s.Host(3)}}}
}

// as returns c as host id configures it.
func as(c config.Config, id types.ID) config.Config {
	c.ID, c.Name = id, c.Hosts[id-1].Name
	return c
}

func port8080(addr netip.Addr) string {
	return net.JoinHostPort(addr.String(), strconv.Itoa(config.TCPPort))
}

// Three doctors at once find all well.
func TestExamine(t *testing.T) {
	t.Parallel()
	c := three(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for id := types.ID(1); id <= 3; id++ {
		all.Go(func() {
			f := examine(ctx, as(c, id))
			f.stall = 0 // the machine may be busy
			if r := judge(f); !r.well() {
				t.Errorf("%s: %s", c.Hosts[id-1].Name, short(r))
			}
		})
	}
	all.Wait()
}

// The doctor reports a host of another version, and one that sends from an address that is not its own.
func TestExamineOddOnes(t *testing.T) {
	t.Parallel()
	c := three(t)
	two, err := net.Listen("tcp", port8080(c.Hosts[1].Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	go func() { // two: whatever it is asked, its answer is of version 1
		for {
			socket, err := two.Accept()
			if err != nil {
				return
			}
			if _, err := types.ReadFrame(bufio.NewReader(socket), nil); err == nil {
				socket.Write([]byte{0, 0, 0, 4, 1, 13, 0, 2})
			}
			socket.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	done := make(chan *findings)
	go func() { done <- examine(ctx, c) }()
	elsewhere := c.Hosts[2].Addr.Next()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(elsewhere, 0))}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case f := <-done:
			if f.hosts[1].version == nil || f.hosts[2].foreign != elsewhere {
				t.Errorf("of two: %v, of three: %v", f.hosts[1].version, f.hosts[2].foreign)
			}
			return
		case <-tick.C:
			socket, err := d.Dial("tcp", port8080(c.Hosts[0].Addr))
			if err != nil {
				continue // it does not listen yet
			}
			frame, err := types.AppendFrame(nil, &types.Message{Kind: types.Echo, From: 3, Request: 1})
			if err != nil {
				t.Error(err)
			}
			socket.Write(frame)
			defer socket.Close()
		}
	}
}

// A stall counts even if the examination ends in it, before the first read of the clock.
func TestWatchSeesWholeStall(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x := &examination{ctx: ctx}
	x.watchStalls(time.Now().Add(-2 * longStall))
	if x.found.stall < longStall {
		t.Errorf("it was %v", x.found.stall)
	}
}

// Doctors with different keys, or of which one has none, report that, and so does one whose hosts file
// gives two hosts the same id.
func TestExamineKeys(t *testing.T) {
	t.Parallel()
	keys := func(line string) seal.Keyring {
		ring, err := seal.Parse(strings.Repeat(line, 43) + "=")
		if err != nil {
			t.Fatal(err)
		}
		return ring
	}
	a, b := keys("A"), keys("E")
	for _, c := range []struct {
		what       string
		one, two   seal.Keyring
		id         types.ID // that two has
		ones, twos error
		twin       bool
	}{
		{"the same", a, a, 2, nil, nil, false},
		{"different", a, b, 2, seal.ErrUnopened, seal.ErrUnopened, false},
		{"one has none", seal.Keyring{}, b, 2, types.ErrSealed, seal.ErrUnsealed, false},
		{"the same id", a, a, 1, nil, nil, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			one := three(t)
			one.Hosts = one.Hosts[:2]
			two := as(one, 2)
			one.Keys, two.Keys = c.one, c.two
			if two.ID = c.id; c.id == 1 { // another order of names
				two.Hosts = []types.Host{one.Hosts[1], one.Hosts[0]}
			}
			var both sync.WaitGroup
			both.Go(func() {
				if e := examine(ctx, one).hosts[1]; e.keys != c.ones || e.echoed != (c.ones == nil && !c.twin) || e.sameID != c.twin {
					t.Errorf("one finds %v, answered %v, twin %v", e.keys, e.echoed, e.sameID)
				}
			})
			both.Go(func() {
				if e := examine(ctx, two).hosts[2-c.id]; c.id == 2 && (e.keys != c.twos || e.echoed != (c.twos == nil)) {
					t.Errorf("two finds %v, answered %v", e.keys, e.echoed)
				}
			})
			both.Wait()
		})
	}
}

// A host that completes the handshake and closes the connection at the first frame has another key,
// although it sent nothing that proves it.
func TestExamineCloses(t *testing.T) {
	t.Parallel()
	c := three(t)
	ring, err := seal.Parse(strings.Repeat("A", 43) + "=")
	if err != nil {
		t.Fatal(err)
	}
	c.Keys = ring
	two, err := net.Listen("tcp", port8080(c.Hosts[1].Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	go func() {
		for range 3 {
			socket, err := two.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(socket)
			if _, _, err := seal.Handshake(in, socket, rand.Reader, ring, 2, false); err == nil {
				types.ReadFrame(in, nil)
			}
			socket.Close()
		}
		cancel() // all that is asked before the third question is known
	}()
	if e := examine(ctx, c).hosts[1]; e.keys != seal.ErrUnopened || e.echoed {
		t.Errorf("it found %v, answered %v", e.keys, e.echoed)
	}
}

// A slow name service is waited for as long as a peer waits, and does not hold up the rounds. At the end it is to
// blame only if it had its time.
func TestSlowNames(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddr("10.0.0.2")
	for _, c := range []struct {
		what   string
		late   time.Duration
		window time.Duration
		found  bool
		says   string // the error; "" for none
	}{
		{"at once", 0, 3 * time.Second, true, ""},
		{"the second name server answers", 5 * time.Second, 10 * time.Second, true, ""},
		{"late", 14 * time.Second, 20 * time.Second, true, ""},
		{"not in time for a peer", 16 * time.Second, 20 * time.Second, false, "context deadline exceeded"},
		{"not before the end", time.Hour, 10 * time.Second, false, "lookup two: no answer in 10s"},
		{"a short examination", time.Hour, 5 * time.Second, false, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.window)
				defer cancel()
				x := newExamination(ctx, config.Config{ID: 1, Hosts: []types.Host{{Name: "one"}, {Name: "two"}}})
				x.resolver.Lookup = func(ctx context.Context, network, _ string) ([]netip.Addr, error) {
					select {
					case <-time.After(c.late):
						return []netip.Addr{at}, nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}
				for ctx.Err() == nil {
					began := time.Now()
					if x.resolve(2); time.Since(began) > timeout {
						t.Errorf("a round waits for %v", time.Since(began))
					}
					x.pause()
				}
				x.tasks.Wait()
				e := x.of(2)
				if found := slices.Contains(e.addrs, at); found != c.found || (e.lookup == nil) != (c.says == "") ||
					e.lookup != nil && e.lookup.Error() != c.says || found && e.slowest < c.late {
					t.Errorf("found %v in %v: %v, want %v, %q", e.addrs, e.slowest, e.lookup, c.found, c.says)
				}
			})
		})
	}
}

// All hosts are looked up at once, but no more than 64.
func TestLookupsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		x := newExamination(ctx, config.Config{ID: 1, Hosts: make([]types.Host, 3*maxAsked)})
		var asked atomic.Int32
		x.resolver.Lookup = func(ctx context.Context, network, _ string) ([]netip.Addr, error) {
			if network == "ip4" {
				asked.Add(1)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		for i := range x.found.hosts {
			go x.resolve(types.ID(i + 1))
		}
		<-time.After(100 * time.Millisecond) // the resolver asks again after 300
		if got := asked.Load(); got != maxAsked {
			t.Errorf("%d are asked for at once, want %d", got, maxAsked)
		}
		cancel()
		x.tasks.Wait()
	})
}

// A host that has answered has the same key, whatever cannot be opened after that: a doctor that ends closes a connection
// right after the handshake.
func TestUnopenedAfterTheAnswer(t *testing.T) {
	e := evidence{echoed: true}
	if e.understand(seal.ErrUnopened); e.keys != nil {
		t.Errorf("it finds %v", e.keys)
	}
	if e.understand(seal.ErrUnsealed); e.keys != seal.ErrUnsealed {
		t.Errorf("it finds %v, want %v", e.keys, seal.ErrUnsealed)
	}
	e = evidence{}
	e.understand(seal.ErrUnopened)
	if e.answers(); e.keys != nil || !e.echoed {
		t.Errorf("a connection ended first, and then it answered: %v", e.keys)
	}
	e.keys = seal.ErrUnsealed
	if e.answers(); e.keys != seal.ErrUnsealed {
		t.Errorf("what it sent without a seal is forgotten: %v", e.keys)
	}
}

// Doctors whose hosts files have one beginning, and not the same length, say which is behind; retired hosts are not asked.
func TestExamineLengths(t *testing.T) {
	t.Parallel()
	long := three(t)
	long.Hosts = append(long.Hosts, types.Host{Name: "four", Addr: long.Hosts[2].Addr.Next()})
	long.Hosts[2].Retired, long.Hosts[3].Retired = true, true
	long.Digest = types.Digest(long.Hosts)
	short, other := as(long, 2), as(long, 2)
	short.Hosts, short.Digest = long.Hosts[:3], types.Digest(long.Hosts[:3])
	other.Hosts = append([]types.Host(nil), long.Hosts...)
	other.Hosts[2].Name = "thre"
	other.Digest = types.Digest(other.Hosts)
	for _, c := range []struct {
		what      string
		two       config.Config
		one, seen mark // what one finds of two, and two of one
	}{
		{"shorter", short, behind, ahead},
		{"another name", other, red, red},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		var both sync.WaitGroup
		for id, d := range map[types.ID]config.Config{1: long, 2: c.two} {
			both.Go(func() {
				f := examine(ctx, d)
				want := map[types.ID]mark{1: c.one, 2: c.seen}[id]
				if r := judge(f); len(r.others) != 1 || r.others[0].cells[1].mark != want {
					t.Errorf("%s: host %d finds %+v, want %s", c.what, id, r.others, want)
				}
				if want == ahead && f.hosts[0].shares != 3 {
					t.Errorf("%s: it does not compare the lines that both have", c.what)
				}
			})
		}
		both.Wait()
	}
}
