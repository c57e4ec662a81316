package seal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"memberly/peer/types"
)

const (
	// challengePause is the least time between two challenges to one session of a host.
	challengePause = 200 * time.Millisecond
	// answerPause is the least time between two answers to one challenge.
	answerPause = 50 * time.Millisecond
	// challengeLasts is how long an answer may take; for as long the challenge is the same.
	challengeLasts = time.Second
	// copyLasts is how long after a heartbeat its copies come: one for each address of this host.
	copyLasts = 50 * time.Millisecond
	// beatLasts is how old a heartbeat may be that goes with an answer. Older ones may say what
	// is true no more.
	beatLasts = 200 * time.Millisecond
)

const datagramInfo = "memberly 1 datagram"

// What the first byte within a sealed datagram says that it is. A number follows in the last two.
const (
	saysMessage   = 0
	saysChallenge = 1 // answer this number, if the session that follows is yours
	saysAnswer    = 2 // to this number
)

// Datagrams seals and opens the datagrams of one life of a process. Any goroutine may call Seal,
// Beat and Rekey at any time; one at a time calls Open. With the zero Ring it passes on
// datagrams as they are.
//
// A heartbeat is sealed once, and goes to all: so what was recorded on its way to another host has
// a counter that this one knows. What is older than the newest is not handed on, came it or not:
// who lost some could be told of them after their sender's end.
//
// A datagram is a header (version, kind, sender, session, counter) and what is sealed: what it
// says, a number if it is a challenge or an answer, and a message. The session is drawn once,
// the counter is one higher in each datagram. Another session than the one that is known of a
// host may be its new life, or recorded from an old one: it is challenged with a number, and
// only the answer to that introduces it. A challenge names the session that it is for.
type Datagrams struct {
	self   types.ID
	random io.Reader
	plain  []byte // what Open returns is in it; only Open uses it
	reply  []byte // the same

	mu      sync.Mutex // guards all below
	ring    Keyring
	session session
	own     sealer
	counter uint64
	nonce   nonce
	beat    []byte // the last one
	beaten  time.Duration
	hosts   map[types.ID]*host // of which a datagram opened
}

// session names one life of a process.
type session [numberLen]byte

// host is what Open knows of another host.
type host struct {
	session session // introduced last
	sealer  sealer  // that opened it last; zero: no session is known
	window  window
	newest  time.Duration // when the newest of window came

	number     uint64 // of the last challenge
	challenged time.Duration
	pending    bool // it is not answered yet

	asked         session       // by that challenge
	challengeFrom time.Duration // when it may be asked again
	answered      uint64        // the number answered last
	answerFrom    time.Duration // when it may be again
}

// NewDatagrams returns the Lane of a process that begins as peer self. The error is that of
// reading random, which is kept for challenges.
func NewDatagrams(ring Keyring, self types.ID, random io.Reader) (*Datagrams, error) {
	l := &Datagrams{self: self, random: random, hosts: make(map[types.ID]*host)}
	if _, err := io.ReadFull(random, l.session[:]); err != nil {
		return nil, fmt.Errorf("drawing a session: %w", err)
	}
	l.Rekey(ring)
	return l, nil
}

// Rekey has l seal with the first key of ring from now on, and open with all. A session whose
// key is not among them is forgotten, and introduced anew by a challenge.
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

// sealer returns what a session of a peer is sealed with, under a key.
func (l *Datagrams) sealer(k key, s session, from types.ID) sealer {
	return newSealer(k, s[:], string(binary.BigEndian.AppendUint16([]byte(datagramInfo), uint16(from))))
}

// Seal appends to b a datagram with message.
func (l *Datagrams) Seal(b, message []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(b, saysMessage, 0, message)
}

// SealHeartbeat is Seal for a heartbeat, of which each host gets the same copy. For a moment it is kept, to
// go with answers too: so those that did not know this process lose none.
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

// Open opens the datagram b from an address of host from. It returns the message, if one is to
// be handed on, and the reply to send to that address, if there is one, without waiting; both
// are valid until the next Open. That there is neither, and no error, is what happens when two
// meet, and to what is overtaken or a second copy.
//
// The error is why b is to be dropped: ErrUnsealed, types.ErrVersion, ErrImpostor if it says it
// is of another host (it is not opened then), ErrUnopened, ErrReplayed, ErrUnasked (there may be a
// reply then, too), or that of reading random.
// b is left as it is.
func (l *Datagrams) Open(from types.ID, b []byte, now time.Duration) (message, reply []byte, err error) {
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
	h := l.open(from, b, &d)
	if h == nil || !d.split(l.plain) {
		return nil, nil, ErrUnopened
	}
	return l.heed(h, &d, now)
}

// datagram is one that is being opened.
type datagram struct {
	session session
	counter uint64
	sealer  sealer // that opened it
	says    byte
	number  uint64
	message []byte
}

// open opens b into l.plain, and returns the host that sealed it, or nil. If its session is
// known, but another key opens it, its sender has changed keys.
func (l *Datagrams) open(from types.ID, b []byte, d *datagram) *host {
	h := l.hosts[from]
	known := h != nil && h.knows(d.session)
	if known && l.try(h.sealer, b, d) {
		return h
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

// try opens b with one sealer. It does so beside b, not in place: what does not open would be
// lost to the other keys.
func (l *Datagrams) try(s sealer, b []byte, d *datagram) bool {
	plain, err := s.aead.Open(l.plain[:0], l.nonce.of(d.counter), b[datagramHeader:], b[:datagramHeader])
	if err != nil {
		return false
	}
	l.plain, d.sealer = plain, s
	return true
}

// split sets what plain says. It returns false if no peer says that.
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

// heed does what the datagram d of host h calls for, and returns what Open does.
func (l *Datagrams) heed(h *host, d *datagram, now time.Duration) (message, reply []byte, err error) {
	switch {
	case d.says == saysChallenge && !bytes.Equal(d.message, l.session[:]), d.says == saysAnswer && !h.answers(d, now):
		return nil, nil, ErrUnasked
	case d.says == saysChallenge:
		return nil, l.answer(h, d.number, now), nil
	case d.says == saysMessage && !h.knows(d.session):
		waits := h.pending
		reply, err := l.challenge(h, d.session, now)
		if waits && err == nil {
			err = ErrUnasked // the first of a new life is in the answer; this may be of an old one
		}
		return nil, reply, err
	case !h.knows(d.session):
		h.introduce(d, now)
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

// challenge returns a challenge to session s of h, or nothing if it was sent just now. A number that
// is still good is repeated, so that an answer which takes longer than the pause counts.
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

// answer returns the answer to a challenge of h, or nothing if it was given just now.
func (l *Datagrams) answer(h *host, number uint64, now time.Duration) []byte {
	if number == h.answered && now < h.answerFrom {
		return nil
	}
	h.answered, h.answerFrom = number, now+answerPause
	beat := l.beat
	if now-l.beaten > beatLasts {
		beat = nil
	}
	l.reply = l.append(l.reply[:0], saysAnswer, number, beat)
	return l.reply
}

// knows reports whether s is the session that was introduced last.
func (h *host) knows(s session) bool { return h.sealer.aead != nil && h.session == s }

// answers reports whether d answers the pending challenge, and ends it if so.
func (h *host) answers(d *datagram, now time.Duration) bool {
	if !h.pending || d.number != h.number || now-h.challenged > challengeLasts {
		return false
	}
	h.pending = false
	return true
}

// introduce makes the session of d the one that is known. Of what was sealed before d, nobody
// can tell how old it is.
func (h *host) introduce(d *datagram, now time.Duration) {
	h.session, h.sealer, h.newest = d.session, d.sealer, now
	h.window = window{newest: d.counter, seen: ^uint64(0)}
}

// window tells which counters came, of the newest 64.
type window struct {
	newest uint64
	seen   uint64 // bit i: newest-i came
}

// place is how a counter stands to those that came.
type place int

const (
	ahead     place = iota // newer than all
	overtaken              // older than the newest, and comes for the first time
	again                  // it came before, or is so old that it may have
)

// admit notes that a counter came.
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
