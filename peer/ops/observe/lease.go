package observe

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"memberly/peer/handlers"
)

// This file serves the lease to `memberly hold`, and has the peer wait, before it leaves, for the commands that those
// run (docs/hold.md).

const (
	// maxHolders bounds how many `memberly hold` ask for the lease.
	maxHolders = 32
	// holdersTime is how long the peer waits for their commands before it leaves.
	holdersTime = 11 * time.Second
	// holdersTick is how often it looks whether their leases have ended.
	holdersTick = 20 * time.Millisecond
)

// leaseJSON is what /lease serves.
type leaseJSON struct {
	Version   int    `json:"version"`
	Life      string `json:"life"` // differs after a restart of the peer
	ID        int    `json:"id"`
	Name      string `json:"name"`
	Fence     uint64 `json:"fence"`    // of a lease that lasts; 0 if there is none
	LeaseMS   int64  `json:"lease_ms"` // left of it
	Resigned  bool   `json:"resigned"` // it is given up: the peer waits until commands have ended, and leaves
	MonitorMS int64  `json:"monitor_ms"`
}

// board has the newest lease, and tells when it changes. Any goroutine may use it.
type board struct {
	mu    sync.Mutex
	lease handlers.Lease
	more  chan struct{} // closed at the next change; nil while nobody waits
}

func (b *board) store(l handlers.Lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lease == l {
		return
	}
	b.lease = l
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
}

func (b *board) load() handlers.Lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lease
}

// changes returns a channel that is closed at the next change.
func (b *board) changes() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more == nil {
		b.more = make(chan struct{})
	}
	return b.more
}

// holders are the `memberly hold` that may run a command: each until the lease ends that it was last told of.
type holders struct {
	mu    sync.Mutex
	until map[string]time.Duration // by a name that it has given itself
}

// note notes that a holder, which runs a command or does not, is told of the lease that ask returns. It returns false if
// there are too many.
func (h *holders) note(name string, runs bool, ask func() handlers.Lease, now time.Duration) (handlers.Lease, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := ask() // under the lock, so that who is told of a lease that lasts is noted before left looks
	if _, known := h.until[name]; !known && len(h.until) >= maxHolders {
		return handlers.Lease{}, false
	}
	switch {
	case l.Valid(now) || runs && l.Fence != 0 && now < l.Until:
		if h.until == nil {
			h.until = make(map[string]time.Duration)
		}
		h.until[name] = l.Until
	case !runs:
		delete(h.until, name)
	}
	return l, true
}

// left reports whether any holder may still run a command.
func (h *holders) left(now time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, until := range h.until {
		if now >= until {
			delete(h.until, name)
		}
	}
	return len(h.until) > 0
}

// leaseNow serves the lease at this moment. A holder, on this machine only, names itself, and says whether it runs a command.
func (s *Server) leaseNow(w http.ResponseWriter, r *http.Request) {
	now := s.peer.Now()
	l := s.peer.Lease()
	if name := r.FormValue("holder"); name != "" {
		if !isOwn(r) {
			http.Error(w, "memberly hold works with a peer of its own machine: run it where the peer runs", http.StatusForbidden)
			return
		}
		s.holders.left(now) // forgets those whose leases have ended
		var ok bool
		if l, ok = s.holders.note(name, r.FormValue("runs") == "1", s.peer.Lease, now); !ok {
			http.Error(w, fmt.Sprintf("%d others hold commands with this peer already: end some", maxHolders), http.StatusServiceUnavailable)
			return
		}
	}
	of := &leaseJSON{Version: jsonVersion, Life: s.life, MonitorMS: s.config.Monitor.Milliseconds()}
	if st := s.peer.Status(); st != nil {
		of.ID, of.Name = int(st.ID), s.config.Names.name(st.ID)
	}
	if l.Fence != 0 && now < l.Until {
		of.Fence, of.LeaseMS, of.Resigned = l.Fence, (l.Until - now).Milliseconds(), l.Resigned
	}
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, of)
}

// isOwn reports whether a request comes from this machine.
func isOwn(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	local, err := netip.ParseAddrPort(fmt.Sprint(at))
	return from.Addr().Unmap().IsLoopback() || err == nil && from.Addr().Unmap() == local.Addr().Unmap()
}

// leaseChanges serves an empty line at once and at each change of the lease, for who then asks for it, until the client
// goes. The end of the connection tells the client that the peer has ended.
func (s *Server) leaseChanges(w http.ResponseWriter, r *http.Request) {
	ended := s.watchers.enter()
	defer s.watchers.leave(ended)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := http.NewResponseController(w)
	out.SetReadDeadline(time.Time{})
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		more := s.peer.Changes()
		out.SetWriteDeadline(time.Now().Add(patience))
		if _, err := w.Write([]byte("\n")); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-tick.C:
		case <-ended:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// Finished returns a channel that is closed when no `memberly hold` runs a command any more that the peer, which has
// resigned, has to wait for; nil if none does now.
func (s *Server) Finished() <-chan struct{} {
	if !s.holders.left(s.peer.Now()) {
		return nil
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(holdersTick)
		defer tick.Stop()
		for limit := time.After(holdersTime); s.holders.left(s.peer.Now()); {
			select {
			case <-tick.C:
			case <-limit:
				return
			}
		}
	}()
	return ended
}
