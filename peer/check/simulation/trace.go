package simulation

import (
	"fmt"
	"io"
	"strings"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// trace writes a run as a play: one line an event, with the time, the host, what came in and
// what went out. A nil trace writes nothing.
type trace struct {
	out   io.Writer
	terse bool // leave out heartbeats that change nothing

	heartbeat bool // what came in last is a HEARTBEAT
}

func (t *trace) fault(w *world, f fault) {
	if t != nil {
		_, what, _ := strings.Cut(f.String(), " ")
		fmt.Fprintf(t.out, "%11.6f  --  %s\n", w.now.Seconds(), what)
	}
}

func (t *trace) in(m *types.Message) string {
	if t == nil {
		return ""
	}
	t.heartbeat = m.Kind == types.Heartbeat
	return fmt.Sprintf("%d: %s", m.From, describe(m))
}

func (t *trace) undialed(id types.ID, o types.Outcome) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%d: %v", id, o)
}

func (t *trace) closed(id types.ID) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%d: connection closed", id)
}

func (t *trace) step(w *world, p *process, what string, out *handlers.Output) {
	if t == nil {
		return
	}
	heartbeat := t.heartbeat
	t.heartbeat = false
	var does []string
	for i := range out.Events {
		if r, ok := out.Events[i].Record(p.id); ok {
			does = append(does, r.String())
		}
	}
	for i := 0; i < len(out.Messages); i++ {
		m, to := &out.Messages[i], []string{fmt.Sprint(out.Messages[i].To)}
		for i+1 < len(out.Messages) && describe(&out.Messages[i+1]) == describe(m) {
			i++
			to = append(to, fmt.Sprint(out.Messages[i].To))
		}
		does = append(does, strings.Join(to, ",")+": "+describe(m))
	}
	if out.Heartbeat != nil && !(t.terse && len(does) == 0 && !out.Heartbeat.Leads) {
		does = append(does, "all: "+describe(out.Heartbeat))
	}
	if out.Exit {
		does = append(does, fmt.Sprintf("exits %d", out.Code))
	}
	if len(does) == 0 && (what == "" || t.terse && heartbeat) {
		return
	}
	fmt.Fprintf(t.out, "%11.6f  %2d  %-44s | %s\n", w.now.Seconds(), p.id, what, strings.Join(does, "; "))
}

// describe is a message in a few words.
func describe(m *types.Message) string {
	s := m.Kind.String()
	if m.Number > 0 {
		s += fmt.Sprintf(" v%d", m.Number)
	}
	if m.Term.Counter > 0 {
		s += fmt.Sprintf(" t%d.%d", m.Term.Counter, m.Term.Peer)
	}
	switch c := m.Change; c.Operation {
	case types.Add, types.Del:
		s += fmt.Sprintf(" %v %d", c.Operation, c.Member.ID)
		if c.Operation == types.Del {
			s += " " + c.Cause.String()
		}
	}
	if c := m.Made; c.Operation != types.Nothing {
		s += fmt.Sprintf(" after %v %d", c.Operation, c.Member.ID)
	}
	if m.View != nil {
		s += fmt.Sprintf(" %v", m.View.Members)
	}
	if len(m.Unreachable) > 0 {
		s += fmt.Sprintf(" without %v", m.Unreachable)
	}
	if m.Kind == types.State {
		s += " " + m.Standing.String()
		if m.HasLeader {
			s += " led"
		}
	}
	if m.Leads {
		s += " leads"
	}
	if m.Kind == types.Refused {
		s += " " + m.Reason.String()
	}
	return s
}
