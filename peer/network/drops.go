package network

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"memberly/peer/seal"
)

// dropReason is a reason to drop something that came, or should have gone.
type dropReason int

// The reasons.
const (
	dropStranger      dropReason = iota // its address belongs to no host of the file
	dropElsewhere                       // a host's message from an address that is not listed for it here
	dropSilent                          // a connection from a host's address that ended, or said nothing in time
	dropPendingFull                     // a connection evicted for newer ones before it identified itself
	dropConnRate                        // a connection of an address that opens too many
	dropMalformed                       // bytes that are no message
	dropNoMember                        // a message from an id that no host has
	dropImpostor                        // a message whose id is not that of its address's host; the protocol judges it
	dropQueryRate                       // a question of a host that asks too much
	dropHeartbeatRate                   // a heartbeat of a host that sends too many
	dropUnencodable                     // a message of this peer that breaks the rules of the wire
	dropStuck                           // a connection whose other end does not read
	dropUnsent                          // a heartbeat that could not be sent
	dropUnsealed                        // it is not sealed, and this peer has keys
	dropUnopened                        // no key here opens it
	dropReplayed                        // it is sealed, but came before, or too late
	dropMisled                          // a message for another incarnation of this peer
	reasons
)

// String names the reason.
func (d dropReason) String() string {
	return [reasons]string{"stranger", "elsewhere", "silent", "crowded", "hurried", "malformed", "no member",
		"impostor", "insistent", "racing", "unencodable", "stuck", "unsent", "unsealed", "unopened", "replayed",
		"other incarnation"}[d]
}

// words describe the faults of senders; in the reference's words where it has some.
var words = [reasons]string{
	dropStranger:      "Error getting hostname from address",
	dropConnRate:      "Error: too many connections",
	dropMalformed:     "Error decoding byte array to integers",
	dropNoMember:      "Error: member ID not found in peerIdToName map",
	dropImpostor:      openingFailed,
	dropUnsealed:      openingFailed,
	dropUnopened:      openingFailed,
	dropReplayed:      openingFailed,
	dropMisled:        "Error: message for another incarnation",
	dropQueryRate:     "Error: too many questions",
	dropHeartbeatRate: "Error: too many heartbeats",
}

const openingFailed = "Error opening message"

// fault is an error for which the sender of something is to blame.
type fault struct {
	reason dropReason // one of those with words
	err    error
}

func (f *fault) Error() string { return words[f.reason] + ": " + f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// The faults of a host that does too much.
var (
	tooManyConnections = &fault{dropConnRate, errors.New("more than a peer opens, unless this one stood still; they are closed")}
	tooManyQuestions   = &fault{dropQueryRate, errors.New("more than a peer asks, unless this one stood still; they are dropped")}
	tooManyHeartbeats  = &fault{dropHeartbeatRate, errors.New("more than a peer sends, unless this one stood still; they are dropped")}
)

// unopenable returns the reason to drop what could not be read or opened.
func unopenable(err error) dropReason {
	switch {
	case errors.Is(err, seal.ErrUnsealed):
		return dropUnsealed
	case errors.Is(err, seal.ErrUnopened):
		return dropUnopened
	case errors.Is(err, seal.ErrReplayed):
		return dropReplayed
	}
	return dropMalformed
}

// These limit the reports that are remembered, so that they fill neither memory nor stdout. Further
// ones are only counted. Strangers, who can have any number of addresses, have a limit of their own, so
// that reports of hosts and of failures here are still made.
const (
	maxReports        = 1024
	maxUnknownReports = 256
)

// drops counts what is dropped, and reports it once for each address and reason.
// Any goroutine may use it.
type drops struct {
	counts [reasons]atomic.Uint64
	notice *lines

	mu       sync.Mutex
	reported map[report]bool
	unknown  int  // of these, reports of strangers
	datagram bool // a stranger's was reported
}

// report identifies what was reported: a reason and an address, or the text of a failure here.
type report struct {
	reason dropReason
	addr   netip.Addr
	text   string
}

func newDrops(notice *lines) *drops {
	return &drops{notice: notice, reported: make(map[report]bool)}
}

// count counts a drop without a report.
func (d *drops) count(reason dropReason) { d.counts[reason].Add(1) }

// blame counts what came from addr, and reports it the first time, if err is a fault.
func (d *drops) blame(addr netip.Addr, err error) {
	if f, ok := errors.AsType[*fault](err); ok {
		d.count(f.reason)
		d.once(report{reason: f.reason, addr: addr}, "%v (from %v)", f, addr)
	}
}

// stranger reports, the first time, that addr belongs to no host.
func (d *drops) stranger(addr netip.Addr) {
	f := &fault{dropStranger, errors.New("it belongs to no host of the hosts file")}
	d.once(report{reason: f.reason, addr: addr}, "%v (from %v)", f, addr)
}

// foreign reports, for the first datagram alone, that addr belongs to no host: on a shared network the hosts of other
// groups broadcast without end.
func (d *drops) foreign(addr netip.Addr) {
	f := &fault{dropStranger, errors.New("it belongs to no host of the hosts file")}
	r := report{reason: f.reason, addr: addr}
	d.mu.Lock()
	first := !d.datagram && !d.reported[r]
	d.datagram = d.datagram || first
	d.mu.Unlock()
	if first {
		d.once(r, "%v (from %v); further datagrams from unknown addresses are only counted", f, addr)
	}
}

// failure reports that something failed here, once for each text.
func (d *drops) failure(what string, err error) {
	d.once(report{reason: reasons, text: what + err.Error()}, "%s: %v", what, err)
}

// once reports r in the words that follow, unless it did before.
func (d *drops) once(r report, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before, most, kind := len(d.reported)-d.unknown, maxReports, "faults"
	if r.reason == dropStranger {
		before, most, kind = d.unknown, maxUnknownReports, "unknown addresses"
	}
	if d.reported[r] || before >= most {
		return
	}
	d.reported[r] = true
	if r.reason == dropStranger {
		d.unknown++
	}
	d.notice.printf(format, args...)
	if before+1 == most {
		d.notice.printf("%d %s were reported; further ones are only counted", most, kind)
	}
}

// slow reports, the first time, that the reader of addr is held back.
func (d *drops) slow(addr netip.Addr) {
	d.once(report{reason: reasons, addr: addr},
		"Error: too many frames: it sends more than any peer does; they are read more slowly (from %v)", addr)
}
