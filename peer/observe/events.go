package observe

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// keepAlive is how often a comment is sent to who reads events, so that both ends notice when
// the other is gone.
const keepAlive = 15 * time.Second

// EventOf is one line of /events (README, "See inside").
type EventOf struct {
	Version  int        `json:"version"`
	ID       string     `json:"id"`
	Time     time.Time  `json:"time"`
	Event    string     `json:"event"` // view, failure, message, halt, missed
	Words    string     `json:"words"`
	View     int64      `json:"view"`
	Leader   types.ID   `json:"leader"`
	Members  []types.ID `json:"members,omitempty"`
	Cause    string     `json:"cause,omitempty"` // of a view: made, joined, added, unreachable, restarted, left, expelled, several
	Host     types.ID   `json:"host,omitempty"`  // who was added, removed, or failed
	AskedBy  types.ID   `json:"asked_by,omitempty"`
	Answers  int        `json:"answers,omitempty"`
	Needed   int        `json:"needed,omitempty"`
	Took     *float64   `json:"took_seconds,omitempty"`
	Silence  *float64   `json:"silence_seconds,omitempty"` // of a failure
	Why      string     `json:"why,omitempty"`             // of a halt; going if it is over
	WaitsFor []types.ID `json:"waits_for,omitzero"`        // of a halt
}

// event returns e, the number-th of this process, as it is served.
func (s *Server) event(e *handlers.Event, number uint64) *EventOf {
	of := &EventOf{Version: Version, ID: s.eventID(number), Time: time.Unix(0, e.At.Wall), Event: e.Kind.String(),
		Words: s.eventWords(e), View: e.View, Leader: e.Leader, Members: e.Members}
	switch e.Kind {
	case handlers.Installed:
		of.Cause, of.Host, of.AskedBy = causeName(e), e.Change.Member.ID, e.Asked
		of.Answers, of.Needed, of.Took = e.Answers, e.Needed, inSeconds(e.Took)
	case handlers.Noticed:
		of.Host, of.Silence = e.Host, inSeconds(e.Silence)
	case handlers.Halted:
		of.Why, of.WaitsFor = e.Halt.String(), list(e.Awaited)
	}
	return of
}

func causeName(e *handlers.Event) string {
	switch {
	case e.Made:
		return "made"
	case e.Change.Operation == types.Add:
		return "added"
	case e.Change.Operation == types.Del:
		return e.Change.Cause.String()
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

// seen returns the number of the last event that a client says it has seen; 0 for none of this
// process.
func (s *Server) seen(id string) uint64 {
	life, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || life != s.life {
		return 0
	}
	return n
}

// events serves what is kept of what happened, then what happens, until the client goes.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.readers <- struct{}{}:
		defer func() { <-s.readers }()
	default:
		w.Header().Set("Retry-After", "5")
		w.Header().Set("Connection", "close")
		http.Error(w, fmt.Sprintf("%d clients read events already: close one", mostReaders), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	out.SetReadDeadline(time.Time{}) // the end of the time to ask would be that of the connection
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for seen := s.seen(r.Header.Get("Last-Event-ID")); ; {
		items, last, more := s.peer.Events().After(seen)
		var text []byte
		s.work(func() { text = s.stream(items, seen, last) })
		out.SetWriteDeadline(time.Now().Add(patience))
		if _, err := w.Write(text); err != nil || out.Flush() != nil {
			return
		}
		seen = last
		select {
		case <-more:
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// stream returns the events as they are sent to one who has seen those up to a number; a
// comment if there are none.
func (s *Server) stream(items []handlers.Event, seen, last uint64) []byte {
	var b bytes.Buffer
	first := last + 1 - uint64(len(items))
	if missed := first - seen - 1; seen > 0 && len(items) > 0 && missed > 0 {
		s.line(&b, &EventOf{Version: Version, ID: s.eventID(first - 1), Time: time.Now(), Event: "missed",
			Words: fmt.Sprintf("%d events were missed: they are kept no longer", missed)})
	}
	for i := range items {
		s.line(&b, s.event(&items[i], first+uint64(i)))
	}
	if b.Len() == 0 {
		b.WriteString(": nothing new\n\n")
	}
	return b.Bytes()
}

func (s *Server) line(b *bytes.Buffer, e *EventOf) {
	fmt.Fprintf(b, "id: %s\ndata: ", e.ID)
	writeJSON(b, e)
	b.WriteByte('\n')
}
