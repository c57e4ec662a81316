package network

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// lateness is by how much a Tick is late if the process was not scheduled meanwhile. Input may
	// then be queued at the sockets, which are drained for settleTime before the Tick.
	lateness   = 100 * time.Millisecond
	settleTime = 10 * time.Millisecond
	// leeway is by how much the timer may fire early. Else a busy loop would set it again at every
	// step.
	leeway = 100 * time.Millisecond
	// maxInput is how much input in a row may delay a Tick that is due.
	maxInput = 256
	// pollEvery is how often a peer at least asks a socket for datagrams that does not report them. Where
	// the process is awake anyway, it asks after half that time.
	pollEvery = 100 * time.Millisecond
	// pollAwaited is the same while an answer is awaited.
	pollAwaited = 10 * time.Millisecond
)

// phase is what the loop does between two steps of the protocol.
//
//	waiting ──timer fires──> draining ──no input is left, Tick due──> Tick, waiting
//	                                  ──no Tick due──> waiting
//	                                  ──Tick late──> settling
//	settling ──timer fires──> settled ──no input is left, Tick due──> Tick, waiting
//	                                  ──no Tick due──> settling
type phase uint8

const (
	waiting  phase = iota // for input, or for the timer
	draining              // the timer fired: input that came before is handled first
	settling              // the Tick is late: input that is queued is given settleTime
	settled               // as draining, but the Tick is not put off again, be it late or not
)

// schedule decides when the loop steps the protocol because time has passed. It has neither clock
// nor timer: a time is an Instant.Run.
type schedule struct {
	phase   phase
	wake    time.Duration // when a Tick is due
	hold    time.Duration // before which there is none
	armed   time.Duration // when the timer fires
	inputs  int           // in a row
	stalled bool          // the process was not scheduled, and no Tick has come since
}

// fired notes that the timer fired.
func (s *schedule) fired() {
	switch s.phase {
	case waiting:
		s.phase = draining
	case settling:
		s.phase = settled
	}
}

// urgent reports whether to look for input at sockets that do not report it, because a Tick may be next.
func (s *schedule) urgent() bool { return s.phase == draining || s.phase == settled }

// takesInput reports whether more input may be handled before time is looked at.
func (s *schedule) takesInput() bool {
	s.inputs++
	return s.inputs <= maxInput
}

// tick reports whether the loop is to call Tick now. The loop asks when no input is left, or
// takesInput allows no more.
func (s *schedule) tick(now time.Duration) bool {
	s.inputs = 0
	if !s.urgent() {
		return false
	}
	if s.phase == draining && s.late(now) {
		s.phase, s.stalled, s.hold = settling, true, now+settleTime
		return false
	}
	if now >= s.due() {
		s.phase, s.stalled = waiting, false
		return true
	}
	if s.phase == settled {
		s.phase = settling
	} else {
		s.phase = waiting
	}
	return false
}

// stepped notes that the protocol was stepped, and wants a Tick at wake.
func (s *schedule) stepped(now, wake time.Duration) {
	s.stalled = s.stalled || s.late(now)
	s.wake = wake
}

// arm returns in how long the timer is to fire: for the next Tick, or at poll if that is earlier. It
// returns false if the timer is set to fire then, or a little early.
func (s *schedule) arm(now, poll time.Duration) (time.Duration, bool) {
	at := min(s.due(), poll)
	if s.armed > now && s.armed <= at && at-s.armed < leeway {
		return 0, false
	}
	s.armed = at
	return at - now, true
}

func (s *schedule) due() time.Duration { return max(s.wake, s.hold) }

// late reports whether a Tick is so late that the process cannot have been scheduled.
func (s *schedule) late(now time.Duration) bool { return now-s.due() >= lateness }

// polling decides when the loop asks a socket for datagrams. A time is an Instant.Run.
type polling struct {
	reports bool          // the socket has Ready, so that it can be asked at any time
	more    bool          // there may be more datagrams
	empty   time.Duration // when there were no more
	held    time.Duration // before which none is read
	awaited *atomic.Int32 // how many answers are awaited; nil for none
}

// every is how often to ask a socket without Ready.
func (p *polling) every() time.Duration {
	if p.awaited != nil && p.awaited.Load() > 0 {
		return pollAwaited
	}
	return pollEvery
}

// due reports whether to ask the socket now. One without Ready is not asked sooner than half of
// every after it was empty, unless wanted.
func (p *polling) due(now time.Duration, wanted bool) bool {
	return now >= p.held && (p.reports || p.more || wanted || now >= p.empty+p.every()/2)
}

// none notes that the socket was empty.
func (p *polling) none(now time.Duration) { p.more, p.empty = false, now }

// some notes that the socket was not empty, and is not to be asked again before held.
func (p *polling) some(held time.Duration) { p.more, p.held = true, held }

// next is the latest time to ask the socket, unless Ready delivers before.
func (p *polling) next() time.Duration {
	switch {
	case p.more:
		return p.held
	case p.reports:
		return math.MaxInt64
	}
	return p.empty + p.every()
}
