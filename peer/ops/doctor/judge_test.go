package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/config"
	"memberly/peer/seal"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// healthy returns what the first of three hosts finds when all is well: a doctor on two, a peer on
// three, and a network with broadcast.
func healthy() *findings {
	f := &findings{config: config.Config{ID: 1, Name: "one", Digest: 7,
		Hosts: []types.Host{{Name: "one"}, {Name: "two"}, {Name: "three"}}},
		attached: []utils.Network{{Prefix: netip.MustParsePrefix("10.0.0.1/24"), Broadcast: true}}}
	for i := range 3 {
		e := evidence{addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})},
			reached: true, echoed: true, called: true, lines: 3, shares: 3, seen: true, kind: aDoctor}
		e.answered, e.received = [routes]bool{true, true}, [routes]bool{true, true}
		f.hosts = append(f.hosts, e)
	}
	three := &f.hosts[2]
	three.kind, three.view, three.heartbeat, three.received = aPeer, 5, true, [routes]bool{}
	return f
}

// silent makes e the evidence of a host that sends nothing.
func silent(e *evidence, dialled error) { *e = evidence{addrs: e.addrs, dialled: dialled} }

var refused = &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

// ailing lists changes of healthy and their verdicts.
var ailing = []struct {
	what   string
	change func(f *findings, two, three *evidence)
	marks  string // of this host, of two, of three: + ok, ! red, ? unknown, - unused, ~ slow, < behind, > ahead
	want   string // part of a remedy
}{
	{"all is well", func(f *findings, two, three *evidence) {}, "++++ ++++++++ +++++-++", ""},
	{"TCP port taken", func(f *findings, two, three *evidence) {
		f.tcp, two.called, three.called = syscall.EADDRINUSE, false, false
	},
		"+!++ +++?++++ +++?+-++", "TCP 8080 is in use here"},
	{"UDP port forbidden", func(f *findings, two, three *evidence) { f.udp = syscall.EACCES }, "++!+ ++++++++ +++++-++", "UDP 8081 cannot be opened"},
	{"another's address here", func(f *findings, two, three *evidence) { f.tcp = syscall.EADDRNOTAVAIL }, "+!++ ++++++++ +++++-++", "does not have the address"},
	{"stall", func(f *findings, two, three *evidence) { f.stall = 1234 * time.Millisecond }, "+++! ++++++++ +++++-++", "did not run for 1.23s"},
	{"looked for elsewhere", func(f *findings, two, three *evidence) { f.hosts[0].addrs[0] = netip.MustParseAddr("10.0.0.99") },
		"!+++ ++++++++ +++++-++", "at 10.0.0.99, which is no address of this machine"},
	{"own name unknown", func(f *findings, two, three *evidence) { f.hosts[0].addrs = nil }, "-+++ ++++++++ +++++-++", ""},
	{"no such name", func(f *findings, two, three *evidence) {
		*two = evidence{lookup: &net.DNSError{Err: "no such host", IsNotFound: true}}
	}, "++++ !?????-- +++++-++", "does not know two"},
	{"no name service", func(f *findings, two, three *evidence) { *two = evidence{lookup: errors.New("timeout")} }, "++++ !?????-- +++++-++", "(timeout)"},
	{"a slow name service", func(f *findings, two, three *evidence) { two.slowest, three.slowest = slowAfter, slowAfter-1 },
		"++++ ~+++++++ +++++-++", "The name service took 2s to find two, "},
	{"one address for two", func(f *findings, two, three *evidence) { three.addrs = two.addrs }, "++++ !??????? !???????", "two and three are both at 10.0.0.2"},
	{"loopback", func(f *findings, two, three *evidence) { two.addrs = []netip.Addr{netip.MustParseAddr("127.0.1.1")} },
		"++++ !??????? +++++-++", "two is at 127.0.1.1, which is this machine"},
	{"this machine's", func(f *findings, two, three *evidence) { two.addrs = []netip.Addr{netip.MustParseAddr("10.0.0.1")} },
		"++++ !??????? +++++-++", "which is this machine"},
	{"another file", func(f *findings, two, three *evidence) { two.differs = true }, "++++ +!++++++ +++++-++", "two has another hosts file"},
	{"a file that lacks the last host", func(f *findings, two, three *evidence) { two.lines, two.shares = 2, 2 }, "++++ +<++++++ +++++-++",
		"two lists 2 hosts, the first of the 3 in the hosts file here: bring the file there up to date.\n"},
	{"a file with a host more", func(f *findings, two, three *evidence) { two.lines = 4 }, "++++ +>++++++ +++++-++",
		"two lists 4 hosts, of which the hosts file here has the first 3: write the other lines here too.\n"},
	{"a group with a host more", func(f *findings, two, three *evidence) { three.lines, three.shares = 4, 0 }, "++++ ++++++++ +>+++-++",
		"three lists 4 hosts, and the hosts file here has 3, which must be the first of them"},
	{"a slow name service, and a file with a host more", func(f *findings, two, three *evidence) { two.slowest, two.lines = slowAfter, 4 },
		"++++ ~>++++++ +++++-++", "All is well, but the name service is slow, and some hosts files are not up to date.\n"},
	{"retired", func(f *findings, two, three *evidence) {
		f.config.Hosts[1].Retired = true
		silent(two, refused)
	}, "++++ +++++-++", ""},
	{"retired here", func(f *findings, two, three *evidence) { f.config.Hosts[0].Retired = true }, "!+++ ++++++++ +++++-++",
		"one is retired in the hosts file, as host 1, whose id is never used again"},
	{"nothing runs", func(f *findings, two, three *evidence) { silent(two, refused) }, "++++ +?!????? +++++-++", "Nothing listens on TCP 8080 of two"},
	{"no way", func(f *findings, two, three *evidence) { silent(two, errors.New("i/o timeout")) }, "++++ +?!????? +++++-++", "at 10.0.0.2 (i/o timeout)"},
	{"mute", func(f *findings, two, three *evidence) { silent(two, nil); two.reached = true }, "++++ +?!????? +++++-++", "does not answer"},
	{"another version", func(f *findings, two, three *evidence) { two.echoed, two.version = false, types.ErrVersion }, "++++ ++!+++++ +++++-++", "two runs another release"},
	{"TCP in is blocked", func(f *findings, two, three *evidence) { two.called = false }, "++++ +++!++++ +++++-++", "two does not reach TCP 8080 here"},
	{"address translation", func(f *findings, two, three *evidence) {
		two.called, two.foreign = false, netip.MustParseAddr("10.9.9.9")
	},
		"++++ +++!++++ +++++-++", "two sends from 10.9.9.9, but here its address is 10.0.0.2"},
	{"UDP out is blocked", func(f *findings, two, three *evidence) { two.answered = [routes]bool{} }, "++++ ++++!+!+ +++++-++", "but not the other way"},
	{"UDP in is blocked", func(f *findings, two, three *evidence) { two.received, two.answered = [routes]bool{}, [routes]bool{} }, "++++ ++++?!?! +++++-++", "UDP 8081 from 10.0.0.2"},
	{"no broadcast", func(f *findings, two, three *evidence) {
		two.received[broadcast], two.answered[broadcast] = false, false
	},
		"++++ ++++++!! +++++-++", "Broadcasts to 10.0.0.255 do not reach two"},
	{"no heartbeat", func(f *findings, two, three *evidence) { three.heartbeat = false }, "++++ ++++++++ +++++-+!", "Broadcasts of three do not arrive"},
	{"a peer's answers lost", func(f *findings, two, three *evidence) { three.answered = [routes]bool{} }, "++++ ++++++++ ++++!-?+", "or its answers, are lost"},
	{"no way to a peer", func(f *findings, two, three *evidence) {
		three.reached, three.echoed, three.called, three.view, three.lines = false, false, false, 0, 0
		three.dialled = errors.New("i/o timeout")
	}, "++++ ++++++++ +?!?+-++", "(i/o timeout): let TCP 8080 through to it"},
	{"datagrams of another version", func(f *findings, two, three *evidence) {
		silent(two, nil)
		two.reached, two.seen, two.version = true, true, types.ErrVersion
	}, "++++ +?!????? +++++-++", "two runs another release"},
	{"another key", func(f *findings, two, three *evidence) {
		silent(two, nil)
		two.reached, two.called, two.seen, two.keys = true, true, true, seal.ErrUnopened
	}, "++++ +?!+???? +++++-++", "two has another key than this doctor, or none"},
	{"no key", func(f *findings, two, three *evidence) {
		silent(two, nil)
		two.reached, two.seen, two.keys = true, true, seal.ErrUnsealed
	}, "++++ +?!????? +++++-++", "two has no key, and this doctor has"},
	{"a key", func(f *findings, two, three *evidence) {
		silent(two, nil)
		two.reached, two.seen, two.keys = true, true, types.ErrSealed
	}, "++++ +?!????? +++++-++", "two has a key, and this doctor has none"},
	{"another key once, and answers since", func(f *findings, two, three *evidence) { two.keys = seal.ErrUnopened },
		"++++ ++++++++ +++++-++", ""},
	{"this host's id", func(f *findings, two, three *evidence) {
		silent(two, nil)
		two.reached, two.seen, two.sameID = true, true, true
	}, "++++ +?!????? +++++-++", "two says that it has this host's id"},
	{"no time", func(f *findings, two, three *evidence) { *two = evidence{} }, "++++ ??????-- +++++-++", "allow more time"},
	{"looked for elsewhere, and refused", func(f *findings, two, three *evidence) {
		f.hosts[0].addrs[0] = netip.MustParseAddr("10.0.0.99")
		*two = evidence{addrs: two.addrs, reached: true, seen: true, kind: aDoctor, received: [routes]bool{broadcast: true}}
	}, "!+++ +??????+ +++++-++", "which is no address of this machine"},
	{"seen before its name was known", func(f *findings, two, three *evidence) {
		two.called, two.foreign = false, two.addrs[0]
	}, "++++ +++!++++ +++++-++", "two does not reach TCP 8080 here"},
	{"seen, and never looked up", func(f *findings, two, three *evidence) {
		*two = evidence{foreign: netip.MustParseAddr("10.0.0.2")}
	}, "++++ ??????-- +++++-++", "allow more time"},
	{"elsewhere", func(f *findings, two, three *evidence) {
		silent(two, errors.New("i/o timeout"))
		two.foreign = netip.MustParseAddr("10.9.9.9")
	}, "++++ +??!???? +++++-++", "two sends from 10.9.9.9"},
	{"all UDP out is blocked", func(f *findings, two, three *evidence) { two.answered = [routes]bool{} }, "++++ ++++!+!+ +++++-++", "to that address through.\n"},
	{"heartbeats come one by one, answers do not", func(f *findings, two, three *evidence) {
		f.attached, f.hosts[0].addrs, three.answered = nil, nil, [routes]bool{}
	}, "-+++ ++++++-- ++++!+--", "reach this host from three, but not the other way"},
	{"a peer in no view", func(f *findings, two, three *evidence) { three.heartbeat, three.view = false, 0 }, "++++ ++++++++ +++++-+-", ""},
	{"another network", func(f *findings, two, three *evidence) { f.attached = nil; f.hosts[0].addrs = nil }, "-+++ ++++++-- ++++++--", ""},
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, c := range ailing {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			f := healthy()
			c.change(f, &f.hosts[1], &f.hosts[2])
			r := judge(f)
			var out strings.Builder
			r.print(&out)
			if got := short(r); got != c.marks {
				t.Errorf("marks are %q, want %q\n%s", got, c.marks, out.String())
			}
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("nothing says %q:\n%s", c.want, out.String())
			}
			if well := !strings.ContainsAny(c.marks, "!?"); r.well() != well || strings.Contains(out.String(), "All is well") != well {
				t.Errorf("well is %t\n%s", r.well(), out.String())
			}
		})
	}
}

// A peer of another wire version shows which.
func TestRunsVersion(t *testing.T) {
	t.Parallel()
	for speaks, want := range map[uint8]string{0: "peer, view 5", types.Version: "peer, view 5", types.Version + 1: fmt.Sprintf("peer, view 5, wire version %d", types.Version+1)} {
		f := healthy()
		f.hosts[2].speaks = speaks
		var out strings.Builder
		judge(f).print(&out)
		if !strings.Contains(out.String(), " "+want+"\n") {
			t.Errorf("version %d: no %q in\n%s", speaks, want, out.String())
		}
	}
}

// short returns the marks of a report, one letter each.
func short(r report) string {
	letters := map[mark]string{good: "+", red: "!", unknown: "?", unused: "-", slow: "~", behind: "<", ahead: ">"}
	var words []string
	for _, row := range append([]row{r.here}, r.others...) {
		word := ""
		for _, c := range row.cells {
			word += letters[c.mark]
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// The printed tables, with each remedy under the row of its cell.
func TestPrint(t *testing.T) {
	t.Parallel()
	f := healthy()
	f.hosts[1].called = false
	var out strings.Builder
	judge(f).print(&out)
	const want = `this host  address  TCP 8080  UDP 8081  clock
one        ok       ok        ok        ok

host   name  file  TCP to  TCP from  UDP to  UDP from  broadcast to  broadcast from  runs
two    ok    ok    ok      RED       ok      ok        ok            ok              doctor
  TCP from: two does not reach TCP 8080 here: let TCP 8080 through to this machine, from 10.0.0.2.
three  ok    ok    ok      ok        ok      -         ok            ok              peer, view 5

Repair what is RED. It keeps the checks marked ? from a result.
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// A column is as wide as its marks.
func TestPrintWide(t *testing.T) {
	t.Parallel()
	f := healthy()
	f.hosts[1].lines = 2
	var out strings.Builder
	judge(f).print(&out)
	for _, want := range []string{"host   name  file    TCP to  ", "\ntwo    ok    behind  ok      ", "\nthree  ok    ok      ok      "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

// Wrong usage exits with 2, any other failure to start with 1.
func TestUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"":                        {2, "name one with -h FILE"},
		"-x":                      {2, "-x"},
		"-h f more":               {2, `unexpected argument "more"`},
		"-h f -for 10":            {2, "-for"},
		"-h f -for 1ms":           {2, "from 1s to 24h"},
		"-h /no/such/file -n one": {1, "no such file"},
		"-help":                   {0, Page.Text()},
	} {
		var stdout, stderr strings.Builder
		code := Run(t.Context(), strings.Fields(args), nil, &stdout, &stderr)
		if all := stdout.String() + stderr.String(); code != want.code || !strings.Contains(all, want.text) ||
			strings.Contains(all, Page.Usage()) != (code != 1) || (stderr.Len() > 0) != (code > 0) {
			t.Errorf("%q: code %d, %q, %q", args, code, stdout.String(), stderr.String())
		}
	}
}

// No remedy is too long to read.
func TestSentences(t *testing.T) {
	t.Parallel()
	f := healthy()
	silent(&f.hosts[1], errors.New("connect: no route to host"))
	for _, row := range judge(f).others {
		if i := slices.IndexFunc(row.cells, func(c cell) bool { return len(c.remedy) > 300 }); i >= 0 {
			t.Error(fmt.Sprint(row.cells[i]))
		}
	}
}
