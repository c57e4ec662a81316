package network

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/types"
)

// A peer with the real protocol, alone in its file, founds, leads and leaves.
func TestAlone(t *testing.T) {
	t.Parallel()
	s := newSubnet(t)
	c := s.config()
	c.Hosts, c.Heartbeat, c.Monitor = c.Hosts[:1], 1100*time.Millisecond, 2200*time.Millisecond
	stdout, stderr := newOutput(), newOutput()
	p, err := New(c, stdout, stderr)
	if err != nil {
		t.Fatal(err)
	}
	code := make(chan int)
	go func() { code <- p.Run(t.Context()) }()
	stderr.await(t, "{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}\n")
	if v := p.View(); v.Number != 1 || v.Leader != 1 {
		t.Errorf("the published view is %+v", v)
	}
	p.Close()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
	p.Close() // again
}

// A step's records and notices come out whole and in order, and the view is published before.
func TestOutputs(t *testing.T) {
	t.Parallel()
	s := newStage(t, newSubnet(t).config(), nil)
	s.view = types.View{Number: 7, Leader: 1, Members: []types.ID{1}}
	s.answer(handlers.Output{
		Records: []types.Record{{Peer: 1, View: 7, Leader: 1, Members: []types.ID{1}}, {Peer: 1, View: 7, Leader: 1, Message: "leaving"}},
		Notices: []handlers.Notice{
			{Topic: handlers.AwaitHosts, Hosts: []types.ID{2}}, {Topic: handlers.AwaitGroup, Hosts: []types.ID{1, 2}},
			{Topic: handlers.AwaitQuorum, Hosts: []types.ID{2}}, {Topic: handlers.FilesDiffer, Hosts: []types.ID{2}}},
	})
	s.stderr.await(t, "{peer_id:1, view_id: 7, leader: 1, memb_list: [<1>]}\n"+
		"{peer_id:1, view_id: 7, leader: 1, message:\"leaving\"}\n")
	if got := s.peer.View().Number; got != 7 {
		t.Errorf("view %d is published, want 7", got)
	}
	s.stdout.await(t, "differs")
	for i, line := range strings.Split(strings.TrimSpace(s.stdout.String()), "\n") {
		if want := []string{"known whether they run: two", "let into the group; no answer from one, two",
			"missing: two", "of two differs"}[i]; !strings.Contains(line, want) {
			t.Errorf("notice %q, want %q in it", line, want)
		}
	}
}

// A Tick comes when it was asked for.
func TestTick(t *testing.T) {
	t.Parallel()
	s := newStage(t, newSubnet(t).config(), nil)
	s.answer(handlers.Output{Wake: 1})
	for _, wake := range []time.Duration{30 * time.Millisecond, 60 * time.Millisecond, 61 * time.Millisecond} {
		before := s.expect("tick").now
		s.answer(handlers.Output{Wake: wake})
		if before.Wall == 0 {
			t.Error("a step without wall clock")
		}
	}
	if got := s.expect("tick").now.Run; got < 61*time.Millisecond {
		t.Errorf("the last tick came at %v, want it not before 61ms", got)
	}
	s.answer(handlers.Output{})
}

// The end of the context, a signal's doing, is one Leave; the peer ends when the protocol says
// so. What it recorded and sent last is not lost.
func TestLeave(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	two := n.listen(t, 2)
	s := newStage(t, n.config(), nil)
	s.answer(send(probe(1, 2, 1)))
	o := accept(t, two)
	o.hears()
	s.leave()
	s.expect("leave")
	s.answer(handlers.Output{Wake: 1})
	s.expect("tick")
	s.answer(handlers.Output{Exit: true, Code: 3, Messages: []types.Message{probe(1, 2, 2)},
		Records: []types.Record{{Peer: 1, View: 5, Leader: 1, Message: "leaving"}}})
	if got := <-s.code; got != 3 {
		t.Errorf("exit code %d, want 3", got)
	}
	s.stderr.await(t, `message:"leaving"`)
	if m := o.hears(); m.Request != 2 {
		t.Errorf("request %d came, want 2", m.Request)
	}
	o.closed()
}

// -c is a Crash after that time.
func TestCrash(t *testing.T) {
	t.Parallel()
	c := newSubnet(t).config()
	c.Crash = time.Millisecond
	s := newStage(t, c, nil)
	s.answer(handlers.Output{})
	s.expect("crash")
	s.answer(handlers.Output{Exit: true, Code: 1})
	if got := <-s.code; got != 1 {
		t.Errorf("exit code %d, want 1", got)
	}
}

// What cannot be encoded is told in the reference's words, and nothing else stops.
func TestUnencodable(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	two := n.listen(t, 2)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{Messages: []types.Message{{Kind: types.Kind(99), From: 1, To: 2}, probe(1, 2, 1)}})
	s.stdout.await(t, "Error encoding integer: ")
	accept(t, two).hears()
	if got := s.peer.drops.all()[dropUnencodable]; got != 1 {
		t.Errorf("counted %d, want 1", got)
	}
}

// Where a socket cannot be opened, stdout has the reference's words and the error the remedy.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		remedy string
	}{
		{syscall.EADDRINUSE, "port 8080 is in use: end the peer"},
		{syscall.EADDRNOTAVAIL, "this machine does not have the address"},
		{syscall.EACCES, "port 8080 cannot be opened"},
	} {
		stdout := newOutput()
		err := refused(stdout, "Error starting TCP listener", config.TCPPort, &net.OpError{Op: "listen", Err: c.err})
		if !strings.Contains(err.Error(), c.remedy) {
			t.Errorf("%v: the remedy is %q, want %q in it", c.err, err, c.remedy)
		}
		if got := stdout.String(); !strings.HasPrefix(got, "Error starting TCP listener: listen") {
			t.Errorf("%v: stdout is %q", c.err, got)
		}
	}
}

// What came over a socket without Ready is handled before a Tick judges who was silent.
func TestLooksBeforeTick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := heartbeat(3)
		b, _ := types.AppendMessage(nil, &m)
		f := &fakeUDP{before: time.Now().Add(10*pollEvery + pollEvery/5)}
		f.reads = []datagram{{from: addr("10.0.0.3"), bytes: b}}
		beats, _ := newFakeHeartbeats(&names{}, f)
		defer beats.drops.notice.close(time.Second)
		did := &diary{}
		p := &Peer{start: time.Now(), protocol: did, heartbeats: beats, tasks: beats.tasks, timer: fakeTimer{time.NewTimer(time.Hour)}, schedule: schedule{wake: 10*pollEvery + pollEvery/4}}
		defer p.timer.Close()
		var none signals
		for range 2 {
			p.next(&none)
		}
		if got, want := strings.Join(did.steps, " "), "heard at 1.025s, tick at 1.025s"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// fakeTimer is a rawio.Timer that follows the clock of synctest.
type fakeTimer struct{ timer *time.Timer }

func (t fakeTimer) Set(d time.Duration) { t.timer.Reset(d) }
func (t fakeTimer) C() <-chan time.Time { return t.timer.C }
func (t fakeTimer) Close()              { t.timer.Stop() }

// diary is a protocol that writes down its steps.
type diary struct {
	protocol
	steps []string
}

func (d *diary) Message(now handlers.Instant, _ types.ID, _ *types.Message) *handlers.Output {
	d.steps = append(d.steps, fmt.Sprintf("heard at %v,", now.Run))
	return &handlers.Output{}
}

func (d *diary) Tick(now handlers.Instant) *handlers.Output {
	d.steps = append(d.steps, fmt.Sprintf("tick at %v", now.Run))
	return &handlers.Output{}
}
