package network

import (
	"fmt"
	"sync/atomic"

	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/storage"
	"memberly/peer/types"
)

// store is the state file of a peer with -state, and what the loop needs to know of it. The zero store has none.
type store struct {
	file   *storage.File
	stored *types.Stored // what was found; nil without a file
	writer *storage.Writer
	saved  chan struct{} // delivers after a Save was stored; nil without a file
	number atomic.Uint64 // of the newest that was
}

// openStore opens the state file that c names, or makes it.
func openStore(c config.Config) (*store, error) {
	if c.State == "" {
		return &store{}, nil
	}
	f, err := storage.Open(c.State, storage.Owner{ID: c.ID, Name: c.Name}, c.Hosts)
	if err != nil {
		return nil, err
	}
	if damage, lost := f.Damage(); lost {
		f.Close()
		return nil, fmt.Errorf("%w: to let this host begin anew, remove the file while the other hosts have a leader", damage)
	}
	stored := f.Stored()
	return &store{file: f, stored: &stored, saved: make(chan struct{}, 1)}, nil
}

// use makes s the peer's store, and reports what was found in it. The peer's clock begins above those of the processes
// before it.
func (p *Peer) use(s *store) {
	p.store = s
	if s.file == nil {
		return
	}
	p.start = p.start.Add(-s.stored.Clock - 1)
	if s.file.New() {
		p.Say("State file %q is new: this host remembers nothing from before", p.config.State)
	}
	if damage, _ := s.file.Damage(); damage != nil {
		p.Say("%v: the other copy is used", damage)
	}
}

// begin begins to write what the loop saves.
func (s *store) begin(say func(string, ...any)) {
	if s.file == nil {
		return
	}
	s.writer = storage.NewWriter(s.file, func(number uint64) {
		s.number.Store(number)
		select {
		case s.saved <- struct{}{}:
		default:
		}
	}, func(err error) {
		if err != nil {
			say("Error writing state: %v; until it can, this peer makes no promise", err)
		} else {
			say("State is written again")
		}
	})
}

// save has what a step asks for stored.
func (s *store) save(w *handlers.Save) {
	if w.Number > 0 && s.writer != nil {
		s.writer.Save(w.Number, w.Stored)
	}
}

// close waits for what is still to be written, a second at most, and lets another process have the file.
func (s *store) close() {
	if s.file == nil {
		return
	}
	if s.writer != nil {
		s.writer.Close()
	}
	s.file.Close()
}
