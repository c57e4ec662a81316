// Package observe serves the status, the events and the metrics of a peer over HTTP, with a page for people,
// and writes notices for its operator. It is a listener of the peer, and can neither change nor delay it, but for its
// end, which waits for the commands of memberly hold, and for memberly reload: it bounds its connections, and makes one answer at a time.
package observe

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"memberly/peer/datastructures"
	"memberly/peer/handlers"
	"memberly/peer/types"
)

const (
	// maxReaders bounds how many clients read events.
	maxReaders = 32
	// patience bounds the writing of an answer, askTime the reading of a request, and idleTime the wait for
	// the next one.
	patience = 10 * time.Second
	askTime  = 2 * time.Second
	idleTime = 5 * time.Second
	// stuck is how long a peer may take no step before /live fails.
	stuck = 10 * time.Second
)

// Facts are what the steps of a peer do not tell, and a network.Peer does. Any goroutine may call them.
type Facts interface {
	Addresses(types.ID) []netip.Addr
	DropsByName() map[string]uint64
	Now() time.Duration // as an Instant.Run
}

// peer is what is shown of a peer: what its steps told, by a feed, and its facts.
type peer interface {
	Status() *handlers.Status
	Views() viewCounts
	Lease() handlers.Lease
	Changes() <-chan struct{}
	Age(*handlers.Status) time.Duration
	Events() *datastructures.SafeRing[handlers.Event]
	Since(types.ID) time.Time
	Facts
}

// Config says where to serve, and what a peer does not know of itself.
type Config struct {
	Addr    netip.AddrPort
	Names   Names
	Monitor time.Duration
	Build   string // the program's version
	// Reload has the peer read its hosts file again. The error says why the file is not in use. It may wait for the file;
	// nil if the peer cannot.
	Reload func() error
}

// Server is the listener that serves what it is told of a peer.
type Server struct {
	config   Config
	feed     *feed
	peer     peer
	life     string  // makes the ids of this process's events differ from those of another
	readers  readers // of events
	watchers readers // of changes of the lease
	holders  holders
	clients  connections
	// reloading has a value while the hosts file is read.
	reloading chan struct{}
	turn      sync.Mutex // held while an answer is made, so that the peer competes with one at most
	http      http.Server
}

// Start serves at once; the caller adds the server to the peer's listeners. The error says why the address
// cannot be served, and what to do.
func Start(c Config, f Facts) (*Server, error) {
	listener, err := net.Listen("tcp", c.Addr.String())
	if err != nil {
		return nil, fmt.Errorf("-http %v cannot be served: %w: give another port or address", c.Addr, err)
	}
	told := newFeed()
	s := newServer(c, struct {
		*feed
		Facts
	}{told, f})
	s.feed = told
	go s.http.Serve(listener)
	return s, nil
}

// Stepped keeps what a step of the peer tells.
func (s *Server) Stepped(step *handlers.Step) { s.feed.stepped(step) }

// Ended closes the server.
func (s *Server) Ended(bool) { s.http.Close() }

func newServer(c Config, p peer) *Server {
	s := &Server{config: c, peer: p, life: strconv.FormatInt(time.Now().UnixNano(), 36), reloading: make(chan struct{}, 1)}
	s.http = http.Server{Handler: s.routes(), ErrorLog: log.New(io.Discard, "", 0), MaxHeaderBytes: 16 << 10,
		ReadTimeout: askTime, WriteTimeout: patience, IdleTimeout: idleTime, ConnState: s.clients.changed}
	return s
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.inTurn(s.page))
	mux.HandleFunc("GET /page.css", asset("text/css; charset=utf-8", pageCSS))
	mux.HandleFunc("GET /page.js", asset("text/javascript; charset=utf-8", pageJS))
	mux.HandleFunc("GET /status", s.inTurn(s.status))
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /metrics", s.inTurn(s.metrics))
	mux.HandleFunc("GET /ready", s.inTurn(s.ready))
	mux.HandleFunc("GET /lease", s.inTurn(s.leaseNow))
	mux.HandleFunc("GET /lease/changes", s.leaseChanges)
	mux.HandleFunc("GET /live", s.inTurn(s.live))
	mux.HandleFunc("POST /reload", s.reload)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.config.Names.mayAsk(r.Host) {
			http.Error(w, fmt.Sprintf("%q is not a name of this server: ask by its address, localhost or a name of the hosts file",
				r.Host), http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "+
			"connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// inTurn returns a handler that makes one answer at a time and sends it when it is complete, so that a slow
// reader delays no other.
func (s *Server) inTurn(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d := &draft{ResponseWriter: w, status: http.StatusOK}
		s.work(func() { h(d, r) })
		w.WriteHeader(d.status)
		w.Write(d.text.Bytes())
	}
}

// work calls do while no other answer is made.
func (s *Server) work(do func()) {
	s.turn.Lock()
	defer s.turn.Unlock()
	do()
}

// draft is an answer that is not complete.
type draft struct {
	http.ResponseWriter
	status int
	text   bytes.Buffer
}

func (d *draft) WriteHeader(status int)      { d.status = status }
func (d *draft) Write(b []byte) (int, error) { return d.text.Write(b) }

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, s.report())
}

// ready answers 200 while the peer is in a view whose quorum is reachable and whose leader
// leads, else 503 and the reason.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	r := s.report()
	verdict(w, r.Ready, r.Reason)
}

// live answers 200 while the peer takes steps.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	st := s.peer.Status()
	if st == nil {
		verdict(w, false, starting)
		return
	}
	age := s.peer.Age(st)
	verdict(w, age < max(stuck, 5*s.config.Monitor), fmt.Sprintf("the peer has taken no step for %v", age.Round(time.Second)))
}

// ready is what is answered where all is well.
const ready = "ok\n"

// verdict answers ready, or 503 with the reason.
func verdict(w http.ResponseWriter, ok bool, reason string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if ok {
		io.WriteString(w, ready)
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, reason)
}

// mayAsk reports whether a request may name this server so: by an address, as localhost, or by a name of the
// hosts file. A page of another site whose name was made to resolve to this machine names that site (DNS
// rebinding).
func (n Names) mayAsk(host string) bool {
	name := strings.TrimSuffix(host, ".")
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = strings.TrimSuffix(h, ".")
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil || strings.EqualFold(name, "localhost") || host == "" {
		return true
	}
	return n.Has(name)
}
