package observe

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// end is one end of a connection, with addresses of its own.
type end struct {
	net.Conn
	local, remote string
	closed        bool
}

func (e *end) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(e.local)) }
func (e *end) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(e.remote))
}
func (e *end) Close() error { e.closed = true; return nil }

// Whatever others have open, one more connection of an address replaces one of its own, the oldest idle one
// first; where many addresses have all places, one of the address that has most.
func TestConnections(t *testing.T) {
	t.Parallel()
	var c connections
	enter := func(from string) *end {
		e := &end{local: "10.0.0.1:8082", remote: from + ":5000"}
		c.changed(e, http.StateNew)
		return e
	}
	closed := func(all []*end) (n int) {
		for _, e := range all {
			if e.closed {
				n++
			}
		}
		return n
	}
	var greedy, own, many []*end
	for range maxPerAddress {
		greedy = append(greedy, enter("10.0.0.9"))
	}
	c.changed(greedy[3], http.StateActive)
	c.changed(greedy[5], http.StateIdle)
	c.changed(greedy[7], http.StateIdle)
	for range maxOwn {
		own = append(own, enter("127.0.0.1"))
	}
	if closed(greedy)+closed(own) != 0 {
		t.Fatal("a connection was closed while there was room")
	}
	for _, want := range []int{5, 7, 0, 1} {
		if enter("10.0.0.9"); !greedy[want].closed {
			t.Errorf("one more of the same address: connection %d is still open", want)
		}
	}
	if enter("10.0.0.1"); closed(greedy) != 4 || !own[0].closed || closed(own) != 1 {
		t.Errorf("one more of this machine: %d and %d were closed, want 4 and 1", closed(greedy), closed(own))
	}
	for i := range maxConnections - maxPerAddress {
		many = append(many, enter(netip.AddrFrom4([4]byte{10, 1, byte(i), 1}).String()))
	}
	if closed(greedy) != 4 || closed(many) != 0 {
		t.Fatal("a connection was closed while there was room")
	}
	if last := enter("10.2.0.1"); closed(greedy) != 5 || closed(many) != 0 || last.closed {
		t.Errorf("one more than all places: %d and %d were closed, want one of the address that has most", closed(greedy), closed(many))
	}
	c.changed(many[0], http.StateClosed)
	if enter("10.2.0.2"); closed(greedy) != 5 {
		t.Error("the place of one that has gone does not come back")
	}
	if total := len(c.all); total != maxConnections+maxOwn {
		t.Errorf("%d connections are counted, want %d", total, maxConnections+maxOwn)
	}
}

// Where many addresses have all places, and equally many each, the oldest connection is replaced.
func TestConnectionsAlike(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		each int // connections of each address
		from string
		want int // which one of the first is closed by one more from there
	}{
		{"one each", 1, "10.2.0.1", 0},
		{"two each", 2, "10.2.0.1", 0},
		{"one more of the last", 2, "10.1.1.1", maxConnections/2 - 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var all connections
			enter := func(from string) *end {
				e := &end{local: "10.0.0.1:8082", remote: from + ":5000"}
				all.changed(e, http.StateNew)
				return e
			}
			for range maxOwn {
				enter("127.0.0.1")
			}
			var many []*end
			for range c.each {
				for i := maxConnections / c.each; i > 0; i-- {
					many = append(many, enter(netip.AddrFrom4([4]byte{10, 1, byte(i), 1}).String()))
				}
			}
			enter(c.from)
			for i, e := range many {
				if e.closed != (i == c.want) {
					t.Errorf("closed connection %d: %v, want connection %d closed", i, e.closed, c.want)
				}
			}
		})
	}
}

// Two hundred clients of this machine, idle or reading events, do not keep it from being asked.
func TestConnectionsOfThisMachine(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/live", "/events"} {
		f := three()
		s := newServer(Config{Names: named("one", "two", "three"), Monitor: 2200 * time.Millisecond}, f)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go s.http.Serve(listener)
		t.Cleanup(func() { s.http.Close() })
		at := listener.Addr().String()
		for range 200 {
			client, err := net.Dial("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: "+at+"\r\n\r\n")
		}
		var out strings.Builder
		if code := RunReady(t.Context(), []string{at}, nil, &out, &out); code != yes {
			t.Errorf("with 200 clients of %s: code %d, %q", path, code, out.String())
		}
	}
}

// A request that names another server is refused. Names of hosts that were added since the start are this server's.
func TestHostHeader(t *testing.T) {
	t.Parallel()
	names := named("one", "two.example.org", "gone")
	h := newServer(Config{Names: names}, &fake{status: &handlers.Status{}}).routes()
	names.Set(3, types.Host{Name: "gone", Retired: true})
	names.Set(4, types.Host{Name: "four"})
	for host, want := range map[string]int{
		"four": 200, "gone:8082": 421, "10.0.0.1:8082": 200, "[::1]:8082": 200, "[fe80::1%25eth0]:8082": 200, "localhost:8082": 200, "LOCALHOST": 200, "one": 200, "One:80": 200,
		"two.example.org.": 200, "two.example.org.:8082": 200, "": 200,
		"evil.example.org": 421, "one.evil.example.org:8082": 421, "two": 421, "localhost.evil": 421, "127.0.0.1.evil:8082": 421,
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://localhost/live", nil)
		r.Host = host
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%q: %d, want %d", host, w.Code, want)
		}
	}
}
