package network

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// A peer shows its status and what happens if it is to, and else nothing.
func TestPublisher(t *testing.T) {
	t.Parallel()
	c := newSubnet(t).config()
	c.HTTP = netip.MustParseAddrPort("127.0.0.1:8082") // nothing is served here: that is package observe's
	s := newStage(t, c, nil)
	s.view.Number = 3
	s.answer(handlers.Output{Wake: 1, Events: []handlers.Event{{Kind: handlers.Installed, View: 3}}})
	s.expect("tick")
	if st := s.peer.Status(); st == nil || st.View.Number != 3 {
		t.Errorf("it shows %+v, want view 3", st)
	}
	if events, _, _ := s.peer.Events().After(0); len(events) != 1 || events[0].View != 3 {
		t.Errorf("it tells of %+v, want of view 3", events)
	}
	s.answer(handlers.Output{})

	silent := newStage(t, newSubnet(t).config(), nil)
	silent.answer(handlers.Output{Wake: 1})
	silent.expect("tick")
	if silent.peer.Status() != nil || silent.peer.Events() != nil {
		t.Error("it shows something though it is not to")
	}
	silent.answer(handlers.Output{})
}

// counting is a protocol that counts how often it is asked for its status.
type counting struct {
	protocol
	asked int
	halt  handlers.Halt
}

func (c *counting) Status() *handlers.Status {
	c.asked++
	return &handlers.Status{Halt: c.halt}
}

func (c *counting) View() types.View { return types.View{} }

func (c *counting) Tick(now handlers.Instant) *handlers.Output {
	return &handlers.Output{Wake: now.Run + lateness/2}
}

func (c *counting) Message(handlers.Instant, types.ID, *types.Message) *handlers.Output {
	return &handlers.Output{Wake: 1, Events: make([]handlers.Event, 1)}
}

// A peer that did not run for a while shows nothing new before a Tick has judged what came of
// that: neither when something comes in first, nor while the late Tick lets it pass.
func TestPublisherAfterAStall(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, settleTime / 2} {
		synctest.Test(t, func(t *testing.T) {
			p := &Peer{start: time.Now(), protocol: &counting{}, heartbeats: &heartbeats{socket: &fakeUDP{}}, publisher: newPublisher(), timer: fakeTimer{time.NewTimer(time.Hour)}, tasks: newTasks()}
			var m signals
			p.carry(p.next(&m))
			shown := p.Status()
			<-time.After(time.Second)
			for range 2 {
				go func() {
					<-time.After(after)
					p.tasks.events <- event{kind: received, message: &types.Message{}}
				}()
			}
			synctest.Wait()
			for range 2 {
				if p.carry(p.next(&m)); p.Status() != shown {
					t.Errorf("%v after a stall it shows something new", after)
				}
			}
			if p.carry(p.next(&m)); p.Status() == shown {
				t.Errorf("after a Tick it shows nothing new")
			}
			if events, _, _ := p.Events().After(0); len(events) != 2 {
				t.Errorf("it tells of %d events, want 2", len(events))
			}
		})
	}
}

// Steps in which nothing happened are looked at only now and then; that the group stands
// still, and goes on, is told once.
func TestPublisherRefreshes(t *testing.T) {
	t.Parallel()
	w, p, nothing := newPublisher(), &counting{}, &handlers.Output{}
	for now := time.Duration(0); now < time.Second; now += time.Millisecond {
		w.publish(now, p, nothing, false)
	}
	if p.asked != 10 {
		t.Errorf("in a second it was looked at %d times, want 10", p.asked)
	}
	w.publish(time.Second, p, &handlers.Output{Events: make([]handlers.Event, 2)}, false)
	for _, p.halt = range []handlers.Halt{handlers.NoQuorum, handlers.NoQuorum, handlers.Going} {
		w.publish(w.refreshed+refreshEvery, p, nothing, false)
	}
	events, _, _ := w.events.After(2)
	if len(events) != 2 || events[0].Halt != handlers.NoQuorum || events[1].Halt != handlers.Going {
		t.Errorf("it tells of %+v, want of a halt and its end", events)
	}
}
