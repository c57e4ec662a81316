package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"memberly/peer/types"
)

const (
	// challengePause is the minimum time between two challenges to one session of a host.
	challengePause = 200 * time.Millisecond
	// answerPause is the minimum time between answers to challenges by unknown sessions of a host that may be
	// recordings.
	answerPause = 50 * time.Millisecond
	// challengeLasts is how long an answer may take. Until then the number stays the same.
	challengeLasts = time.Second
	// copyLasts is how long copies of a heartbeat may follow it: a sender sends one to each
	// address of this host.
	copyLasts = 50 * time.Millisecond
	// beatLasts is the maximum age of a heartbeat that goes with an answer. What an older one
	// says may no longer be true.
	beatLasts = 200 * time.Millisecond
)

const datagramInfo = "memberly 2 datagram"

// The kinds of datagrams, in the first byte of the encrypted part. A number follows the last two.
const (
	saysMessage   = 0
	saysChallenge = 1 // asks for an answer with this number, of the session that follows
	saysAnswer    = 2 // answers the challenge with this number
)

// Datagrams seals and opens the datagrams of one life of a process. Any goroutine may call Seal,
// SealHeartbeat and Rekey at any time; Open must not be called concurrently with itself. With the
// zero Keyring datagrams pass unchanged.
//
// A heartbeat is sealed once for all hosts, so a recording of another host's copy has a counter
// that this host has seen. Datagrams older than the newest are dropped even if unseen: an attacker
// could withhold one and send it after its sender died.
//
// A datagram is a header (version, kind, sender, session, counter), then the encrypted part: its
// kind, a number if it is a challenge or an answer, and a message. A process draws its session
// once, and increments the counter with each datagram. A datagram of an unknown session is either
// from a new life of its sender or a recording from an old one. Datagrams challenges that session
// with a random number, and accepts it when the answer comes. A challenge names the session that
// is to answer.
type Datagrams struct {
	self   types.ID
	random io.Reader
	plain  []byte // backs the message that Open returns; only Open uses it
	reply  []byte // backs the reply that Open returns; only Open uses it

	mu      sync.Mutex // guards all below
	ring    Keyring
	session session
	own     sealer
	counter uint64
	nonce   nonce
	beat    []byte // the last heartbeat
	beaten  time.Duration
	hosts   map[types.ID]*host // those of which a datagram opened
}

// session identifies one life of a process.
type session [numberLen]byte

// host is what Open knows about another host.
type host struct {
	session session // accepted last
	sealer  sealer  // opened the last datagram of session; zero if no session is known
	window  window
	newest  time.Duration // when the newest counter of window arrived

	number     uint64 // of the last challenge
	challenged time.Duration
	pending    bool // it has no answer yet

	asked         session       // the session that the last challenge asked
	challengeFrom time.Duration // earliest time of the next challenge to it
	challenger    session       // the unknown session whose challenge was answered last
	newestAsked   uint64        // the counter of that challenge
	answerFrom    time.Duration // earliest time of the answer to another, or to an older one
}

// NewDatagrams returns the Datagrams of a process that starts as peer self. It keeps random for
// challenges. The error is that of reading random.
func NewDatagrams(ring Keyring, self types.ID, random io.Reader) (*Datagrams, error) {
	l := &Datagrams{self: self, random: random, hosts: make(map[types.ID]*host)}
	if _, err := io.ReadFull(random, l.session[:]); err != nil {
		return nil, fmt.Errorf("drawing a session: %w", err)
	}
	l.Rekey(ring)
	return l, nil
}

// Rekey makes l seal with the first key of ring from now on, and open with all of them. It
// forgets sessions under other keys: they have to answer a challenge again.
func (l *Datagrams) Rekey(ring Keyring) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring, l.own = ring, sealer{}
	if ring.Len() > 0 {
		l.own = l.sealer(ring.keys[0], l.session, l.self)
	}
	for _, h := range l.hosts {
		if !ring.has(h.sealer.key) {
			h.sealer = sealer{}
		}
	}
}

// Renew begins another life, with a session that seed, which must be random, makes unlike any before. It forgets
// all sessions of others, because what came from them since may come again.
func (l *Datagrams) Renew(seed []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := sha256.Sum256(append(l.session[:], seed...))
	l.session, l.counter = session(sum[:numberLen]), 0
	clear(l.hosts)
	if l.ring.Len() > 0 {
		l.own = l.sealer(l.ring.keys[0], l.session, l.self)
	}
}

// sealer returns the sealer of a peer's session under key k.
func (l *Datagrams) sealer(k key, s session, from types.ID) sealer {
	return newSealer(k, nil, s[:], string(binary.BigEndian.AppendUint16([]byte(datagramInfo), uint16(from))))
}

// Seal appends a datagram with message to b.
func (l *Datagrams) Seal(b, message []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(b, saysMessage, 0, message)
}

// SealHeartbeat is Seal for a heartbeat, to be sent to all hosts. For 0.2 s after now, answers to
// challenges repeat the heartbeat, so that hosts which do not know this session yet miss none.
func (l *Datagrams) SealHeartbeat(b, message []byte, now time.Duration) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beat, l.beaten = append(l.beat[:0], message...), now
	return l.append(b, saysMessage, 0, message)
}

func (l *Datagrams) append(b []byte, says byte, number uint64, message []byte) []byte {
	if l.own.aead == nil {
		return append(b, message...)
	}
	start := len(b)
	b = append(appendHeader(b, kindDatagram, l.self), l.session[:]...)
	b = binary.BigEndian.AppendUint64(b, l.counter)
	body := len(b)
	b = append(b, says)
	if says != saysMessage {
		b = binary.BigEndian.AppendUint64(b, number)
	}
	b = append(b, message...)
	b = l.own.aead.Seal(b[:body], l.nonce.of(l.counter), b[body:], b[start:body])
	l.counter++
	return b
}

// Open opens the datagram b, which came from an address of host from. It returns the message to
// hand on and the reply to send to that address; either can be nil, and both are valid until the
// next Open. Both are nil, without error, during a handshake and for reordered or duplicate
// datagrams. Open does not modify b.
//
// The error says why to drop b: ErrUnsealed, types.ErrVersion, ErrImpostor if b claims another
// host (b stays unopened then), ErrUnopened, ErrReplayed, ErrUnasked (possibly with a reply), or
// the error of reading random.
func (l *Datagrams) Open(from types.ID, b []byte, now time.Duration) (message, reply []byte, err error) {
	return l.openWith(from, b, now, false)
}

// OpenKnown is Open for an address from which too much came that does not open. It tries only the key of the
// session that host from is known to have, and so takes no more than one decryption.
func (l *Datagrams) OpenKnown(from types.ID, b []byte, now time.Duration) (message, reply []byte, err error) {
	return l.openWith(from, b, now, true)
}

func (l *Datagrams) openWith(from types.ID, b []byte, now time.Duration, onlyKnown bool) (message, reply []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ring.Len() == 0 {
		return b, nil, nil
	}
	claimed, err := readHeader(b, kindDatagram)
	switch {
	case err != nil:
		return nil, nil, err
	case claimed != from:
		return nil, nil, ErrImpostor
	case len(b) < datagramHeader:
		return nil, nil, ErrUnopened
	}
	d := datagram{session: session(b[headerSize:]), counter: binary.BigEndian.Uint64(b[headerSize+numberLen:])}
	h := l.open(from, b, &d, onlyKnown)
	if h == nil || !d.split(l.plain) {
		return nil, nil, ErrUnopened
	}
	return l.handle(h, &d, now)
}

// datagram is a datagram that Open works on.
type datagram struct {
	session session
	counter uint64
	sealer  sealer // opened it
	says    byte
	number  uint64
	message []byte
}

// open opens b into l.plain, and returns the host that sealed it, or nil if no key opens it. If
// another key opens a known session, the sender has changed keys; onlyKnown leaves that untried.
func (l *Datagrams) open(from types.ID, b []byte, d *datagram, onlyKnown bool) *host {
	h := l.hosts[from]
	known := h != nil && h.knows(d.session)
	if known && l.try(h.sealer, b, d) {
		return h
	}
	if onlyKnown {
		return nil
	}
	for _, k := range l.ring.keys {
		if known && k == h.sealer.key || !l.try(l.sealer(k, d.session, from), b, d) {
			continue
		}
		if h == nil {
			h = new(host)
			l.hosts[from] = h
		}
		if known {
			h.sealer = d.sealer
		}
		return h
	}
	return nil
}

// try opens b with one sealer, into l.plain, because a failure in place would destroy b for the
// other keys.
func (l *Datagrams) try(s sealer, b []byte, d *datagram) bool {
	plain, err := s.aead.Open(l.plain[:0], l.nonce.of(d.counter), b[datagramHeader:], b[:datagramHeader])
	if err != nil {
		return false
	}
	l.plain, d.sealer = plain, s
	return true
}

// split parses the decrypted part. It returns false if that is malformed.
func (d *datagram) split(plain []byte) bool {
	if len(plain) == 0 {
		return false
	}
	d.says, d.message = plain[0], plain[1:]
	if d.says == saysMessage {
		return true
	}
	if d.says > saysAnswer || len(d.message) < numberLen {
		return false
	}
	d.number, d.message = binary.BigEndian.Uint64(d.message), d.message[numberLen:]
	return true
}

// handle handles the opened datagram d of host h. Its results are those of Open.
func (l *Datagrams) handle(h *host, d *datagram, now time.Duration) (message, reply []byte, err error) {
	switch {
	case d.says == saysChallenge && !bytes.Equal(d.message, l.session[:]), d.says == saysAnswer && !h.answers(d, now):
		return nil, nil, ErrUnasked
	case d.says == saysChallenge:
		reply, err := l.answer(h, d, now)
		return nil, reply, err
	case d.says == saysMessage && !h.knows(d.session):
		waits := h.pending
		reply, err := l.challenge(h, d.session, now)
		if waits && err == nil {
			err = ErrUnasked // a new life repeats its message in the answer; this may be an old one's
		}
		return nil, reply, err
	case !h.knows(d.session):
		h.accept(d, now)
	default:
		copied := d.counter == h.window.newest && now-h.newest < copyLasts
		switch h.window.admit(d.counter) {
		case again:
			if copied {
				return nil, nil, nil
			}
			return nil, nil, ErrReplayed
		case overtaken:
			return nil, nil, nil
		}
		h.newest = now
	}
	if len(d.message) == 0 {
		return nil, nil, nil // an answer without a heartbeat
	}
	return d.message, nil, nil
}

// challenge returns a challenge to session s of h, or nil within challengePause of the last one.
// It repeats a number that is still valid, so that an answer slower than the pause counts.
func (l *Datagrams) challenge(h *host, s session, now time.Duration) ([]byte, error) {
	if s == h.asked && now < h.challengeFrom {
		return nil, nil
	}
	if !h.pending || now-h.challenged > challengeLasts {
		var number [numberLen]byte
		if _, err := io.ReadFull(l.random, number[:]); err != nil {
			return nil, fmt.Errorf("drawing a challenge: %w", err)
		}
		h.number, h.pending, h.challenged = binary.BigEndian.Uint64(number[:]), true, now
	}
	h.asked, h.challengeFrom = s, now+challengePause
	l.reply = l.append(l.reply[:0], saysChallenge, h.number, s[:])
	return l.reply, nil
}

// answer returns the answer to the challenge d of h. A known session's challenge is answered once, while its
// counter is within the window. An unknown session may be a recorded one: each of its challenges is answered once
// at once if they come in order. All others have one pause: nil for one that comes sooner.
func (l *Datagrams) answer(h *host, d *datagram, now time.Duration) ([]byte, error) {
	switch {
	case h.knows(d.session):
		if h.window.admit(d.counter) == again {
			return nil, ErrUnasked
		}
	case d.session == h.challenger && d.counter > h.newestAsked:
		h.newestAsked, h.answerFrom = d.counter, now+answerPause
	case now < h.answerFrom:
		return nil, nil
	case d.session != h.challenger:
		h.challenger, h.newestAsked, h.answerFrom = d.session, d.counter, now+answerPause
	default:
		h.answerFrom = now + answerPause
	}
	beat := l.beat
	if now-l.beaten > beatLasts {
		beat = nil
	}
	l.reply = l.append(l.reply[:0], saysAnswer, d.number, beat)
	return l.reply, nil
}

// knows reports whether s is the session of h that was accepted last.
func (h *host) knows(s session) bool { return h.sealer.aead != nil && h.session == s }

// answers reports whether d answers the pending challenge, which then pends no more.
func (h *host) answers(d *datagram, now time.Duration) bool {
	if !h.pending || d.number != h.number || now-h.challenged > challengeLasts {
		return false
	}
	h.pending = false
	return true
}

// accept makes the session of d the known one. It marks all counters below d's as seen, because
// nothing tells the age of a datagram sealed before d.
func (h *host) accept(d *datagram, now time.Duration) {
	h.session, h.sealer, h.newest = d.session, d.sealer, now
	h.window = window{newest: d.counter, seen: ^uint64(0)}
}

// window records which of the newest 64 counters were seen.
type window struct {
	newest uint64
	seen   uint64 // bit i stands for newest-i
}

// place is how a counter relates to those seen before.
type place int

const (
	ahead     place = iota // newer than all
	overtaken              // older than the newest, but not seen before
	again                  // seen before, or so old that it may have been
)

// admit records a counter, and returns its place.
func (w *window) admit(counter uint64) place {
	if counter > w.newest {
		w.seen = w.seen<<(counter-w.newest) | 1
		w.newest = counter
		return ahead
	}
	bit := uint64(1) << (w.newest - counter) // 0 if it is too old
	if bit == 0 || w.seen&bit != 0 {
		return again
	}
	w.seen |= bit
	return overtaken
}
