package network

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"memberly/peer/datastructures"
	"memberly/peer/network/connections"
	"memberly/peer/types"
)

// This file limits what others can make this peer do: unknown addresses, and hosts that misbehave.
// Where possible, input beyond a limit is not read for a while: nothing is lost, and the sender's queue
// fills. Else it is dropped. A host that behaves stays far below every limit.

// limit is a row of the table of limits. docs/security.md has the same rows, which a test compares.
type limit struct {
	what    string
	rate    int          // in a second; 0 if only the number at a time is limited
	burst   int          // at once, or at a time
	perBeat bool         // a second is the interval between heartbeats where that is shorter
	also    []int        // further numbers that the page states
	beyond  string       // what happens to more
	counted []dropReason // as what
}

// limitID is the place of a limit in the table.
type limitID int

// The limits. Those before hostLimits hold for each host by itself.
const (
	limitConns limitID = iota
	limitJoins
	limitQueries
	limitHeartbeats
	limitUnopened
	limitFrames
	limitBytes
	hostLimits
)

const (
	limitDatagrams limitID = iota + hostLimits
	limitLookups
	limitAsking
	limitPending
	limitLookedInto
	limitOpen
	limitQueued
	limitReports
	limitRecords
)

// The limits of a number at a time. package connections has that of open connections, and drops.go those of
// reports.
const (
	// maxPendingUnknown is how many connections may be pending from addresses that belong to no host
	// as far as is known: one may be a host's new address.
	maxPendingUnknown = 64
	// maxPendingOfHost is how many may be pending from one host.
	maxPendingOfHost = 8
	// introduction is how long a connection may be pending.
	introduction = 2 * time.Second
	// maxFrames is how many frames wait to be written to a connection.
	maxFrames = 128
	// writeTimeout is how long a frame may wait for its receiver to read.
	writeTimeout = 2 * time.Second
)

// heldBack is what happens to a reader beyond a limit.
var heldBack = fmt.Sprintf("read for %d ms", backoff.Milliseconds())

// limitTable has every limit. A peer begins some five connections, JOINs and queries a second, sends
// one heartbeat, and some thousand short frames while a group forms as fast as it can. More than a
// few come at once only where this process stood still while they waited in the kernel. Each JOIN of a
// new life costs the group two views.
var limitTable = [...]limit{
	limitConns:      {"new connections of one address", 20, 1000, true, nil, "closed", []dropReason{dropConnRate}},
	limitJoins:      {"JOINs of one host", 20, 40, true, nil, "dropped", []dropReason{dropQueryRate}},
	limitQueries:    {"PROBEs, and doctors' questions, of one host", 20, 1000, true, nil, "dropped", []dropReason{dropQueryRate}},
	limitHeartbeats: {"heartbeats of one host", 20, 1000, true, nil, "dropped", []dropReason{dropHeartbeatRate}},
	// With keys. To find out that none opens a datagram takes a key derivation for each.
	limitUnopened: {"datagrams in the name of one host that no key opens", 20, 100, true, nil, "only the key in use is tried", []dropReason{dropUnopened}},
	limitFrames:   {"frames of one host", 20_000, 5000, false, []int{types.MaxFrame}, "not " + heldBack, nil},
	// What is sent to a host counts as its bytes too, so that short questions do not draw long answers
	// without end.
	limitBytes: {"bytes of one host, and to it", 16 << 20, 4 << 20, false, nil, "not " + heldBack, nil},
	// The rate grows by datagramsPerBeat for each host.
	limitDatagrams: {"datagrams in all", 5000, 2048, false, []int{datagramsPerBeat}, "none are " + heldBack, nil},
	// The burst grows by one for each host.
	limitLookups: {"look-ups of names that are claimed", 64, 64, false, nil, "not believed", []dropReason{dropStranger}},

	limitAsking: {"questions to the name service", 0, maxLookups, false, []int{maxLookups / 2}, "waits", nil},
	limitPending: {"connections that have not identified themselves", 0, maxPendingUnknown, false,
		[]int{maxPendingOfHost, int(introduction / time.Second)}, "the oldest of that kind is closed", []dropReason{dropPendingFull, dropSilent}},
	limitLookedInto: {"unidentified connections of unknown addresses that are looked up", 0, maxLookedInto, false, nil, "closed", []dropReason{dropPendingFull}},
	limitOpen:       {"open connections with one host", 0, connections.MaxOpen, false, nil, "the oldest is closed", nil},
	limitQueued:     {"frames that wait to be written to a connection", 0, maxFrames, false, []int{int(writeTimeout / time.Second)}, "closed", []dropReason{dropStuck}},
	limitReports:    {"reports on stdout", 0, maxUnknownReports, false, []int{maxReports}, "only counted", nil},
	limitRecords:    {what: "records that nobody reads from stderr"}, // none: each is kept
}

const (
	// datagramsPerBeat is how many datagrams each host adds to the limit of all in the time between
	// two heartbeats.
	datagramsPerBeat = 4
	// backoff is the least time for which a reader is held back.
	backoff = 50 * time.Millisecond
	// strangerSlots is how many buckets unknown addresses share: by chance two may have the same.
	strangerSlots = 256
	// usualBeat is the interval between heartbeats where none is given.
	usualBeat = 1100 * time.Millisecond
)

// bucket is an allowance that grows with time, to a bound. Any goroutine may use it.
type bucket struct {
	mu    sync.Mutex
	rate  float64 // in a second
	burst float64 // the bound
	left  float64 // below zero: owed
	at    time.Time
}

// allot sets how much b grows in a second, and to what bound, and fills it.
func (b *bucket) allot(rate, burst float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate, b.burst, b.left = rate, burst, burst
}

// raise makes b grow by so much more in a second, and adds so much to its bound and to what is left.
func (b *bucket) raise(rate, burst float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate, b.burst, b.left = b.rate+rate, b.burst+burst, b.left+burst
}

// grow adds what has grown until now. If another goroutine has called it with a later time since the
// caller read the clock, it adds nothing.
func (b *bucket) grow(now time.Time) {
	if !b.at.IsZero() {
		b.left = min(b.burst, b.left+b.rate*max(0, now.Sub(b.at)).Seconds())
	}
	if now.After(b.at) {
		b.at = now
	}
}

// allow takes one, and reports whether there was one.
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

// has reports whether there is one to take.
func (b *bucket) has(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grow(now)
	return b.left >= 1
}

// spend takes n, which may be more than is left: the rest is owed. It returns how long to wait before
// more is spent; zero while nothing is owed.
func (b *bucket) spend(now time.Time, n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grow(now)
	b.left = max(b.left-float64(n), -b.burst)
	if b.left >= 0 {
		return 0
	}
	return backoff + time.Duration(-b.left/b.rate*float64(time.Second))
}

// limits are the buckets of one peer.
type limits struct {
	beat      time.Duration                       // between two heartbeats
	hosts     datastructures.SafeTable[allowance] // by ID-1
	strangers [strangerSlots]bucket
	seed      maphash.Seed // so that the addresses that share a slot cannot be predicted
	datagrams bucket       // of all
}

// allowance is what one host may do.
type allowance [hostLimits]bucket

// newLimits returns the limits of a peer among so many hosts, with so much time between heartbeats.
func newLimits(hosts int, beat time.Duration) *limits {
	if beat <= 0 {
		beat = usualBeat
	}
	l := &limits{beat: beat, seed: maphash.MakeSeed()}
	for i := range l.strangers {
		l.strangers[i].allot(limitTable[limitConns].allowed(beat))
	}
	l.datagrams.allot(limitTable[limitDatagrams].allowed(beat))
	l.grow(hosts)
	return l
}

// grow makes l the limits among so many hosts, which are no fewer than before. One goroutine at a time may call it.
func (l *limits) grow(hosts int) {
	more := hosts - l.hosts.Len()
	l.hosts.Grow(hosts, func(a *allowance) {
		for id := range hostLimits {
			a[id].allot(limitTable[id].allowed(l.beat))
		}
	})
	l.datagrams.raise(datagramsPerBeat*float64(more)/l.beat.Seconds(), 0)
}

// allowed returns the rate in a second, and the burst, with so much time between heartbeats.
func (l *limit) allowed(beat time.Duration) (rate, burst float64) {
	rate = float64(l.rate)
	if l.perBeat {
		rate /= min(beat, time.Second).Seconds()
	}
	return rate, float64(l.burst)
}

// connections returns the bucket for connections from addr, which belongs to host, or to none if that
// is 0.
func (l *limits) connections(addr netip.Addr, host types.ID) *bucket {
	if host != 0 {
		return &l.of(host)[limitConns]
	}
	return &l.strangers[maphash.Comparable(l.seed, addr)%strangerSlots]
}

// of returns what a host may do.
func (l *limits) of(host types.ID) *allowance { return l.hosts.At(int(host - 1)) }

// answers reports whether a message of this kind is to be handed on: it is no query, or within the limit.
func (a *allowance) answers(kind types.Kind, now time.Time) bool {
	switch kind {
	case types.Join:
		return a[limitJoins].allow(now)
	case types.Probe, types.Echo, types.Hosts:
		return a[limitQueries].allow(now)
	}
	return true
}
