package observe

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// keepAlive is how often readers of events are sent a comment, so that both ends notice when the other is
// gone.
const keepAlive = 15 * time.Second

// eventJSON is one line of /events (docs/reference-http.md).
type eventJSON struct {
	Version  int        `json:"version"`
	ID       string     `json:"id"`
	Time     time.Time  `json:"time"`
	Event    string     `json:"event"` // view, failure, message, leads, ceased, halt, files differ, runs twice, hosts file, not listed, retired, missed
	Words    string     `json:"words"`
	View     int64      `json:"view"`
	Leader   types.ID   `json:"leader"`
	Members  []types.ID `json:"members,omitempty"`
	Cause    string     `json:"cause,omitempty"` // of a view: made, joined, added, unreachable, restarted, left, expelled, host added, host retired, several
	Host     types.ID   `json:"host,omitempty"`  // that was added, removed or retired, failed, has another hosts file, runs twice, or does not list this one
	AskedBy  types.ID   `json:"asked_by,omitempty"`
	Answers  int        `json:"answers,omitempty"`
	Needed   int        `json:"needed,omitempty"`
	Took     *float64   `json:"took_seconds,omitempty"`
	Silence  *float64   `json:"silence_seconds,omitempty"` // of a failure
	Fence    uint64     `json:"fence,omitempty"`           // of leads and ceased
	LeaseMS  *int64     `json:"lease_ms,omitempty"`        // of leads: left when this is sent; 0 if that is over
	Why      string     `json:"why,omitempty"`             // of a halt; going if it is over
	WaitsFor []types.ID `json:"waits_for,omitzero"`        // of a halt
}

// event returns e, the number-th of this process, as it is served.
func (s *Server) event(e *handlers.Event, number uint64) *eventJSON {
	of := &eventJSON{Version: jsonVersion, ID: s.eventID(number), Time: time.Unix(0, e.At.Wall), Event: e.Kind.String(),
		Words: s.config.Names.event(e), View: e.View, Leader: e.Leader, Members: e.Members}
	switch e.Kind {
	case handlers.Installed:
		of.Cause, of.Host, of.AskedBy = Cause(e), e.Change.Member.ID, e.Asked
		of.Answers, of.Needed, of.Took = e.Answers, e.Needed, inSeconds(e.Took)
	case handlers.FilesDiffer, handlers.MonitorDiffers, handlers.RunsTwice, handlers.Unlisted, handlers.SelfRetired:
		of.Host = e.Host
	case handlers.Failed:
		of.Host, of.Silence = e.Host, inSeconds(e.Silence)
	case handlers.Leads:
		ms := int64(0)
		if l, left := s.lease(); l.Fence == e.Fence {
			ms = left.Milliseconds()
		}
		of.Fence, of.LeaseMS = e.Fence, &ms
	case handlers.Ceased:
		of.Fence = e.Fence
	case handlers.Halted:
		of.Why, of.WaitsFor = e.Halt.String(), list(e.Awaited)
	}
	return of
}

// The causes of views in which hosts change, and no member does.
const (
	hostAdded   = "host added"
	hostRetired = "host retired"
)

// Cause names why there is the view of e, an Installed, as /events does.
func Cause(e *handlers.Event) string {
	switch {
	case e.Made:
		return "made"
	case e.Change.Operation == types.Add:
		return "added"
	case e.Change.Operation == types.Del:
		return e.Change.Cause.String()
	case e.Change.Operation == types.Grow:
		return hostAdded
	case e.Change.Operation == types.Retire:
		return hostRetired
	case e.Asked != 0:
		return "joined"
	}
	return "several"
}

// inSeconds is d in JSON: left out if it is not known.
func inSeconds(d time.Duration) *float64 {
	if d == handlers.Never {
		return nil
	}
	f := d.Seconds()
	return &f
}

func (s *Server) eventID(number uint64) string { return s.life + "-" + strconv.FormatUint(number, 10) }

// seen returns the number of the last event that a client has seen, by the id that it names. Without an id,
// or with an unknown one, that is the last event that is no longer kept.
func (s *Server) seen(id string) (number uint64, known bool) {
	items, last, _ := s.peer.Events().After(0)
	life, text, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || life != s.life || n > last {
		return last - uint64(len(items)), id == ""
	}
	return n, true
}

// events serves the events that are kept, then new ones, until the client goes or makes room for another.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	ended := s.readers.enter()
	defer s.readers.leave(ended)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	out.SetReadDeadline(time.Time{}) // the deadline of the request would end the connection
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	var b bytes.Buffer
	seen, known := s.seen(r.Header.Get("Last-Event-ID"))
	if !known {
		s.missed(&b, seen, "events were missed: the peer was restarted")
	}
	for {
		items, last, more := s.peer.Events().After(seen)
		s.work(func() { s.stream(&b, items, seen, last) })
		out.SetWriteDeadline(time.Now().Add(patience))
		if _, err := b.WriteTo(w); err != nil || out.Flush() != nil {
			return
		}
		seen = last
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

// stream writes the events for a client that has seen those up to a number, or a comment if there are none.
func (s *Server) stream(b *bytes.Buffer, items []handlers.Event, seen, last uint64) {
	first := last + 1 - uint64(len(items))
	if missed := first - seen - 1; len(items) > 0 && missed > 0 {
		s.missed(b, first-1, fmt.Sprintf("%d events were missed: they are kept no longer", missed))
	}
	for i := range items {
		s.line(b, s.event(&items[i], first+uint64(i)))
	}
	if b.Len() == 0 {
		b.WriteString(": nothing new\n\n")
	}
}

// missed writes that the events up to a number are not sent.
func (s *Server) missed(b *bytes.Buffer, number uint64, words string) {
	s.line(b, &eventJSON{Version: jsonVersion, ID: s.eventID(number), Time: time.Now(), Event: "missed", Words: words})
}

func (s *Server) line(b *bytes.Buffer, e *eventJSON) {
	fmt.Fprintf(b, "id: %s\ndata: ", e.ID)
	writeJSON(b, e)
	b.WriteByte('\n')
}

// readers are the clients that read events, maxReaders of them at most.
type readers struct {
	mu  sync.Mutex
	all []chan struct{} // each closed to end its reader; the oldest first
}

// enter adds a reader; the channel returned is closed to end it. Without room the oldest reader is ended: it
// can come back and miss nothing, while a reader that is refused would have nothing at all.
func (r *readers) enter() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == maxReaders {
		close(r.all[0])
		r.all = r.all[1:]
	}
	ended := make(chan struct{})
	r.all = append(r.all, ended)
	return ended
}

// leave removes a reader, unless enter has ended it.
func (r *readers) leave(ended chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.DeleteFunc(r.all, func(other chan struct{}) bool { return other == ended })
}
