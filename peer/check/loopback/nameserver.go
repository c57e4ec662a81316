package loopback

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// NameServer is a name server over UDP that does what a test tells it. It knows no names at first, and
// answers that they do not exist. Any goroutine may use it.
type NameServer struct {
	socket *net.UDPConn

	mu    sync.Mutex
	names map[string][]netip.Addr
	habit Habit
	asked int
	open  int       // questions that are not answered yet
	most  int       // the most that were open at a time
	last  time.Time // when a question came last
}

// Habit is how a name server answers. The zero Habit answers at once and correctly.
type Habit struct {
	Silent bool          // it answers nothing
	NoAAAA bool          // it answers no question for IPv6 addresses
	Lose   int           // it does not answer every question of this number: 2 for the second, the fourth, and so on
	Late   time.Duration // it answers so much later
	Fails  bool          // it answers SERVFAIL
	NoName bool          // it answers NXDOMAIN, whatever the name
}

// The DNS constants that it needs.
const (
	dnsHeader   = 12
	dnsA        = 1
	dnsAAAA     = 28
	dnsServfail = 2
	dnsNXDomain = 3
)

// NewNameServer starts a name server at an address and a port, 0 for any, until the test ends.
func NewNameServer(t testing.TB, at netip.AddrPort) *NameServer {
	t.Helper()
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	s := &NameServer{socket: socket, names: make(map[string][]netip.Addr)}
	t.Cleanup(func() { socket.Close() })
	go s.serve()
	return s
}

// Addr returns where the name server listens.
func (s *NameServer) Addr() string { return s.socket.LocalAddr().String() }

// Set gives a name these addresses, in place of others; with none, the name does not exist.
func (s *NameServer) Set(name string, addrs ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name] = addrs
}

// Become makes the name server answer as h says from now on.
func (s *NameServer) Become(h Habit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.habit = h
}

// MostOpen returns how many questions it had at a time that it had not answered yet. One that it never answers
// stays among them.
func (s *NameServer) MostOpen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// AwaitQuiet waits until no query has come for some seconds, because all peers know all names.
func (s *NameServer) AwaitQuiet(t testing.TB) {
	t.Helper()
	const quiet, patience = 3 * time.Second, 20 * time.Second
	tick := time.NewTicker(quiet / 10)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if s.silence() >= quiet {
			return
		}
	}
	t.Fatalf("questions still come after %v", patience)
}

// silence returns how long ago the last question came.
func (s *NameServer) silence() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.last)
}

func (s *NameServer) serve() {
	b := make([]byte, 1500)
	for {
		n, from, err := s.socket.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if answer, late := s.answer(b[:n]); answer != nil {
			time.AfterFunc(late, func() {
				s.mu.Lock()
				s.open--
				s.mu.Unlock()
				s.socket.WriteToUDPAddrPort(answer, from)
			})
		}
	}
}

// answer returns the answer to a query, if there is one, and how late it is.
func (s *NameServer) answer(query []byte) ([]byte, time.Duration) {
	name, end := question(query)
	if end == 0 {
		return nil, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.last = s.asked+1, time.Now()
	s.open++
	s.most = max(s.most, s.open)
	h, kind := s.habit, binary.BigEndian.Uint16(query[end-4:])
	if h.Silent || h.NoAAAA && kind == dnsAAAA || h.Lose > 0 && s.asked%h.Lose == 0 {
		return nil, 0
	}
	addrs, code := s.names[name], 0
	switch {
	case h.Fails:
		addrs, code = nil, dnsServfail
	case h.NoName || len(addrs) == 0:
		addrs, code = nil, dnsNXDomain
	}
	b := append([]byte(nil), query[:end]...)
	b[2], b[3] = 0x80|query[2]&0x01, 0x80|byte(code) // an answer, of a server that asks others
	clear(b[6:dnsHeader])
	for _, a := range addrs {
		if a.Is4() == (kind == dnsA) {
			b = record(b, kind, a)
		}
	}
	return b, h.Late
}

// record appends an address to an answer, and counts it there.
func record(b []byte, kind uint16, a netip.Addr) []byte {
	binary.BigEndian.PutUint16(b[6:], binary.BigEndian.Uint16(b[6:])+1)
	b = append(b, 0xc0, dnsHeader) // the name is that of the question
	b = binary.BigEndian.AppendUint16(b, kind)
	b = append(b, 0, 1, 0, 0, 0, 0) // of the Internet, not to be kept
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.AsSlice())))
	return append(b, a.AsSlice()...)
}

// question returns the name that a query asks for, and where the question ends; 0 if it is malformed.
func question(query []byte) (string, int) {
	var labels []string
	for i := dnsHeader; i < len(query); {
		size := int(query[i])
		if i++; size == 0 {
			if i+4 > len(query) {
				break
			}
			return strings.ToLower(strings.Join(labels, ".")), i + 4
		}
		if i+size > len(query) {
			break
		}
		labels = append(labels, string(query[i:i+size]))
		i += size
	}
	return "", 0
}
