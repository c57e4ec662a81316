package observe

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"memberly/peer/handlers"
)

// askLease asks for the lease from an address.
func askLease(t *testing.T, s *Server, from, query string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	q := httptest.NewRequest(http.MethodGet, "http://localhost/lease"+query, nil)
	q.RemoteAddr = from
	s.routes().ServeHTTP(w, q)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// /lease tells everyone of the lease, by the clock, and lets only this machine hold a command.
func TestLease(t *testing.T) {
	t.Parallel()
	f := three()
	s, _ := serve(t, f)
	s.life = "x"
	const here, there = "127.0.0.1:5", "10.0.0.9:5"
	for _, c := range []struct {
		what   string
		change func()
		want   string
	}{
		{"leads", func() {}, `"fence":7,"lease_ms":1500,"resigned":false`},
		{"resigned", func() { f.lease.Resigned = true }, `"fence":7,"lease_ms":1500,"resigned":true`},
		{"ended", func() { f.now = f.lease.Until }, `"fence":0,"lease_ms":0,"resigned":false`},
		{"none", func() { f.lease = handlers.Lease{} }, `"fence":0,"lease_ms":0,"resigned":false`},
	} {
		c.change()
		if code, got := askLease(t, s, there, ""); code != 200 || got != `{"version":1,"life":"x","id":1,"name":"one",`+c.want+`,"monitor_ms":2200}` {
			t.Errorf("%s: code %d, %s", c.what, code, got)
		}
	}
	if code, got := askLease(t, s, there, "?holder=a&runs=0"); code != http.StatusForbidden {
		t.Errorf("to another machine: code %d, %s", code, got)
	}
	f.lease = handlers.Lease{Fence: 7, Until: 2 * time.Hour}
	for i := range maxHolders + 1 {
		code, got := askLease(t, s, here, "?runs=0&holder="+strings.Repeat("x", i+1))
		if want := map[bool]int{false: 200, true: http.StatusServiceUnavailable}[i == maxHolders]; code != want {
			t.Errorf("holder %d: code %d, %s", i, code, got)
		}
	}
}

// A peer that is about to leave waits for each holder that may run a command: until it says that it runs none, or the
// lease ends that it was last told of.
func TestFinished(t *testing.T) {
	t.Parallel()
	lasts := handlers.Lease{Fence: 7, Until: time.Hour + time.Second}
	resigned := handlers.Lease{Fence: 7, Until: time.Hour + 2*time.Second, Resigned: true}
	var h holders
	tell := func(name string, runs bool, l handlers.Lease) {
		if _, ok := h.note(name, runs, func() handlers.Lease { return l }, time.Hour); !ok {
			t.Fatalf("there is no room for %s", name)
		}
	}
	expect := func(what string, now time.Duration, want bool) {
		t.Helper()
		if got := h.left(now); got != want {
			t.Errorf("%s: %t, want %t", what, got, want)
		}
	}
	tell("a", false, handlers.Lease{})
	expect("told of none", time.Hour, false)
	tell("a", false, lasts)
	expect("told of one, and may have started", time.Hour, true)
	tell("a", true, resigned)
	expect("runs", time.Hour+time.Second, true)
	tell("a", false, resigned)
	expect("has ended it", time.Hour, false)
	tell("a", false, lasts)
	tell("b", true, resigned)
	expect("a is silent", time.Hour, true)
	tell("b", false, resigned)
	expect("a's lease lasts", time.Hour+time.Second-1, true)
	expect("a's lease has ended", time.Hour+time.Second, false)

	f := three()
	s, _ := serve(t, f)
	if s.Finished() != nil {
		t.Error("it waits for nobody")
	}
	askLease(t, s, "127.0.0.1:5", "?holder=a&runs=0")
	f.lease.Resigned = true
	ended := s.Finished()
	askLease(t, s, "127.0.0.1:5", "?holder=a&runs=0")
	<-ended
}
