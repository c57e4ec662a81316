package types

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

// sample returns a message of this kind as it is sent in a group in which all n hosts of the
// file are members, with every list as long as it gets.
func sample(kind Kind, n int) *Message {
	v := &View{Group: Group{0x11, 1}, Number: 5, Leader: 1, Last: make([]Past, n)}
	m := &Message{Kind: kind, From: 1, Incarnation: 0x11, Group: v.Group, Number: v.Number}
	for i := range n {
		v.Members = append(v.Members, ID(i+1))
		v.Last[i].Incarnation = Incarnation(0x11 * (i + 1))
	}
	switch kind {
	case Join:
		m.Request, m.Digest, m.Speaks, m.Monitor = 7, 0xd1e5, Version, 2200*time.Millisecond
	case Probe:
		m.Request, m.Digest, m.Speaks, m.Term, m.Leads = 7, 0xd1e5, Version, Term{3, 1}, true
	case Echo, Echoed:
		m.Request, m.Digest, m.Broadcast, m.Standing = 7, 0xd1e5, true, Joined
	case Heartbeat:
		m.Request, m.Heard, m.Term, m.Leads, m.Speaks = 7, 9, Term{3, 1}, true, Version
	case Leave:
		m.For, m.Term = 0x22, Term{3, 1}
	default:
		m.For, m.Request, m.Term = 0x22, 7, Term{3, 1}
	}
	switch kind {
	case Req:
		m.Change, m.Unreachable = del(2, 0x22, Unreachable), v.Members[1:]
	case OK, PendingResponse:
		m.Change, m.Accepted = add(2, 0x22), Term{2, 2}
	case NewView:
		v.Term = Term{2, 2}
		m.Change, m.Chosen, m.View, m.Unreachable = add(2, 0x22), v.Term, v, v.Members[1:]
	case NewLeader:
		m.Change, m.Unreachable = Change{Operation: Pending}, v.Members[1:]
	case State:
		m.Standing, m.HasLeader, m.Last, m.Heard = Joined, true, 0x22, 9
	case Refused:
		m.Reason = Behind
	}
	return m
}

func encoded(t testing.TB, m *Message) []byte {
	t.Helper()
	b, err := AppendMessage(nil, m)
	if err != nil {
		t.Fatalf("encoding %+v: %v", m, err)
	}
	return b
}

// The bytes, field by field, so that no change of the wire format goes unnoticed: one needs a new
// Version.
func TestLayout(t *testing.T) {
	t.Parallel()
	const (
		from   = " 0001 0000000000000011 0000000000000011 0001 0000000000000005 " // incarnation, group, number
		toTerm = "0000000000000022 0000000000000007 0000000000000003 0001 "       // for, request, term
	)
	tests := []struct {
		kind Kind
		want string
	}{
		{Join, "02 01" + from + "0000000000000007 000000000000d1e5 02 0000000083215600"},
		{Req, "02 02" + from + toTerm + "02 0002 0000000000000022 01  0001 0002 00"},
		{OK, "02 03" + from + toTerm + "01 0002 0000000000000022  0000000000000002 0002"},
		{NewView, "02 04" + from + toTerm + "01 0002 0000000000000022 0000000000000002 0002" +
			"01 0001 0002 0001 0002 0002 0000000000000011 00 0000000000000022 00  0001 0002 00"},
		{NewLeader, "02 05" + from + toTerm + "03  0001 0002"},
		{PendingResponse, "02 06" + from + toTerm + "01 0002 0000000000000022  0000000000000002 0002"},
		{Heartbeat, "02 07" + from + "0000000000000007 0000000000000009 0000000000000003 0001 01 00 02  0000"},
		{Leave, "02 08" + from + "0000000000000022 0000000000000003 0001"},
		{Probe, "02 09" + from + "0000000000000007 000000000000d1e5 02 0000000000000003 0001 01"},
		{State, "02 0a" + from + toTerm + "03 00 01 0000000000000022 0000000000000009"},
		{Refused, "02 0b" + from + toTerm + "03"},
		{Echo, "02 0c" + from + "0000000000000007 000000000000d1e5 01 03"},
		{Echoed, "02 0d" + from + "0000000000000007 000000000000d1e5 01 03"},
	}
	for _, tt := range tests {
		t.Run(tt.kind.String(), func(t *testing.T) {
			t.Parallel()
			want := strings.ReplaceAll(tt.want, " ", "")
			m := sample(tt.kind, 2)
			if got := hex.EncodeToString(encoded(t, m)); got != want {
				t.Errorf("bytes are\n%s, want\n%s", got, want)
			}
			framed, err := AppendFrame([]byte("before"), m)
			if got, want := hex.EncodeToString(framed), hex.EncodeToString([]byte("before"))+
				fmt.Sprintf("%08x", len(want)/2)+want; err != nil || got != want {
				t.Errorf("frame is\n%s (%v), want\n%s", got, err, want)
			}
		})
	}
}

// A refusal with the reason Twice has two addresses, which are checked strictly.
func TestLives(t *testing.T) {
	t.Parallel()
	ipv4, ipv6 := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	m := twice(ipv4, ipv6)
	const on4, on6 = "00000000000000000000ffff0a000002", "fd000000000000000000000000000002"
	b := encoded(t, m)
	if got, want := hex.EncodeToString(b[atChange:]), "05"+on4+on6; got != want {
		t.Errorf("bytes are %s, want %s", got, want)
	}
	checkRoundTrip(t, m, 5)
	for at := atChange + 1; at < len(b); at++ {
		wantFault(t, bytes.Clone(b[:at]), "cut short")
	}
	wantFault(t, append(bytes.Clone(b[:atChange+17]), b[atChange+1:atChange+17]...), "both processes are at 10.0.0.2")
	wantFault(t, append(bytes.Clone(b[:atChange+17]), make([]byte, 16)...), ":: is no address of a host")
	for _, bad := range []netip.Addr{{}, netip.IPv4Unspecified(), ipv6, netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("fe80::1%eth0")} {
		if _, err := AppendMessage(nil, twice(bad, ipv6)); err == nil {
			t.Errorf("%v and %v can be sent", bad, ipv6)
		}
	}
}

// twice returns a refusal because a host runs at both addresses.
func twice(first, second netip.Addr) *Message {
	m := sample(Refused, 5)
	m.Reason, m.Lives = Twice, [2]netip.Addr{first, second}
	return m
}

// showing returns a REQ among n hosts that shows the view that it is about: by the change that made it, or whole.
func showing(whole bool, n int) *Message {
	m := sample(Req, n)
	m.Chosen = Term{2, 2}
	if whole {
		m.View = sample(NewView, n).View
	} else {
		m.Made = del(1, 0x11, Left)
	}
	return m
}

// A REQ says how it shows the view that it is about, and the term in which that was chosen.
func TestShown(t *testing.T) {
	t.Parallel()
	const (
		chosen = "0000000000000002 0002"
		view   = "0001 0002 0001 0002 0002 0000000000000011 00 0000000000000022 00"
	)
	const atShown = atChange + 12 + 4 // among two hosts
	for name, tt := range map[string]struct {
		m    *Message
		want string
	}{
		"not":           {sample(Req, 2), "00"},
		"by the change": {showing(false, 2), "01" + chosen + "02 0001 0000000000000011 03"},
		"whole":         {showing(true, 2), "02" + chosen + view},
	} {
		b := encoded(t, tt.m)
		if got, want := hex.EncodeToString(b[atShown:]), strings.ReplaceAll(tt.want, " ", ""); got != want {
			t.Errorf("%s: bytes are %s, want %s", name, got, want)
		}
		checkRoundTrip(t, tt.m, 2)
		for n := range b {
			wantFault(t, bytes.Clone(b[:n]), "cut short")
		}
	}
	added := showing(false, 5)
	added.Made = add(3, 0x33)
	checkRoundTrip(t, added, 5)
	for _, hosts := range []int{5, 1000, MaxHosts} {
		checkRoundTrip(t, showing(true, hosts), hosts)
		checkRoundTrip(t, showing(false, hosts), hosts)
	}
	if n := len(encoded(t, showing(true, MaxHosts))); n > MaxFrame {
		t.Errorf("the largest takes %d bytes, a frame %d", n, MaxFrame)
	}
}

// What a REQ shows is checked as strictly as the rest.
func TestShownMalformed(t *testing.T) {
	t.Parallel()
	const (
		atShown  = atChange + 12 + 2 + 4*2 // among five hosts
		atMade   = atShown + 11
		atLeader = atMade
		atHosts  = atLeader + 4 + 5*2
		atLast   = atHosts + 2
	)
	for _, tt := range []struct {
		name  string
		whole bool
		patch patch
		want  string
	}{
		{"unknown way", false, patch{atShown: {3}}, "there is no way to show a view 3"},
		{"unknown way", true, patch{atShown: {0xff}}, "there is no way to show a view 255"},
		{"chosen beyond the file", false, patch{atShown + 9: {0, 6}}, "peer 6 is none"},
		{"chosen beyond the file", true, patch{atShown + 9: {0, 6}}, "peer 6 is none"},
		{"made by nothing", false, patch{atMade: {byte(Nothing)}}, "there is no operation 0"},
		{"made by a question", false, patch{atMade: {byte(Pending)}}, "there is no operation 3"},
		{"made by an unknown operation", false, patch{atMade: {0xff}}, "there is no operation 255"},
		{"made by a change of no host", false, patch{atMade + 1: {0, 0}}, "peer 0 is none"},
		{"made by a change beyond the file", false, patch{atMade + 1: {0xff, 0xff}}, "peer 65535 is none"},
		{"made by a change of no incarnation", false, patch{atMade + 3: zero}, "incarnation 0 is below 1"},
		{"made by a change of a negative one", false, patch{atMade + 3: negative}, "incarnation -1 is below 1"},
		{"made by a removal without a cause", false, patch{atMade + 11: {byte(Present)}}, "there is no cause of a removal 0"},
		{"made by a removal for no known cause", false, patch{atMade + 11: {byte(Expelled) + 1}}, "there is no cause of a removal 5"},
		{"view number 0", true, patch{atNumber: zero}, "a view needs a group and a number"},
		{"no leader", true, patch{atLeader: {0, 0}}, "peer 0 is none"},
		{"absurdly many members", true, patch{atLeader + 2: {0xff, 0xff}}, "a list of 65535 among 5 hosts"},
		{"members twice", true, patch{atLeader + 4: {0, 2}}, "peer 2 is listed twice"},
		{"over fewer hosts", true, patch{atHosts: {0, 4}}, "a view over 4 hosts, but the hosts file here lists 5"},
		{"leader no member", true, patch{atLast + 8: {byte(Left)}}, "leader 1 is no member"},
	} {
		b := encoded(t, showing(tt.whole, 5))
		for at, with := range tt.patch {
			copy(b[at:], with)
		}
		wantFault(t, b, tt.want)
	}
	for _, spoil := range []func(*Message){
		func(m *Message) { m.View.Number++ },
		func(m *Message) { m.View.Group.Made++ },
	} {
		m := showing(true, 5)
		spoil(m)
		if _, err := AppendMessage(nil, m); err == nil || !strings.Contains(err.Error(), "a message about view") {
			t.Errorf("a REQ about another view than it shows: error is %v", err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for kind := Join; kind <= Echoed; kind++ {
		for _, hosts := range []int{2, 5, 1000, MaxHosts} {
			t.Run(fmt.Sprint(kind, " among ", hosts), func(t *testing.T) {
				t.Parallel()
				checkRoundTrip(t, sample(kind, hosts), hosts)
			})
		}
	}
}

func TestRoundTripOfRandomMessages(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		hosts := 1 + rng.IntN(12)
		checkRoundTrip(t, randomMessage(rng, hosts), hosts)
		if t.Failed() {
			return
		}
	}
}

func checkRoundTrip(t *testing.T, m *Message, hosts int) {
	t.Helper()
	b := encoded(t, m)
	got := Message{Kind: Req, Unreachable: []ID{9}, Digest: 99} // left from another message
	if err := DecodeMessage(b, hosts, &got); err != nil {
		t.Fatalf("decoding %+v: %v", m, err)
	}
	clear(b) // what was decoded may not depend on it
	want := *m
	want.To = 0
	if !reflect.DeepEqual(got, want) {
		t.Errorf("came back as\n%+v, was\n%+v", got, want)
	}
}

// randomMessage returns a message of any kind, with random values in each field that the kind uses.
func randomMessage(rng *rand.Rand, hosts int) *Message {
	v := randomView(rng, hosts)
	m := &Message{
		Kind: Join + Kind(rng.IntN(int(Echoed))), From: randomID(rng, hosts), To: randomID(rng, hosts),
		Incarnation: Incarnation(rng.Int64()), Group: v.Group, Number: v.Number,
	}
	switch m.Kind {
	case Join:
		m.Request, m.Digest = rng.Uint64(), rng.Uint64()
		m.Speaks, m.Monitor = uint8(rng.IntN(256)), time.Duration(rng.Int64())
	case Probe:
		m.Request, m.Digest, m.Speaks = rng.Uint64(), rng.Uint64(), uint8(rng.IntN(256))
		m.Term, m.Leads = randomTerm(rng, hosts), rng.IntN(2) == 1
	case Echo, Echoed:
		m.Request, m.Digest = rng.Uint64(), rng.Uint64()
		m.Broadcast, m.Standing = rng.IntN(2) == 1, Standing(rng.IntN(4))
	case Heartbeat:
		m.Request, m.Heard = rng.Uint64(), rng.Uint64()
		m.Term, m.Leads, m.Unreachable = randomTerm(rng, hosts), rng.IntN(2) == 1, randomIDs(rng, hosts)
		m.Ceased, m.Speaks = rng.IntN(2) == 1, uint8(rng.IntN(256))
	case Leave:
		m.For, m.Term = Incarnation(rng.Int64()), randomTerm(rng, hosts)
	default:
		m.For, m.Request, m.Term = Incarnation(rng.Int64()), rng.Uint64(), randomTerm(rng, hosts)
	}
	switch m.Kind {
	case Req:
		m.Change, m.Unreachable = randomChange(rng, hosts, Add, Del), randomIDs(rng, hosts)
		switch rng.IntN(3) {
		case 0:
			m.Made, m.Chosen = randomChange(rng, hosts, Add, Del), randomTerm(rng, hosts)
		case 1:
			m.Chosen = randomTerm(rng, hosts)
			v.Term = m.Chosen
			m.View = &v
		}
	case OK, PendingResponse:
		m.Change, m.Accepted = randomChange(rng, hosts, Nothing, Add, Del), randomTerm(rng, hosts)
	case NewView:
		m.Change, m.Unreachable = randomChange(rng, hosts, Nothing, Add, Del), randomIDs(rng, hosts)
		m.Chosen, m.Unanswered = randomTerm(rng, hosts), rng.IntN(2) == 1
		v.Term = m.Chosen
		if rng.IntN(3) > 0 {
			m.View = &v
		}
	case NewLeader:
		m.Change, m.Unreachable = Change{Operation: Pending}, randomIDs(rng, hosts)
	case State:
		m.Standing, m.Last = Fresh+Standing(rng.IntN(3)), Incarnation(rng.Int64())
		m.Leads, m.HasLeader, m.Heard = rng.IntN(2) == 1, rng.IntN(2) == 1, rng.Uint64()
	case Refused:
		if m.Reason = Promised + Reason(rng.IntN(int(Unknown))); m.Reason == Twice || m.Reason == Elsewhere {
			m.Lives = [2]netip.Addr{randomAddr(rng), randomAddr(rng)}
		}
	}
	return m
}

// randomView returns a view that random changes have made.
func randomView(rng *rand.Rand, hosts int) View {
	maker, made := randomID(rng, hosts), 1+Incarnation(rng.Int64N(1<<62))
	v := View{Group: Group{made, maker}, Number: 1 + rng.Int64N(1<<62), Leader: maker,
		Members: []ID{maker}, Last: make([]Past, hosts)}
	v.Last[maker-1].Incarnation = made
	for range rng.IntN(3 * hosts) {
		change := randomChange(rng, hosts, Add, Del)
		if change.Operation == Del {
			change.Member.Incarnation = v.Incarnation(change.Member.ID)
		}
		if v.Admits(change) {
			v = v.With(change)
		}
	}
	return v
}

func randomAddr(rng *rand.Rand) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[8:], 1+rng.Uint64N(1<<62))
	if rng.IntN(2) == 0 {
		b[0] = 0xfd
	} else {
		b[10], b[11] = 0xff, 0xff // IPv4
	}
	return netip.AddrFrom16(b).Unmap()
}

func randomID(rng *rand.Rand, hosts int) ID { return ID(1 + rng.IntN(hosts)) }

func randomTerm(rng *rand.Rand, hosts int) Term {
	return Term{rng.Uint64(), ID(rng.IntN(hosts + 1))}
}

func randomChange(rng *rand.Rand, hosts int, operations ...Operation) Change {
	id, i := randomID(rng, hosts), 1+Incarnation(rng.Int64N(1<<62))
	switch operations[rng.IntN(len(operations))] {
	case Add:
		return add(id, i)
	case Del:
		return del(id, i, Unreachable+Cause(rng.IntN(4)))
	}
	return Change{}
}

func randomIDs(rng *rand.Rand, hosts int) []ID {
	var ids []ID
	for _, i := range rng.Perm(hosts)[:rng.IntN(hosts+1)] {
		ids = append(ids, ID(i+1))
	}
	return ids
}

// The largest message: the whole view of the longest hosts file, with all members unreachable.
func TestLargestMessageFitsAFrame(t *testing.T) {
	t.Parallel()
	m := sample(NewView, MaxHosts)
	m.Change = del(2, 0x22, Unreachable)
	m.Unreachable = m.View.Members
	if n := len(encoded(t, m)); n > MaxFrame {
		t.Errorf("takes %d bytes, a frame %d", n, MaxFrame)
	}
}

// What is cut short is a fault. What comes after the fields that this release knows is from a later one, and is
// skipped: also where the message says that it is of a later version.
func TestDecodeTruncatedOrTrailing(t *testing.T) {
	t.Parallel()
	for kind := Join; kind <= Echoed; kind++ {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			whole := encoded(t, sample(kind, 5))
			for n := range whole {
				wantFault(t, whole[:n], "cut short")
			}
			for _, version := range []byte{Version, Version + 1, 127} {
				for _, more := range [][]byte{nil, {0}, whole} {
					b := append(bytes.Clone(whole), more...)
					b[0] = version
					var got Message
					if err := DecodeMessage(b, 5, &got); err != nil || !reflect.DeepEqual(&got, sample(kind, 5)) {
						t.Errorf("version %d, %d bytes more: came as\n%+v (%v)", version, len(more), got, err)
					}
				}
			}
		})
	}
}

// Of a kind that this release does not know, it reads what comes before the body, and no more.
func TestDecodeUnknownKind(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Echoed + 1, 0xff} {
		known := sample(NewView, 5)
		b := encoded(t, known)
		b[atKind] = byte(kind)
		want := Message{Kind: kind, From: known.From, Incarnation: known.Incarnation, Group: known.Group, Number: known.Number}
		for n := range b {
			if n < atBody {
				wantFault(t, b[:n], "cut short")
				continue
			}
			var got Message
			if err := DecodeMessage(b[:n], 5, &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("kind %d, %d bytes: came as\n%+v (%v), want\n%+v", kind, n, got, err, want)
			}
		}
		b[atFrom+1] = 6
		wantFault(t, b, "peer 6 is none of the 5 hosts")
	}
}

// wantFault checks that b does not decode, for this reason, and that m stays zero.
func wantFault(t *testing.T, b []byte, want string) {
	t.Helper()
	m := *sample(NewView, 5)
	err := DecodeMessage(b, 5, &m)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("decoding %x: error is %v, want one with %q", b, err, want)
	}
	if !reflect.DeepEqual(m, Message{}) {
		t.Errorf("decoding %x: the message after the error is %+v", b, m)
	}
}

// The offsets of fields in the messages of sample.
const (
	atKind        = 1
	atFrom        = 2
	atIncarnation = 4
	atMade        = 12
	atMaker       = 20
	atNumber      = 22
	atBody        = 30
	atTermPeer    = atBody + 24   // of a message that is addressed
	atChange      = atBody + 26   // likewise
	atChosen      = atChange + 11 // NEWVIEW of an ADD
	atWhole       = atChosen + 10 // likewise: the flag before the view
	atLeader      = atWhole + 1
	atMembers     = atLeader + 2
	atHosts       = atMembers + 2 + 5*2 // with five members
	atLast        = atHosts + 2
)

// patch has the bytes to replace, by offset.
type patch map[int][]byte

// malformed is a patched message of sample, and the error that it must cause.
type malformed struct {
	name  string
	kind  Kind
	patch patch
	want  string
}

var (
	negative = bytes.Repeat([]byte{0xff}, 8)
	zero     = make([]byte, 8)
)

func checkMalformed(t *testing.T, tests []malformed) {
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.kind, " ", tt.name), func(t *testing.T) {
			t.Parallel()
			b := encoded(t, sample(tt.kind, 5))
			for at, with := range tt.patch {
				copy(b[at:], with)
			}
			wantFault(t, b, tt.want)
		})
	}
}

func TestDecodeMalformedHeader(t *testing.T) {
	t.Parallel()
	checkMalformed(t, []malformed{
		{"an earlier version", Heartbeat, patch{0: {1}}, "unknown wire version 1, this peer speaks 2 and later"},
		{"no kind", Heartbeat, patch{atKind: {0}}, "there is no kind 0"},
		{"from no host", Heartbeat, patch{atFrom: {0, 0}}, "peer 0 is none of the 5 hosts"},
		{"from beyond the file", Heartbeat, patch{atFrom: {0, 6}}, "peer 6 is none of the 5 hosts"},
		{"from far beyond the file", Heartbeat, patch{atFrom: {0xff, 0xff}}, "peer 65535 is none of the 5 hosts"},
		{"JOIN from no host", Join, patch{atFrom: {0, 0}}, "peer 0 is none of the 4096 hosts"},
		{"JOIN from beyond any file", Join, patch{atFrom: {0x10, 1}}, "peer 4097 is none of the 4096 hosts"},
		{"PROBE from beyond any file", Probe, patch{atFrom: {0x10, 1}}, "peer 4097 is none of the 4096 hosts"},
		{"refusal from beyond any file", Refused, patch{atFrom: {0x10, 1}}, "peer 4097 is none of the 4096 hosts"},
		{"negative incarnation", Heartbeat, patch{atIncarnation: negative}, "incarnation -1 is below 0"},
		{"negative group", Heartbeat, patch{atMade: negative}, "incarnation -1 is below 0"},
		{"group without a maker", Heartbeat, patch{atMaker: {0, 0}}, "neither a group nor none"},
		{"maker without a group", Heartbeat, patch{atMade: zero}, "neither a group nor none"},
		{"maker beyond the file", Heartbeat, patch{atMaker: {0, 6}}, "peer 6 is none"},
		{"negative view number", Heartbeat, patch{atNumber: negative}, "view number -1 is negative"},
		{"term beyond the file", Heartbeat, patch{atBody + 24: {0, 6}}, "peer 6 is none"},
		{"flag that is no flag", Heartbeat, patch{atBody + 26: {2}}, "a flag is 2, not 0 or 1"},
		{"another", Heartbeat, patch{atBody + 27: {2}}, "a flag is 2, not 0 or 1"},
		{"negative -monitor", Join, patch{atBody + 17: negative}, "duration -1ns is negative"},
		{"term beyond any file", Probe, patch{atBody + 25: {0x10, 1}}, "peer 4097 is none of the 4096 hosts"},
		{"flag that is no flag", Probe, patch{atBody + 27: {2}}, "a flag is 2, not 0 or 1"},
	})
}

func TestDecodeMalformedBody(t *testing.T) {
	t.Parallel()
	checkMalformed(t, []malformed{
		{"for a negative incarnation", Leave, patch{atBody: negative}, "incarnation -1 is below 0"},
		{"term beyond the file", Req, patch{atTermPeer: {1, 0}}, "peer 256 is none"},
		{"unknown operation", Req, patch{atChange: {4}}, "there is no operation 4"},
		{"REQ of nothing", Req, patch{atChange: {byte(Nothing)}}, "NOTHING is not allowed in REQ"},
		{"REQ that asks", Req, patch{atChange: {byte(Pending)}}, "PENDING is not allowed in REQ"},
		{"NEWLEADER of a change", NewLeader, patch{atChange: {byte(Add)}}, "ADD is not allowed in NEWLEADER"},
		{"OK that asks", OK, patch{atChange: {byte(Pending)}}, "PENDING is not allowed in OK"},
		{"change of no host", Req, patch{atChange + 1: {0, 0}}, "peer 0 is none"},
		{"change beyond the file", Req, patch{atChange + 1: {0, 6}}, "peer 6 is none"},
		{"change of no incarnation", Req, patch{atChange + 3: zero}, "incarnation 0 is below 1"},
		{"removal without a cause", Req, patch{atChange + 11: {byte(Present)}}, "there is no cause of a removal 0"},
		{"unknown cause", Req, patch{atChange + 11: {byte(Expelled) + 1}}, "there is no cause of a removal 5"},
		{"more unreachable than hosts", Req, patch{atChange + 12: {0, 6}}, "a list of 6 among 5 hosts"},
		{"absurdly many unreachable", Req, patch{atChange + 12: {0xff, 0xff}}, "a list of 65535 among 5 hosts"},
		{"more unreachable than bytes", Req, patch{atChange + 12: {0, 5}}, "9 bytes are left of a list of 5"},
		{"unreachable host 0", Req, patch{atChange + 14: {0, 0}}, "peer 0 is none"},
		{"unreachable twice", Req, patch{atChange + 14: {0, 3}}, "peer 3 is listed twice"},
		{"unknown standing", State, patch{atChange: {0}}, "there is no standing 0"},
		{"unknown standing", State, patch{atChange: {4}}, "there is no standing 4"},
		{"unknown reason", Refused, patch{atChange: {byte(Unknown) + 1}}, "there is no reason 9"},
		{"runs twice, nowhere", Refused, patch{atChange: {byte(Twice)}}, "cut short"},
		{"last of a negative incarnation", State, patch{atChange + 3: negative}, "incarnation -1 is below 0"},
	})
}

func TestDecodeMalformedView(t *testing.T) {
	t.Parallel()
	checkMalformed(t, []malformed{
		{"chosen beyond the file", NewView, patch{atChosen + 8: {0, 6}}, "peer 6 is none"},
		{"neither a view nor none", NewView, patch{atWhole: {2}}, "a flag is 2, not 0 or 1"},
		{"view number 0", NewView, patch{atNumber: zero}, "a view needs a group and a number"},
		{"view of no group", NewView, patch{atMade: zero, atMaker: {0, 0}}, "a view needs a group and a number"},
		{"no leader", NewView, patch{atLeader: {0, 0}}, "peer 0 is none"},
		{"leader no member", NewView, patch{atLast + 8: {byte(Left)}}, "leader 1 is no member"},
		{"members twice", NewView, patch{atMembers + 2: {0, 2}}, "peer 2 is listed twice"},
		{"member beyond the file", NewView, patch{atMembers + 2: {0, 6}}, "peer 6 is none"},
		{"more members than hosts", NewView, patch{atMembers: {0, 6}}, "a list of 6 among 5 hosts"},
		{"absurdly many members", NewView, patch{atMembers: {0xff, 0xff}}, "a list of 65535 among 5 hosts"},
		{"member that was removed", NewView, patch{atLast + 9 + 8: {byte(Unreachable)}}, "peer 2 is listed as a member, but the view does not hold it"},
		{"member that never was", NewView, patch{atLast + 9: zero}, "peer 2 is listed as a member, but the view does not hold it"},
		{"removed, but never was", NewView, patch{atLast + 9: zero, atLast + 9 + 8: {byte(Left)}}, "host 2 never was a member"},
		{"removed for no known cause", NewView, patch{atLast + 9 + 8: {5}}, "there is no cause of a removal 5"},
		{"negative last incarnation", NewView, patch{atLast + 9: negative}, "incarnation -1 is below 0"},
		{"over more hosts", NewView, patch{atHosts: {0, 6}}, "a list of 6 among 5 hosts"},
		{"over fewer hosts", NewView, patch{atHosts: {0, 4}}, "a view over 4 hosts, but the hosts file here lists 5"},
	})
}

func TestDecodeUnlistedMember(t *testing.T) {
	t.Parallel()
	m := sample(NewView, 5)
	m.View.Members = m.View.Members[:4]
	m.View.Last[4].Cause = Left
	b := encoded(t, m)
	b[atLast-2+4*9+8] = byte(Present) // two bytes earlier, for there is a member less
	wantFault(t, b, "4 members are listed, but 5 are present")
}

// Peers whose hosts files differ in length cannot decode each other's views, and the error says so.
func TestDecodeAmongOtherHosts(t *testing.T) {
	t.Parallel()
	b := encoded(t, sample(NewView, 5))
	for hosts, want := range map[int]string{
		-1:       "peer 1 is none of the -1 hosts",
		0:        "peer 1 is none of the 0 hosts",
		4:        "a list of 5 among 4 hosts",
		6:        "a view over 5 hosts, but the hosts file here lists 6",
		MaxHosts: "a view over 5 hosts, but the hosts file here lists 4096",
		1 << 20:  "a view over 5 hosts, but the hosts file here lists 4096",
	} {
		var m Message
		if err := DecodeMessage(b, hosts, &m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("among %d hosts: error is %v, want one with %q", hosts, err, want)
		}
	}
}

// A peer with a longer hosts file can be told so, and can say so. In other kinds, an id beyond the file
// here is a fault.
func TestDecodeFromALongerFile(t *testing.T) {
	t.Parallel()
	for kind := Join; kind <= Echoed; kind++ {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			m := sample(kind, 9)
			m.From, m.Group.Maker = 9, 9
			if m.View != nil {
				m.View.Group.Maker = 9
			}
			if m.Term.Peer != 0 {
				m.Term.Peer = 9
			}
			if kind.Hosts(1) == MaxHosts {
				checkRoundTrip(t, m, 5)
				return
			}
			var got Message
			want := fmt.Sprintf("%v from peer 9: peer 9 is none of the 5 hosts", kind)
			if err := DecodeMessage(encoded(t, m), 5, &got); err == nil || err.Error() != want {
				t.Errorf("error is %v, want %s", err, want)
			}
		})
	}
}

func TestDecodeNamesTheSenderOfAFault(t *testing.T) {
	t.Parallel()
	b := encoded(t, sample(NewView, 5))
	b[atFrom+1], b[atNumber] = 3, 0xff
	wantFault(t, b, "NEWVIEW from peer 3: view number -")
}

func TestDecodeVersion(t *testing.T) {
	t.Parallel()
	var m Message
	for version := range 256 {
		for _, rest := range [][]byte{nil, {0xff}, encoded(t, sample(Heartbeat, 5))[1:]} {
			err := DecodeMessage(append([]byte{byte(version)}, rest...), 5, &m)
			if got := errors.Is(err, ErrVersion); got != (version < Version || version > 127) { // those above are sealed
				t.Errorf("version %d, then %x: error is %v", version, rest, err)
			}
		}
	}
}

// A sealed payload does not decode, and the error tells a peer without a key what to do.
func TestDecodeSealed(t *testing.T) {
	t.Parallel()
	for _, version := range []byte{Sealed, Sealed + 1, 0xff} {
		want := fmt.Sprintf("sealed message from peer 2: unknown wire version %d: it is sealed with a key, and this peer has none: "+
			"start all with the same -key, or none", version)
		var m Message
		if err := DecodeMessage([]byte{version, 1, 0, 2, 9, 9}, 5, &m); !errors.Is(err, ErrVersion) || err.Error() != want {
			t.Errorf("version %d: error is %v, want %s", version, err, want)
		}
	}
}

func TestEncodeMalformed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		kind   Kind
		change func(*Message)
		want   string
	}{
		{"no kind", 0, func(m *Message) {}, "there is no kind 0"},
		{"unknown kind", Echoed + 1, func(m *Message) {}, "there is no kind 14"},
		{"from no host", Heartbeat, func(m *Message) { m.From = 0 }, "HEARTBEAT to peer 2: peer 0 is none"},
		{"negative id", Heartbeat, func(m *Message) { m.From = -1 }, "peer -1 is none"},
		{"id beyond any file", Heartbeat, func(m *Message) { m.From = MaxHosts + 1 }, "peer 4097 is none"},
		{"id that two bytes would cut", Heartbeat, func(m *Message) { m.From = 1<<16 + 1 }, "peer 65537 is none"},
		{"negative incarnation", Heartbeat, func(m *Message) { m.Incarnation = -1 }, "incarnation -1 is below 0"},
		{"negative number", Heartbeat, func(m *Message) { m.Number = -1 }, "view number -1 is negative"},
		{"half a group", Heartbeat, func(m *Message) { m.Group.Maker = 0 }, "neither a group nor none"},
		{"negative for", Leave, func(m *Message) { m.For = -1 }, "incarnation -1 is below 0"},
		{"REQ of nothing", Req, func(m *Message) { m.Change = Change{} }, "NOTHING is not allowed in REQ"},
		{"NEWLEADER that does not ask", NewLeader, func(m *Message) { m.Change = Change{} }, "NOTHING is not allowed in NEWLEADER"},
		{"removal without a cause", Req, func(m *Message) { m.Change.Cause = Present }, "no cause of a removal 0"},
		{"unreachable twice", Req, func(m *Message) { m.Unreachable = []ID{2, 2} }, "peer 2 is listed twice"},
		{"too many unreachable", Req, func(m *Message) { m.Unreachable = make([]ID, 1<<16) }, "a list of 65536 among 4096"},
		{"no standing", State, func(m *Message) { m.Standing = 0 }, "no standing 0"},
		{"no reason", Refused, func(m *Message) { m.Reason = 0 }, "no reason 0"},
		{"runs twice, nowhere", Refused, func(m *Message) { m.Reason = Twice }, "is no address of a host"},
		{"view of another number", NewView, func(m *Message) { m.Number++ }, "about view 6 of {17 1} has view 5 of {17 1}"},
		{"view of another group", NewView, func(m *Message) { m.Group.Made++ }, "about view 5 of {18 1} has view 5 of {17 1}"},
		{"the zero view", NewView, func(m *Message) { m.View, m.Group, m.Number = &View{}, Group{}, 0 }, "peer 0 is none"},
		{"leader no member", NewView, func(m *Message) { m.View.Leader = 6 }, "leader 6 is no member"},
		{"member removed", NewView, func(m *Message) { m.View.Last[2].Cause = Left }, "peer 3 is listed as a member, but the view does not hold it"},
		{"member not listed", NewView, func(m *Message) { m.View.Members = m.View.Members[:4] }, "4 members are listed, but 5 are present"},
		{"over too many hosts", NewView, func(m *Message) { m.View.Last = make([]Past, MaxHosts+1) }, "a list of 4097 among 4096"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.kind, " ", tt.name), func(t *testing.T) {
			t.Parallel()
			m := sample(tt.kind, 5)
			m.To = 2
			tt.change(m)
			for lane, encode := range map[string]func([]byte, *Message) ([]byte, error){"message": AppendMessage, "frame": AppendFrame} {
				b, err := encode([]byte("before"), m)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: error is %v, want one with %q", lane, err, tt.want)
				}
				if string(b) != "before" {
					t.Errorf("%s: after the error, the bytes are %q", lane, b)
				}
			}
		})
	}
}

// One message goes to many peers at once, so encoding must not write to it, which only the race
// detector sees.
func TestEncodeTogether(t *testing.T) {
	t.Parallel()
	m := sample(NewView, 5)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := AppendFrame(nil, m); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestReadFrame(t *testing.T) {
	t.Parallel()
	var stream []byte
	var want [][]byte
	for kind := Join; kind <= Echoed; kind++ {
		m := sample(kind, 1000)
		stream, _ = AppendFrame(stream, m)
		want = append(want, encoded(t, m))
	}
	for name, slow := range map[string]func(io.Reader) io.Reader{
		"at once":             func(r io.Reader) io.Reader { return r },
		"byte by byte":        iotest.OneByteReader,
		"half by half":        iotest.HalfReader,
		"ending with its end": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bufio.NewReaderSize(slow(bytes.NewReader(stream)), 64)
			var buf []byte
			for i := range want {
				var err error
				if buf, err = ReadFrame(r, buf); err != nil || !bytes.Equal(buf, want[i]) {
					t.Fatalf("frame %d is %x (%v), want %x", i, buf, err, want[i])
				}
			}
			if _, err := ReadFrame(r, buf); err != io.EOF {
				t.Errorf("after the last frame: %v, want io.EOF itself", err)
			}
		})
	}
}

func TestReadFrameFaults(t *testing.T) {
	t.Parallel()
	frame, _ := AppendFrame(nil, sample(Heartbeat, 5))
	for n := 1; n < len(frame); n++ {
		if _, err := ReadFrame(bufio.NewReader(bytes.NewReader(frame[:n])), nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v, want io.ErrUnexpectedEOF", n, err)
		}
		broken := io.MultiReader(bytes.NewReader(frame[:n]), iotest.ErrReader(os.ErrDeadlineExceeded))
		if _, err := ReadFrame(bufio.NewReader(broken), nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("too slow after %d bytes: %v, want os.ErrDeadlineExceeded", n, err)
		}
	}
	for _, claim := range []uint32{0, MaxFrame + 1, 1 << 31, 1<<32 - 1, binary.BigEndian.Uint32([]byte("GET "))} {
		b := binary.BigEndian.AppendUint32(nil, claim)
		_, err := ReadFrame(bufio.NewReader(bytes.NewReader(append(b, frame...))), nil)
		if want := fmt.Sprintf("a frame claims %d bytes", claim); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("claim of %d: error is %v, want one with %q", claim, err, want)
		}
	}
}

func TestReadFrameOfTheGreatestLength(t *testing.T) {
	t.Parallel()
	stream := append(binary.BigEndian.AppendUint32(nil, MaxFrame), make([]byte, MaxFrame)...)
	b, err := ReadFrame(bufio.NewReader(bytes.NewReader(stream)), nil)
	if err != nil || len(b) != MaxFrame {
		t.Errorf("read %d bytes (%v), want %d", len(b), err, MaxFrame)
	}
}

// An unknown sender that claims the longest frame and sends ten bytes costs only their memory.
func TestReadFrameTakesMemoryForWhatCame(t *testing.T) {
	const strangers, most = 100, 1024
	stream := append(binary.BigEndian.AppendUint32(nil, MaxFrame), make([]byte, 10)...)
	source := bytes.NewReader(nil)
	r := bufio.NewReader(source)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range strangers {
		source.Reset(stream)
		r.Reset(source)
		if _, err := ReadFrame(r, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("error is %v, want io.ErrUnexpectedEOF", err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / strangers; each > most {
		t.Errorf("takes %d bytes of memory for each stranger, want at most %d", each, most)
	}
}

func TestHeartbeatDoesNotAllocate(t *testing.T) {
	m := sample(Heartbeat, 1000)
	b := make([]byte, 0, 64)
	var got Message
	allocations := testing.AllocsPerRun(1000, func() {
		b, _ = AppendMessage(b[:0], m)
		if err := DecodeMessage(b, 1000, &got); err != nil {
			t.Error(err)
		}
	})
	if allocations != 0 {
		t.Errorf("encoding and decoding a HEARTBEAT allocates %v times", allocations)
	}
}

func TestFramesReuseMemory(t *testing.T) {
	m := sample(NewView, 1000)
	b, _ := AppendFrame(nil, m)
	source := bytes.NewReader(b)
	r := bufio.NewReader(source)
	buf := make([]byte, 0, len(b))
	allocations := testing.AllocsPerRun(100, func() {
		b, _ = AppendFrame(b[:0], m)
		source.Reset(b)
		r.Reset(source)
		if _, err := ReadFrame(r, buf); err != nil {
			t.Error(err)
		}
	})
	if allocations != 0 {
		t.Errorf("writing and reading a frame in used memory allocates %v times", allocations)
	}
}

// What a fuzzed message is decoded in.
const fuzzHosts = 5

// FuzzFrame reads a TCP stream of an unknown sender: frames until one is faulty. What decodes must
// encode to the same bytes, but for those that a later release has added.
func FuzzFrame(f *testing.F) {
	var all []byte
	for kind := Join; kind <= Echoed; kind++ {
		frame, err := AppendFrame(nil, sample(kind, fuzzHosts))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
		all = append(all, frame...)
	}
	frame, _ := AppendFrame(nil, twice(netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")))
	f.Add(frame)
	f.Add(all)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{0, 1, 0, 0, Version})
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(stream)), 16)
		for rest := stream; ; {
			payload, err := ReadFrame(r, nil)
			if err != nil {
				return
			}
			size := frameLength + len(payload)
			checkBytes(t, payload, frameLength, AppendFrame)
			rest = rest[size:]
		}
	})
}

// FuzzDatagram decodes a UDP datagram of an unknown sender.
func FuzzDatagram(f *testing.F) {
	for kind := Join; kind <= Echoed; kind++ {
		f.Add(encoded(f, sample(kind, fuzzHosts)))
	}
	f.Add(encoded(f, twice(netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2"))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, datagram []byte) {
		checkBytes(t, datagram, 0, AppendMessage)
	})
}

// checkBytes checks that payload does not decode, or decodes to a message that encodes to its bytes: as far as this
// release knows them, and of a kind that it knows. prefix bytes come before them.
func checkBytes(t *testing.T, payload []byte, prefix int, encode func([]byte, *Message) ([]byte, error)) {
	t.Helper()
	var m Message
	if err := DecodeMessage(payload, fuzzHosts, &m); err != nil {
		if !reflect.DeepEqual(m, Message{}) {
			t.Errorf("after %v the message is %+v", err, m)
		}
		return
	}
	if m.Kind > Echoed {
		if want := (Message{Kind: m.Kind, From: m.From, Incarnation: m.Incarnation, Group: m.Group, Number: m.Number}); !reflect.DeepEqual(m, want) {
			t.Errorf("%x decodes to\n%+v", payload, m)
		}
		return
	}
	got, err := encode(nil, &m)
	if err != nil || len(got) < prefix || len(got)-prefix > len(payload) {
		t.Fatalf("%x decodes to\n%+v, which encodes to\n%x (%v)", payload, m, got, err)
	}
	want := bytes.Clone(payload[:len(got)-prefix])
	want[0] = Version
	if !bytes.Equal(got[prefix:], want) {
		t.Errorf("%x decodes to\n%+v, which encodes to\n%x", payload, m, got)
	}
}

func BenchmarkEncode(b *testing.B) {
	eachSample(b, func(b *testing.B, m *Message, members int) {
		var buf []byte
		for b.Loop() {
			buf, _ = AppendFrame(buf[:0], m)
		}
		b.SetBytes(int64(len(buf)))
	})
}

func BenchmarkDecode(b *testing.B) {
	eachSample(b, func(b *testing.B, m *Message, members int) {
		payload := encoded(b, m)
		b.SetBytes(int64(len(payload)))
		var got Message
		for b.Loop() {
			if err := DecodeMessage(payload, members, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func eachSample(b *testing.B, run func(b *testing.B, m *Message, members int)) {
	for kind := Join; kind <= Echoed; kind++ {
		for _, members := range []int{5, 1000} {
			b.Run(fmt.Sprintf("%v/members=%d", kind, members), func(b *testing.B) {
				b.ReportAllocs()
				run(b, sample(kind, members), members)
			})
		}
	}
}
