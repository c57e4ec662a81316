package handlers_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// Rule 10: a file that is read again counts as far as it does not contradict what the group has agreed on. The caller is
// told of what is new.
func TestRule10Rereads(t *testing.T) {
	t.Parallel()
	moved := types.Numbered(6)
	moved[4] = types.Host{Name: "HOST5.", Addr: netip.MustParseAddr("10.0.0.5")}
	tests := []struct {
		name        string
		file        []types.Host
		knows, news string
		says        string
	}{
		{"the same", types.Numbered(6), "1 2 3 4 5 6", "[]", ""},
		{"another address and spelling", moved, "1 2 3 4 HOST5. 10.0.0.5 6", "[{5 HOST5. 10.0.0.5}]", ""},
		{"more", numbered(6, "host7 !host8"), "1 2 3 4 5 6 7 !8", "[{7 host7} {8 !host8}]", " ahead [7 8]"},
		{"a contradiction", numbered(5, "other host7"), "1 2 3 4 5 6", "[]", " ahead [7] wrong 6"},
		{"fewer", types.Numbered(4), "1 2 3 4 5 6", "[]", " behind [5 6]"},
		{"one is retired", retired(types.Numbered(6), 5), "1 2 3 4 5 6", "[]", " ahead [5]"},
		{"a member is retired", retired(types.Numbered(6), 3), "1 2 3 4 5 6", "[]", " ahead [3] running [3]"},
	}
	for _, tt := range tests {
		p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
		want(t, tt.name, p.reread(tt.file), "HEARTBEAT")
		want(t, tt.name+": told", fmt.Sprint(p.news), tt.news)
		want(t, tt.name+": knows", p.knows(), tt.knows)
		want(t, tt.name+": says", inWords(&p.Status().Listing), tt.says)
		want(t, tt.name+": announces", fmt.Sprint(p.sent(0, types.Heartbeat).File == types.FileDigest(tt.file)), "true")
		p.hear(msg{Kind: types.Probe, From: 3, Request: 5})
		want(t, tt.name+": in STATE, too", fmt.Sprint(p.sent(3, types.State).File == types.FileDigest(tt.file)), "true")
		want(t, tt.name+": compares", fmt.Sprint(p.hear(probes(5, types.Numbered(6), 6))), "STATE member led→5")
	}
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.announce(types.Numbered(7), 2, 3)
	want(t, "a leader was the last to read it", p.reread(types.Numbered(7)), "REQ GROW 7→2,3; HEARTBEAT leads")
	p.do(p.Leave)
	p = fresh(t, conf{ID: 2})
	want(t, "a peer without a view", p.reread(types.Numbered(7)), "")
	p.pass(time.Second)
	want(t, "asks with it", p.compared(7), "7 of 7")
	p.do(p.Leave)
	want(t, "one that has ended", p.reread(types.Numbered(8))+p.knows(), "exit 01 2 3 4 5 6 7")
}

// Rule 10: what only the file had, and has no more, is no host; nor is it forgotten, as ids stay.
func TestRule10TakesBackWhatItAdded(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.reread(types.Numbered(8))
	p.reread(types.Numbered(7))
	want(t, "told", fmt.Sprint(p.news)+" "+p.knows(), "[{8 !host8}] 1 2 3 4 5 6 7 !8")
	p.reread(numbered(6, "other"))
	want(t, "told", fmt.Sprint(p.news)+" "+p.knows(), "[{7 other}] 1 2 3 4 5 6 other !8")
	p.reread(types.Numbered(8))
	want(t, "told", fmt.Sprint(p.news)+" "+p.knows(), "[{7 host7} {8 host8}] 1 2 3 4 5 6 7 8")
	want(t, "what the group agrees on", p.hear(msg{Kind: types.NewView, From: 1, Request: 3, Number: 6,
		Change: types.Change{Operation: types.Grow, Member: types.Member{ID: 7}, Name: "seven"}}), "view 6 [1 2 3]; OK→1")
	want(t, "told", fmt.Sprint(p.news)+inWords(&p.Status().Listing), "[{7 seven}] ahead [8] wrong 7")
	want(t, "retired by the group", p.hear(msg{Kind: types.NewView, From: 1, Request: 4, Number: 7, Change: retire(5)}), "view 7 [1 2 3]; OK→1")
	want(t, "told", fmt.Sprint(p.news), "[{5 !host5}]")
	p = member(t, conf{ID: 2, Listed: retired(types.Numbered(6), 6)}, viewOf(1, 1, 2, 3))
	want(t, "the file retires a host, and the group does not", p.knows(), "1 2 3 4 5 6")
}

// Rule 10: a peer tells how its file differs once that has lasted for a monitor interval, and every ten minutes again.
func TestRule10Tells(t *testing.T) {
	t.Parallel()
	told := func(p *peer) string {
		var s []string
		for _, d := range p.log {
			if strings.HasPrefix(d.text, "file:") {
				s = append(s, fmt.Sprint(d.at.Round(100*ms), d.text[len("file:"):]))
			}
		}
		return strings.Join(s, "; ")
	}
	p := member(t, conf{ID: 2, Listed: types.Numbered(7)}, viewOf(1, 1, 2, 3))
	p.pass(21*time.Minute, 1, 3)
	want(t, "a host more than the group", told(p), "2.4s ahead [7]; 10m2.6s ahead [7]; 20m2.7s ahead [7]")

	p = member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.pass(4*time.Second, 1, 3)
	want(t, "all is well", told(p), "")
	p.file = types.FileDigest(types.Numbered(5))
	p.pass(time.Second, 1, 3)
	p.file = 0
	p.pass(3*time.Second, 1, 3)
	want(t, "members' files differ for a moment", told(p), "")
	p.file = types.FileDigest(types.Numbered(5))
	p.pass(5*time.Second, 1, 3)
	want(t, "for longer", told(p), "10.4s differ [1 3]")
	p.log = nil
	p.reread(types.Numbered(5))
	p.pass(4*time.Second, 1, 3)
	want(t, "its own file is as theirs now, and behind", told(p), "15.4s behind [6]")

	p = member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.announce(types.Numbered(5), 3)
	p.pass(6*time.Second, 1)
	want(t, "one is unreachable, and its file does not count", told(p), "")
}

// Rule 10: who was refused because files differ makes no group while the other may be in one: until that answers, refuses
// without a group, or the file is read again.
func TestRule10RefusedMakesNoGroup(t *testing.T) {
	t.Parallel()
	other := numbered(2, "other")
	tests := []struct {
		name string
		then func(p *peer)
		want bool
	}{
		{"refused", func(*peer) {}, false},
		{"the other answers", func(p *peer) { p.hear(msg{Kind: types.State, From: 2, Standing: types.Fresh}) }, true},
		{"it has no group any more", func(p *peer) { p.hear(p.differing(2, other, types.Fresh)) }, true},
		{"it does not run any more", func(p *peer) { p.undialed(2, types.Refusal) }, false},
		{"the file is read again", func(p *peer) { p.reread(types.Numbered(3)) }, true},
	}
	for _, tt := range tests {
		p := fresh(t, conf{ID: 1, Listed: types.Numbered(3)})
		p.hear(p.differing(2, other, types.Joined))
		p.pass(5 * time.Second)
		tt.then(p)
		p.ask(2*time.Minute, refuses(2), refuses(3))
		want(t, tt.name, fmt.Sprint(p.View().Number == 1), fmt.Sprint(tt.want))

		p = fresh(t, conf{ID: 1, Listed: types.Numbered(3), Stored: &types.Stored{}})
		p.stored()
		p.hear(p.differing(2, other, types.Joined))
		tt.then(p)
		p.log = nil
		for range 20 {
			p.pass(time.Second)
			p.stored()
		}
		want(t, tt.name+", with state", fmt.Sprint(slices.ContainsFunc(p.log, func(d deed) bool { return d.m.Kind == types.NewLeader })), fmt.Sprint(tt.want))
		answer := "REFUSED a group exists→3"
		if tt.want {
			answer = "" // once that is stored
		}
		want(t, tt.name+", with state, another bids", p.hear(msg{Kind: types.NewLeader, From: 3, Standing: types.Fresh, Request: 5, Term: types.Term{Counter: 9, Peer: 3}}), answer)
	}
}

// Rule 10: a group that just does not list a peer yet holds it back as any other does: with state for ever, else while that
// is there.
func TestRule10UnlistedMakesNoGroup(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 3, Listed: types.Numbered(3)})
	p.hear(p.differing(2, types.Numbered(2), types.Joined))
	p.ask(2*time.Minute, refuses(1), refuses(2))
	want(t, "a group that just does not list it yet has ended", p.when("view 1 [3]"), "[20s]")
	p = bidder(t, 3, types.Numbered(3), types.Stored{})
	p.hear(p.differing(2, types.Numbered(2), types.Joined))
	p.log = nil
	p.pass(time.Minute)
	want(t, "with state it does not end", fmt.Sprint(slices.ContainsFunc(p.log, func(d deed) bool { return d.m.Kind == types.NewLeader })), "false")
	p = member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.hear(p.differing(5, numbered(2, "other"), types.Joined))
	p.ask(time.Minute, refuses(1), refuses(3), refuses(4), refuses(5), refuses(6))
	want(t, "a member does not form its group again meanwhile", fmt.Sprint(p.View().Number), "5")
}

// Rule 10: who is not listed is told so; and a peer whose file is behind makes no group for ten seconds after a member of a
// group with more hosts has asked it.
func TestRule10Strangers(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 2, Listed: types.Numbered(8)}, viewOf(1, 1, 2, 3))
	m := probes(9, types.Numbered(9), 9)
	m.Incarnation, m.Request = 90, 7
	a := p.stranger(m)
	want(t, "the answer", fmt.Sprint(a.Kind, " ", a.Reason, " ", a.From, a.To, a.For, a.Request, a.Lines, a.Group == p.View().Group, a.Number), "REFUSED hosts files differ 2 9 90 7 6 true 5")
	want(t, "the digest", fmt.Sprint(a.Digest == types.Digest(types.Numbered(6))), "true")
	if _, err := types.AppendFrame(nil, &a); err != nil {
		t.Error(err)
	}
	tests := []struct {
		name string
		m    msg
		want string
	}{
		{"a fresh one", probes(4, types.Numbered(4), 4), "[0s]"},
		{"a member of a group with more hosts", func() msg {
			m := probes(4, types.Numbered(4), 4)
			m.Group, m.Number = types.Group{Made: 3, Maker: 1}, 5
			return m
		}(), "[10s]"},
		{"a member of a group with as many", func() msg {
			m := probes(4, types.Numbered(3), 3)
			m.Group, m.Number = types.Group{Made: 3, Maker: 1}, 5
			return m
		}(), "[0s]"},
	}
	for _, tt := range tests {
		p := fresh(t, conf{ID: 1, Listed: types.Numbered(3)})
		p.stranger(tt.m)
		p.ask(12*time.Second, isFresh(2), isFresh(3))
		want(t, tt.name, p.when("view 1 [1]"), tt.want)
	}
	p = fresh(t, conf{ID: 1, Listed: types.Numbered(3)})
	p.stranger(tests[1].m)
	p.reread(types.Numbered(4))
	p.ask(12*time.Second, isFresh(2), isFresh(3), isFresh(4))
	want(t, "its file is read again", p.when("view 1 [1]"), "[0s]")
}

// Rule 10: a host that is added while a leader leads counts for its lease.
func TestRule10NewHostExtendsTheLease(t *testing.T) {
	t.Parallel()
	file := types.Numbered(8)
	p := leader(t, conf{Listed: file}, viewOf(1, 1, 2))
	p.announce(file, 2)
	p.reply(2)
	p.reply(2)
	for _, id := range []types.ID{7, 8} {
		p.hear(joins(id, file, 8))
		p.reply(2)
	}
	p.reply(7, 8)
	want(t, "the view", fmt.Sprint(p.View().Members), "[1 2 7 8]")
	p.pass(5*time.Second, 7, 8)
	want(t, "it leads with those two alone", fmt.Sprint(p.lease.Valid(epoch+p.at), p.fences), "true [0s leads 8192]")
}

// Rule 10: with state a peer knows the hosts of its view again, whatever its file has of them.
func TestRule10RecallsHosts(t *testing.T) {
	t.Parallel()
	before := storing(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	for i, c := range []types.Change{grow(7), grow(8), retire(5)} {
		before.hear(msg{Kind: types.NewView, From: 1, Request: uint64(3 + i), Number: int64(6 + i), Change: c})
		before.stored()
	}
	before.pass(15 * ms)
	want(t, "what is stored", fmt.Sprint(before.save.Stored.First, len(before.save.Stored.Listed)), "1 8")
	for name, file := range map[string][]types.Host{
		"all": retired(types.Numbered(8), 5), "fewer": types.Numbered(6), "few": types.Numbered(2), "more": types.Numbered(9)} {
		p := restarted(t, conf{ID: 2, Listed: file}, before)
		p.stored()
		l := types.Numbered(max(8, len(file)))
		l[4].Retired = true
		want(t, name+": knows", fmt.Sprint(p.Status().Listing.Hosts), fmt.Sprint(l))
		p.pass(time.Second)
		want(t, name+": compares", p.compared(1), fmt.Sprint(len(l), " of ", len(l)))
		p.pass(2 * time.Second)
		want(t, name+": it is the member again", p.when("view 8 [1 2 3]"), "[2.2s]")
		p.stored()
	}
	p := restarted(t, conf{ID: 2}, before)
	p.stored()
	p.reread(numbered(6, "other"))
	p.pass(3 * time.Second)
	want(t, "the file contradicts that meanwhile: it is that member all the same", p.when("view 8 [1 2 3]")+inWords(&p.Status().Listing), "[2.2s] behind [5 8] wrong 7")
}

// Rule 10: what is stored of the hosts is bounded: all if they fit, else those that the file lacks.
func TestRule10StoresHosts(t *testing.T) {
	t.Parallel()
	list := longNamed(600)
	for _, tt := range []struct {
		name string
		file []types.Host
		want string
	}{
		{"the file has all", list, "0 0"},
		{"it lacks some", list[:500], "501 100"},
		{"it lacks more than fit", list[:6], "7 288"},
		{"it has others", append(slices.Clone(list[:400]), types.Numbered(10)...), "401 200"},
	} {
		c := conf{ID: 2, Listed: list, Stored: &types.Stored{}}
		p := fresh(t, c)
		p.stored()
		p.term = types.Term{Counter: 1, Peer: 1}
		v := viewOfList(list)
		p.hear(msg{Kind: types.NewView, From: 1, Request: 1, View: &v})
		p.reread(tt.file)
		p.stored()
		p.pass(time.Second, 1, 3)
		p.stored()
		s := p.save.Stored
		want(t, tt.name, fmt.Sprint(s.First, len(s.Listed)), tt.want)
		if b, err := types.AppendStored(nil, &s); err != nil || len(b) > 1<<17 {
			t.Errorf("%s: %d bytes, %v", tt.name, len(b), err)
		}
	}
}

// Rule 10: a host that has refused a member, and is in another group, is accounted for by nothing: the member does not form
// its group again.
func TestRule10RefusedByAnotherGroup(t *testing.T) {
	t.Parallel()
	six := func(p *peer) {
		m := p.differing(6, numbered(5, "other"), types.Joined)
		m.Group, m.Number = types.Group{Made: 99, Maker: 6}, 1
		p.hear(m)
	}
	for _, tt := range []struct {
		name string
		then func(*peer)
		want bool
	}{{"one has just become a member of another group", six, false}, {"one is fresh", func(*peer) {}, true}} {
		p := member(t, conf{ID: 3, ReformOnRefusal: true}, viewOf(1, 1, 2, 3, 4, 5))
		p.ask(9*time.Second, refuses(1), refuses(2), refuses(4), refuses(5), isFresh(6), tt.then)
		if got := p.View().Group.Maker == 3; got != tt.want {
			t.Errorf("%s: re-forms %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A member asks one that it does not know, and that has a later view of its group, for it: of the members that it knows
// perhaps none is there any more.
func TestRule10AsksWhoIsAhead(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 2, Listed: types.Numbered(8)}, viewOf(1, 1, 2, 3))
	p.pass(time.Second, 1, 3)
	m := probes(7, types.Numbered(8), 8)
	m.Standing, m.Number = types.Joined, 9
	want(t, "a new host has a later view", p.hear(m), "PROBE→7; STATE member led→7")
	m.From, m.Incarnation, m.Number = 6, 60, 5
	want(t, "one has as early a view", p.hear(m), "STATE member led→6")
	m.Number, m.Group = 9, types.Group{Made: 3, Maker: 4}
	want(t, "one of another group", p.hear(m), "REFUSED hosts files differ→6")
}

// Another address of a member that the peer reaches is taken once that is a member no more; that of the peer itself is not.
func TestRule10AddressesWait(t *testing.T) {
	t.Parallel()
	moved := types.Numbered(6)
	for i := range moved {
		moved[i].Addr = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
	}
	p := leader(t, conf{}, viewOf(1, 1, 2, 3))
	p.reread(moved)
	want(t, "hosts that are no members", fmt.Sprint(p.news), "[{4 host4 10.0.0.4} {5 host5 10.0.0.5} {6 host6 10.0.0.6}]")
	p.undialed(3, types.Refusal)
	p.reply(2)
	want(t, "one that is gone", fmt.Sprint(p.news), "[{3 host3 10.0.0.3}]")
	want(t, "all", p.knows(), "1 2 3 10.0.0.3 4 10.0.0.4 5 10.0.0.5 6 10.0.0.6")
}

// So a member may take its file's addresses when a view adds a host that the file has otherwise: the view holds.
func TestRule10LateAddressesDoNotRename(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, line, want string }{
		{"the file has another name", "other", " wrong 7"},
		{"it has the name", "seven", ""},
		{"it retires the host", "!seven", " ahead [7]"},
		{"it lacks the host", "", " behind [7]"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			file := types.Numbered(6)
			if c.line != "" {
				file = numbered(6, c.line)
			}
			file[2].Addr = netip.MustParseAddr("10.0.0.3")
			p := member(t, conf{ID: 2, Stored: &types.Stored{}}, viewOf(1, 1, 2, 3))
			p.stored()
			p.reread(file)
			p.hear(msg{Kind: types.NewView, From: 1, Request: 3, Number: 6,
				Change: types.Change{Operation: types.Grow, Member: types.Member{ID: 7}, Name: "seven"}})
			p.stored()
			p.pass(300 * ms)
			p.stored()
			l := p.Status().Listing
			want(t, "what is said of the file", inWords(&l), c.want)
			want(t, "the hosts", p.knows(), "1 2 3 4 5 6 seven")
			want(t, "their digest", fmt.Sprint(types.Digest(l.Hosts[:7]) == p.View().Digest), "true")
			p.hear(msg{Kind: types.Hosts, From: 3, Request: 9, First: 7})
			want(t, "told to others", fmt.Sprint(p.sent(3, types.Hosts).Listed), "[seven]")
			hosts, err := p.save.Stored.Hosts(numbered(6, "seven"))
			want(t, "the next process, with the right file", fmt.Sprint(types.Digest(hosts) == p.View().Digest, err), "true <nil>")
		})
	}
}

// A fresh peer whose file retires a host asks that host all the same: where it is in a group, the peer joins and makes none.
func TestRule10MarkedHostIsAsked(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 2, Listed: retired(types.Numbered(3), 1)})
	p.ask(900*ms, refuses(3))
	want(t, "before it has answered", p.when("view 1 [2]"), "[]")
	leads := says(msg{From: 1, Standing: types.Joined, Leads: true, HasLeader: true, Term: types.Term{Counter: 1, Peer: 1}})
	leads(p)
	want(t, "it asks that leader", fmt.Sprint(p.sent(1, types.Join).To), "1")
	p.ask(40*time.Second, refuses(3), leads)
	want(t, "while that answers", p.when("view 1 [2]"), "[]")
}
