package handlers_test

// The words in which tests say what goes in, and tell what came out.

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// viewOf is view 5 of group 10.1: host i is a member in incarnation 10·i, or never was one.
func viewOf(leader types.ID, members ...types.ID) types.View {
	hosts := max(6, slices.Max(members))
	v := types.View{Group: types.Group{Made: 10, Maker: 1}, Number: 5, Leader: leader, Members: members, Last: make([]types.Past, hosts), Digest: types.Digest(types.Numbered(int(hosts)))}
	for _, id := range members {
		v.Last[id-1].Incarnation = 10 * types.Incarnation(id)
	}
	return v
}

// among returns v as a view of so many hosts.
func among(hosts int, v types.View) types.View {
	v.Last = append(v.Last, make([]types.Past, max(0, hosts-len(v.Last)))...)
	v.Digest = types.Digest(types.Numbered(len(v.Last)))
	return v
}

func add(id types.ID) types.Change {
	return types.Change{Operation: types.Add, Member: types.Member{ID: id, Incarnation: 10 * types.Incarnation(id)}}
}

func del(id types.ID, c types.Cause) types.Change {
	return types.Change{Operation: types.Del, Cause: c, Member: types.Member{ID: id, Incarnation: 10 * types.Incarnation(id)}}
}

// undialed lets the peer learn that it could not connect to id just now.
func (p *peer) undialed(id types.ID, o types.Outcome) string {
	return p.do(func(now handlers.Instant) *handlers.Output { return p.Undialed(now, id, now.Run, o) })
}

// ceases is a heartbeat of id, which led in the term of all that others say: it will not again.
func (p *peer) ceases(id types.ID) msg { return msg{Kind: types.Heartbeat, From: id, Ceased: true} }

// beat is a heartbeat of id. It answers the newest one that the peer has sent it as its leader.
func (p *peer) beat(id types.ID) msg {
	m := msg{Kind: types.Heartbeat, From: id, Leads: id == p.term.Peer}
	if said := p.said[id]; said.Term == p.term && !p.unheard {
		m.Heard = said.Request
	}
	return m
}

// story tells deeds one after the other; what goes to many is told once.
func story(deeds []deed) string {
	var told []string
	for _, d := range deeds {
		what, to, sent := strings.Cut(d.text, "→")
		if n := len(told); sent && n > 0 && strings.HasPrefix(told[n-1], what+"→") {
			told[n-1] += "," + to
		} else {
			told = append(told, d.text)
		}
	}
	return strings.Join(told, "; ")
}

// made is a change in two words.
func made(c types.Change) string { return fmt.Sprint(c.Operation, " ", c.Member.ID) }

// brief is a message in a few words.
func brief(m msg) string {
	s := m.Kind.String()
	if m.Kind == types.NewView {
		s += fmt.Sprint(" ", m.Number)
	}
	if m.PreVote {
		s += " pre-vote"
	}
	switch c := m.Change; {
	case m.Kind == types.NewView && m.View != nil:
		s += fmt.Sprint(" ", m.View.Members)
	case c.Operation != types.Nothing && c.Operation != types.Pending:
		s += " " + made(c)
		if c.Operation == types.Del {
			s += " " + c.Cause.String()
		}
	case m.Kind == types.State:
		s += " " + m.Standing.String()
	case m.Kind == types.Refused:
		s += " " + m.Reason.String()
	}
	switch {
	case m.Kind != types.Req:
	case m.View != nil:
		s += fmt.Sprint(" after ", m.View.Members)
	case m.Made.Operation != types.Nothing:
		s += " after " + made(m.Made)
	}
	switch {
	case m.Kind == types.Probe: // what it says of leading, lease_test.go shows
	case m.Leads:
		return s + " leads"
	case m.HasLeader:
		return s + " led"
	}
	return s
}

// when tells at which times the peer did this.
func (p *peer) when(text string) string {
	var times []time.Duration
	for _, d := range p.log {
		if d.text == text {
			times = append(times, d.at.Round(ms))
		}
	}
	return fmt.Sprint(times)
}

// sent returns the last message of one of these kinds that the peer sent to id.
func (p *peer) sent(id types.ID, kinds ...types.Kind) msg {
	p.t.Helper()
	for i := len(p.log) - 1; i >= 0; i-- {
		if m := p.log[i].m; m.To == id && slices.Contains(kinds, m.Kind) {
			return m
		}
	}
	p.t.Fatalf("%v was never sent to peer %d", kinds, id)
	return msg{}
}

func want(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}
