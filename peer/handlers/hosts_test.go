package handlers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// fileOf is a hosts file with these lines, such as "host1 !host2 10.0.0.3".
func fileOf(lines string) (file []types.Host) {
	for _, line := range strings.Fields(lines) {
		name, retired := strings.CutPrefix(line, "!")
		file = append(file, types.Host{Name: name, Retired: retired})
	}
	return file
}

// numbered is the file of n hosts, then these lines.
func numbered(n int, lines string) []types.Host { return append(types.Numbered(n), fileOf(lines)...) }

// retired is file with these hosts retired.
func retired(file []types.Host, ids ...types.ID) []types.Host {
	file = append([]types.Host(nil), file...)
	for _, id := range ids {
		file[id-1].Retired = true
	}
	return file
}

// grow adds the host after n others.
func grow(id types.ID) types.Change {
	return types.Change{Operation: types.Grow, Member: types.Member{ID: id}, Name: fmt.Sprint("host", id)}
}

func retire(id types.ID) types.Change {
	return types.Change{Operation: types.Retire, Member: types.Member{ID: id}}
}

// inWords is what a listing says of the file.
func inWords(l *handlers.Listing) (s string) {
	for _, part := range []struct {
		name string
		ids  []types.ID
	}{{"ahead", l.Ahead}, {"behind", l.Behind}, {"differ", l.Differ}, {"running", l.Running}} {
		if len(part.ids) > 0 {
			s += fmt.Sprint(" ", part.name, " ", part.ids)
		}
	}
	if l.Wrong != 0 {
		s += fmt.Sprint(" wrong ", l.Wrong)
	}
	if l.Bound {
		s += " bound"
	}
	return s
}

// reread has the peer read its hosts file again.
func (p *peer) reread(file []types.Host) string {
	return p.do(func(now handlers.Instant) *handlers.Output { return p.Reread(now, file) })
}

// announce has members say what hosts file they have.
func (p *peer) announce(file []types.Host, ids ...types.ID) string {
	var did []string
	for _, id := range ids {
		m := p.beat(id)
		m.File = types.FileDigest(file)
		if s := p.hear(m); s != "" {
			did = append(did, s)
		}
	}
	return strings.Join(did, " | ")
}

// joins is a JOIN of id, which lists these hosts, and compares the first lines of them.
func joins(id types.ID, file []types.Host, lines int) msg {
	return msg{Kind: types.Join, From: id, Lines: lines, Full: len(file), Digest: types.Digest(file[:lines])}
}

// probes is a PROBE as joins is a JOIN, of a peer without a view.
func probes(id types.ID, file []types.Host, lines int) msg {
	m := joins(id, file, lines)
	m.Kind, m.Standing = types.Probe, types.Fresh
	return m
}

// differing is a REFUSED of id, a member of group 10.1 or of none, which lists these hosts.
func (p *peer) differing(id types.ID, list []types.Host, s types.Standing) msg {
	return msg{Kind: types.Refused, Reason: types.Differs, From: id, Standing: s, Lines: len(list), Digest: types.Digest(list), Request: uint64(epoch + p.at)}
}

// compared tells how many lines the last JOIN or PROBE to id compares, of how many.
func (p *peer) compared(id types.ID) string {
	m := p.sent(id, types.Join, types.Probe)
	if m.Digest != types.Digest(p.Status().Listing.Hosts[:m.Lines]) {
		return "another digest"
	}
	return fmt.Sprint(m.Lines, " of ", m.Full)
}

// knows tells the names of the hosts that the peer knows, as lines of a file.
func (p *peer) knows() string {
	var lines []string
	for _, h := range p.Status().Listing.Hosts {
		lines = append(lines, strings.Replace(h.String(), "host", "", 1))
	}
	return strings.Join(lines, " ")
}

// stranger has a host that the peer does not list ask it, and tells the answer.
func (p *peer) stranger(m msg) msg { return p.Stranger(&m) }

// seven is a leader of three members whose file has a seventh host.
func seven(t testing.TB) *peer {
	p := leader(t, conf{Listed: types.Numbered(7)}, viewOf(1, 1, 2, 3))
	p.log = nil
	return p
}

// Rule 10: a leader proposes what its file has more than the view once all reachable members announce the same file.
func TestRule10NeedsTheSameFiles(t *testing.T) {
	t.Parallel()
	file, proposed := types.Numbered(7), "REQ GROW 7→2,3"
	tests := []struct {
		name  string
		says  func(p *peer)
		want  string
		again func(p *peer) string // what makes up for it
	}{
		{"all have it", func(p *peer) { p.announce(file, 2, 3) }, proposed, nil},
		{"one has not announced yet", func(p *peer) { p.announce(file, 2) }, "", func(p *peer) string { return p.announce(file, 3) }},
		{"it says so in a STATE", func(p *peer) { p.announce(file, 2); p.hear(msg{Kind: types.State, From: 3, Standing: types.Joined}) }, proposed, nil},
		{"one lacks it", func(p *peer) { p.announce(file, 2); p.announce(types.Numbered(6), 3) }, "", func(p *peer) string { return p.announce(file, 3) }},
		{"one has a typo", func(p *peer) { p.announce(file, 2); p.announce(numbered(6, "hosst7"), 3) }, "", func(p *peer) string { return p.announce(file, 3) }},
		{"one has one more", func(p *peer) { p.announce(file, 2); p.announce(types.Numbered(8), 3) }, "", func(p *peer) string { return p.announce(file, 3) }},
		{"one retires another", func(p *peer) { p.announce(file, 2); p.announce(retired(file, 5), 3) }, "", func(p *peer) string { return p.announce(file, 3) }},
		{"one in another life", func(p *peer) {
			p.announce(file, 2)
			m := p.beat(3)
			m.Incarnation = 31
			p.hear(m)
		}, "", nil},
		{"a member says it of another group", func(p *peer) {
			p.announce(file, 2)
			p.hear(msg{Kind: types.State, From: 3, Standing: types.Joined, Group: types.Group{Made: 11, Maker: 2}})
		}, "", nil},
	}
	for _, tt := range tests {
		p := seven(t)
		tt.says(p)
		want(t, tt.name, proposals(p), tt.want)
		if tt.again != nil {
			want(t, tt.name+", and then has it", tt.again(p), proposed)
		}
	}
}

// Rule 10: who cannot be reached does not hinder a change; nor does this peer remove it for that.
func TestRule10UnreachableDoesNotCount(t *testing.T) {
	t.Parallel()
	p := leader(t, conf{Listed: types.Numbered(7)}, viewOf(1, 1, 2, 3, 4, 5))
	p.announce(types.Numbered(6), 5)
	p.log = nil
	p.pass(2100*ms, 2, 3, 4)
	want(t, "while it may be there", proposals(p), "")
	p.pass(200*ms, 2, 3, 4)
	want(t, "it is unreachable", proposals(p), "REQ GROW 7→2,3,4")
	p.reply(2, 3)
	want(t, "its file is behind all the same", inWords(&p.Status().Listing), "")
}

// Rule 10: first come failures and who leaves, then hosts that are retired, then new ones, then who asks to join.
func TestRule10Order(t *testing.T) {
	t.Parallel()
	file := retired(types.Numbered(9), 5)
	p := leader(t, conf{Listed: file}, among(8, viewOf(1, 1, 2, 3, 4)))
	p.log = nil
	p.hear(joins(6, file, 8))
	p.hear(joins(7, file, 8))
	p.announce(file, 2, 3, 4)
	p.hear(msg{Kind: types.Leave, From: 4})
	p.undialed(3, types.Refusal)
	p.reply(2, 4)
	p.file, p.said[6] = types.FileDigest(file), msg{}
	p.announce(file, 6)
	for range 5 {
		p.reply(2, 6)
	}
	want(t, "one after the other", proposals(p), "REQ ADD 6→2,3,4; REQ DEL 3 unreachable after ADD 6→2,4; REQ DEL 3 unreachable after [1 2 3 4 6]→6; REQ DEL 4 left after DEL 3→2,4,6; REQ RETIRE 5 after DEL 4→2,6; REQ GROW 9 after RETIRE 5→2,6")
	want(t, "who asked with a shorter list asks again", p.hear(joins(7, file, 9)), "REQ ADD 7→2,6")
}

// Rule 10: a member that the files retire goes on; it is retired once it has left.
func TestRule10RetiresNoMember(t *testing.T) {
	t.Parallel()
	file := retired(types.Numbered(7), 3)
	p := leader(t, conf{Listed: file}, viewOf(1, 1, 2, 3))
	p.log = nil
	p.announce(file, 2, 3)
	want(t, "meanwhile other changes are made", proposals(p), "REQ GROW 7→2,3")
	p.reply(2, 3)
	want(t, "the file is ahead", inWords(&p.Status().Listing), " ahead [3] running [3]")
	p.log = nil
	p.hear(msg{Kind: types.Leave, From: 3, Number: 6})
	p.reply(2)
	want(t, "it leaves, and is retired", proposals(p), "REQ DEL 3 left→2,3; REQ RETIRE 3 after DEL 3→2")
	p.reply(2)
	want(t, "then", inWords(&p.Status().Listing), "")
	want(t, "the view", fmt.Sprint(p.View().Number, p.View().Last[2].Cause), "8 retired")
}

// Rule 10: a host that is listed again, at the end, is added once the member of that name has left and is retired: two hosts
// with one name could not be told apart.
func TestRule10ListedAgain(t *testing.T) {
	t.Parallel()
	file := numbered(6, "HOST3. host8")
	file[2].Retired = true
	p := leader(t, conf{Listed: file}, viewOf(1, 1, 2, 3))
	p.file, p.log = types.FileDigest(file), nil
	p.announce(file, 2, 3)
	want(t, "while it is a member", proposals(p), "")
	want(t, "it says", inWords(&p.Status().Listing), " ahead [3 7 8] running [3]")
	p.hear(msg{Kind: types.Leave, From: 3})
	for range 4 {
		p.reply(2)
	}
	want(t, "it leaves", proposals(p), "REQ DEL 3 left→2,3; REQ RETIRE 3 after DEL 3→2; REQ GROW 7 after RETIRE 3→2; REQ GROW 8 after GROW 7→2")
	want(t, "the list", p.knows(), "1 2 !3 4 5 6 HOST3. 8")
}

// Rule 10: who is not in the list yet waits until it is, and is let in then.
func TestRule10JoinOfANewHost(t *testing.T) {
	t.Parallel()
	file := types.Numbered(7)
	p := leader(t, conf{Listed: file}, viewOf(1, 1, 2, 3))
	want(t, "JOIN before", p.hear(joins(7, file, 7)), "REFUSED hosts files differ→7")
	r := p.sent(7, types.Refused)
	want(t, "so many it lists", fmt.Sprint(r.Lines, r.Digest == types.Digest(types.Numbered(6))), "6 true")
	want(t, "with as many lines as both list", p.hear(joins(7, file, 6)), "")
	p.log = nil
	p.announce(file, 2, 3)
	want(t, "it is added", proposals(p), "REQ GROW 7→2,3")
	want(t, "chosen: it has to ask again", p.reply(2), "view 6 [1 2 3]; NEWVIEW 6 GROW 7→2,3")
	p.reply(3)
	want(t, "fewer lines than both list", p.hear(joins(7, file, 6)), "REFUSED hosts files differ→7")
	want(t, "all of them", p.hear(joins(7, file, 7)), "REQ ADD 7→2,3")
	want(t, "chosen", p.reply(2), "view 7 [1 2 3 7]; NEWVIEW 7 ADD 7→2,3; NEWVIEW 7 [1 2 3 7]→7")
}

// Rule 10: a retired host is never let in again, however long it asks.
func TestRule10RetiredIsNeverLetIn(t *testing.T) {
	t.Parallel()
	v := viewOf(1, 1, 2, 3)
	v.Last[4].Cause = types.Retired
	file := retired(types.Numbered(6), 5)
	p := leader(t, conf{Listed: file}, v)
	p.file = types.FileDigest(file)
	for range 20 {
		want(t, "JOIN", p.hear(joins(5, file, 6)), "REFUSED is retired→5")
		p.pass(200*ms, 2, 3)
	}
	want(t, "proposes", proposals(p), "")
	p = member(t, conf{ID: 2}, v)
	want(t, "nor does a member accept that", p.hear(msg{Kind: types.Req, From: 1, Request: 9, Change: add(5)}), "REFUSED promised→1")
	want(t, "or that it is retired again", p.hear(msg{Kind: types.Req, From: 1, Request: 10, Change: retire(5)}), "REFUSED promised→1")
	want(t, "or a member", p.hear(msg{Kind: types.Req, From: 1, Request: 11, Change: retire(3)}), "REFUSED promised→1")

	p = fresh(t, conf{ID: 5})
	want(t, "who is refused says so", p.hear(msg{Kind: types.Refused, Reason: types.IsRetired, From: 1}), "1 retired")
	want(t, "rarely", p.hear(msg{Kind: types.Refused, Reason: types.IsRetired, From: 1}), "")

	p = leader(t, conf{}, viewOf(1, 1, 2, 3, 4))
	p.hear(msg{Kind: types.Leave, From: 4})
	p.hear(joins(5, types.Numbered(6), 6))
	p.reread(file)
	p.file = types.FileDigest(file)
	p.announce(file, 2, 3)
	for range 10 {
		p.reply(2, 3)
		p.pass(200*ms, 2, 3)
		p.hear(joins(5, file, 6))
	}
	want(t, "it is retired before its turn to be let in comes", proposals(p), "REQ DEL 4 left→2,3,4; REQ RETIRE 5 after DEL 4→2,3")
}

// Rule 10: the next leader settles the change that is pending, whatever its own file has.
func TestRule10SettlesAPendingGrow(t *testing.T) {
	t.Parallel()
	for lines, says := range map[string]string{"": " behind [7]", "other": " wrong 7", "HOST7.": "", "!host7": " ahead [7]"} {
		p := candidate(t, conf{Listed: numbered(6, lines)}, viewOf(1, 1, 2, 3))
		a := p.answer(2)
		a.Change, a.Accepted = grow(7), types.Term{Counter: 1, Peer: 3}
		want(t, "granted", p.hear(a), "REQ GROW 7→2,3; HEARTBEAT leads")
		want(t, "chosen", p.reply(2), "view 6 [1 2 3]; NEWVIEW 6 GROW 7→2,3")
		v := p.View()
		want(t, "the list", fmt.Sprint(len(v.Last), v.Digest == types.Digest(types.Numbered(7))), "7 true")
		want(t, "it says of a file with "+lines, inWords(&p.Status().Listing), says)
	}
}

// Rule 10: a member follows what the group agrees on, whatever its own file has, and says how that differs.
func TestRule10FollowsTheAgreedNames(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, lines, says, host7 string
	}{
		{"the same", "host7", "", "host7"},
		{"spelt otherwise", "Host7.", "", "Host7."},
		{"lacks it", "", " behind [7]", "host7"},
		{"has another", "other", " wrong 7", "host7"},
		{"has it retired", "!host7", " ahead [7]", "host7"},
		{"has more", "host7 host8", " ahead [8]", "host7"},
	}
	for _, tt := range tests {
		p := member(t, conf{ID: 2, Listed: numbered(6, tt.lines)}, viewOf(1, 1, 2, 3))
		want(t, tt.name+": REQ", p.hear(msg{Kind: types.Req, From: 1, Request: 2, Change: grow(7)}), "OK GROW 7→1")
		want(t, tt.name+": NEWVIEW", p.hear(msg{Kind: types.NewView, From: 1, Request: 3, Number: 6, Change: grow(7)}), "view 6 [1 2 3]; OK→1")
		l := p.Status().Listing
		want(t, tt.name+": it says", inWords(&l), tt.says)
		want(t, tt.name+": its name", l.Hosts[6].String(), tt.host7)
		p.log = nil
		p.pass(1200*ms, 1, 3)
		want(t, tt.name+": and it announces its own file", fmt.Sprint(p.sent(0, types.Heartbeat).File == types.FileDigest(numbered(6, tt.lines))), "true")
	}
}

// proposals tells the changes that the peer has proposed.
func proposals(p *peer) string {
	var deeds []deed
	for _, d := range p.log {
		if d.m.Kind == types.Req {
			deeds = append(deeds, d)
		}
	}
	return story(deeds)
}

// Rule 10: who asks and who is asked compare as many lines as both list, and no fewer.
func TestRule10Compares(t *testing.T) {
	t.Parallel()
	joined := func(n int) *peer { return leader(t, conf{}, among(n, viewOf(1, 1, 2, 3))) }
	has := func(file []types.Host) func() *peer {
		return func() *peer { return fresh(t, conf{ID: 1, Listed: file}) }
	}
	leads := func() *peer { return joined(6) }
	other := numbered(5, "other host7 host8")
	tests := []struct {
		name string
		p    func() *peer
		m    msg
		want string
	}{
		{"the same, to a leader", leads, joins(6, types.Numbered(6), 6), "REQ ADD 6→2,3"},
		{"a prefix", leads, joins(5, types.Numbered(5), 5), "REQ ADD 5→2,3"},
		{"more", leads, joins(6, types.Numbered(8), 6), "REQ ADD 6→2,3"},
		{"more, and compares all", leads, joins(6, types.Numbered(8), 8), "REFUSED hosts files differ→6"},
		{"another", leads, joins(5, other, 6), "5 files differ; REFUSED hosts files differ→5"},
		{"another, as far as they are the same", leads, joins(5, other, 5), "REFUSED hosts files differ→5"},
		{"another, and compares all", leads, joins(5, other, 8), "REFUSED hosts files differ→5"},
		{"fewer than both list", leads, joins(5, types.Numbered(6), 5), "REFUSED hosts files differ→5"},
		{"a PROBE of a fresh one, the same", leads, probes(6, types.Numbered(6), 6), "STATE member leads→6"},
		{"of another", leads, probes(5, other, 6), "5 files differ; REFUSED hosts files differ→5"},
		{"of a member of this group, whatever it compares", leads, func() msg { m := probes(2, other, 3); m.Standing = types.Joined; return m }(), "STATE member leads→2"},
		{"of a member of another group", leads, func() msg {
			m := probes(6, other, 6)
			m.Standing, m.Group, m.Number = types.Joined, types.Group{Made: 3, Maker: 4}, 7
			return m
		}(), "6 files differ; REFUSED hosts files differ→6"},
		{"to a fresh peer, the same", has(types.Numbered(6)), probes(6, types.Numbered(6), 6), "STATE fresh→6"},
		{"to one with fewer", has(types.Numbered(6)), probes(6, types.Numbered(8), 8), "REFUSED hosts files differ→6"},
		{"to one with fewer, asked again", has(types.Numbered(6)), probes(6, types.Numbered(8), 6), "STATE fresh→6"},
		{"to one with more", has(types.Numbered(8)), probes(6, types.Numbered(6), 6), "STATE fresh→6"},
		{"to one with another", has(other), probes(4, types.Numbered(8), 8), "4 files differ; REFUSED hosts files differ→4"},
	}
	for _, tt := range tests {
		p := tt.p()
		want(t, tt.name, p.hear(tt.m), tt.want)
	}
	p := leads()
	want(t, "a host says that it is another", p.hearAt(3, joins(6, types.Numbered(8), 8)), "REFUSED hosts files differ→3")
	want(t, "one that no list has", p.hearAt(9, joins(6, types.Numbered(8), 8)), "")
}

// Rule 10: who is refused because the other lists fewer or more hosts asks it again about those that both list. A
// contradiction in these is told, and not mended by fewer lines.
func TestRule10AsksAgain(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 5, Listed: types.Numbered(8)})
	p.hear(msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true, Term: types.Term{Counter: 1, Peer: 1}})
	want(t, "at first it compares all that it lists", p.compared(1), "8 of 8")
	want(t, "fewer are listed", p.hear(p.differing(1, types.Numbered(6), types.Joined)), "JOIN→1")
	want(t, "then", p.compared(1), "6 of 8")
	want(t, "the same refusal, late", p.hear(p.differing(1, types.Numbered(6), types.Joined)), "")
	want(t, "the list has grown", p.hear(p.differing(1, types.Numbered(7), types.Joined)), "JOIN→1")
	want(t, "then", p.compared(1), "7 of 8")
	want(t, "a contradiction", p.hear(p.differing(1, numbered(6, "other"), types.Joined)), "1 files differ")
	want(t, "again", p.hear(p.differing(1, numbered(6, "other"), types.Joined)), "")
	want(t, "one with fewer hosts than its own", p.hear(p.differing(2, types.Numbered(4), types.Joined)), "2 not listed")
	want(t, "another host with fewer is asked by PROBE", p.hear(p.differing(3, types.Numbered(6), types.Standing(0))), "PROBE→3")
	want(t, "to another life", p.hear(func() msg { m := p.differing(4, types.Numbered(6), types.Joined); m.For = 3; return m }()), "")
	p.pass(time.Second)
	want(t, "each host has its own number", p.compared(1), "7 of 8")

	p = fresh(t, conf{ID: 5})
	want(t, "the other lists more, and refuses what it compares", p.hear(p.differing(1, types.Numbered(8), types.Joined)), "1 files differ")
	p = member(t, conf{ID: 2, Listed: types.Numbered(8)}, viewOf(1, 1, 2, 3))
	p.pass(500*ms, 1)
	p.pass(3*time.Second, 1)
	want(t, "a member compares the hosts of its view", p.compared(3), "6 of 6")
}

// Rule 10: a host that has compared few lines with a shorter list compares all that both list once that has grown, also
// beyond its own file.
func TestRule10ComparesAllOfAGrownList(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 5})
	p.hear(p.differing(1, types.Numbered(5), types.Joined))
	p.hear(msg{Kind: types.State, From: 1, Standing: types.Joined, Leads: true, Term: types.Term{Counter: 1, Peer: 1}})
	p.pass(500 * ms)
	want(t, "of six it compares five", p.compared(1), "5 of 6")
	q := leader(t, conf{Listed: types.Numbered(8)}, among(8, viewOf(1, 1, 2, 3)))
	m := p.sent(1, types.Join)
	want(t, "eight are listed now", q.hear(m), "REFUSED hosts files differ→5")
	r := q.sent(5, types.Refused)
	r.Incarnation, r.For = 0, 0
	p.hear(r)
	want(t, "it compares six", p.compared(1), "6 of 6")
	want(t, "and is let in", q.hear(p.sent(1, types.Join)), "REQ ADD 5→2,3")
}

// Rule 10: with a file that contradicted one group a peer becomes a member of another, which it suits, and then of none.
func TestRule10WrongFileAndAShorterGroup(t *testing.T) {
	t.Parallel()
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3))
	p.reread(numbered(5, "other host7 host8"))
	want(t, "it says", inWords(&p.Status().Listing), " ahead [7 8] wrong 6")
	earlier, four := types.Group{Made: 1, Maker: 4}, types.Term{Counter: 9, Peer: 4}
	five := types.View{Group: earlier, Number: 3, Leader: 4, Members: []types.ID{4, 2}, Last: make([]types.Past, 5), Digest: types.Digest(types.Numbered(5))}
	want(t, "an earlier group leads", p.hear(msg{Kind: types.State, From: 4, Standing: types.Joined, Leads: true, Group: earlier, Number: 2, Term: four}), "leaving; JOIN→4")
	five.Last[3].Incarnation, five.Last[1].Incarnation = 40, p.Incarnation()
	want(t, "it is let in", p.hear(msg{Kind: types.NewView, From: 4, Request: 3, Number: 3, Group: earlier, View: &five, Term: four}), "view 3 [4 2]; OK→4")
	want(t, "it says", inWords(&p.Status().Listing), " ahead [6 7 8]")
	six := five.With(types.Change{Operation: types.Del, Cause: types.Unreachable, Member: types.Member{ID: 2, Incarnation: p.Incarnation()}})
	p.hear(msg{Kind: types.NewView, From: 4, Request: 4, Number: 4, Group: earlier, View: &six, Term: four})
	p.pass(time.Second)
	want(t, "removed, it asks with its file", p.compared(4)+": "+p.knows(), "8 of 8: 1 2 3 4 5 other 7 8")
}

// Rule 10: what no member can have accepted counts for nothing.
func TestRule10ImpossibleChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []types.Change{grow(6), grow(8), grow(4096), add(7), add(4096), del(4, types.Left), retire(2), retire(7), {Operation: types.Grow, Member: types.Member{ID: 7}, Name: "#"}} {
		p := candidate(t, conf{}, viewOf(1, 1, 2, 3))
		a := p.answer(2)
		a.Change, a.Accepted = c, types.Term{Counter: 1, Peer: 3}
		want(t, made(c), p.hear(a), "")
		p.reply(3)
		a = p.answer(2)
		a.Change, a.Accepted = c, types.Term{Counter: 1, Peer: 3}
		want(t, made(c)+", to NEWVIEW", p.hear(a), "")
		want(t, "it leads all the same", p.when("HEARTBEAT leads"), "[0s]")
	}
}

// The drill takes four hosts that are not retired, whatever was retired.
func TestRule10Drill(t *testing.T) {
	t.Parallel()
	file := retired(types.Numbered(6), 2, 6)
	v := viewOf(1, 1, 3, 4, 5)
	v.Last[1].Cause, v.Last[5].Cause = types.Retired, types.Retired
	p := leader(t, conf{Drill: true, Listed: file}, v)
	want(t, "of six, two are retired: the last of the others is removed, and the second does not know", proposals(p), "REQ DEL 5 expelled→4")
	want(t, "it crashes", p.when("crashing"), "[0s]")
	for _, file := range [][]types.Host{retired(types.Numbered(4), 2, 3, 4), retired(types.Numbered(4), 3, 4), retired(types.Numbered(4), 4)} {
		v := types.View{Group: types.Group{Made: 10, Maker: 1}, Number: 5, Leader: 1, Last: make([]types.Past, 4), Digest: types.Digest(file)}
		for i := range file {
			if v.Last[i].Incarnation = types.Incarnation(10 * (i + 1)); file[i].Retired {
				v.Last[i] = types.Past{Cause: types.Retired}
			} else {
				v.Members = append(v.Members, types.ID(i+1))
			}
		}
		p := fresh(t, conf{ID: 1, Drill: true, Listed: file})
		if len(v.Members) > 1 {
			p = leader(t, conf{Drill: true, Listed: file}, v)
		}
		p.pass(time.Second, v.Members...)
		want(t, "too few", proposals(p), "")
	}
}

// bidder is host id, which stores and asks the others to let it say who makes the group.
func bidder(t testing.TB, id types.ID, file []types.Host, s types.Stored) *peer {
	p := fresh(t, conf{ID: id, Listed: file, Stored: &s})
	for range 10 {
		p.pass(200 * ms)
		p.stored()
	}
	return p
}

// grants is what id answers to the last bid of the peer, having accepted nothing.
func (p *peer) grants(id types.ID) string {
	q := p.sent(id, types.NewLeader)
	return p.hear(msg{Kind: types.PendingResponse, From: id, Standing: types.Fresh, Request: q.Request, Term: q.Term})
}

// accepts is what id answers to the last REQ of the peer about view 0.
func (p *peer) accepts(id types.ID) string {
	q := p.sent(id, types.Req)
	return p.hear(msg{Kind: types.OK, From: id, Standing: types.Fresh, Request: q.Request, Term: q.Term, Change: q.Change, Accepted: q.Term})
}

// Rule 10: with state a host makes a group only with the hosts file of its first process.
func TestRule10BoundToItsFirstFile(t *testing.T) {
	t.Parallel()
	three, four := types.Numbered(3), types.Numbered(4)
	p := bidder(t, 1, three, types.Stored{})
	want(t, "what is stored", fmt.Sprint(p.save.Stored.File == types.FileDigest(three)), "true")
	want(t, "with that file", p.grants(2), "REQ ADD 1→2,3")
	p.stored()
	p.reread(four)
	want(t, "it has another when it is chosen", p.accepts(2), "")
	p.log = nil
	p.pass(15 * time.Second)
	want(t, "it asks no more", fmt.Sprint(strings.Contains(story(p.log), "NEWLEADER")), "false")
	want(t, "it says so", p.when("file: bound"), "[4.4s]")
	p.reread(three)
	p.pass(time.Second)
	p.stored()
	want(t, "it has the first again", p.grants(2), "REQ ADD 1→2,3")
	p.stored()
	want(t, "then it is chosen", p.accepts(2), "view 1 [1]; HEARTBEAT leads")

	p = restarted(t, conf{ID: 1, Listed: four}, bidder(t, 1, three, types.Stored{}))
	p.stored()
	p.pass(15 * time.Second)
	want(t, "another process with another file asks nobody", fmt.Sprint(strings.Contains(story(p.log), "NEWLEADER")), "false")
	want(t, "it is bound", fmt.Sprint(p.Status().Listing.Bound, p.save.Stored.File == types.FileDigest(three)), "true true")
	q := msg{Kind: types.NewLeader, From: 2, Standing: types.Fresh, Request: 5, Term: types.Term{Counter: 9, Peer: 2}, File: types.FileDigest(four)}
	want(t, "it refuses who has its own new file", p.hear(q), "2 files differ; REFUSED hosts files differ→2")
	q.Request, q.File = 6, types.FileDigest(three)
	p.hear(q)
	want(t, "and answers who has the first", p.stored(), "PENDINGRESPONSE→2")
	v := viewOf(2, 2, 1)
	v.Last, v.Last[0].Incarnation, v.Digest = v.Last[:3], p.Incarnation(), types.Digest(three)
	p.hear(msg{Kind: types.NewView, From: 2, Request: 7, View: &v, Term: types.Term{Counter: 9, Peer: 2}})
	p.stored()
	want(t, "let in, it is bound no more", fmt.Sprint(p.Status().Listing.Bound, p.save.Stored.File, inWords(&p.Status().Listing)), "false 0 ahead [4]")
}

// Rule 10: so it asks the hosts of that file, also where its process began with another one and has it back since.
func TestRule10AsksHostsOfItsFirstFile(t *testing.T) {
	t.Parallel()
	five := types.Numbered(5)
	p := bidder(t, 1, types.Numbered(3), types.Stored{Lives: 1, File: types.FileDigest(five)})
	want(t, "with another file it asks nobody", fmt.Sprint(strings.Contains(story(p.log), "NEWLEADER")), "false")
	p.reread(five)
	p.log = nil
	p.pass(300 * ms)
	p.stored()
	want(t, "with the first", story(p.log), "waits: no votes [1 2 3 4 5]; JOIN→3; NEWLEADER→2,3,4,5")
	want(t, "two of five are no majority", p.grants(2), "")
	want(t, "three are", p.grants(5), "REQ ADD 1→2,3,4,5")
	p.stored()
	want(t, "two have accepted", p.accepts(2), "")
	want(t, "three have", p.accepts(5), "view 1 [1]; HEARTBEAT leads")
}

// Rule 7: a host that is only to join makes no group, whether or not it stores, and has no vote; but one that knows of a group
// says so.
func TestRule7JoinOnly(t *testing.T) {
	t.Parallel()
	three := types.Numbered(3)
	bid := msg{Kind: types.NewLeader, From: 2, Standing: types.Fresh, Request: 5, Term: types.Term{Counter: 2, Peer: 2}}
	req := bid
	req.Kind, req.Change = types.Req, types.Change{Operation: types.Add, Member: types.Member{ID: 2, Incarnation: 20}}
	for _, c := range []struct {
		what   string
		stored *types.Stored
		bid    string
	}{
		{"it stores nothing", nil, ""},
		{"it stores", &types.Stored{}, ""},
		{"it was in a group", &types.Stored{Lives: 1, Group: types.Group{Made: 5, Maker: 2}}, "REFUSED a group exists→2"},
	} {
		p := fresh(t, conf{ID: 1, Listed: three, Stored: c.stored, JoinOnly: true})
		if c.stored != nil {
			p.stored()
		}
		for range 300 {
			p.pass(200 * ms)
			if c.stored != nil {
				p.stored()
			}
			p.hear(msg{Kind: types.State, From: 2, Standing: types.Fresh})
			p.hear(msg{Kind: types.State, From: 3, Standing: types.Fresh})
		}
		if log := story(p.log); strings.Contains(log, "view") || strings.Contains(log, "NEWLEADER") || !strings.Contains(log, "JOIN→3") {
			t.Errorf("%s: in a minute it does %s", c.what, log)
		}
		want(t, c.what+": what it waits for", fmt.Sprint(p.Status().Halt), "joins only")
		want(t, c.what+": to one that asks what it is", p.hear(msg{Kind: types.Probe, From: 2, Standing: types.Fresh}), "STATE fresh→2")
		for _, m := range []msg{bid, req} {
			says := p.hear(m)
			if c.stored != nil {
				says += p.stored()
			}
			want(t, c.what+": to "+m.Kind.String(), says, c.bid)
		}
	}
	p := fresh(t, conf{ID: 1, JoinOnly: true})
	v := viewOf(2, 2, 1)
	p.term = types.Term{Counter: 1, Peer: 2}
	want(t, "let in", p.hear(msg{Kind: types.NewView, From: 2, Request: 1, View: &v}), "view 5 [2 1]; OK→2")
}

// Rule 10: a host that its file retires makes no group.
func TestRule10RetiredMakesNoGroup(t *testing.T) {
	t.Parallel()
	file := fileOf("host1 host2 !host3")
	p := bidder(t, 3, file, types.Stored{})
	p.pass(30 * time.Second)
	want(t, "with state", fmt.Sprint(strings.Contains(story(p.log), "NEWLEADER")), "false")
	p = fresh(t, conf{ID: 3, Listed: types.Numbered(3)})
	p.reread(file)
	p.ask(40*time.Second, refuses(1), refuses(2))
	want(t, "without", p.when("view 1 [3]"), "[]")
	p = fresh(t, conf{ID: 3, Listed: retired(types.Numbered(3), 1, 2)})
	want(t, "the last that is not retired", p.when("view 1 [3]"), "[]")
	p.pass(2 * time.Second)
	want(t, "does so alone, when the others have had a second to answer", p.when("view 1 [3]"), "[1s]")
	v := p.View()
	want(t, "where the others are retired", fmt.Sprint(v.Retired(1), v.Retired(2), v.Retired(3)), "true true false")
}

// Rule 10: in the choice of who makes a group the hosts that the file retires count, though they have no say: where they are
// half of all, there is no majority.
func TestRule10RetiredCountInTheChoice(t *testing.T) {
	t.Parallel()
	p := bidder(t, 1, fileOf("host1 !host2 !host3 host4 host5"), types.Stored{})
	want(t, "the others are asked", p.when("NEWLEADER→4")+p.when("NEWLEADER→2"), "[200ms 400ms 600ms 800ms 1s 1.2s 1.4s 1.6s 1.8s 2s][200ms 400ms 600ms 800ms 1s 1.2s 1.4s 1.6s 1.8s 2s]")
	want(t, "two of five", p.grants(4), "")
	want(t, "three", p.grants(5), "REQ ADD 1→2,3,4,5")
	p = bidder(t, 1, fileOf("host1 !host2 !host3 !host4 host5"), types.Stored{})
	want(t, "all that are left", p.grants(5), "")
	want(t, "it waits for ever", halts(p), "no votes []")
}

// A member that was frozen while the group removed and retired it hears of that from whoever it asks, as nobody lists it any
// more: then it is a member no longer.
func TestRule10RetiredMeanwhile(t *testing.T) {
	t.Parallel()
	retired := msg{Kind: types.Refused, From: 2, Reason: types.IsRetired, Number: 7}
	p := member(t, conf{ID: 4}, viewOf(1, 1, 2, 3, 4))
	want(t, "of a later view", p.hear(retired), "2 retired; removed from the group")
	if p.Standing() != types.Fresh {
		t.Errorf("it is %v", p.Standing())
	}
	for what, change := range map[string]func(m *msg){
		"of its own view":  func(m *msg) { m.Number = 5 },
		"of another group": func(m *msg) { m.Group = types.Group{Made: 9, Maker: 2} },
	} {
		p, m := member(t, conf{ID: 4}, viewOf(1, 1, 2, 3, 4)), retired
		change(&m)
		if p.hear(m); p.Standing() != types.Joined {
			t.Errorf("%s: it is %v", what, p.Standing())
		}
	}
}

// Rule 6: a member whose group has no leader is drawn to an earlier one also where that does not list it yet: while both wait
// for each other, neither goes on.
func TestRule6DrawnThoughNotListed(t *testing.T) {
	t.Parallel()
	earlier, later := types.Group{Made: 5, Maker: 2}, types.Group{Made: 50, Maker: 2}
	three := types.Numbered(3)
	for _, c := range []struct {
		what  string
		wait  time.Duration
		group types.Group
		hosts []types.Host
		want  string
	}{
		{"an earlier group", 10300 * ms, earlier, three, "2 not listed; leaving"},
		{"with state", 10300 * ms, earlier, three, "2 not listed"},
		{"asked a while ago", 10300 * ms, earlier, three, "2 not listed"},
		{"too early", 9900 * ms, earlier, three, "2 not listed"},
		{"a later group", 10300 * ms, later, three, "2 not listed"},
		{"its own", 10300 * ms, types.Group{Made: 10, Maker: 1}, three, "2 not listed"},
		{"files that differ", 10300 * ms, earlier, numbered(2, "other"), "2 files differ"},
	} {
		is, m := conf{ID: 4}, msg{Kind: types.Refused, Reason: types.Differs, From: 2, Lines: 3, Digest: types.Digest(c.hosts), Group: c.group}
		if c.what == "with state" {
			is.Stored = &types.Stored{}
		}
		p := member(t, is, viewOf(1, 1, 3, 4))
		p.term = types.Term{}
		p.pass(2200*ms+c.wait, 1, 3)
		if m.Request = uint64(epoch + p.at); c.what == "asked a while ago" {
			m.Request -= uint64(2200 * ms)
		}
		want(t, c.what, p.hear(m), c.want)
	}
}

// Two things about one host are told within a minute, each once.
func TestRule10TellsEachKind(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 4})
	unlisted := msg{Kind: types.Refused, From: 2, Reason: types.Differs, Lines: 3, Digest: types.Digest(types.Numbered(3))}
	want(t, "not listed", p.hear(unlisted), "2 not listed")
	want(t, "retired", p.hear(msg{Kind: types.Refused, From: 2, Reason: types.IsRetired}), "2 retired")
	want(t, "not listed again", p.hear(unlisted), "")
}
