package handlers

import "time"

// The durations of the protocol (docs/protocol.md, Timing), with a -monitor of 2.2 s. They scale with
// -monitor: see scaled and paced.
const (
	usualMonitor = 2200 * time.Millisecond

	retryEvery       = 200 * time.Millisecond // between sendings of what is not answered, and between PROBEs
	silentProbeEvery = 200 * time.Millisecond // between PROBEs of a silent member; not longer than the next
	lostProbeEvery   = time.Second            // between PROBEs of a member held unreachable
	reformProbeEvery = 400 * time.Millisecond // between PROBEs for the evidence that re-forming takes
	redialAfter      = 500 * time.Millisecond // until an unanswered request goes over a new connection
	joinRedialAfter  = 400 * time.Millisecond // until a JOIN does, to a host of which nothing comes
	joinGap          = time.Second            // between two JOINs of one that asks all the time, at most
	ceasePause       = 100 * time.Millisecond // before a leader tells others that it has ceased: so long its listeners have to end things
	leaveLimit       = time.Second            // for leaving, and for a leader's departure
	unsteadyGap      = time.Minute            // between removals of a host whose link comes and goes; does not scale
	steadyFor        = usualMonitor           // that a host asks to be let in whose link comes and goes

	stallLimit  = 500 * time.Millisecond // a longer gap between two steps is this peer's own stall
	stallWatch  = 400 * time.Millisecond // a Tick comes so long after any step, so that no stall goes unnoticed
	stallGrace  = 100 * time.Millisecond // after a stall, in which no member is held unreachable
	probeAnswer = 500 * time.Millisecond // in which a PROBE should have been answered
	lookPerHost = 50 * time.Microsecond  // of the view, between two looks at its silent members

	foundingTurn    = 10 * time.Second       // that each founder waits for each host before it
	foundingLook    = time.Second            // before its turn in which a founder begins to gather evidence
	foundingPause   = 200 * time.Millisecond // of a host that stores, for each host before it
	storeWithin     = 10 * time.Millisecond  // what nobody relies on yet
	clockAhead      = time.Hour              // what is stored is ahead of the clock, at most; this does not scale
	markedRest      = time.Second            // for a host that the file retires to answer, before a group is made
	silentRest      = 10 * time.Second       // that the other hosts stay silent where more than half are accounted for
	reformRounds    = time.Second            // between the two rounds of evidence of re-forming
	mergeLeaderless = 10 * time.Second       // without a leader, until another group draws
	mergeInquorate  = usualMonitor           // without a quorum either
	noticeAfter     = usualMonitor           // of waiting before it is reported
	noticeAgain     = 10 * time.Minute       // of what an operator may take a while to mend; this does not scale
	noticeEvery     = time.Minute            // and again, as with any other notice; this does not scale

	twiceAnswerGood = time.Second            // how long a member's answer shows that its host runs twice
	twiceRefusal    = time.Second            // between refusals, and between the JOINs of the one refused
	twiceWait       = 500 * time.Millisecond // for the member's answer
)

// scaled returns d as it is with this -monitor.
func (c *Config) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (float64(c.Monitor) / float64(usualMonitor)))
}

// paced is scaled, but d at most: however patient a peer is with silence, it does not take longer to
// ask again.
func (c *Config) paced(d time.Duration) time.Duration { return min(c.scaled(d), d) }

// retry is the pause between two sendings of what is not answered.
func (c *Config) retry() time.Duration { return c.paced(retryEvery) }

// patience is the silence that makes a peer look: one heartbeat and a little.
func (c *Config) patience() time.Duration { return c.Heartbeat * 12 / 11 }
