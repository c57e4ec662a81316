package network

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/seal"
	"memberly/peer/types"
)

// A bucket grows to its bound and no further; what is owed is waited for, and is bounded too.
func TestBucket(t *testing.T) {
	t.Parallel()
	var b bucket
	b.allot(10, 5)
	now := time.Now()
	allowed := func() (n int) {
		for b.allow(now) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 5}, {0, 0}, {99 * time.Millisecond, 0}, {time.Millisecond, 1}, {350 * time.Millisecond, 3}, {time.Hour, 5}} {
		now = now.Add(c.after)
		if got := allowed(); got != c.want {
			t.Errorf("%v later it allows %d, want %d", c.after, got, c.want)
		}
	}
	now = now.Add(time.Hour)
	for _, c := range []struct {
		n    int
		wait time.Duration
	}{{5, 0}, {1, backoff + 100*time.Millisecond}, {1, backoff + 200*time.Millisecond}, {1000, backoff + 500*time.Millisecond}} {
		if got := b.spend(now, c.n); got != c.wait {
			t.Errorf("when %d are spent it waits %v, want %v", c.n, got, c.wait)
		}
	}
	now = now.Add(600 * time.Millisecond)
	if got := allowed(); got != 1 {
		t.Errorf("when all but one is paid it allows %d, want 1", got)
	}
	now = now.Add(time.Second)
	allowed()
	if now = now.Add(-time.Hour); allowed() != 0 || b.spend(now, 1) != backoff+100*time.Millisecond {
		t.Error("who looked at the clock long before another was here pays for the time between")
	}
	if now = now.Add(time.Hour + 200*time.Millisecond); allowed() != 1 {
		t.Error("the time between was counted again")
	}
}

// The allowances follow the interval between heartbeats, where that is short, and the hosts.
func TestAllowances(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hosts       int
		beat        time.Duration
		often, read float64
	}{
		{5, 0, 20, 5000 + 4*5/1.1}, {1000, usualBeat, 20, 5000 + 4*1000/1.1},
		{5, time.Hour, 20, 5000}, {5, time.Millisecond, 20_000, 25_000},
	} {
		l := newLimits(c.hosts, c.beat)
		a := l.of(types.ID(c.hosts))
		for _, b := range []*bucket{&a[limitConns], &a[limitJoins], &a[limitQueries], &a[limitHeartbeats], l.connections(addr("10.0.0.1"), 0)} {
			if b.rate != c.often {
				t.Errorf("%d hosts, a heartbeat in %v: %v a second, want %v", c.hosts, c.beat, b.rate, c.often)
			}
		}
		if got := l.datagrams.rate; got < c.read-1 || got > c.read+1 {
			t.Errorf("%d hosts, a heartbeat in %v: %v datagrams a second, want %v", c.hosts, c.beat, got, c.read)
		}
	}
}

// trio is the reader of the first of three hosts, in a bubble of synctest.
func trio(t *testing.T) *reader {
	b := (&names{}).book()
	x := &reader{tasks: newTasks(), addresses: b, limits: newLimits(b.len(), usualBeat), drops: newDrops(newLines(newOutput(), 0, nil))}
	t.Cleanup(func() {
		x.tasks.end()
		x.drops.notice.close(patience)
	})
	return x
}

// speaks has a host say m so many times on a connection, as fast as it is read.
func speaks(x *reader, host types.ID, m types.Message, times int) {
	near, far := net.Pipe()
	c := newConnection(near)
	c.host = host
	m.From = host
	frame, _ := types.AppendFrame(nil, &m)
	go x.listen(c, nil)
	go func() {
		for range times {
			far.Write(frame)
		}
		far.Close()
	}()
}

// A host that says too much is read more slowly. Nothing of it is lost, and another host, that
// speaks in the middle of it, does not wait for it.
func TestHeldBack(t *testing.T) {
	t.Parallel()
	state := types.Message{Kind: types.State, To: 1, Standing: types.Fresh}
	for _, c := range []struct {
		what string
		few  func(a *allowance) // so that a test is short
		took time.Duration      // 1000 frames
	}{
		{"honest", func(*allowance) {}, 0},
		{"too many frames", func(a *allowance) { a[limitFrames].allot(100, 200) }, 8 * time.Second},
		{"too many bytes", func(a *allowance) { a[limitBytes].allot(10_000, 10_000) }, 7 * time.Second},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				x := trio(t)
				c.few(x.limits.of(2))
				began, heard := time.Now(), map[types.ID]int{}
				speaks(x, 2, state, 1000)
				for heard[2] < 1000 {
					if e := <-x.tasks.events; e.kind == received {
						heard[e.host]++
					}
					if heard[2] == 500 && heard[3] == 0 {
						asked := time.Now()
						speaks(x, 3, state, 1)
						for e := range x.tasks.events {
							heard[e.host]++
							if e.host == 3 {
								break
							}
						}
						if took := time.Since(asked); took > 0 {
							t.Errorf("the other host waited %v", took)
						}
					}
				}
				if took := time.Since(began); took < c.took || took > c.took+2*time.Second {
					t.Errorf("it took %v, want about %v", took, c.took)
				}
			})
		})
	}
}

// What is sent to a host counts as if it had sent it.
func TestAnswersCount(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	two := n.listen(t, 2)
	s := newStage(t, n.config(), nil)
	bytes := &s.peer.acceptor.limits.of(2)[limitBytes]
	bytes.allot(0, 1000)
	s.answer(send(probe(1, 2, 1)))
	accept(t, two).hears()
	frame, _ := types.AppendFrame(nil, new(probe(1, 2, 1)))
	if wait, want := bytes.spend(time.Now(), 1000-len(frame)), bytes.left; wait != 0 || want != 0 {
		t.Errorf("%v bytes are left, want 0", want)
	}
}

// Questions beyond a bound are dropped and told once; what is none is handed on all the same.
func TestTooManyQuestions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind types.Kind
		most int
	}{{types.Join, limitTable[limitJoins].burst}, {types.Probe, limitTable[limitQueries].burst}} {
		t.Run(c.kind.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				x := trio(t)
				speaks(x, 2, types.Message{Kind: c.kind, To: 1, Lines: 2, Full: 2}, 2*c.most)
				heard := 0
				for {
					synctest.Wait()
					select {
					case <-x.tasks.events:
						heard++
						continue
					default:
					}
					break
				}
				if got := x.drops.all(); heard != c.most || got[dropQueryRate] != uint64(c.most) {
					t.Errorf("%d were handed on and %v dropped, want %d each", heard, got, c.most)
				}
				speaks(x, 2, types.Message{Kind: types.State, To: 1, Standing: types.Fresh}, 1)
				<-x.tasks.events
			})
		})
	}
}

// Datagrams without end, from a stranger and from a host, are read at a bounded rate. Of a host's
// heartbeats, those beyond its limit go no further.
func TestDatagramsWithoutEnd(t *testing.T) {
	t.Parallel()
	const many = 20_000
	m := heartbeat(3)
	beat, _ := types.AppendMessage(nil, &m)
	for _, c := range []struct {
		from   string
		bytes  []byte
		reason dropReason
		most   int
	}{{"10.0.0.9", []byte("noise"), dropStranger, 0}, {"10.0.0.3", beat, dropHeartbeatRate, limitTable[limitHeartbeats].burst}} {
		t.Run(c.reason.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fakeUDP{reads: slices.Repeat([]datagram{{from: addr(c.from), bytes: c.bytes}}, many)}
				p, out := newFakeHeartbeats(&names{}, f)
				began := time.Now()
				heard := p.count()
				took := time.Since(began)
				all := limitTable[limitDatagrams]
				if want := time.Duration((many - all.burst) * int(time.Second) / all.rate); took < want*9/10 || took > 2*want {
					t.Errorf("%d datagrams in a row took %v, want about %v", many, took, want)
				}
				most := c.most + int(float64(limitTable[limitHeartbeats].rate)*took.Seconds()) + 1
				if c.most == 0 {
					most = 0
				}
				if heard < c.most || heard > most || p.drops.all()[c.reason] != uint64(many-heard) {
					t.Errorf("%d were handed on and %v dropped, want %d to %d", heard, p.drops.all(), c.most, most)
				}
				p.drops.notice.close(patience)
				if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, errFlood.Error()) {
					t.Errorf("it said %q, want a line of the address, and one of the flood", got)
				}
			})
		})
	}
}

// newIntroduced returns heartbeats that know the session of host three, whose allowances do not grow from now on.
func newIntroduced(t *testing.T, ring seal.Keyring, beat []byte) (*heartbeats, *seal.Datagrams) {
	t.Helper()
	f, three := &fakeUDP{keep: true}, lane(t, ring, 3)
	p, _ := newFakeHeartbeats(&names{}, f)
	p.seal(t, ring)
	p.hear(addr("10.0.0.3"), three.Seal(nil, beat))
	_, answer, err := three.Open(1, f.bytes[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	p.hear(addr("10.0.0.3"), bytes.Clone(answer))
	for id := range hostLimits {
		p.limits.of(3)[id].allot(0, float64(limitTable[id].burst))
	}
	return p, three
}

// With keys, what a forger sends in a host's name does not count against it, whether it is not sealed, opens with no
// key, has the session of the host's own, or came before. Of what no key opens, little is tried with all keys.
func TestForgedDatagrams(t *testing.T) {
	t.Parallel()
	const many = 10_000
	ring, m := newRing(t, ""), heartbeat(3)
	beat, _ := types.AppendMessage(nil, &m)
	for _, c := range []struct {
		what   string
		junk   func(heard []byte) []byte
		reason dropReason
		tries  int // that are left
	}{
		{"not sealed", func([]byte) []byte { return beat }, dropUnsealed, limitTable[limitUnopened].burst},
		{"another key", func([]byte) []byte { return lane(t, newRing(t, ""), 3).Seal(nil, beat) }, dropUnopened, 0},
		{"the host's session", func(heard []byte) []byte {
			b := bytes.Clone(heard)
			b[len(b)-1] ^= 1
			return b
		}, dropUnopened, 0},
		{"came before", func(heard []byte) []byte { return heard }, dropReplayed, limitTable[limitUnopened].burst},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, three := newIntroduced(t, ring, beat)
			heard := three.Seal(nil, beat)
			if p.hear(addr("10.0.0.3"), heard) != 1 {
				t.Fatal("the host is not heard before")
			}
			junk := c.junk(heard)
			p.keys.start = p.keys.start.Add(-time.Second) // copies may follow it for less
			for range many {
				if p.hear(addr("10.0.0.3"), junk) != 0 {
					t.Fatal("junk is heard")
				}
			}
			for range limitTable[limitHeartbeats].burst - 1 {
				if p.hear(addr("10.0.0.3"), three.Seal(nil, beat)) != 1 {
					t.Fatalf("the host is not heard after: %v", p.drops.all())
				}
			}
			if p.hear(addr("10.0.0.3"), three.Seal(nil, beat)) != 0 || p.drops.all()[dropHeartbeatRate] != 1 {
				t.Errorf("the host's own limit does not hold: %v", p.drops.all())
			}
			left := &p.limits.of(3)[limitUnopened]
			if got := int(left.left); got != c.tries || p.drops.all()[c.reason] != many {
				t.Errorf("%d are left to try, want %d; counted %v", got, c.tries, p.drops.all())
			}
		})
	}
}

// pipes returns so many pending connections of a host.
func pipes(t *testing.T, host types.ID, n int) []pendingConn {
	var conns []pendingConn
	for range n {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		conns = append(conns, pendingConn{near, host})
	}
	return conns
}

// Each host has a quota, and all unknown addresses one; beyond it the oldest is evicted. Where file
// descriptors lack, all do.
func TestPendingConns(t *testing.T) {
	t.Parallel()
	var l pendingConns
	twos, threes, strangers := pipes(t, 2, maxPendingOfHost+1), pipes(t, 3, 1), pipes(t, 0, maxLookedInto+1)
	for _, g := range slices.Concat(threes, twos, strangers[:maxLookedInto]) {
		if !l.add(g) {
			t.Fatal("one was not let in")
		}
	}
	if l.add(strangers[maxLookedInto]) {
		t.Errorf("%d strangers were let in", len(strangers))
	}
	if got, want := len(l.conns), 1+maxPendingOfHost+maxPendingUnknown; got != want {
		t.Errorf("%d are pending, want %d", got, want)
	}
	for _, c := range []struct {
		what string
		g    pendingConn
		want bool
	}{
		{"the only one of three", threes[0], true}, {"the oldest of two", twos[0], false}, {"the second of two", twos[1], true},
		{"an old stranger", strangers[0], false}, {"a newer one", strangers[maxLookedInto-maxPendingUnknown], true},
	} {
		if got := l.remove(c.g); got != c.want {
			t.Errorf("%s was still there: %t, want %t", c.what, got, c.want)
		}
	}
	if !l.add(strangers[maxLookedInto]) {
		t.Error("a stranger is not let in though others have left")
	}
	l.clear()
	if len(l.conns) > 0 || l.remove(strangers[maxLookedInto]) {
		t.Errorf("%d were not evicted", len(l.conns))
	}
}

// However many strangers come, a host's connection that has yet to speak stays.
func TestStrangersTakeNoHostsPlace(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	o := n.dial(t, 2)
	var strangers []other
	for range maxPendingUnknown + 1 {
		strangers = append(strangers, n.dial(t, 9))
	}
	strangers[0].closed()
	o.says(probe(2, 1, 1))
	s.expect("message")
	s.answer(handlers.Output{})
}

// endless is a listener to which connections come without end, until so many have come.
type endless struct {
	net.Listener
	left int
}

func (e *endless) Accept() (net.Conn, error) {
	if e.left--; e.left < 0 {
		return nil, net.ErrClosed
	}
	near, far := net.Pipe()
	go far.Read(nil) // until near is closed
	return near, nil
}

// The acceptor lets others have the processor now and then, however fast connections come.
func TestAcceptorPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x := trio(t)
		d := &acceptor{tasks: x.tasks, reader: x, addresses: x.addresses, limits: x.limits, drops: x.drops, listener: &endless{left: 100 * acceptTurn}}
		began := time.Now()
		d.accept()
		if took := time.Since(began); took != 100*turnPause {
			t.Errorf("it paused %v, want %v", took, 100*turnPause)
		}
		x.tasks.end()
		x.tasks.running.Wait()
	})
}

// Connections beyond a bound are closed, of a host and of a stranger, and told once.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	for _, c := range []struct {
		from  int
		host  types.ID
		words string
	}{{2, 2, "Error: too many connections: "}, {9, 0, "Error getting hostname from address: "}} {
		s.peer.acceptor.limits.connections(n.Host(c.from), c.host).allot(0, 1)
		n.dial(t, c.from)
		for range 3 {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.Host(c.from), 0))}
			if socket, err := d.DialContext(t.Context(), "tcp", endpoint(n.Host(1))); err == nil { // else it was closed already
				other{t, newConnection(socket)}.closed()
				socket.Close()
			}
		}
		s.stdout.await(t, c.words)
	}
	if got := s.peer.drops.all()[dropConnRate]; got != 6 {
		t.Errorf("counted %d, want 6", got)
	}
	if got := s.stdout.String(); strings.Count(got, "\n") != 2 {
		t.Errorf("said %q, want two lines", got)
	}
}

// docs/security.md lists every limit, with the numbers, what happens to more, and as what that is counted.
func TestDocsListLimits(t *testing.T) {
	t.Parallel()
	rows := listedLimits(t)
	if len(rows) != len(limitTable) {
		t.Errorf("docs/security.md has %d rows, want %d", len(rows), len(limitTable))
	}
	for _, l := range limitTable {
		row, ok := rows[l.what]
		if !ok {
			t.Errorf("docs/security.md has no row %q", l.what)
			continue
		}
		if got, want := numbersIn(row[0]), l.numbers(); !slices.Equal(got, want) {
			t.Errorf("%s: docs/security.md has the numbers %v, want %v", l.what, got, want)
		}
		if got, want := strings.Contains(row[0], "real second"), l.rate > 0 && !l.perBeat; got != want {
			t.Errorf("%s: docs/security.md says a real second: %v, want %v", l.what, got, want)
		}
		var labels []string
		for _, reason := range l.counted {
			labels = append(labels, "`"+reason.String()+"`")
		}
		if got, want := row[2], strings.Join(labels, ", "); !strings.Contains(row[1], l.beyond) || got != want {
			t.Errorf("%s: docs/security.md says that more are %q, counted as %q; want %q, %q", l.what, row[1], got, l.beyond, want)
		}
	}
}

// numbers returns those that the page has for l, in order.
func (l *limit) numbers() []int {
	all := append([]int{l.rate, l.burst}, l.also...)
	return slices.DeleteFunc(all, func(n int) bool { return n == 0 })
}

// listedLimits returns the cells of the table of limits, by the first of each row.
func listedLimits(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Limits\n")
	section, _, _ = strings.Cut(section, "\n### ")
	_, table, _ := strings.Cut(section, "| --- |")
	rows := make(map[string][]string)
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || strings.HasPrefix(cells[1], " ---") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		what, _, _ := strings.Cut(cells[1], ", each of which") // why it is limited
		what, _, _ = strings.Cut(what, " (with `-key`)")
		rows[what] = cells[2:5]
	}
	return rows
}

var numbered = regexp.MustCompile(`([0-9][0-9,]*)( [KM]iB)?`)

// numbersIn returns the numbers in a text.
func numbersIn(text string) (found []int) {
	for _, m := range numbered.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(strings.ReplaceAll(strings.TrimSuffix(m[1], ","), ",", ""))
		found = append(found, n*map[string]int{"": 1, " KiB": 1 << 10, " MiB": 1 << 20}[m[2]])
	}
	return found
}
