// Package observe shows a peer to programs and to people, over HTTP: what it is, what happened
// to it, and a page to look at. It reads what the peer publishes, and can neither change it nor
// hold it up: whoever asks too much is turned away here, or waits for a turn.
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
	"sync"
	"time"

	"memberly/peer/datastructures"
	"memberly/peer/handlers"
	"memberly/peer/types"
)

const (
	// mostConnections bounds the connections; more wait to be accepted.
	mostConnections = 128
	// mostReaders bounds how many of them read events.
	mostReaders = 32
	// patience is how long a reader has to take what it asked for; askTime, to ask; idleTime, to
	// ask again.
	patience = 10 * time.Second
	askTime  = 2 * time.Second
	idleTime = 5 * time.Second
	// stuck is how long a peer may take no step before it is held dead.
	stuck = 10 * time.Second
)

// Facts are what the steps of a peer do not tell, and a network.Peer does. Any goroutine may call them.
type Facts interface {
	Addresses(types.ID) []netip.Addr
	DropsByName() map[string]uint64
}

// peer is what is shown of a peer: what its steps told, by a feed, and its facts.
type peer interface {
	Status() *handlers.Status
	Age(*handlers.Status) time.Duration
	Events() *datastructures.SafeRing[handlers.Event]
	Facts
}

// Config says where to show a peer, and what it does not know of itself.
type Config struct {
	Addr    netip.AddrPort
	Names   Names
	Monitor time.Duration
	Build   string // the program's version
}

// Server is the listener that shows a peer.
type Server struct {
	config  Config
	feed    *feed
	peer    peer
	life    string // tells the ids of this process's events from another's
	readers readers
	turn    sync.Mutex // held by who makes an answer: the peer competes with one at most
	http    http.Server
}

// Start shows a peer from its first step until it ends, and then leaves its address to the next. The error
// says why it cannot be shown, and what to do.
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
	go s.http.Serve(&crowd{Listener: listener, places: make(chan struct{}, mostConnections)})
	return s, nil
}

// Stepped keeps what a step of the peer tells.
func (s *Server) Stepped(step *handlers.Step) { s.feed.stepped(step) }

// Ended closes the server.
func (s *Server) Ended(bool) { s.http.Close() }

func newServer(c Config, p peer) *Server {
	s := &Server{config: c, peer: p, life: strconv.FormatInt(time.Now().UnixNano(), 36)}
	s.http = http.Server{Handler: s.routes(), ErrorLog: log.New(io.Discard, "", 0), MaxHeaderBytes: 16 << 10,
		ReadTimeout: askTime, WriteTimeout: patience, IdleTimeout: idleTime}
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
	mux.HandleFunc("GET /live", s.inTurn(s.live))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "+
			"connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// inTurn is a handler whose answers are made one at a time, however many ask for them, and sent
// when they are whole: who reads slowly keeps nobody waiting.
func (s *Server) inTurn(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d := &draft{ResponseWriter: w, status: http.StatusOK}
		s.work(func() { h(d, r) })
		w.WriteHeader(d.status)
		w.Write(d.text.Bytes())
	}
}

// work does what is to be done in turn.
func (s *Server) work(do func()) {
	s.turn.Lock()
	defer s.turn.Unlock()
	do()
}

// draft is an answer that is not sent yet.
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

// crowd is a listener that accepts no more than it has places for.
type crowd struct {
	net.Listener
	places chan struct{}
}

// Accept waits for a place, then for a connection.
func (c *crowd) Accept() (net.Conn, error) {
	c.places <- struct{}{}
	conn, err := c.Listener.Accept()
	if err != nil {
		<-c.places
		return nil, err
	}
	return &guest{Conn: conn, leave: c.places}, nil
}

// guest is a connection that gives its place back when it is closed.
type guest struct {
	net.Conn
	leave chan struct{}
	gone  sync.Once
}

// Close closes the connection; it may be called again.
func (g *guest) Close() error {
	g.gone.Do(func() { <-g.leave })
	return g.Conn.Close()
}
