package handlers_test

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

type (
	msg  = types.Message
	conf = handlers.Config
)

const (
	ms    = time.Millisecond
	epoch = time.Hour // Instant.Run when a test begins
)

// peer is a handler fed by hand, message by message and moment by moment. Of what it does, a
// test sees a few words: records, notices, messages to whom, heartbeat, exit.
type peer struct {
	*handlers.Handler
	t       testing.TB
	at      time.Duration         // since the test began
	wake    time.Duration         // when it wants the next tick
	term    types.Term            // of all that others say, unless it is given
	said    map[types.ID]msg      // its newest HEARTBEAT or PROBE that says that it leads, by who got it
	unheard bool                  // the others hear nothing of it
	lease   handlers.Lease        // after its last step
	fences  []string              // its leases, as they begin and end
	save    handlers.Save         // the newest that it has asked for
	news    []handlers.HostChange // of its last step
	file    uint64                // the FileDigest that the others announce, unless it is given; 0 for that of its own first file
	log     []deed
	over    bool // it has exited
}

type deed struct {
	at   time.Duration
	text string
	m    msg
}

// fresh is a peer that has just started.
func fresh(t testing.TB, c conf) *peer {
	if c.Listed == nil {
		c.Listed = types.Numbered(6)
	}
	c.Heartbeat, c.Monitor = cmp.Or(c.Heartbeat, 1100*ms), cmp.Or(c.Monitor, 2200*ms)
	p := &peer{Handler: handlers.New(c), t: t, said: map[types.ID]msg{}}
	p.do(p.Start)
	return p
}

// member is a peer that the leader of v has just let in, in term 1.
func member(t testing.TB, c conf, v types.View) *peer {
	p := fresh(t, c)
	p.term = types.Term{Counter: 1, Peer: v.Leader}
	p.hear(msg{Kind: types.NewView, From: v.Leader, Request: 1, View: &v})
	p.log = nil
	return p
}

// hear lets the peer hear m from its sender's address, and tells what it does. What m does not
// say is as it should be; a STATE answers a PROBE of this moment, and a
// HEARTBEAT was sent at it.
func (p *peer) hear(m msg) string { return p.hearAt(m.From, m) }

func (p *peer) hearAt(remote types.ID, m msg) string {
	m.Incarnation, m.Lines, m.Digest = cmp.Or(m.Incarnation, 10*types.Incarnation(m.From)), cmp.Or(m.Lines, len(p.Listed)), cmp.Or(m.Digest, types.Digest(p.Listed))
	m.Full = cmp.Or(m.Full, m.Lines)
	m.File = cmp.Or(m.File, p.file, types.FileDigest(p.Listed))
	if aboutFounding := m.Kind == types.NewLeader || m.Kind == types.Req; aboutFounding {
		m.Digest = m.File
	}
	if k := m.Kind; k != types.Join && k != types.Probe && k != types.Heartbeat {
		m.For = cmp.Or(m.For, p.Incarnation())
	}
	if m.Kind == types.Join {
		m.Monitor = cmp.Or(m.Monitor, p.Monitor)
	}
	if m.Kind == types.State || m.Kind == types.Heartbeat {
		m.Request = cmp.Or(m.Request, uint64(epoch+p.at))
	}
	if m.Kind != types.Join && m.Standing != types.Fresh && m.Standing != types.Out {
		m.Number = cmp.Or(m.Number, p.View().Number, 5)
		m.Group = cmp.Or(m.Group, types.Group{Made: 10, Maker: 1})
		m.Term = cmp.Or(m.Term, p.term)
	}
	return p.do(func(now handlers.Instant) *handlers.Output { return p.Message(now, remote, &m) })
}

// pass lets time pass, with a tick whenever the peer wants one. Those alive are heard before each.
func (p *peer) pass(d time.Duration, alive ...types.ID) {
	p.t.Helper()
	for end, idle := p.at+d, 0; p.at < end && !p.over; idle++ {
		if p.wake > p.at {
			idle = 0
		} else if idle > 2 {
			p.t.Fatalf("at %v it wants a tick again and again", p.at)
		}
		p.at = max(p.at, min(p.wake, end))
		for _, id := range alive {
			p.hear(p.beat(id))
		}
		p.do(p.Tick)
	}
}

// do makes a step, and tells what the peer does in it.
func (p *peer) do(step func(handlers.Instant) *handlers.Output) string {
	out := step(handlers.Instant{Run: epoch + p.at, Wall: int64(10 * p.ID)})
	p.wake, p.over, p.lease, p.news = out.Wake-epoch, out.Exit, out.Lease, out.Hosts
	if out.Save.Number > 0 {
		p.save = out.Save
	}
	n := len(p.log)
	for i := range out.Events {
		switch e := &out.Events[i]; e.Kind {
		case handlers.Installed:
			p.note(msg{}, "view %d %d", e.View, e.Members)
		case handlers.Waits:
			p.note(msg{}, "waits: %v %d", e.Halt, e.Awaited)
		case handlers.FilesDiffer, handlers.MonitorDiffers, handlers.RunsTwice, handlers.Unlisted, handlers.SelfRetired:
			p.note(msg{}, "%d %v", e.Host, e.Kind)
		case handlers.StateOld:
			p.note(msg{}, "%v", e.Kind)
		case handlers.HostsFile:
			p.note(msg{}, "file:%s", inWords(e.Listing))
		case handlers.Leads, handlers.Ceased:
			p.fences = append(p.fences, fmt.Sprint(p.at, " ", e.Kind, " ", e.Fence))
		default:
			r, _ := e.Record(p.ID)
			p.note(msg{}, "%s", r.Message)
		}
	}
	for _, id := range out.Redial {
		p.note(msg{}, "redial→%d", id)
	}
	for _, m := range out.Messages {
		p.note(m, "%s→%d", brief(m), m.To)
		if (m.Kind == types.Heartbeat || m.Kind == types.Probe) && m.Leads {
			p.said[m.To] = m
		}
	}
	if out.Heartbeat != nil {
		for id := range types.ID(len(p.Status().Hosts) + 1) {
			if out.Heartbeat.Leads {
				p.said[id] = *out.Heartbeat
			}
		}
		p.note(*out.Heartbeat, "%s", brief(*out.Heartbeat))
	}
	if out.Exit {
		p.note(msg{}, "exit %d", out.Code)
	}
	return story(p.log[n:])
}

// stored lets everything be stored that the peer has asked for, and tells what it does.
func (p *peer) stored() string {
	return p.do(func(now handlers.Instant) *handlers.Output { return p.Saved(now, p.save.Number) })
}

func (p *peer) note(m msg, format string, args ...any) {
	p.log = append(p.log, deed{p.at, fmt.Sprintf(format, args...), m})
}
