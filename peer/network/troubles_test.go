package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/handlers"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// What is wrong with names is reported with its cause once it lasts, at most once a minute, and so is its end.
func TestTroubles(t *testing.T) {
	t.Parallel()
	const silent, unknown = "The name service does not answer for ", "The name service does not know "
	noSuch := &net.DNSError{Err: "no such host", IsNotFound: true}
	failed := &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	type look struct {
		at  time.Duration
		id  types.ID
		err error
	}
	const ms = time.Millisecond
	for _, c := range []struct {
		what  string
		looks []look
		want  []string // how the lines begin
	}{
		{"all is well", []look{{0, 1, nil}, {0, 2, nil}}, nil},
		{"a failure that passes", []look{{0, 1, failed}, {time.Second, 1, nil}}, nil},
		{"a failure that lasts", []look{{0, 1, failed}, {3 * time.Second, 1, failed}, {4 * time.Second, 1, failed}},
			[]string{silent + "one (server misbehaving)"}},
		{"a slow look-up", []look{{0, 1, errNoAnswer}}, []string{silent + "one (no answer)"}},
		{"that is over", []look{{0, 1, errNoAnswer}, {ms, 1, nil}, {ms, 1, nil}}, []string{silent + "one", "Names are found again: one"}},
		{"more hosts within a minute", []look{{0, 1, errNoAnswer}, {ms, 2, errNoAnswer}, {59 * time.Second, 2, errNoAnswer}},
			[]string{silent + "one ("}},
		{"more hosts a minute later", []look{{0, 1, errNoAnswer}, {ms, 2, errNoAnswer}, {time.Minute, 2, errNoAnswer}},
			[]string{silent + "one (", silent + "one, two ("}},
		{"over for one of two", []look{{0, 1, errNoAnswer}, {ms, 2, errNoAnswer}, {ms, 1, nil}},
			[]string{silent + "one (", "Names are found again: one"}},
		{"over for one of two that were reported", []look{{0, 1, errNoAnswer}, {ms, 2, errNoAnswer}, {time.Minute, 2, errNoAnswer}, {ms, 1, nil}},
			[]string{silent + "one (", silent + "one, two ("}},
		{"over for both", []look{{0, 1, errNoAnswer}, {ms, 2, errNoAnswer}, {time.Minute, 2, errNoAnswer}, {ms, 1, nil}, {time.Second, 2, nil}},
			[]string{silent + "one (", silent + "one, two (", "Names are found again: one, two"}},
		{"a name of a host that starts", []look{{0, 1, noSuch}, {9 * time.Second, 1, noSuch}, {ms, 1, nil}}, nil},
		{"no such name", []look{{0, 1, noSuch}, {10 * time.Second, 1, noSuch}, {ms, 1, nil}},
			[]string{unknown + "one:", "Names are found again: one"}},
		{"the service comes back, and knows nobody", []look{{0, 1, errNoAnswer}, {ms, 1, noSuch}, {10 * time.Second, 1, noSuch}},
			[]string{silent + "one", unknown + "one:"}},
		{"the cause changes before that is over", []look{{0, 1, errNoAnswer}, {time.Second, 1, noSuch}, {time.Second, 1, nil}},
			[]string{silent + "one", "Names are found again: one"}},
		{"the cause changes back before that is over", []look{{0, 1, noSuch}, {10 * time.Second, 1, noSuch}, {time.Second, 1, failed}, {time.Second, 1, nil}},
			[]string{unknown + "one:", "Names are found again: one"}},
		{"both causes, and one end", []look{{0, 1, errNoAnswer}, {ms, 1, noSuch}, {10 * time.Second, 1, noSuch}, {ms, 1, nil}},
			[]string{silent + "one", unknown + "one:", "Names are found again: one"}},
		{"causes that alternate", []look{{0, 1, failed}, {time.Second, 1, noSuch}, {time.Second, 1, failed}, {time.Second, 1, noSuch},
			{7 * time.Second, 1, failed}, {time.Second, 1, noSuch}, {time.Second, 1, failed}, {time.Second, 1, nil}},
			[]string{silent + "one", unknown + "one:", "Names are found again: one"}},
		{"causes that alternate, but not for long", []look{{0, 1, failed}, {time.Second, 1, noSuch}, {500 * ms, 1, failed}, {ms, 1, nil}, {ms, 1, failed}}, nil},
		{"again within a minute of the end", []look{{0, 1, errNoAnswer}, {time.Second, 1, nil}, {time.Second, 1, errNoAnswer}, {time.Second, 1, nil}},
			[]string{silent + "one", "Names are found again: one"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := newOutput()
				notice := newLines(out, 0, nil)
				l := newTroubles(notice, types.NewNames(types.Host{Name: "one"}, types.Host{Name: "two"}))
				for _, look := range c.looks {
					<-time.After(look.at)
					if look.err == errNoAnswer {
						l.slow(look.id)
					} else {
						l.note(look.id, look.err)
					}
				}
				notice.close(time.Second)
				lines := strings.Split(out.String(), "\n")
				lines = lines[:len(lines)-1]
				if len(lines) != len(c.want) {
					t.Fatalf("said %q, want %q", lines, c.want)
				}
				for i, want := range c.want {
					if !strings.HasPrefix(lines[i], want) {
						t.Errorf("said %q, want %q", lines[i], want)
					}
				}
			})
		})
	}
}

// A peer whose name service falls silent says so, and that it is back.
func TestNameServiceSilent(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	server := loopback.NewNameServer(t, netip.AddrPortFrom(n.Host(53), 0))
	server.Set("two", n.Host(2))
	server.Become(loopback.Habit{Silent: true})
	c := n.config()
	c.Hosts[1].Addr = netip.Addr{}
	s := newStage(t, c, lookupAt(server.Addr()))
	said := func(text string) {
		for !strings.Contains(s.stdout.String(), text) {
			s.answer(send(probe(1, 2, 1)))
			s.expect("undialed")
		}
	}
	said("The name service does not answer for two (no answer): ")
	server.Become(loopback.Habit{})
	said("Names are found again: two\n")
	if got := s.stdout.String(); strings.Count(got, "\n") != 2 {
		t.Errorf("said %q", got)
	}
	s.answer(handlers.Output{})
}

// A machine that does not have the address of its host says so, with the remedy.
func TestMisplaced(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		fixed string
		found string
		want  []string // in the line
	}{
		{"not the address of the file", "203.0.113.9", "", []string{"This host, one, is at 203.0.113.9 by the hosts file, but this machine has ", "-n NAME"}},
		{"not the address of the name", "", "203.0.113.9", []string{"This host, one, is at 203.0.113.9 by the name service, but "}},
		{"a loopback address", "", "127.0.1.1", []string{"This host, one, is at 127.0.1.1 by its own /etc/hosts: "}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			host := types.Host{Name: "one"}
			if c.fixed != "" {
				host.Addr = addr(c.fixed)
			}
			out := newOutput()
			notice := newLines(out, 0, nil)
			n := &names{addrs: map[string]string{"one": c.found}}
			b := newAddressBook([]types.Host{host}, utils.Resolver{Lookup: n.lookup}, newTasks())
			b.tasks.run(func() { newSources(b, 1, netip.Addr{}).watch(b.tasks, notice) })
			for _, want := range c.want {
				out.await(t, want)
			}
			b.tasks.end()
			b.tasks.running.Wait()
			notice.close(time.Second)
			if got := out.String(); strings.Count(got, "\n") != 1 {
				t.Errorf("said %q", got)
			}
		})
	}
}

// A machine that has one of its host's addresses has nothing to say.
func TestPlaced(t *testing.T) {
	t.Parallel()
	networks := []utils.Network{{Prefix: netip.MustParsePrefix("127.0.0.1/8")}, {Prefix: netip.MustParsePrefix("10.0.0.1/24")}}
	listed := []netip.Addr{addr("10.0.0.1"), addr("203.0.113.9")}
	if got := misplaced("one", false, listed, networks); got != "" {
		t.Errorf("said %q", got)
	}
	if got := misplaced("one", false, listed[1:], networks[:1]); !strings.Contains(got, "this machine has none") {
		t.Errorf("said %q", got)
	}
}

// A machine that loses the address of its host says so, at most once a minute however often its addresses change, and
// that it has it again.
func TestMisplacedLater(t *testing.T) {
	t.Parallel()
	const home, away, end = "10.9.0.1", "This host, one, is at 10.9.0.1 by the ", "Names are found again: one"
	type change struct {
		after time.Duration
		to    string // the machine's address
	}
	var flaps []change // a new address every 10 s
	for i := range 10 {
		flaps = append(flaps, change{targetsLast, fmt.Sprint("10.9.0.", 100+i)})
	}
	for _, c := range []struct {
		what    string
		changes []change
		want    []string // how the lines begin
	}{
		{"it stays", []change{{time.Hour, home}}, nil},
		{"it is lost", []change{{time.Minute, "10.9.0.7"}, {time.Hour, "10.9.0.7"}}, []string{away}},
		{"it comes back", []change{{time.Minute, "10.9.0.7"}, {time.Minute, home}}, []string{away, end}},
		{"it comes and goes", []change{{0, "10.9.0.7"}, {targetsLast, home}, {targetsLast, "10.9.0.7"}, {targetsLast, home}}, []string{away, end}},
		{"it goes twice", []change{{0, "10.9.0.7"}, {targetsLast, home}, {time.Minute, "10.9.0.7"}}, []string{away, end, away}},
		{"it changes all the time", flaps, []string{away, away}},
	} {
		for _, inFile := range []bool{true, false} {
			t.Run(fmt.Sprint(c.what, ", in the file ", inFile), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					host := types.Host{Name: "one"}
					if inFile {
						host.Addr = addr(home)
					}
					out := newOutput()
					notice := newLines(out, 0, nil)
					n := &names{addrs: map[string]string{"one": home}}
					b := newAddressBook([]types.Host{host}, utils.Resolver{Lookup: n.lookup}, newTasks())
					s := newSources(b, 1, netip.Addr{})
					var at atomic.Pointer[string]
					at.Store(new(home))
					s.find = func() ([]utils.Network, error) {
						return []utils.Network{{Prefix: netip.MustParsePrefix(*at.Load() + "/24")}}, nil
					}
					b.tasks.run(func() { s.watch(b.tasks, notice) })
					b.tasks.run(func() { // as heartbeats do
						for b.tasks.ctx.Err() == nil {
							b.tasks.pause(targetsLast)
							s.look()
						}
					})
					for _, change := range c.changes {
						<-time.After(change.after)
						at.Store(&change.to)
					}
					<-time.After(targetsLast + time.Second)
					b.tasks.end()
					b.tasks.running.Wait()
					notice.close(time.Second)
					lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
					if out.String() == "" {
						lines = nil
					}
					if !slices.EqualFunc(lines, c.want, strings.HasPrefix) {
						t.Errorf("said %q, want %q", lines, c.want)
					}
				})
			})
		}
	}
}

// Datagrams of another group are counted, and reported once.
func TestDatagramsOfAnotherGroup(t *testing.T) {
	t.Parallel()
	m := heartbeat(2)
	b, _ := types.AppendMessage(nil, &m)
	p, out := newFakeHeartbeats(&names{addrs: map[string]string{"two": "10.0.0.2"}}, &fakeUDP{})
	for i := range 100 {
		p.receive(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), b, &p.heard)
		for len(p.queries) > 0 {
			p.answer(<-p.queries)
		}
	}
	p.drops.notice.close(patience)
	if got := out.String(); strings.Count(got, "Error getting hostname from address") != 1 {
		t.Errorf("said %q", got)
	}
	if got := p.drops.all()[dropStranger]; got != 100 {
		t.Errorf("counted %d, want 100", got)
	}
}
