package network

import (
	"math"
	"sync/atomic"
	"testing"
	"time"
)

// A Tick comes when the timer has fired, no input is left and it is due. A late one is put off
// once, so that where the process is always late, it comes all the same.
func TestSchedule(t *testing.T) {
	t.Parallel()
	const second, late = time.Second, time.Second + lateness
	type move struct {
		at    time.Duration
		fired bool          // the timer fired before
		wake  time.Duration // not zero: a step asks for this instead of tick
		tick  bool
		phase phase
		stall bool
	}
	for name, moves := range map[string][]move{
		"the timer has not fired": {{at: second, phase: waiting}},
		"not due yet":             {{at: second / 2, fired: true, phase: waiting}},
		"due":                     {{at: second, fired: true, tick: true, phase: waiting}},
		"a little late":           {{at: late - 1, fired: true, tick: true, phase: waiting}},
		"late": {
			{at: late, fired: true, phase: settling, stall: true},
			{at: late + 1, phase: settling, stall: true},
			{at: late + 1, fired: true, phase: settling, stall: true},
			{at: late + settleTime, fired: true, tick: true, phase: waiting}},
		"late again": {
			{at: late, fired: true, phase: settling, stall: true},
			{at: late + second, fired: true, tick: true, phase: waiting},
			{at: late + 2*second, fired: true, phase: settling, stall: true}},
		"late, and a step asks for a later one": {
			{at: late, fired: true, phase: settling, stall: true},
			{at: late + 1, wake: 3 * second, phase: settling, stall: true},
			{at: late + settleTime, fired: true, phase: settling, stall: true},
			{at: 3 * second, fired: true, tick: true, phase: waiting}},
		"a step comes in the place of the late one": {
			{at: late, wake: 3 * second, phase: waiting, stall: true},
			{at: 3 * second, fired: true, tick: true, phase: waiting}},
	} {
		s := schedule{wake: second}
		for i, m := range moves {
			if m.fired {
				s.fired()
			}
			got := false
			if m.wake != 0 {
				s.stepped(m.at, m.wake)
			} else {
				got = s.tick(m.at)
			}
			if got != m.tick || s.phase != m.phase || s.stalled != m.stall {
				t.Errorf("%s, move %d: tick %t, phase %d, stalled %t; want %+v", name, i+1, got, s.phase, s.stalled, m)
			}
		}
	}
}

// Input without end does not keep time from passing.
func TestInputIsBounded(t *testing.T) {
	t.Parallel()
	var s schedule
	for range 2 {
		n := 0
		for s.takesInput() {
			n++
		}
		if s.tick(0); n != maxInput {
			t.Errorf("%d inputs in a row, want %d", n, maxInput)
		}
	}
}

// The timer is set to the Tick or the poll, whichever is earlier, but not for little.
func TestArm(t *testing.T) {
	t.Parallel()
	const second = time.Second
	for _, c := range []struct {
		name             string
		armed, now, wake time.Duration
		poll             time.Duration
		want             time.Duration // 0: the timer stays as it is
	}{
		{"first", 0, second, 3 * second, math.MaxInt64, 2 * second},
		{"for a poll", 0, second, 3 * second, 2 * second, second},
		{"already", 3 * second, second, 3 * second, math.MaxInt64, 0},
		{"a little early", 3*second - leeway + 1, second, 3 * second, math.MaxInt64, 0},
		{"too early", 3*second - leeway, second, 3 * second, math.MaxInt64, 2 * second},
		{"late", 3*second + 1, second, 3 * second, math.MaxInt64, 2 * second},
		{"over", second, second, second + leeway/2, math.MaxInt64, leeway / 2},
	} {
		s := schedule{armed: c.armed, wake: c.wake}
		got, change := s.arm(c.now, c.poll)
		if change != (c.want != 0) || got != c.want {
			t.Errorf("%s: %v, %t, want %v", c.name, got, change, c.want)
		}
	}
}

// A socket without Ready is asked when that is wanted, or half of pollEvery after it was empty; one
// with it at any time. Neither is asked while reading is held back.
func TestPolling(t *testing.T) {
	t.Parallel()
	awaited := new(atomic.Int32)
	awaited.Add(1)
	for _, c := range []struct {
		name           string
		p              polling
		now            time.Duration
		due, dueWanted bool
		next           time.Duration
	}{
		{"empty just now", polling{empty: 9}, 9, false, true, 9 + pollEvery},
		{"empty a while ago", polling{empty: 9}, 9 + pollEvery/2, true, true, 9 + pollEvery},
		{"empty, an answer is awaited", polling{empty: 9, awaited: awaited}, 9 + pollAwaited/2, true, true, 9 + pollAwaited},
		{"empty, none is awaited", polling{empty: 9, awaited: new(atomic.Int32)}, 9 + pollAwaited, false, true, 9 + pollEvery},
		{"more", polling{empty: 9, more: true, held: 10}, 10, true, true, 10},
		{"held back", polling{empty: 9, more: true, held: time.Hour}, 10, false, false, time.Hour},
		{"it reports, empty", polling{reports: true, empty: 9}, 9, true, true, math.MaxInt64},
		{"it reports, more", polling{reports: true, more: true}, 9, true, true, 0},
		{"it reports, held back", polling{reports: true, more: true, held: 10}, 9, false, false, 10},
	} {
		if due, wanted, next := c.p.due(c.now, false), c.p.due(c.now, true), c.p.next(); due != c.due || wanted != c.dueWanted || next != c.next {
			t.Errorf("%s: due %t, wanted %t, next %v; want %+v", c.name, due, wanted, next, c)
		}
	}
}
