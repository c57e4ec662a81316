package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// watch asks each peer of a group every 10 ms whether it leads, all at one moment, and listens to what they tell.
type watch struct {
	*testing.T
	lan     *lan
	mu      sync.Mutex
	said    []saying
	told    map[string]toldEvent // by the id of the event
	late    []span               // when the watch itself got no processor in time
	offsets []time.Duration      // by which the wall clock may be off monotonic
	asking  sync.WaitGroup
}

// toldEvent is one of /events about leading.
type toldEvent struct {
	peer  int
	leads bool // else it ceased
	fence uint64
	at    time.Duration
	after int // how many were told before
}

const (
	askEvery = 10 * time.Millisecond
	// lateBy is how late a question may be without being called a stall.
	lateBy = 10 * time.Millisecond
)

// newWatch watches peers, until the test ends or the peer does.
func newWatch(t *testing.T, l *lan, peers []*daemon) *watch {
	w := &watch{T: t, lan: l, told: make(map[string]toldEvent)}
	w.wallMayBeOff(wallOffset())
	ctx, cancel := context.WithCancel(t.Context())
	var ticks []chan struct{}
	for i, d := range peers {
		tick := make(chan struct{}, 1)
		ticks = append(ticks, tick)
		of, end := context.WithCancel(ctx)
		go func() { <-d.exited; end() }()
		w.asking.Go(func() { w.ask(of, i+1, tick) })
		w.asking.Go(func() { w.listen(of, i+1) })
	}
	w.asking.Go(func() { w.tick(ctx, ticks) })
	t.Cleanup(func() { cancel(); w.asking.Wait() })
	return w
}

// tick has all peers asked every 10 ms. It notes when it is late.
func (w *watch) tick(ctx context.Context, ticks []chan struct{}) {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for before := monotonic(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := monotonic()
		if now-before > askEvery+lateBy {
			w.mu.Lock()
			w.late = append(w.late, span{from: before + askEvery, to: now})
			w.mu.Unlock()
		}
		before = now
		for _, tick := range ticks {
			select {
			case tick <- struct{}{}:
			default:
			}
		}
	}
}

// asker asks one peer, one question at a time, over a connection that it keeps.
type asker struct {
	lan  *lan
	id   int
	free chan<- *asker
	from *bufio.Reader

	mu      sync.Mutex
	conn    net.Conn
	givenUp bool
}

// open makes a connection, unless there is one, which ends with ctx.
func (a *asker) open(ctx context.Context) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil || a.givenUp {
		return a.conn != nil
	}
	conn, err := a.lan.dial(a.id, "127.0.0.1:8082")
	if err != nil {
		return false
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	a.conn, a.from = conn, bufio.NewReader(conn)
	return true
}

// giveUp ends the question that is asked, and asks no more.
func (a *asker) giveUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.givenUp = true; a.conn != nil {
		a.conn.Close()
	}
}

// done frees the asker for the next question.
func (a *asker) done() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.givenUp {
		a.free <- a
	} else if a.conn != nil {
		a.conn.Close()
	}
}

// get asks for a path. Without an answer it closes the connection.
func (a *asker) get(path string) (code int, body []byte, ok bool) {
	if _, err := io.WriteString(a.conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err == nil {
		if r, err := http.ReadResponse(a.from, nil); err == nil {
			if body, err = io.ReadAll(r.Body); err == nil {
				return r.StatusCode, body, true
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn.Close()
	a.conn = nil
	return 0, nil, false
}

// statusAnswer is what the watch reads of /status.
type statusAnswer struct {
	Ready, Leads bool
	Fence        uint64
	LeaseMS      int64 `json:"lease_ms"`
	View         *struct {
		Number  int64
		Members []int
	}
}

// ask asks a peer at each tick, over a connection on which no answer is waited for. If there is none, because the peer gets no
// processor, ask makes another one every 100 ms: so it learns within that time what the peer says when it goes on. It gives up the
// oldest question then, if there are too many.
func (w *watch) ask(ctx context.Context, id int, tick <-chan struct{}) {
	free := make(chan *asker, maxAskers)
	var all []*asker
	var latest time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		var a *asker
		select {
		case a = <-free:
		default:
			if monotonic()-latest < askAnew {
				continue
			}
			a = &asker{lan: w.lan, id: id, free: free}
			if all = append(all, a); len(all) == maxAskers {
				all[0].giveUp()
				all = all[1:]
			}
		}
		latest = monotonic()
		w.asking.Go(func() { w.question(ctx, a) })
	}
}

const (
	askAnew   = 100 * time.Millisecond
	maxAskers = 12 // a server has room for 16 connections from its own machine
)

// question asks whether a peer leads, and frees the asker for the next question unless it has given up.
func (w *watch) question(ctx context.Context, a *asker) {
	if !a.open(ctx) {
		a.done()
		return
	}
	asked := monotonic()
	_, body, ok := a.get("/status")
	answered := monotonic()
	var s statusAnswer
	if !ok || json.Unmarshal(body, &s) != nil {
		a.done()
		return
	}
	of := saying{peer: a.id, asked: asked, answered: answered, leads: s.Leads, fence: s.Fence,
		lease: time.Duration(s.LeaseMS) * time.Millisecond, ready: s.Ready}
	if s.View != nil {
		of.view, of.members = s.View.Number, len(s.View.Members)
	}
	code, _, ok := a.get("/ready")
	of.readyNext = ok && code == http.StatusOK
	a.done()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, of)
}

// listen reads the events of a peer.
func (w *watch) listen(ctx context.Context, id int) {
	a := asker{lan: w.lan, id: id}
	if !a.open(ctx) {
		w.Errorf("peer %d does not serve /events", id)
		return
	}
	io.WriteString(a.conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	r, err := http.ReadResponse(a.from, nil)
	if err != nil {
		w.Errorf("peer %d serves no /events: %v", id, err)
		return
	}
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		text, is := strings.CutPrefix(lines.Text(), "data: ")
		var e struct {
			ID, Event string
			Time      time.Time
			Fence     uint64
		}
		if !is || json.Unmarshal([]byte(text), &e) != nil || e.Event != "leads" && e.Event != "ceased" {
			continue
		}
		w.mu.Lock()
		w.told[e.ID] = toldEvent{id, e.Event == "leads", e.Fence, w.moment(e.Time), len(w.told)}
		w.mu.Unlock()
	}
}

// wallMayBeOff notes by how much the wall clock may be off monotonic.
func (w *watch) wallMayBeOff(by ...time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offsets = append(w.offsets, by...)
}

// moment returns when it was at, a time of the wall clock: of the moments at which the clock showed that, the latest
// that is not to come. The caller holds mu.
func (w *watch) moment(at time.Time) time.Duration {
	latest, now := time.Duration(-1), monotonic()
	for _, off := range w.offsets {
		if m := time.Duration(at.UnixNano()) - off; m <= now+time.Millisecond {
			latest = max(latest, m)
		}
	}
	return latest
}

// events returns when peers led by their events, until now.
func (w *watch) events(now time.Duration) (all []span) {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := make([]toldEvent, 0, len(w.told))
	for _, e := range w.told {
		told = append(told, e)
	}
	slices.SortFunc(told, func(a, b toldEvent) int { return a.after - b.after })
	for _, e := range told {
		i := slices.IndexFunc(all, func(s span) bool { return s.peer == e.peer && s.fence == e.fence && s.to == now })
		switch {
		case e.leads:
			all = append(all, span{e.peer, e.fence, e.at, now})
		case i >= 0:
			all[i].to = e.at
		default:
			w.Errorf("peer %d tells at %v that it has ceased to lead with fence %d, but not that it began to", e.peer, e.at, e.fence)
		}
	}
	return all
}

// latest returns the newest answer of a peer to a question asked after a moment; ok is false if there is none.
func (w *watch) latest(peer int, after time.Duration) (s saying, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range slices.Backward(w.said) {
		if s.peer == peer {
			return s, s.asked > after
		}
	}
	return saying{}, false
}
