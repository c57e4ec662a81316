package network

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/types"
	"memberly/peer/utils"
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
	p.Close()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
	p.Close() // again
}

// told is a listener that keeps what it was told.
type told struct {
	steps []handlers.Step
	left  []bool
}

func (l *told) Stepped(s *handlers.Step) { l.steps = append(l.steps, *s) }
func (l *told) Ended(left bool)          { l.left = append(l.left, left) }

// A step's records come out whole and in order, and listeners are told of each step, and of the end.
func TestListeners(t *testing.T) {
	t.Parallel()
	n, l := newSubnet(t), &told{}
	stderr, stdout := newOutput(), newOutput()
	script := newScript()
	script.view = types.View{Number: 7, Leader: 1, Members: []types.ID{1}}
	p, err := open(n.config(), script, utils.Resolver{}, stdout, stderr)
	if err != nil {
		t.Fatal(err)
	}
	p.Listen(l)
	code := make(chan int)
	go func() { code <- p.Run(t.Context()) }()
	<-script.steps
	script.plays <- &handlers.Output{Wake: never, Exit: true, Events: []handlers.Event{
		{Kind: handlers.Installed, View: 7, Leader: 1, Members: []types.ID{1}},
		{Kind: handlers.Waits, View: 7}, {Kind: handlers.Said, View: 7, Leader: 1, Text: "leaving"}}}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
	const want = "{peer_id:1, view_id: 7, leader: 1, memb_list: [<1>]}\n{peer_id:1, view_id: 7, leader: 1, message:\"leaving\"}\n"
	if got := stderr.String(); got != want {
		t.Errorf("it records\n%swant\n%s", got, want)
	}
	if len(l.steps) != 1 || len(l.steps[0].Events) != 3 || l.steps[0].View.Number != 7 || !l.steps[0].Exit || !slices.Equal(l.left, []bool{true}) {
		t.Errorf("it was told %+v", l)
	}
	p.Say("too late") // which nobody reads, and which does no harm
}

// late is a protocol that wants a Tick soon.
type late struct{ protocol }

func (late) View() types.View         { return types.View{} }
func (late) Status() *handlers.Status { return nil }

func (late) Tick(now handlers.Instant) *handlers.Output {
	return &handlers.Output{Wake: now.Run + lateness/2}
}

func (late) Message(handlers.Instant, types.ID, *types.Message) *handlers.Output {
	return &handlers.Output{Wake: 1}
}

// Listeners are told that a peer did not run for a while, until a Tick has judged what came of that: both
// when something comes in first, and while the late Tick lets it pass.
func TestStalled(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, settleTime / 2} {
		synctest.Test(t, func(t *testing.T) {
			l := &told{}
			p := &Peer{store: &store{}, start: time.Now(), protocol: late{}, listeners: []handlers.Listener{l}, heartbeats: &heartbeats{socket: &fakeUDP{}},
				timer: fakeTimer{time.NewTimer(time.Hour)}, tasks: newTasks()}
			var m signals
			p.carry(p.next(&m))
			<-time.After(time.Second)
			for range 2 {
				go func() {
					<-time.After(after)
					p.tasks.events <- event{kind: received, message: &types.Message{}}
				}()
			}
			synctest.Wait()
			for range 3 {
				p.carry(p.next(&m))
			}
			for i, want := range []bool{false, true, true, false} {
				if l.steps[i].Stalled != want {
					t.Errorf("messages %v after the stall: step %d is told as stalled: %v, want %v", after, i, !want, want)
				}
			}
		})
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
		Events: []handlers.Event{{Kind: handlers.Said, View: 5, Leader: 1, Text: "leaving"}}})
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
		did := &stepLog{}
		p := &Peer{store: &store{}, start: time.Now(), protocol: did, heartbeats: beats, tasks: beats.tasks, timer: fakeTimer{time.NewTimer(time.Hour)}, schedule: schedule{wake: 10*pollEvery + pollEvery/4}}
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

// stepLog is a protocol that writes down its steps.
type stepLog struct {
	protocol
	steps []string
}

func (d *stepLog) Message(now handlers.Instant, _ types.ID, _ *types.Message) *handlers.Output {
	d.steps = append(d.steps, fmt.Sprintf("heard at %v,", now.Run))
	return &handlers.Output{}
}

func (d *stepLog) Tick(now handlers.Instant) *handlers.Output {
	d.steps = append(d.steps, fmt.Sprintf("tick at %v", now.Run))
	return &handlers.Output{}
}
