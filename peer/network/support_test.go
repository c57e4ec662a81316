package network

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// patience is how long a condition may take that must come.
const patience = 20 * time.Second

// subnet is a part of the loopback network that no other test uses.
type subnet struct{ loopback.Subnet }

func newSubnet(t *testing.T) subnet {
	t.Helper()
	return subnet{loopback.NewSubnet(t)}
}

// config is that of the first of two hosts.
func (s subnet) config() config.Config {
	return config.Config{Name: "one", ID: 1, Hosts: []types.Host{
		{Name: "one", Addr: s.Host(1)}, {Name: "two", Addr: s.Host(2)}}}
}

// output collects what is written to it.
type output struct{ loopback.Output }

func newOutput() *output { return &output{} }

// await waits until text was written.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	if !o.Await(patience, nil, func() bool { return strings.Contains(o.String(), text) }) {
		t.Fatalf("%q was not written, but\n%s", text, o)
	}
}

// step is one call of a protocol.
type step struct {
	number  uint64 // saved
	what    string
	now     handlers.Instant
	host    types.ID
	message types.Message
	began   time.Duration
	outcome types.Outcome
	addr    netip.Addr
	hosts   []types.Host
}

// script is a protocol that tells the test of each step, and does what the test answers.
type script struct {
	steps chan step
	plays chan *handlers.Output
	view  types.View // what View returns; set before an answer
}

func newScript() *script {
	return &script{steps: make(chan step), plays: make(chan *handlers.Output)}
}

func (s *script) play(st step) *handlers.Output {
	s.steps <- st
	return <-s.plays
}

func (s *script) Start(now handlers.Instant) *handlers.Output {
	return s.play(step{what: "start", now: now})
}
func (s *script) Tick(now handlers.Instant) *handlers.Output {
	return s.play(step{what: "tick", now: now})
}
func (s *script) Resign(handlers.Instant) *handlers.Output { return &handlers.Output{Wake: never} }

func (s *script) Leave(now handlers.Instant) *handlers.Output {
	return s.play(step{what: "leave", now: now})
}
func (s *script) Saved(now handlers.Instant, number uint64) *handlers.Output {
	return s.play(step{what: "saved", now: now, number: number})
}
func (s *script) Crash(now handlers.Instant) *handlers.Output {
	return s.play(step{what: "crash", now: now})
}
func (s *script) Reread(now handlers.Instant, hosts []types.Host) *handlers.Output {
	return s.play(step{what: "reread", now: now, hosts: hosts})
}
func (s *script) Stranger(m *types.Message) types.Message {
	return types.Message{Kind: types.Refused, From: 1, To: m.From, For: m.Incarnation, Request: m.Request, Reason: types.Differs, Lines: 1, Digest: 5}
}
func (s *script) View() types.View         { return s.view }
func (s *script) Status() *handlers.Status { return &handlers.Status{View: s.view} }

func (s *script) Message(now handlers.Instant, host types.ID, m *types.Message) *handlers.Output {
	return s.play(step{what: "message", now: now, host: host, message: *m})
}

func (s *script) Closed(now handlers.Instant, host types.ID) *handlers.Output {
	return s.play(step{what: "closed", now: now, host: host})
}

func (s *script) Undialed(now handlers.Instant, host types.ID, began time.Duration, o types.Outcome) *handlers.Output {
	return s.play(step{what: "undialed", now: now, host: host, began: began, outcome: o})
}

func (s *script) Unreached(now handlers.Instant, host types.ID, began time.Duration, addr netip.Addr) *handlers.Output {
	return s.play(step{what: "unreached", now: now, host: host, began: began, addr: addr})
}

// never is a Wake that does not come.
const never = time.Hour

// stage is a peer that plays a script.
type stage struct {
	*testing.T
	*script
	peer   *Peer
	stdout *output
	stderr *output
	leave  context.CancelFunc
	code   chan int // of Run
}

// newStage starts the peer of c, and expects its first step.
func newStage(t *testing.T, c config.Config, lookup utils.LookupFunc) *stage {
	t.Helper()
	stderr := newOutput()
	s := newStageOn(t, c, lookup, stderr)
	s.stderr = stderr
	return s
}

// newStageOn is newStage with records going to stderr.
func newStageOn(t *testing.T, c config.Config, lookup utils.LookupFunc, stderr io.Writer) *stage {
	t.Helper()
	s := &stage{T: t, script: newScript(), stdout: newOutput(), code: make(chan int, 1)}
	var err error
	if s.peer, err = open(c, s.script, utils.Resolver{Lookup: lookup}, s.stdout, stderr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.leave = cancel
	go func() { s.code <- s.peer.Run(ctx) }()
	s.expect("start")
	t.Cleanup(s.end)
	return s
}

// expect waits for the next step, which answer is to follow.
func (s *stage) expect(what string) step {
	s.Helper()
	select {
	case st := <-s.steps:
		if st.what != what {
			s.Fatalf("step %+v, want %s", st, what)
		}
		return st
	case <-time.After(patience):
		s.Fatalf("no %s within %v", what, patience)
		return step{}
	}
}

// answer ends the step that was expected.
func (s *stage) answer(out handlers.Output) {
	if out.Wake == 0 {
		out.Wake = never
	}
	for len(out.RedialAt) < len(out.Redial) {
		out.RedialAt = append(out.RedialAt, netip.Addr{})
	}
	s.plays <- &out
}

// end closes the peer, whatever it does.
func (s *stage) end() {
	done := make(chan struct{})
	go func() {
		s.peer.Close()
		close(done)
	}()
	for {
		select {
		case <-s.steps:
		case s.plays <- &handlers.Output{Wake: never}:
		case <-done:
			return
		}
	}
}

// other is another host's end of a connection, in the hands of the test.
type other struct {
	*testing.T
	*connection
}

// dial connects from an address to the peer at the first host's.
func (s subnet) dial(t *testing.T, from int) other {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.Host(from), 0))}
	socket, err := d.DialContext(t.Context(), "tcp", endpoint(s.Host(1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return other{t, newConnection(socket)}
}

// listen listens where host n does.
func (s subnet) listen(t *testing.T, n int) net.Listener {
	t.Helper()
	l, err := listenTCP(s.Host(n))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func accept(t *testing.T, l net.Listener) other {
	t.Helper()
	socket, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	socket.SetReadDeadline(time.Now().Add(patience))
	return other{t, newConnection(socket)}
}

// says sends a message.
func (o other) says(m types.Message) {
	o.Helper()
	frame, err := types.AppendFrame(nil, &m)
	if err != nil {
		o.Fatal(err)
	}
	if _, err := o.socket.Write(frame); err != nil {
		o.Fatal(err)
	}
}

// hears waits for the next message.
func (o other) hears() *types.Message {
	o.Helper()
	o.socket.SetReadDeadline(time.Now().Add(patience))
	m, err := o.receive(2)
	if err != nil {
		o.Fatal(err)
	}
	return m
}

// closed waits until the connection is closed by the peer.
func (o other) closed() {
	o.Helper()
	o.socket.SetReadDeadline(time.Now().Add(patience))
	if m, err := o.receive(2); err == nil {
		o.Fatalf("got %+v, want the connection's end", m)
	} else if os.IsTimeout(err) {
		o.Fatalf("the connection was not closed within %v", patience)
	}
}

// digest is that of the hosts file of config.
var digest = types.Digest([]types.Host{{Name: "one"}, {Name: "two"}})

func probe(from, to types.ID, request uint64) types.Message {
	return types.Message{Kind: types.Probe, From: from, To: to, Request: request, Lines: 2, Full: 2, Digest: digest}
}
