package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/config"
	"memberly/peer/network/rawio"
	"memberly/peer/seal"
	"memberly/peer/types"
)

// answerEchoes answers the echoes that come to host two with what reply makes of each, until the test ends.
func (s subnet) answerEchoes(t *testing.T, ring seal.Keyring, reply func(l *seal.Datagrams, echoed []byte) []byte) {
	t.Helper()
	two, err := listenUDP(s.Host(2))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	l, at := lane(t, ring, 2), netip.AddrPortFrom(s.Host(1), config.UDPPort)
	go func() {
		defer close(done)
		buf := make([]byte, rawio.MaxDatagram)
		for {
			size, _, err := two.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			b, answer, _ := l.Open(1, buf[:size], 0)
			var m types.Message
			if types.DecodeMessage(b, &m) == nil && m.Kind == types.Echo {
				m = echoUDP(2, &m)
				b, _ = types.AppendMessage(nil, &m)
				answer = reply(l, b)
			}
			if answer != nil {
				two.WriteToUDPAddrPort(answer, at)
			}
		}
	}()
	t.Cleanup(func() {
		two.Close()
		<-done
	})
}

// With keys, a host that refuses a connection and answers a sealed echo is as one that does not answer the
// dial; if its answer is missing, not sealed, or not with this key, it has refused.
func TestRefusalConfirmed(t *testing.T) {
	t.Parallel()
	ring, wrong := newRing(t, ""), newRing(t, "")
	for _, c := range []struct {
		what  string
		reply func(l *seal.Datagrams, echoed []byte) []byte
		want  types.Outcome
	}{
		{"an answer", func(l *seal.Datagrams, b []byte) []byte { return l.Seal(nil, b) }, types.NoAnswer},
		{"no answer", func(*seal.Datagrams, []byte) []byte { return nil }, types.Refusal},
		{"not sealed", func(_ *seal.Datagrams, b []byte) []byte { return b }, types.Refusal},
		{"another key", func(_ *seal.Datagrams, b []byte) []byte { return lane(t, wrong, 2).Seal(nil, b) }, types.Refusal},
		{"another number", func(l *seal.Datagrams, b []byte) []byte {
			var m types.Message
			types.DecodeMessage(b, &m)
			m.Request++
			b, _ = types.AppendMessage(nil, &m)
			return l.Seal(nil, b)
		}, types.Refusal},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			n := newSubnet(t)
			n.answerEchoes(t, ring, c.reply)
			s := newStage(t, n.sealedConfig(ring), nil)
			s.answer(send(probe(1, 2, 1)))
			st := s.expect("undialed")
			for c.want == types.Refusal && st.outcome == types.NoAnswer && st.now.Run-st.began > confirmTime+lateness {
				s.answer(send(probe(1, 2, 1))) // this process stood still
				st = s.expect("undialed")
			}
			if took := st.now.Run - st.began; st.outcome != c.want || (took >= confirmTime) != (c.want == types.Refusal) {
				t.Errorf("%v after %v, want %v", st.outcome, took, c.want)
			}
		})
	}
}

// newFakeConfirmer is the confirmer of host one of names' book.
func newFakeConfirmer(t *testing.T, socket rawio.Socket) *confirmer {
	t.Helper()
	d, b := newDrops(newLines(newOutput(), 0, nil)), (&names{}).book()
	k, err := newKeys(config.Config{ID: 1, Keys: newRing(t, "")}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.notice.close(patience) })
	b.set(3, []netip.Addr{addr("10.0.0.3"), addr("10.0.0.4")})
	return newConfirmer(1, newTasks(), b, d, k, socket)
}

// slowUDP is a socket whose writes take a while.
type slowUDP struct {
	fakeUDP
	takes time.Duration
	at    []time.Duration
	start time.Time
}

func (f *slowUDP) WriteTo(b []byte, to netip.AddrPort) error {
	f.at = append(f.at, time.Since(f.start))
	time.Sleep(f.takes)
	return f.fakeUDP.WriteTo(b, to)
}

// A host that refused is asked every 50 ms at all of its addresses, and has a quarter of a second; more if
// datagrams do not wake peers. Who stood still meanwhile may have missed the answer.
func TestConfirmTakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		fake  slowUDP
		takes time.Duration
		want  types.Outcome
	}{
		{"silence", slowUDP{fakeUDP: fakeUDP{ready: make(chan struct{})}}, 250 * time.Millisecond, types.Refusal},
		{"silence, polled", slowUDP{}, 800 * time.Millisecond, types.Refusal},
		{"failure", slowUDP{fakeUDP: fakeUDP{ready: make(chan struct{}), fail: net.ErrClosed}}, 250 * time.Millisecond, types.Refusal},
		{"a stall", slowUDP{fakeUDP: fakeUDP{ready: make(chan struct{})}, takes: time.Second}, 2 * time.Second, types.NoAnswer},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.fake.start = time.Now()
				got := newFakeConfirmer(t, &c.fake).confirm(3, types.Refusal)
				if took := time.Since(c.fake.start); got != c.want || took < c.takes || c.want == types.Refusal && took != c.takes {
					t.Errorf("%v after %v, want %v after %v", got, took, c.want, c.takes)
				}
				var want []time.Duration
				for at := time.Duration(0); at <= c.takes-100*time.Millisecond; at += 50 * time.Millisecond {
					want = append(want, at, at)
				}
				if c.want == types.Refusal && !slices.Equal(c.fake.at, want) {
					t.Errorf("asked at %v, want %v", c.fake.at, want)
				}
			})
		})
	}
}

// Where a host refuses several dials at once, it is asked once for all. An answer is good for as long as the host
// has to answer; to be silent is good for those alone who waited for it.
func TestConfirmShares(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &slowUDP{fakeUDP: fakeUDP{ready: make(chan struct{})}, start: time.Now()}
		c := newFakeConfirmer(t, f)
		const once = 4 * 2 // echoes, and addresses
		outcomes := make(chan types.Outcome)
		atOnce := func(what string, answered bool, want types.Outcome, asked int) {
			t.Helper()
			f.at = nil
			for i := range 3 {
				go func() {
					time.Sleep(time.Duration(i) * 10 * time.Millisecond)
					outcomes <- c.confirm(3, types.Refusal)
				}()
			}
			if answered {
				go func() {
					time.Sleep(30 * time.Millisecond)
					h := c.hosts.At(2)
					h.mu.Lock()
					number := h.number
					h.mu.Unlock()
					c.answered(3, number)
				}()
			}
			for range 3 {
				if got := <-outcomes; got != want {
					t.Errorf("%s: %v, want %v", what, got, want)
				}
			}
			if len(f.at) != asked {
				t.Errorf("%s: %d echoes, want %d", what, len(f.at), asked)
			}
		}
		atOnce("silence", false, types.Refusal, once)
		atOnce("silence again", false, types.Refusal, once)
		atOnce("an answer", true, types.NoAnswer, 2)
		atOnce("right after it", false, types.NoAnswer, 0)
		time.Sleep(confirmTime)
		atOnce("later", false, types.Refusal, once)
	})
}

// Who waits for the answer to another's question does not wait once the peer ends.
func TestConfirmEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFakeConfirmer(t, &fakeUDP{ready: make(chan struct{})})
		c.hosts.At(2).turn <- struct{}{} // another asks
		outcome := make(chan types.Outcome, 1)
		go func() { outcome <- c.confirm(3, types.Refusal) }()
		synctest.Wait()
		c.tasks.end()
		synctest.Wait()
		select {
		case got := <-outcome:
			if got != types.NoAnswer {
				t.Errorf("%v, want %v", got, types.NoAnswer)
			}
		default:
			t.Error("it still waits")
		}
		<-c.hosts.At(2).turn
	})
}

// A peer that datagrams do not wake hears the answer in time, although neither knows the other's session yet.
func TestRefusalConfirmedPolled(t *testing.T) {
	t.Parallel()
	n, ring := newSubnet(t), newRing(t, "")
	n.answerEchoes(t, ring, func(l *seal.Datagrams, b []byte) []byte { return l.Seal(nil, b) })
	c := n.sealedConfig(ring)
	for i := len(c.Hosts); i < manyHosts; i++ {
		c.Hosts = append(c.Hosts, types.Host{Name: fmt.Sprint("host", i), Addr: n.Host(i + 1)})
	}
	s := newStage(t, c, nil)
	s.answer(send(probe(1, 2, 1)))
	if st := s.expect("undialed"); st.outcome != types.NoAnswer || st.now.Run-st.began >= confirmPolled {
		t.Errorf("%v after %v", st.outcome, st.now.Run-st.began)
	}
}

// Without keys every outcome stands as it is; with keys no name service is believed that a name does not exist.
func TestConfirmOthers(t *testing.T) {
	t.Parallel()
	f := &fakeUDP{ready: make(chan struct{})}
	c := newFakeConfirmer(t, f)
	for _, o := range []types.Outcome{types.NoAnswer, types.NoName, types.Unresolved, types.Refusal, types.StaleRefusal} {
		if got := (*confirmer)(nil).confirm(3, o); got != o {
			t.Errorf("without keys %v is %v", o, got)
		}
		want := o
		switch o {
		case types.Refusal, types.StaleRefusal:
			continue
		case types.NoName:
			want = types.Unresolved
		}
		if got := c.confirm(3, o); got != want {
			t.Errorf("%v is %v, want %v", o, got, want)
		}
	}
	c.answered(3, 7) // nobody asked
	if len(f.sent) > 0 {
		t.Errorf("asked %v", f.sent)
	}
}
