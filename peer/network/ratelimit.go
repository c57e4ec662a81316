package network

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"memberly/peer/types"
)

// This file bounds what others can make this peer do: strangers, and hosts gone mad. What can be
// held back is not read for a while, so that nothing is lost, and it is the sender's queue that
// fills. What cannot is dropped. An honest host stays far below every bound.

const (
	// mostHasty is how many of each of these a host may begin in a second, or in each interval
	// between heartbeats where that is shorter: connections, JOINs, other questions (PROBE, ECHO),
	// heartbeats. A peer begins some five a second of the first three, and one heartbeat.
	mostHasty = 20
	// mostAtOnce is how many of each may come at once. More than a few do where this process stood
	// still and they waited in the kernel.
	mostAtOnce = 1000
	// mostJoins is how many JOINs may: each of a new life costs the group two views.
	mostJoins = 40
	// mostFramesRead and mostBytes are how much is read from a host in a second, a quarter of it
	// at once. What is sent to it counts as bytes too, so that short questions do not draw long
	// answers without end. While a group forms as fast as it can, a member sends some thousand
	// short frames.
	mostFramesRead = 20_000
	mostBytes      = 16 << 20
	// mostRead is how many datagrams are read in a second, besides four times those that the hosts
	// should send, and mostInRow how many at once.
	mostRead  = 5000
	mostInRow = 2048
	// breath is what a reader that is held back waits at least.
	breath = 50 * time.Millisecond
	// strangerSlots is how many bounds there are for the addresses that are no host's: by chance
	// two may share one.
	strangerSlots = 256
	// usualBeat is the interval between heartbeats where none is given.
	usualBeat = 1100 * time.Millisecond
)

// The faults of who does too much.
var (
	tooManyConnections = &fault{Hurried, errors.New("more than a peer opens, unless this one stood still; they are closed")}
	tooManyQuestions   = &fault{Insistent, errors.New("more than a peer asks, unless this one stood still; they are dropped")}
	tooManyHeartbeats  = &fault{Racing, errors.New("more than a peer sends, unless this one stood still; they are dropped")}
)

// bucket is an allowance that grows with time, to a bound. Any goroutine may use it.
type bucket struct {
	mu   sync.Mutex
	rate float64 // in a second
	most float64
	left float64 // below zero: owed
	at   time.Time
}

// allot says how much it grows in a second, and its bound, and fills it.
func (b *bucket) allot(rate, most float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate, b.most, b.left = rate, most, most
}

// grow adds what has come by now. Where another goroutine was here between its caller's look at
// the clock and this, now is past already, and nothing has.
func (b *bucket) grow(now time.Time) {
	if !b.at.IsZero() {
		b.left = min(b.most, b.left+b.rate*max(0, now.Sub(b.at)).Seconds())
	}
	if now.After(b.at) {
		b.at = now
	}
}

// allow takes one, and returns false if there is none.
func (b *bucket) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grow(now)
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// spend takes n, which may be more than there is: some is then owed. It returns how long to wait
// before more is spent; zero while nothing is owed.
func (b *bucket) spend(now time.Time, n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grow(now)
	b.left = max(b.left-float64(n), -b.most)
	if b.left >= 0 {
		return 0
	}
	return breath + time.Duration(-b.left/b.rate*float64(time.Second))
}

// limits are the bounds of one peer.
type limits struct {
	hosts     []allowance // by ID-1
	strangers [strangerSlots]bucket
	seed      maphash.Seed // so that nobody can tell who shares a slot
	datagrams bucket       // of all
}

// allowance is what one host may do.
type allowance struct {
	connections, joins, questions, heartbeats, frames, bytes bucket
}

// newLimits returns those of a peer among so many hosts, with so much time between heartbeats.
func newLimits(hosts int, beat time.Duration) *limits {
	if beat <= 0 {
		beat = usualBeat
	}
	hasty := mostHasty / min(beat, time.Second).Seconds()
	l := &limits{hosts: make([]allowance, hosts), seed: maphash.MakeSeed()}
	for i := range l.hosts {
		a := &l.hosts[i]
		a.connections.allot(hasty, mostAtOnce)
		a.joins.allot(hasty, mostJoins)
		a.questions.allot(hasty, mostAtOnce)
		a.heartbeats.allot(hasty, mostAtOnce)
		a.frames.allot(mostFramesRead, mostFramesRead/4)
		a.bytes.allot(mostBytes, mostBytes/4)
	}
	for i := range l.strangers {
		l.strangers[i].allot(hasty, mostAtOnce)
	}
	l.datagrams.allot(mostRead+4*float64(hosts)/beat.Seconds(), mostInRow)
	return l
}

// connections is the bound of those from addr, which is host's, or nobody's.
func (l *limits) connections(addr netip.Addr, host types.ID) *bucket {
	if host != 0 {
		return &l.hosts[host-1].connections
	}
	return &l.strangers[maphash.Comparable(l.seed, addr)%strangerSlots]
}

// of is what a host may do.
func (l *limits) of(host types.ID) *allowance { return &l.hosts[host-1] }

// admit holds the reader of c back if its host has sent too much, and tells whether m, which it
// has just read, is to be handed on. A question that is dropped will be asked again.
func (x *exchange) admit(c *connection, m *types.Message) bool {
	now, a := time.Now(), x.limits.of(c.host)
	if wait := max(a.frames.spend(now, 1), a.bytes.spend(now, len(c.buf))); wait > 0 {
		x.drops.slow(c.addr)
		x.pause(wait)
	}
	if a.answers(m.Kind, now) {
		return true
	}
	x.drops.blame(c.addr, tooManyQuestions)
	return false
}

// answers tells whether a message of this kind is no question, or one of not too many.
func (a *allowance) answers(kind types.Kind, now time.Time) bool {
	switch kind {
	case types.Join:
		return a.joins.allow(now)
	case types.Probe, types.Echo:
		return a.questions.allow(now)
	}
	return true
}

// slow says of addr, the first time, that it is held back.
func (d *drops) slow(addr netip.Addr) {
	d.once(report{reason: reasons, addr: addr},
		"Error: too many frames: it sends more than any peer does; they are read more slowly (from %v)", addr)
}

// spend counts a datagram, and returns how long to wait before the next is read: what comes
// meanwhile is lost, unless the kernel keeps it. Whoever is not heard because of that is asked over TCP.
func (p *pulse) spend() time.Duration {
	wait := p.limits.datagrams.spend(time.Now(), 1)
	if wait > 0 {
		p.drops.failure("Error reading from UDP connection", errFlood)
	}
	return wait
}

var errFlood = errors.New("more datagrams come than all peers send; some are lost")
