package network

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"memberly/peer/seal"
)

// Drop is a reason to drop something that came, or should have gone.
type Drop int

// The reasons.
const (
	Stranger      Drop = iota // its address belongs to no host of the file
	Silent                    // a connection from a host's address that ended, or said nothing in time
	PendingFull               // a connection evicted for newer ones before it identified itself
	ConnRate                  // a connection of an address that opens too many
	Malformed                 // bytes that are no message
	NoMember                  // a message from an id that no host has
	Impostor                  // a message whose id is not that of its address's host; the protocol judges it
	QueryRate                 // a question of a host that asks too much
	HeartbeatRate             // a heartbeat of a host that sends too many
	Unencodable               // a message of this peer that breaks the rules of the wire
	Stuck                     // a connection whose other end does not read
	Unsent                    // a heartbeat that could not be sent
	Unsealed                  // it is not sealed, and this peer has keys
	Unopened                  // no key here opens it
	Replayed                  // it is sealed, but came before, or too late
	Misled                    // a message for another incarnation of this peer
	reasons
)

// String names the reason.
func (d Drop) String() string {
	return [reasons]string{"stranger", "silent", "crowded", "hurried", "malformed", "no member",
		"impostor", "insistent", "racing", "unencodable", "stuck", "unsent", "unsealed", "unopened", "replayed",
		"other incarnation"}[d]
}

// words describe the faults of senders; in the reference's words where it has some.
var words = [reasons]string{
	Stranger:      "Error getting hostname from address",
	ConnRate:      "Error: too many connections",
	Malformed:     "Error decoding byte array to integers",
	NoMember:      "Error: member ID not found in peerIdToName map",
	Impostor:      openingFailed,
	Unsealed:      openingFailed,
	Unopened:      openingFailed,
	Replayed:      openingFailed,
	Misled:        "Error: message for another incarnation",
	QueryRate:     "Error: too many questions",
	HeartbeatRate: "Error: too many heartbeats",
}

const openingFailed = "Error opening message"

// fault is an error for which the sender of something is to blame.
type fault struct {
	reason Drop // one of those with words
	err    error
}

func (f *fault) Error() string { return words[f.reason] + ": " + f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// The faults of a host that does too much.
var (
	tooManyConnections = &fault{ConnRate, errors.New("more than a peer opens, unless this one stood still; they are closed")}
	tooManyQuestions   = &fault{QueryRate, errors.New("more than a peer asks, unless this one stood still; they are dropped")}
	tooManyHeartbeats  = &fault{HeartbeatRate, errors.New("more than a peer sends, unless this one stood still; they are dropped")}
)

// unopenable returns the reason to drop what could not be read or opened.
func unopenable(err error) Drop {
	switch {
	case errors.Is(err, seal.ErrUnsealed):
		return Unsealed
	case errors.Is(err, seal.ErrUnopened):
		return Unopened
	case errors.Is(err, seal.ErrReplayed):
		return Replayed
	}
	return Malformed
}

// These limit the reports that are remembered, so that they fill neither memory nor stdout. Further
// ones are only counted. Strangers, who can have any number of addresses, have a limit of their own, so
// that reports of hosts and of failures here are still made.
const (
	maxReports  = 1024
	maxOfNobody = 256
)

// drops counts what is dropped, and reports it once for each address and reason.
// Any goroutine may use it.
type drops struct {
	counts [reasons]atomic.Uint64
	notice *lines

	mu       sync.Mutex
	reported map[report]bool
	nobodies int // of these, reports of strangers
}

// report identifies what was reported: a reason and an address, or the text of a failure here.
type report struct {
	reason Drop
	addr   netip.Addr
	text   string
}

func newDrops(notice *lines) *drops {
	return &drops{notice: notice, reported: make(map[report]bool)}
}

// count counts a drop without a report.
func (d *drops) count(reason Drop) { d.counts[reason].Add(1) }

// blame counts what came from addr, and reports it the first time, if err is a fault.
func (d *drops) blame(addr netip.Addr, err error) {
	if f, ok := errors.AsType[*fault](err); ok {
		d.count(f.reason)
		d.once(report{reason: f.reason, addr: addr}, "%v (from %v)", f, addr)
	}
}

// stranger reports, the first time, that addr belongs to no host.
func (d *drops) stranger(addr netip.Addr) {
	f := &fault{Stranger, errors.New("it belongs to no host of the hosts file")}
	d.once(report{reason: f.reason, addr: addr}, "%v (from %v)", f, addr)
}

// failure reports that something failed here, once for each text.
func (d *drops) failure(what string, err error) {
	d.once(report{reason: reasons, text: what + err.Error()}, "%s: %v", what, err)
}

// once reports r in the words that follow, unless it did before.
func (d *drops) once(r report, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before, most, kind := len(d.reported)-d.nobodies, maxReports, "faults"
	if r.reason == Stranger {
		before, most, kind = d.nobodies, maxOfNobody, "strangers"
	}
	if d.reported[r] || before >= most {
		return
	}
	d.reported[r] = true
	if r.reason == Stranger {
		d.nobodies++
	}
	d.notice.printf(format, args...)
	if before+1 == most {
		d.notice.printf("%d %s were reported; further ones are only counted", most, kind)
	}
}

// all returns how often each reason was counted, without those that never were.
func (d *drops) all() map[Drop]uint64 {
	counted := make(map[Drop]uint64)
	for reason := range reasons {
		if n := d.counts[reason].Load(); n > 0 {
			counted[reason] = n
		}
	}
	return counted
}

// slow reports, the first time, that the reader of addr is held back.
func (d *drops) slow(addr netip.Addr) {
	d.once(report{reason: reasons, addr: addr},
		"Error: too many frames: it sends more than any peer does; they are read more slowly (from %v)", addr)
}
