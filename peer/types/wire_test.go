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

// sample returns a message of this kind as it is sent in a group in which all n hosts are members, with every list as
// long as it gets.
func sample(kind Kind, n int) *Message {
	v := &View{Group: Group{0x11, 1}, Number: 5, Leader: 1, Last: make([]Past, n), Digest: 0xa9eed}
	m := &Message{Kind: kind, From: 1, Incarnation: 0x11, Group: v.Group, Number: v.Number}
	for i := range n {
		v.Members = append(v.Members, ID(i+1))
		v.Last[i].Incarnation = Incarnation(0x11 * (i + 1))
	}
	switch kind {
	case Join:
		m.Request, m.Lines, m.Digest, m.Full = 7, n, 0xd1e5, min(n+1, MaxHosts)
		m.Speaks, m.Monitor = 2, 2200*time.Millisecond
	case Probe:
		m.Request, m.Lines, m.Digest, m.Full = 7, n, 0xd1e5, min(n+1, MaxHosts)
		m.Speaks, m.Term, m.Leads = 2, Term{3, 1}, true
	case Echo, Echoed:
		m.Request, m.Lines, m.Digest, m.Broadcast, m.Standing = 7, n, 0xd1e5, true, Joined
	case Heartbeat:
		m.Request, m.Heard, m.Term, m.Leads, m.Speaks, m.File = 7, 9, Term{3, 1}, true, 2, 0xf11e
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
		m.Change, m.Unreachable, m.PreVote = Change{Operation: Pending}, v.Members[1:], true
	case State:
		m.Standing, m.HasLeader, m.Last, m.Heard, m.File = Joined, true, 0x22, 9, 0xf11e
	case Refused:
		m.Reason = Behind
	case Hosts:
		m.First, m.Listed = 1, hostList(min(n, 2000))
	}
	return m
}

// hostList returns hosts of which every other one has an address, and every third is retired.
func hostList(n int) []Host {
	hosts := make([]Host, n)
	for i := range hosts {
		hosts[i] = Host{Name: fmt.Sprint("h", i+1), Retired: i%3 == 1}
		if i%2 == 0 {
			hosts[i].Addr = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i + 1)})
		}
	}
	return hosts
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
		{Join, "02 01" + from + "0000000000000007 0002 000000000000d1e5 0003 02 0000000083215600"},
		{Req, "02 02" + from + toTerm + "02 0002 0000000000000022 01  0001 0002 00"},
		{OK, "02 03" + from + toTerm + "01 0002 0000000000000022  0000000000000002 0002"},
		{NewView, "02 04" + from + toTerm + "01 0002 0000000000000022 0000000000000002 0002" +
			"01 0001 0002 0001 0002 0002 0000000000000011 00 0000000000000022 00 00000000000a9eed  0001 0002 00"},
		{NewLeader, "02 05" + from + toTerm + "03  0001 0002 01"},
		{PendingResponse, "02 06" + from + toTerm + "01 0002 0000000000000022  0000000000000002 0002"},
		{Heartbeat, "02 07" + from + "0000000000000007 0000000000000009 0000000000000003 0001 01 00 02  0000 000000000000f11e"},
		{Leave, "02 08" + from + "0000000000000022 0000000000000003 0001"},
		{Probe, "02 09" + from + "0000000000000007 0002 000000000000d1e5 0003 02 0000000000000003 0001 01"},
		{State, "02 0a" + from + toTerm + "03 00 01 0000000000000022 0000000000000009 000000000000f11e"},
		{Refused, "02 0b" + from + toTerm + "03"},
		{Echo, "02 0c" + from + "0000000000000007 0002 000000000000d1e5 01 03"},
		{Echoed, "02 0d" + from + "0000000000000007 0002 000000000000d1e5 01 03"},
		{Hosts, "02 0e" + from + toTerm + "0001 0002 02 6831 00000000000000000000ffff0a000001 00  02 6832 " + strings.Repeat("00", 16) + "01"},
	}
	for _, tt := range tests {
		t.Run(tt.kind.String(), func(t *testing.T) {
			t.Parallel()
			want := firstByte + strings.ReplaceAll(tt.want[2:], " ", "") + addedBytes[tt.kind]
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
	checkRoundTrip(t, m)
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
		view   = "0001 0002 0001 0002 0002 0000000000000011 00 0000000000000022 00 00000000000a9eed"
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
		checkRoundTrip(t, tt.m)
		for n := range b {
			wantFault(t, bytes.Clone(b[:n]), "cut short")
		}
	}
	for _, made := range []Change{add(3, 0x33), grow(6, "six", "fd00::6"), retire(4)} {
		m := showing(false, 5)
		m.Made = made
		checkRoundTrip(t, m)
	}
	for _, hosts := range []int{5, 1000, MaxHosts} {
		checkRoundTrip(t, showing(true, hosts))
		checkRoundTrip(t, showing(false, hosts))
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
		{"chosen by no host", false, patch{atShown + 9: {0x10, 1}}, "peer 4097 is none"},
		{"chosen by no host", true, patch{atShown + 9: {0x10, 1}}, "peer 4097 is none"},
		{"made by nothing", false, patch{atMade: {byte(Nothing)}}, "there is no operation 0"},
		{"made by a question", false, patch{atMade: {byte(Pending)}}, "PENDING makes no view"},
		{"made by an unknown operation", false, patch{atMade: {0xff}}, "there is no operation 255"},
		{"made by a change of no host", false, patch{atMade + 1: {0, 0}}, "peer 0 is none"},
		{"made by a change beyond all hosts", false, patch{atMade + 1: {0xff, 0xff}}, "peer 65535 is none"},
		{"made by a change of no incarnation", false, patch{atMade + 3: zero}, "incarnation 0 is below 1"},
		{"made by a change of a negative one", false, patch{atMade + 3: negative}, "incarnation -1 is below 1"},
		{"made by a removal without a cause", false, patch{atMade + 11: {byte(Present)}}, "there is no cause of a removal 0"},
		{"made by a removal for no known cause", false, patch{atMade + 11: {byte(Expelled) + 1}}, "there is no cause of a removal 5"},
		{"view number 0", true, patch{atNumber: zero}, "a view needs a group and a number"},
		{"no leader", true, patch{atLeader: {0, 0}}, "peer 0 is none"},
		{"absurdly many members", true, patch{atLeader + 2: {0xff, 0xff}}, "a list of 65535 among at most 4096 hosts"},
		{"members twice", true, patch{atLeader + 4: {0, 2}}, "peer 2 is listed twice"},
		{"over fewer hosts", true, patch{atHosts: {0, 4}}, "peer 5 is listed as a member, but the view does not hold it"},
		{"leader no member", true, patch{atLast + 8: {byte(Left)}}, "leader 1 is no member"},
	} {
		b := encoded(t, showing(tt.whole, 5))
		for at, with := range tt.patch {
			copy(b[at:], with)
		}
		wantFault(t, b, tt.want)
	}
}

func TestShownOfAnotherView(t *testing.T) {
	t.Parallel()
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
	for kind := Join; kind <= LastKind; kind++ {
		for _, hosts := range []int{2, 5, 1000, MaxHosts} {
			t.Run(fmt.Sprint(kind, " among ", hosts), func(t *testing.T) {
				t.Parallel()
				checkRoundTrip(t, sample(kind, hosts))
			})
		}
	}
}

func TestRoundTripOfRandomMessages(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		hosts := 1 + rng.IntN(12)
		checkRoundTrip(t, randomMessage(rng, hosts))
		if t.Failed() {
			return
		}
	}
}

func checkRoundTrip(t *testing.T, m *Message) {
	t.Helper()
	b := encoded(t, m)
	got := Message{Kind: Req, Unreachable: []ID{9}, Digest: 99} // left from another message
	if err := DecodeMessage(b, &got); err != nil {
		t.Fatalf("decoding %+v: %v", m, err)
	}
	clear(b) // what was decoded may not depend on it
	want := *m
	want.To = 0
	if !reflect.DeepEqual(got, want) {
		t.Errorf("came back as\n%+v, was\n%+v", got, want)
	}
}

// randomMessage returns a message of any kind of version 2, with random values in each field that the kind uses.
func randomMessage(rng *rand.Rand, hosts int) *Message {
	v := randomView(rng, hosts)
	m := &Message{
		Kind: Join + Kind(rng.IntN(int(Hosts))), From: randomID(rng, hosts), To: randomID(rng, hosts),
		Incarnation: Incarnation(rng.Int64()), Group: v.Group, Number: v.Number,
	}
	if rng.IntN(4) == 0 {
		m.Group, m.Number = Group{}, 0
	}
	switch m.Kind {
	case Join:
		m.Request, m.Lines, m.Digest = rng.Uint64(), 1+rng.IntN(MaxHosts), rng.Uint64()
		m.Full = m.Lines + rng.IntN(MaxHosts+1-m.Lines)
		m.Speaks, m.Monitor = uint8(rng.IntN(256)), time.Duration(rng.Int64())
	case Probe:
		m.Request, m.Lines, m.Digest = rng.Uint64(), 1+rng.IntN(MaxHosts), rng.Uint64()
		m.Full = m.Lines + rng.IntN(MaxHosts+1-m.Lines)
		m.Speaks, m.Term, m.Leads = uint8(rng.IntN(256)), randomTerm(rng, hosts), rng.IntN(2) == 1
	case Echo, Echoed:
		m.Request, m.Lines, m.Digest = rng.Uint64(), rng.IntN(MaxHosts+1), rng.Uint64()
		m.Broadcast, m.Standing = rng.IntN(2) == 1, Standing(rng.IntN(4))
	case Heartbeat:
		m.Request, m.Heard, m.File = rng.Uint64(), rng.Uint64(), rng.Uint64()
		m.Term, m.Leads, m.Unreachable = randomTerm(rng, hosts), rng.IntN(2) == 1, randomIDs(rng, hosts)
		m.Ceased, m.Speaks = rng.IntN(2) == 1, uint8(rng.IntN(256))
	case Leave:
		m.For, m.Term = Incarnation(rng.Int64()), randomTerm(rng, hosts)
	default:
		m.For, m.Request, m.Term = Incarnation(rng.Int64()), rng.Uint64(), randomTerm(rng, hosts)
		randomizeAddressed(m, &v, rng, hosts)
	}
	return m
}

// randomizeAddressed sets what m, which is addressed to one incarnation, has after that. v is a view for it to show.
func randomizeAddressed(m *Message, v *View, rng *rand.Rand, hosts int) {
	whole := rng.IntN(3) > 0 && m.Number > 0
	switch m.Kind {
	case Req, NewLeader:
		m.Change, m.Unreachable = Change{Operation: Pending}, randomIDs(rng, hosts)
		if m.Number == 0 {
			m.Digest = rng.Uint64()
		}
		if m.Kind == NewLeader {
			m.PreVote = rng.IntN(2) == 1
			return
		}
		m.Change = randomChange(rng, hosts, Add, Del, Grow, Retire)
		if whole {
			m.Chosen, m.View = v.Term, v
		} else if rng.IntN(2) == 0 {
			m.Made, m.Chosen = randomChange(rng, hosts, Add, Del, Grow, Retire), randomTerm(rng, hosts)
		}
	case OK, PendingResponse:
		m.Change, m.Accepted = randomChange(rng, hosts, Nothing, Add, Del, Grow, Retire), randomTerm(rng, hosts)
	case NewView:
		m.Change, m.Unreachable = randomChange(rng, hosts, Nothing, Add, Del, Grow, Retire), randomIDs(rng, hosts)
		m.Chosen, m.Unanswered = v.Term, rng.IntN(2) == 1
		if whole {
			m.View = v
		}
	case State:
		m.Standing, m.Last, m.File = Fresh+Standing(rng.IntN(4)), Incarnation(rng.Int64()), rng.Uint64()
		m.Leads, m.HasLeader, m.Heard = rng.IntN(2) == 1, rng.IntN(2) == 1, rng.Uint64()
	case Refused:
		switch m.Reason = Promised + Reason(rng.IntN(int(IsRetired))); m.Reason {
		case Twice, Elsewhere:
			m.Lives = [2]netip.Addr{randomAddr(rng), randomAddr(rng)}
		case Differs:
			m.Lines, m.Digest = 1+rng.IntN(MaxHosts), rng.Uint64()
		}
	case Hosts:
		m.First, m.Listed = randomID(rng, MaxHosts-hosts), randomHosts(rng, rng.IntN(hosts+1))
	}
}

// randomView returns a view that random changes have made.
func randomView(rng *rand.Rand, hosts int) View {
	maker, made := randomID(rng, hosts), 1+Incarnation(rng.Int64N(1<<62))
	v := View{Group: Group{made, maker}, Number: 1 + rng.Int64N(1<<62), Leader: maker,
		Members: []ID{maker}, Last: make([]Past, hosts), Digest: rng.Uint64()}
	v.Last[maker-1].Incarnation = made
	for range rng.IntN(3 * hosts) {
		change := randomChange(rng, hosts, Add, Del, Grow, Retire)
		switch change.Operation {
		case Del:
			change.Member.Incarnation = v.Incarnation(change.Member.ID)
		case Grow:
			change.Member.ID = ID(len(v.Last) + 1)
		}
		if v.Admits(change) {
			v = v.With(change)
		}
	}
	v.Term = randomTerm(rng, hosts)
	return v
}

// randomHosts returns n hosts, or nil.
func randomHosts(rng *rand.Rand, n int) (hosts []Host) {
	for range n {
		h := Host{Name: randomName(rng), Retired: rng.IntN(2) == 1}
		if rng.IntN(2) == 1 {
			h.Addr = randomAddr(rng)
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// randomName returns a name of one to four labels, or an address.
func randomName(rng *rand.Rand) string {
	if rng.IntN(5) == 0 {
		return randomAddr(rng).String()
	}
	const first, all = "abcXYZ_", "abcXYZ_059-"
	var labels []string
	for range 1 + rng.IntN(4) {
		label := []byte{first[rng.IntN(len(first))]}
		for range rng.IntN(61) {
			label = append(label, all[rng.IntN(len(all))])
		}
		labels = append(labels, string(label)+"z")
	}
	name := strings.Join(labels, ".")
	if len(name) < MaxName && rng.IntN(2) == 0 {
		return name + "."
	}
	return name
}

func randomAddr(rng *rand.Rand) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[8:], 1+rng.Uint64N(1<<62))
	if rng.IntN(2) == 0 {
		b[0] = 0xfd
	} else {
		copy(b[8:], []byte{0, 0, 0xff, 0xff, 10}) // IPv4
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
	case Grow:
		h := randomHosts(rng, 1)[0]
		return Change{Operation: Grow, Member: Member{ID: id}, Name: h.Name, Addr: h.Addr}
	case Retire:
		return retire(id)
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

// What is cut short is a fault. What comes after the fields that this release knows is from a later one, and is
// skipped: also where the message says that it is of a later version.
func TestDecodeTruncatedOrTrailing(t *testing.T) {
	t.Parallel()
	for kind := Join; kind <= LastKind; kind++ {
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
					if err := DecodeMessage(b, &got); err != nil || !reflect.DeepEqual(&got, sample(kind, 5)) {
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
	for _, kind := range []Kind{LastKind + 1, 0xff} {
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
			if err := DecodeMessage(b[:n], &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("kind %d, %d bytes: came as\n%+v (%v), want\n%+v", kind, n, got, err, want)
			}
		}
		b[atFrom] = 0x10
		wantFault(t, b, "peer 4097 is none of at most 4096 hosts")
	}
}

// wantFault checks that b does not decode, for this reason, and that m stays zero.
func wantFault(t *testing.T, b []byte, want string) {
	t.Helper()
	m := *sample(NewView, 5)
	err := DecodeMessage(b, &m)
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
		{"from no host", Heartbeat, patch{atFrom: {0, 0}}, "peer 0 is none of at most 4096 hosts"},
		{"from beyond all hosts", Heartbeat, patch{atFrom: {0x10, 1}}, "peer 4097 is none of at most 4096 hosts"},
		{"from far beyond all hosts", Heartbeat, patch{atFrom: {0xff, 0xff}}, "peer 65535 is none of at most 4096 hosts"},
		{"JOIN from no host", Join, patch{atFrom: {0, 0}}, "peer 0 is none of at most 4096 hosts"},
		{"negative incarnation", Heartbeat, patch{atIncarnation: negative}, "incarnation -1 is below 0"},
		{"negative group", Heartbeat, patch{atMade: negative}, "incarnation -1 is below 0"},
		{"group without a maker", Heartbeat, patch{atMaker: {0, 0}}, "neither a group nor none"},
		{"maker without a group", Heartbeat, patch{atMade: zero}, "neither a group nor none"},
		{"maker beyond all hosts", Heartbeat, patch{atMaker: {0x10, 1}}, "peer 4097 is none"},
		{"negative view number", Heartbeat, patch{atNumber: negative}, "view number -1 is negative"},
		{"term beyond all hosts", Heartbeat, patch{atBody + 24: {0x10, 1}}, "peer 4097 is none"},
		{"flag that is no flag", Heartbeat, patch{atBody + 26: {2}}, "a flag is 2, not 0 or 1"},
		{"another", Heartbeat, patch{atBody + 27: {2}}, "a flag is 2, not 0 or 1"},
		{"digest of no hosts", Join, patch{atBody + 8: {0, 0}}, "a digest of 0 hosts, not 1 to 4096"},
		{"digest of too many hosts", Join, patch{atBody + 8: {0x10, 1}}, "a digest of 4097 hosts, not 1 to 4096"},
		{"digest of no hosts", Probe, patch{atBody + 8: {0, 0}}, "a digest of 0 hosts, not 1 to 4096"},
		{"digest of too many hosts", Echo, patch{atBody + 8: {0x10, 1}}, "a digest of 4097 hosts, not 0 to 4096"},
		{"digest of more hosts than there are", Join, patch{atBody + 18: {0, 4}}, "5 of 4 hosts are compared"},
		{"digest of some of too many hosts", Probe, patch{atBody + 18: {0x10, 1}}, "5 of 4097 hosts are compared"},
		{"negative -monitor", Join, patch{atBody + 21: negative}, "duration -1ns is negative"},
		{"term beyond all hosts", Probe, patch{atBody + 29: {0x10, 1}}, "peer 4097 is none of at most 4096 hosts"},
		{"flag that is no flag", Probe, patch{atBody + 31: {2}}, "a flag is 2, not 0 or 1"},
	})
}

func TestDecodeMalformedBody(t *testing.T) {
	t.Parallel()
	checkMalformed(t, []malformed{
		{"for a negative incarnation", Leave, patch{atBody: negative}, "incarnation -1 is below 0"},
		{"term beyond all hosts", Req, patch{atTermPeer: {0x10, 1}}, "peer 4097 is none"},
		{"unknown operation", Req, patch{atChange: {byte(Retire) + 1}}, "there is no operation 6"},
		{"REQ of nothing", Req, patch{atChange: {byte(Nothing)}}, "NOTHING is not allowed in REQ"},
		{"REQ that asks", Req, patch{atChange: {byte(Pending)}}, "PENDING is not allowed in REQ"},
		{"NEWLEADER of a change", NewLeader, patch{atChange: {byte(Add)}}, "ADD is not allowed in NEWLEADER"},
		{"NEWLEADER of a host", NewLeader, patch{atChange: {byte(Grow)}}, "GROW is not allowed in NEWLEADER"},
		{"OK that asks", OK, patch{atChange: {byte(Pending)}}, "PENDING is not allowed in OK"},
		{"change of no host", Req, patch{atChange + 1: {0, 0}}, "peer 0 is none"},
		{"change beyond all hosts", Req, patch{atChange + 1: {0x10, 1}}, "peer 4097 is none"},
		{"change of no incarnation", Req, patch{atChange + 3: zero}, "incarnation 0 is below 1"},
		{"removal without a cause", Req, patch{atChange + 11: {byte(Present)}}, "there is no cause of a removal 0"},
		{"removal as retirement", Req, patch{atChange + 11: {byte(Retired)}}, "there is no cause of a removal 5"},
		{"retirement of no host", OK, patch{atChange: {byte(Retire), 0, 0}}, "peer 0 is none"},
		{"retirement beyond all hosts", OK, patch{atChange: {byte(Retire), 0x10, 1}}, "peer 4097 is none"},
		{"new host 0", OK, patch{atChange: {byte(Grow), 0, 0}}, "peer 0 is none"},
		{"new host beyond all hosts", OK, patch{atChange: {byte(Grow), 0x10, 1}}, "peer 4097 is none"},
		{"unknown cause", Req, patch{atChange + 11: {byte(Retired) + 1}}, "there is no cause of a removal 6"},
		{"more unreachable than hosts", Req, patch{atChange + 12: {0x10, 1}}, "a list of 4097 among at most 4096 hosts"},
		{"absurdly many unreachable", Req, patch{atChange + 12: {0xff, 0xff}}, "a list of 65535 among at most 4096 hosts"},
		{"more unreachable than bytes", Req, patch{atChange + 12: {0, 5}}, "9 bytes are left of a list of 5"},
		{"unreachable host 0", Req, patch{atChange + 14: {0, 0}}, "peer 0 is none"},
		{"unreachable twice", Req, patch{atChange + 14: {0, 3}}, "peer 3 is listed twice"},
		{"unknown standing", State, patch{atChange: {0}}, "there is no standing 0"},
		{"unknown standing", State, patch{atChange: {5}}, "there is no standing 5"},
		{"unknown reason", Refused, patch{atChange: {byte(IsRetired) + 1}}, "there is no reason 12"},
		{"differs in nothing", Refused, patch{atChange: {byte(Differs)}}, "cut short"},
		{"runs twice, nowhere", Refused, patch{atChange: {byte(Twice)}}, "cut short"},
		{"last of a negative incarnation", State, patch{atChange + 3: negative}, "incarnation -1 is below 0"},
	})
}

func TestDecodeMalformedView(t *testing.T) {
	t.Parallel()
	checkMalformed(t, []malformed{
		{"chosen by no host", NewView, patch{atChosen + 8: {0x10, 1}}, "peer 4097 is none"},
		{"neither a view nor none", NewView, patch{atWhole: {2}}, "a flag is 2, not 0 or 1"},
		{"view number 0", NewView, patch{atNumber: zero}, "a view needs a group and a number"},
		{"view of no group", NewView, patch{atMade: zero, atMaker: {0, 0}}, "a view needs a group and a number"},
		{"no leader", NewView, patch{atLeader: {0, 0}}, "peer 0 is none"},
		{"leader no member", NewView, patch{atLast + 8: {byte(Left)}}, "leader 1 is no member"},
		{"members twice", NewView, patch{atMembers + 2: {0, 2}}, "peer 2 is listed twice"},
		{"member beyond the view", NewView, patch{atMembers + 2: {0, 6}}, "peer 6 is listed as a member, but the view does not hold it"},
		{"member beyond all hosts", NewView, patch{atMembers + 2: {0x10, 1}}, "peer 4097 is none"},
		{"leader beyond the view", NewView, patch{atLeader: {0, 6}}, "leader 6 is no member"},
		{"more members than hosts", NewView, patch{atMembers: {0x10, 1}}, "a list of 4097 among at most 4096 hosts"},
		{"absurdly many members", NewView, patch{atMembers: {0xff, 0xff}}, "a list of 65535 among at most 4096 hosts"},
		{"member that was removed", NewView, patch{atLast + 9 + 8: {byte(Unreachable)}}, "peer 2 is listed as a member, but the view does not hold it"},
		{"member that never was", NewView, patch{atLast + 9: zero}, "peer 2 is listed as a member, but the view does not hold it"},
		{"removed, but never was", NewView, patch{atLast + 9: zero, atLast + 9 + 8: {byte(Left)}}, "host 2 never was a member"},
		{"member that is retired", NewView, patch{atLast + 9 + 8: {byte(Retired)}}, "peer 2 is listed as a member, but the view does not hold it"},
		{"removed for no known cause", NewView, patch{atLast + 9 + 8: {byte(Retired) + 1}}, "there is no cause of a removal 6"},
		{"negative last incarnation", NewView, patch{atLast + 9: negative}, "incarnation -1 is below 0"},
		{"over too many hosts", NewView, patch{atHosts: {0x10, 1}}, "a list of 4097 among at most 4096 hosts"},
		{"over more hosts than bytes", NewView, patch{atHosts: {0, 8}}, "64 bytes are left of a list of 8"},
		{"over fewer hosts", NewView, patch{atHosts: {0, 4}}, "peer 5 is listed as a member, but the view does not hold it"},
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

// The receiver may know fewer hosts than the sender, so every id from 1 to 4096 decodes, in every kind.
func TestDecodeAnyHost(t *testing.T) {
	t.Parallel()
	for kind := Join; kind <= LastKind; kind++ {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			m := sample(kind, 5)
			m.From, m.Group.Maker = MaxHosts, MaxHosts
			if m.View != nil {
				m.View.Group.Maker = MaxHosts
			}
			if m.Term.Peer != 0 {
				m.Term.Peer = MaxHosts
			}
			if m.Unreachable != nil {
				m.Unreachable = []ID{MaxHosts, 1, MaxHosts - 1}
			}
			if m.Change.Member.ID != 0 {
				m.Change.Member.ID = MaxHosts
			}
			checkRoundTrip(t, m)
		})
	}
}

// A retired host may have been a member before, or never.
func TestDecodeRetired(t *testing.T) {
	t.Parallel()
	m := sample(NewView, 5)
	m.View.Members = m.View.Members[:3]
	m.View.Last[3].Cause, m.View.Last[4] = Retired, Past{Cause: Retired}
	checkRoundTrip(t, m)
}

// A REQ and a NEWLEADER say which hosts file their sender has where they are about view 0, and only there.
func TestDecodeFounding(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Req, NewLeader} {
		m := sample(kind, 5)
		later := encoded(t, m)
		m.Group, m.Number, m.Digest = Group{}, 0, 0xf11e
		b := encoded(t, m)
		if got, want := hex.EncodeToString(b[atBody:]), hex.EncodeToString(later[atBody:])+"000000000000f11e"; got != want {
			t.Errorf("%v: bytes are %s, want %s", kind, got, want)
		}
		checkRoundTrip(t, m)
		for n := range b {
			wantFault(t, bytes.Clone(b[:n]), "cut short")
		}
		m.Number = 1
		if b := encoded(t, m); len(b) != len(later) {
			t.Errorf("%v: about view 1 it has %d bytes, want %d", kind, len(b), len(later))
		}
	}
}

// A refusal because the hosts files differ says which hosts its sender lists.
func TestDecodeDiffers(t *testing.T) {
	t.Parallel()
	m := sample(Refused, 5)
	m.Reason, m.Lines, m.Digest = Differs, 5, 0xd1e5
	b := encoded(t, m)
	if got, want := hex.EncodeToString(b[atChange:]), "040005000000000000d1e5"; got != want {
		t.Errorf("bytes are %s, want %s", got, want)
	}
	checkRoundTrip(t, m)
	for n := range b {
		wantFault(t, bytes.Clone(b[:n]), "cut short")
	}
	for lines, with := range map[int][]byte{0: {0, 0}, MaxHosts + 1: {0x10, 1}} {
		copy(b[atChange+1:], with)
		wantFault(t, b, fmt.Sprintf("a digest of %d hosts, not 1 to 4096", lines))
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
			err := DecodeMessage(append([]byte{byte(version)}, rest...), &m)
			if got := errors.Is(err, ErrVersion); got != (version < FirstVersion || version > 127) { // those above are sealed
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
		if err := DecodeMessage([]byte{version, 1, 0, 2, 9, 9}, &m); !errors.Is(err, ErrVersion) || err.Error() != want {
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
		{"unknown kind", LastKind + 1, func(m *Message) {}, fmt.Sprintf("there is no kind %d", LastKind+1)},
		{"from no host", Heartbeat, func(m *Message) { m.From = 0 }, "HEARTBEAT to peer 2: peer 0 is none"},
		{"negative id", Heartbeat, func(m *Message) { m.From = -1 }, "peer -1 is none"},
		{"id beyond all hosts", Heartbeat, func(m *Message) { m.From = MaxHosts + 1 }, "peer 4097 is none"},
		{"id that two bytes would cut", Heartbeat, func(m *Message) { m.From = 1<<16 + 1 }, "peer 65537 is none"},
		{"negative incarnation", Heartbeat, func(m *Message) { m.Incarnation = -1 }, "incarnation -1 is below 0"},
		{"negative number", Heartbeat, func(m *Message) { m.Number = -1 }, "view number -1 is negative"},
		{"half a group", Heartbeat, func(m *Message) { m.Group.Maker = 0 }, "neither a group nor none"},
		{"negative for", Leave, func(m *Message) { m.For = -1 }, "incarnation -1 is below 0"},
		{"REQ of nothing", Req, func(m *Message) { m.Change = Change{} }, "NOTHING is not allowed in REQ"},
		{"NEWLEADER that does not ask", NewLeader, func(m *Message) { m.Change = Change{} }, "NOTHING is not allowed in NEWLEADER"},
		{"removal without a cause", Req, func(m *Message) { m.Change.Cause = Present }, "no cause of a removal 0"},
		{"unreachable twice", Req, func(m *Message) { m.Unreachable = []ID{2, 2} }, "peer 2 is listed twice"},
		{"too many unreachable", Req, func(m *Message) { m.Unreachable = make([]ID, 1<<16) }, "a list of 65536 among at most 4096"},
		{"digest of no hosts", Join, func(m *Message) { m.Lines = 0 }, "a digest of 0 hosts, not 1 to 4096"},
		{"digest of more hosts than there are", Probe, func(m *Message) { m.Full = 4 }, "5 of 4 hosts are compared"},
		{"hosts that two bytes would cut", Join, func(m *Message) { m.Full = 1<<16 + 5 }, "5 of 65541 hosts are compared"},
		{"digest of fewer than none", Echo, func(m *Message) { m.Lines = -1 }, "a digest of -1 hosts, not 0 to 4096"},
		{"digest that two bytes would cut", Probe, func(m *Message) { m.Lines = 1<<16 + 1 }, "a digest of 65537 hosts"},
		{"no standing", State, func(m *Message) { m.Standing = 0 }, "no standing 0"},
		{"no reason", Refused, func(m *Message) { m.Reason = 0 }, "no reason 0"},
		{"runs twice, nowhere", Refused, func(m *Message) { m.Reason = Twice }, "is no address of a host"},
		{"view of another number", NewView, func(m *Message) { m.Number++ }, "about view 6 of {17 1} has view 5 of {17 1}"},
		{"view of another group", NewView, func(m *Message) { m.Group.Made++ }, "about view 5 of {18 1} has view 5 of {17 1}"},
		{"the zero view", NewView, func(m *Message) { m.View, m.Group, m.Number = &View{}, Group{}, 0 }, "peer 0 is none"},
		{"leader no member", NewView, func(m *Message) { m.View.Leader = 6 }, "leader 6 is no member"},
		{"member removed", NewView, func(m *Message) { m.View.Last[2].Cause = Left }, "peer 3 is listed as a member, but the view does not hold it"},
		{"member not listed", NewView, func(m *Message) { m.View.Members = m.View.Members[:4] }, "4 members are listed, but 5 are present"},
		{"over too many hosts", NewView, func(m *Message) { m.View.Last = make([]Past, MaxHosts+1) }, "a list of 4097 among at most 4096"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.kind, " ", tt.name), func(t *testing.T) {
			t.Parallel()
			m := sample(tt.kind, 5)
			m.To = 2
			tt.change(m)
			wantUnencodable(t, m, tt.want)
		})
	}
}

// wantUnencodable checks that m does not encode, for this reason, and that nothing is written.
func wantUnencodable(t *testing.T, m *Message, want string) {
	t.Helper()
	for lane, encode := range map[string]func([]byte, *Message) ([]byte, error){"message": AppendMessage, "frame": AppendFrame} {
		b, err := encode([]byte("before"), m)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s of %.500v: error is %v, want one with %q", lane, m, err, want)
		}
		if string(b) != "before" {
			t.Errorf("%s of %.500v: after the error, the bytes are %.500q", lane, m, b)
		}
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
	for kind := Join; kind <= LastKind; kind++ {
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
	b := make([]byte, 0, 128)
	var got Message
	allocations := testing.AllocsPerRun(1000, func() {
		b, _ = AppendMessage(b[:0], m)
		if err := DecodeMessage(b, &got); err != nil {
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

// fuzzHosts is how many hosts the samples have that a fuzzer begins with.
const fuzzHosts = 5

// FuzzFrame reads a TCP stream of an unknown sender: frames until one is faulty. What decodes must
// encode to the same bytes, but for those that a later release has added.
func FuzzFrame(f *testing.F) {
	var all []byte
	for kind := Join; kind <= LastKind; kind++ {
		frame, err := AppendFrame(nil, sample(kind, fuzzHosts))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
		all = append(all, frame...)
	}
	frame, _ := AppendFrame(nil, twice(netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")))
	f.Add(frame)
	for _, m := range ofHost(Host{Name: "six", Addr: netip.MustParseAddr("10.0.0.6"), Retired: true}) {
		frame, _ := AppendFrame(nil, m)
		f.Add(frame)
	}
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
	for kind := Join; kind <= LastKind; kind++ {
		f.Add(encoded(f, sample(kind, fuzzHosts)))
	}
	f.Add(encoded(f, twice(netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2"))))
	for _, m := range ofHost(Host{Name: "six", Addr: netip.MustParseAddr("10.0.0.6"), Retired: true}) {
		f.Add(encoded(f, m))
	}
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
	if err := DecodeMessage(payload, &m); err != nil {
		if !reflect.DeepEqual(m, Message{}) {
			t.Errorf("after %v the message is %+v", err, m)
		}
		return
	}
	if m.Kind > LastKind {
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
			if err := DecodeMessage(payload, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func eachSample(b *testing.B, run func(b *testing.B, m *Message, members int)) {
	for kind := Join; kind <= LastKind; kind++ {
		for _, members := range []int{5, 1000} {
			b.Run(fmt.Sprintf("%v/members=%d", kind, members), func(b *testing.B) {
				b.ReportAllocs()
				run(b, sample(kind, members), members)
			})
		}
	}
}
