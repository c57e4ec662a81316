package handlers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// longNamed is n hosts whose names are long, so that one HOSTS holds no more than 230 of them.
func longNamed(n int) []types.Host {
	file := make([]types.Host, n)
	for i := range file {
		label := strings.Repeat("x", 60)
		file[i].Name = fmt.Sprintf("%s.%s.%s.host%d", label, label, label, i+1)
	}
	return file
}

// viewOfList is view 5 of group 10.1 with these hosts, of which 1, 2 and 3 are members.
func viewOfList(list []types.Host, retired ...types.ID) types.View {
	v := types.View{Group: types.Group{Made: 10, Maker: 1}, Number: 5, Leader: 1, Members: []types.ID{1, 2, 3}, Last: make([]types.Past, len(list)), Digest: types.Digest(list)}
	for _, id := range v.Members {
		v.Last[id-1].Incarnation = 10 * types.Incarnation(id)
	}
	for _, id := range retired {
		v.Last[id-1].Cause = types.Retired
	}
	return v
}

// shows is a NEWVIEW of 1 with v, of that number.
func shows(v types.View, number int64) msg {
	v.Number = number
	return msg{Kind: types.NewView, From: 1, Request: 3, Number: number, View: &v, Term: types.Term{Counter: 1, Peer: 1}}
}

// asked tells from which host on the peer has last asked 1 for hosts.
func (p *peer) asked() types.ID { return p.sent(1, types.Hosts).First }

// sends is 1's answer to that: hosts of list, as many as a message holds.
func (p *peer) sends(list []types.Host) msg {
	q := p.sent(1, types.Hosts)
	m, size := msg{Kind: types.Hosts, From: 1, Request: q.Request, First: q.First}, 0
	for _, h := range list[q.First-1:] {
		if size += h.Size(); size > types.MaxListed {
			break
		}
		m.Listed = append(m.Listed, h)
	}
	return m
}

// Rule 10: a view with hosts that a peer does not know is taken once the peer has fetched them.
func TestRule10FetchesHosts(t *testing.T) {
	t.Parallel()
	list := types.Numbered(8)
	list[7].Retired = true
	v := viewOfList(list, 8)
	p := fresh(t, conf{ID: 3, Listed: types.Numbered(6)})
	v.Last[2].Incarnation = p.Incarnation()
	want(t, "the view", p.hear(shows(v, 5)), "HOSTS→1")
	want(t, "from where its file ends", fmt.Sprint(p.asked()), "7")
	old := p.sends(list)
	old.Request--
	want(t, "an answer to another question", p.hear(old), "")
	want(t, "the hosts", p.hear(p.sends(list)), "JOIN→1")
	want(t, "it compares what its file has", p.compared(1)+": "+p.knows(), "6 of 6: 1 2 3 4 5 6 7 !8")
	want(t, "what is new", fmt.Sprint(p.news), "[{7 host7} {8 !host8}]")
	want(t, "the same again", p.hear(old), "")
	want(t, "the view again", p.hear(shows(v, 5)), "view 5 [1 2 3]; OK→1")
	want(t, "its file is behind", inWords(&p.Status().Listing), " behind [7 8]")
	want(t, "told of what is new", fmt.Sprint(p.news), "[]")

	p = fresh(t, conf{ID: 3, Listed: types.Numbered(6)})
	v.Last[2].Incarnation = p.Incarnation()
	p.hear(shows(v, 5))
	want(t, "if no answer comes, it asks for all", p.hear(shows(v, 5)), "HOSTS→1")
	want(t, "from", fmt.Sprint(p.asked()), "1")
	p.hear(p.sends(list))
	want(t, "then it knows them", p.hear(shows(v, 5)), "view 5 [1 2 3]; OK→1")

	p = fresh(t, conf{ID: 3, Listed: types.Numbered(6)})
	v.Last[2].Incarnation = p.Incarnation()
	p.hear(shows(v, 5))
	lying := p.sends(numbered(6, "lie8 lie9"))
	p.hear(lying)
	want(t, "what it was told is not that of the view: it asks for all", p.hear(shows(v, 5)), "HOSTS→1")
	want(t, "from", fmt.Sprint(p.asked()), "1")
	p.hear(p.sends(list))
	want(t, "then it knows them", p.hear(shows(v, 5)), "view 5 [1 2 3]; OK→1")
}

// Rule 10: a peer that knows no group does not take hosts that contradict its file, and makes no group then.
func TestRule10FetchesNoContradiction(t *testing.T) {
	t.Parallel()
	p := fresh(t, conf{ID: 3, Listed: numbered(6, "other")})
	v := viewOfList(types.Numbered(8))
	p.hear(shows(v, 5))
	want(t, "it asks from where its file ends", fmt.Sprint(p.asked()), "8")
	p.hear(shows(v, 5))
	want(t, "and for all", fmt.Sprint(p.asked()), "1")
	want(t, "they contradict its file", p.hear(p.sends(types.Numbered(8))), "1 files differ")
	want(t, "it does not take them", p.knows(), "1 2 3 4 5 6 other")
	p.ask(90*time.Second, isFresh(2), refuses(4), refuses(5), refuses(6), refuses(7))
	want(t, "nor does it make a group", p.when("view 1 [3]"), "[]")

	p = member(t, conf{ID: 2, Listed: numbered(6, "other")}, viewOf(1, 1, 2, 3))
	want(t, "a member is shown a view", p.hear(shows(v, 9)), "HOSTS→1")
	want(t, "it asks for what is new", fmt.Sprint(p.asked()), "7")
	want(t, "it takes that", p.hear(p.sends(types.Numbered(8))), "PROBE→1")
	want(t, "and the view", p.hear(shows(v, 9)), "view 9 [1 2 3]; OK→1")
	want(t, "it says what is wrong", inWords(&p.Status().Listing), " behind [8] wrong 7")
}

// Rule 10: where hosts take several messages, a peer fetches them one after the other.
func TestRule10FetchesManyHosts(t *testing.T) {
	t.Parallel()
	list := longNamed(1000)
	for name, p := range map[string]*peer{
		"fresh":                  fresh(t, conf{ID: 3, Listed: list[:6]}),
		"fresh, and knows wrong": func() *peer { p := fresh(t, conf{ID: 3, Listed: list[:6]}); p.knowsWrong(list); return p }(),
		"member":                 member(t, conf{ID: 3, Listed: list[:6]}, viewOfList(list[:6])),
		"member, long file":      member(t, conf{ID: 3, Listed: append(longNamed(800), types.Numbered(10)...)}, viewOfList(list[:6])),
	} {
		v := viewOfList(list)
		v.Last[2].Incarnation = p.Incarnation()
		n := 0
		for ; p.View().Number != 9 && n < 20; n++ {
			if !strings.Contains(p.hear(shows(v, 9)), "HOSTS→1") {
				continue
			}
			p.hear(p.sends(list))
		}
		if view := p.View(); view.Number != 9 || n > 12 {
			t.Errorf("%s: it holds view %d after %d answers, having asked for %d", name, view.Number, n, p.asked())
		}
	}
}

// knowsWrong has the peer know as many hosts as list, of which the last are of another group.
func (p *peer) knowsWrong(list []types.Host) {
	wrong := append(append([]types.Host(nil), list[:len(list)-1]...), types.Host{Name: "wrong"})
	v := viewOfList(wrong)
	v.Last[2].Incarnation-- // so that it does not become a member of it
	for range 10 {
		if strings.Contains(p.hear(shows(v, 5)), "HOSTS→1") {
			p.hear(p.sends(wrong))
		}
	}
}

// Rule 10: a member answers HOSTS with what it knows the group to have agreed on, as much as a message holds.
func TestRule10AnswersHosts(t *testing.T) {
	t.Parallel()
	list := longNamed(300)
	p := member(t, conf{ID: 2, Listed: append(longNamed(300), types.Numbered(9)...)}, viewOfList(list))
	q := msg{Kind: types.Hosts, From: 3, Request: 77}
	got := func(first types.ID) string {
		q.First = first
		if p.hear(q) == "" {
			return ""
		}
		a, size := p.sent(3, types.Hosts), 0
		for _, h := range a.Listed {
			size += h.Size()
		}
		if _, err := types.AppendFrame(nil, &a); err != nil {
			t.Error(err)
		}
		return fmt.Sprint(a.Request, a.First, len(a.Listed), size <= types.MaxListed)
	}
	want(t, "all", got(1), "77 1 288 true")
	want(t, "the others", got(289), "77 289 12 true")
	want(t, "the last", got(300), "77 300 1 true")
	want(t, "beyond the view, where its file has more", got(301), "")
	want(t, "none", got(0), "")
	p = fresh(t, conf{ID: 2})
	want(t, "a peer without a view has nothing to say", p.hear(msg{Kind: types.Hosts, From: 3, Request: 77, First: 1}), "")
	want(t, "and takes nothing that it did not ask for", p.hear(msg{Kind: types.Hosts, From: 3, First: 7, Listed: types.Numbered(1)}), "")
	want(t, "it knows", p.knows(), "1 2 3 4 5 6")
}
