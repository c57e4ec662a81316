package types

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// longest is a name of the greatest length.
var longest = strings.Repeat(strings.Repeat("n", 62)+".", 4) + "n"

// hostNames says which names can be a host's.
var hostNames = map[string]bool{
	"h": true, "HOST-1": true, "_a.b_.3.example.": true, "1": true, "10.0.0.6": true, "fd00::6": true, "fe80::1%eth0": true,
	longest: true, longest[1:] + ".": true, strings.Repeat("n", 63): true,
	"": false, longest + "n": false, longest + ".": false, strings.Repeat("n", 64): false, strings.Repeat("n.", 300): false,
	strings.Repeat("n", 1<<16+1): false,
	" ":                          false, "a b": false, "a\tb": false, "a\nb": false, "a\r": false, "\x00": false, "a\x1b[2J": false, "a\x7f": false,
	"hö": false, "a\xff": false, "#": false, "a#b": false, "!": false, "!a": false, "fe80::1%a!": false, "fe80::1%\n": false,
	".": false, "..": false, "a..b": false, ".a": false, "a..": false, "-a": false, "a-": false, "a.-b": false, "-": false,
	"10.0.0.256": false, "10.0.0": false, "10.0.0.6.": false, "a:b": false, "fd00::6.": false, `a"b`: false, `a\b`: false, "<a>": false,
}

func TestIsName(t *testing.T) {
	t.Parallel()
	if len(longest) != MaxName {
		t.Fatalf("the longest name has %d bytes", len(longest))
	}
	for name, want := range hostNames {
		if got := IsName(name); got != want {
			t.Errorf("%.300q can be a name: %v, want %v", name, got, want)
		}
		v := viewOf(1, 1)
		if got := v.Admits(grow(6, name, "")); got != want {
			t.Errorf("a host named %.300q is admitted: %v, want %v", name, got, want)
		}
	}
}

// ofHost returns messages that contain a host, by their name.
func ofHost(h Host) map[string]*Message {
	req, ok, newView, made := sample(Req, 5), sample(OK, 5), sample(NewView, 5), showing(false, 5)
	change := Change{Operation: Grow, Member: Member{ID: 6}, Name: h.Name, Addr: h.Addr}
	req.Change, ok.Change, newView.Change, made.Made = change, change, change, change
	list := sample(Hosts, 5)
	list.First, list.Listed = 6, []Host{{Name: "before"}, h, {Name: "after"}}
	return map[string]*Message{"REQ": req, "OK": ok, "NEWVIEW": newView, "REQ with what made the view": made, "HOSTS": list}
}

// The names of hosts in GROW and HOSTS are checked as those of a hosts file are, in both directions.
func TestHostNames(t *testing.T) {
	t.Parallel()
	for name, valid := range hostNames {
		for _, m := range ofHost(Host{Name: name}) {
			if valid {
				checkRoundTrip(t, m)
				continue
			}
			want := "is not a host's name"
			if len(name) < 1 || len(name) > MaxName {
				want = fmt.Sprintf("a host's name has %d bytes, not 1 to 253", len(name))
			}
			wantUnencodable(t, m, want)
		}
	}
	// What a sender that does not check them might send, in the place of a valid name.
	for name, valid := range hostNames {
		if valid || len(name) > 255 {
			continue
		}
		for kind, m := range ofHost(Host{Name: "instead"}) {
			b := encoded(t, m)
			from, to := []byte("\x07instead"), append([]byte{byte(len(name))}, name...)
			if bytes.Count(b, from) != 1 {
				t.Fatalf("%s: %x does not have the name once", kind, b)
			}
			want := "is not a host's name"
			if len(name) < 1 || len(name) > MaxName {
				want = fmt.Sprintf("a host's name has %d bytes, not 1 to 253", len(name))
			}
			wantFault(t, bytes.Replace(b, from, to, 1), want)
		}
	}
}

// The only address of a host is a bare address of one host, or none.
func TestHostAddrs(t *testing.T) {
	t.Parallel()
	for text, bytes := range map[string]string{
		"": strings.Repeat("00", 16), "10.0.0.6": "00000000000000000000ffff0a000006",
		"fd00::6": "fd000000000000000000000000000006", "::1": "00000000000000000000000000000001",
	} {
		change := grow(6, "six", text)
		for kind, m := range ofHost(change.Host()) {
			checkRoundTrip(t, m)
			if b := hex.EncodeToString(encoded(t, m)); strings.Count(b, "03736978"+bytes) != 1 {
				t.Errorf("%s with %q has the bytes %s", kind, text, b)
			}
		}
	}
	for text, want := range map[string]string{
		"fe80::1%eth0": "is not a bare address", "::ffff:10.0.0.6": "is not a bare address", "::": "is no address of a host",
		"0.0.0.0": "is no address of a host", "ff02::1": "is no address of a host", "224.0.0.1": "is no address of a host",
		"255.255.255.255": "is no address of a host",
	} {
		addr := netip.MustParseAddr(text)
		for _, m := range ofHost(Host{Name: "six", Addr: addr}) {
			wantUnencodable(t, m, want)
		}
		if strings.HasSuffix(want, "bare address") || text == "::" {
			continue // no bytes stand for it
		}
		other := netip.MustParseAddr("10.7.7.7").As16()
		with := addr.As16()
		for _, m := range ofHost(Host{Name: "six", Addr: netip.MustParseAddr("10.7.7.7")}) {
			wantFault(t, bytes.Replace(encoded(t, m), other[:], with[:], 1), want)
		}
	}
}

// The bytes of changes of the hosts.
func TestLayoutOfHostChanges(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]Change{
		"04 0006 03 736978 00000000000000000000ffff0a000006": grow(6, "six", "10.0.0.6"),
		"04 1000 01 6e 00000000000000000000000000000000":     grow(MaxHosts, "n", ""),
		"05 0004": retire(4),
	} {
		m := sample(OK, 5)
		m.Change = change
		b := encoded(t, m)
		if got, want := hex.EncodeToString(b[atChange:]), strings.ReplaceAll(want, " ", "")+"00000000000000020002"; got != want {
			t.Errorf("bytes are %s, want %s", got, want)
		}
		checkRoundTrip(t, m)
		for n := range b {
			wantFault(t, bytes.Clone(b[:n]), "cut short")
		}
	}
}

// HOSTS asks for hosts from one on, or lists them.
func TestListed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first ID
		hosts int
		want  string // the fault
	}{
		{1, 0, ""}, {MaxHosts, 0, ""}, {MaxHosts, 1, ""}, {MaxHosts - 2000 + 1, 2000, ""}, {1, 2000, ""},
		{0, 0, "peer 0 is none"}, {0, 1, "peer 0 is none"}, {MaxHosts + 1, 0, "peer 4097 is none"}, {-1, 3, "peer -1 is none"},
		{MaxHosts, 2, "hosts 4096 to 4097 are listed, but there are 4096 at most"},
		{MaxHosts - 2000 + 2, 2000, "hosts 2098 to 4097 are listed, but there are 4096 at most"},
		{1, MaxHosts, "bytes, more than 60000"},
		{1, MaxHosts + 1, "a list of 4097 among at most 4096 hosts"},
		{1, 1 << 16, "a list of 65536 among at most 4096 hosts"},
	} {
		m := sample(Hosts, 5)
		m.First, m.Listed = tt.first, nil
		if tt.hosts > 0 {
			m.Listed = hostList(tt.hosts)
		}
		if tt.want == "" {
			checkRoundTrip(t, m)
		} else {
			wantUnencodable(t, m, tt.want)
		}
	}
}

func TestDecodeMalformedHosts(t *testing.T) {
	t.Parallel()
	const (
		atCount = atChange + 2
		atName  = atCount + 2
		atAddr  = atName + 1 + len("h1")
		atFlag  = atAddr + 16
	)
	checkMalformed(t, []malformed{
		{"from no host", Hosts, patch{atChange: {0, 0}}, "peer 0 is none"},
		{"from beyond all hosts", Hosts, patch{atChange: {0x10, 1}}, "peer 4097 is none"},
		{"past all hosts", Hosts, patch{atChange: {0x0f, 0xfd}}, "hosts 4093 to 4097 are listed, but there are 4096 at most"},
		{"more than all hosts", Hosts, patch{atCount: {0x10, 1}}, "a list of 4097 among at most 4096 hosts"},
		{"more than bytes", Hosts, patch{atCount: {0, 6}}, "bytes are left of a list of 6"},
		{"one more", Hosts, patch{atFlag + 1: {0xff}}, "a host's name has 255 bytes"},
		{"no name", Hosts, patch{atName: {0}}, "a host's name has 0 bytes, not 1 to 253"},
		{"too long a name", Hosts, patch{atName: {254}}, "a host's name has 254 bytes, not 1 to 253"},
		{"a name longer than the rest", Hosts, patch{atName: {253}}, "left of a field of 253"},
		{"a foreign name", Hosts, patch{atName + 1: {'!'}}, `"!1" is not a host's name`},
		{"at no address", Hosts, patch{atAddr + 12: {0, 0, 0, 0}}, "0.0.0.0 is no address of a host"},
		{"at all addresses", Hosts, patch{atAddr + 12: {255, 255, 255, 255}}, "255.255.255.255 is no address of a host"},
		{"neither retired nor not", Hosts, patch{atFlag: {2}}, "a flag is 2, not 0 or 1"},
	})
}

// A HOSTS lists hosts of MaxListed bytes, and not of one more.
func TestListedSize(t *testing.T) {
	t.Parallel()
	m := sample(Hosts, 5)
	m.Listed = nil
	asks, left := len(encoded(t, m)), MaxListed
	for h := (Host{Name: longest}); left >= 2*h.Size(); left -= h.Size() {
		m.Listed = append(m.Listed, h)
	}
	for _, half := range []int{left / 2, left - left/2} {
		m.Listed = append(m.Listed, Host{Name: longest[:half-Host{}.Size()]})
	}
	checkRoundTrip(t, m)
	b := encoded(t, m)
	if got := len(b) - asks; got != MaxListed {
		t.Errorf("the hosts take %d bytes, want %d", got, MaxListed)
	}
	last := m.Listed[len(m.Listed)-1]
	m.Listed[len(m.Listed)-1].Name += "n"
	wantUnencodable(t, m, "the listed hosts have 60001 bytes, more than 60000")
	b = b[:len(b)-last.Size()]
	b = append(append(append(b, byte(len(last.Name)+1)), last.Name+"n"...), make([]byte, 17)...)
	wantFault(t, b, "the listed hosts have 60001 bytes, more than 60000")
}

// Who asks and says over UDP whether a host runs, lists no hosts.
func TestEchoWithoutDigest(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Echo, Echoed} {
		checkRoundTrip(t, &Message{Kind: kind, From: 1, Request: 7})
	}
}

// Of every kind, the largest message fits a frame, even sealed: then 16 bytes more.
func TestLargestMessagesFitAFrame(t *testing.T) {
	t.Parallel()
	const tag = 16
	largest := func(kind Kind) *Message {
		m := sample(kind, MaxHosts)
		if m.Unreachable != nil {
			m.Unreachable = sample(NewView, MaxHosts).View.Members
		}
		if m.Change.Operation != Nothing && m.Change.Operation != Pending {
			m.Change = grow(MaxHosts, longest, "fd00::6")
		}
		return m
	}
	beat, list, differs := largest(Heartbeat), largest(Hosts), largest(Refused)
	beat.Unreachable = sample(NewView, MaxHosts).View.Members
	list.Listed = slices.Repeat([]Host{{Name: longest}}, MaxListed/Host{Name: longest}.Size())
	differs.Reason, differs.Lines = Differs, MaxHosts
	shows, founds := largest(Req), largest(Req)
	shows.Chosen, shows.View = Term{2, 2}, sample(NewView, MaxHosts).View
	founds.Group, founds.Number, founds.Made = Group{}, 0, founds.Change
	all := []*Message{beat, list, differs, shows, founds, twice(netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"))}
	for kind := Join; kind <= LastKind; kind++ {
		all = append(all, largest(kind))
	}
	for _, m := range all {
		n := len(encoded(t, m))
		if n+tag > MaxFrame {
			t.Errorf("%v takes %d bytes, a frame %d", m.Kind, n, MaxFrame)
		}
		checkRoundTrip(t, m)
	}
}
