package observe

import (
	"memberly/peer/handlers"
)

// Notices is the listener that tells an operator, on stdout, of what needs him: what the peer waits for, what
// is wrong with hosts files, and hosts that run twice.
type Notices struct {
	Names Names                            // of all hosts
	Say   func(format string, args ...any) // writes a line; it must not wait
}

// Stepped tells of what happened in a step.
func (n Notices) Stepped(s *handlers.Step) {
	for i := range s.Events {
		switch e := &s.Events[i]; e.Kind {
		case handlers.Waits:
			n.Say("Waiting %s", n.Names.waiting(e.Halt, e.Awaited))
		case handlers.FilesDiffer, handlers.MonitorDiffers, handlers.RunsTwice, handlers.StateOld,
			handlers.HostsFile, handlers.Unlisted, handlers.SelfRetired:
			n.Say("%s", n.Names.event(e))
		}
	}
}

// Ended does nothing: what was told stands.
func (n Notices) Ended(bool) {}
