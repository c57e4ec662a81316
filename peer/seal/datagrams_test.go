package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"memberly/peer/types"
)

func newDatagrams(t testing.TB, ring Keyring, self types.ID, seed byte) *Datagrams {
	t.Helper()
	l, err := NewDatagrams(ring, self, dice(seed))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// open calls Open, and copies the results, so that they stay valid.
func open(to *Datagrams, from types.ID, b []byte, now time.Duration) (message string, reply []byte, err error) {
	before := bytes.Clone(b)
	m, reply, err := to.Open(from, b, now)
	if !bytes.Equal(b, before) {
		return "", nil, errors.New("the datagram was changed")
	}
	return string(m), bytes.Clone(reply), err
}

// introduced returns the Datagrams of peers 1 and 2. The second knows the session of the first.
func introduced(t testing.TB, first, second Keyring) (one, two *Datagrams) {
	t.Helper()
	one, two = newDatagrams(t, first, 1, 1), newDatagrams(t, second, 2, 2)
	introduce(t, one, two, 0)
	return one, two
}

// introduce makes two accept the session of one.
func introduce(t testing.TB, one, two *Datagrams, now time.Duration) {
	t.Helper()
	if m, err := exchange(one, two, one.SealHeartbeat(nil, []byte("hello"), now), now); m != "hello" || err != nil {
		t.Fatalf("introduced with %q, %v", m, err)
	}
}

// exchange makes to open b, and passes replies between both until there are none. It returns the last
// message that to received.
func exchange(from, to *Datagrams, b []byte, now time.Duration) (message string, err error) {
	for len(b) > 0 {
		m, reply, err := open(to, from.self, b, now)
		if err != nil {
			return message, err
		}
		if message = m; len(reply) == 0 {
			return message, nil
		}
		if _, b, err = open(from, to.self, reply, now); err != nil {
			return message, err
		}
	}
	return message, nil
}

// When two peers meet, they trust no first datagram, but the answer to the challenge, which includes
// the heartbeat.
func TestDatagramsMeets(t *testing.T) {
	t.Parallel()
	one, two := newDatagrams(t, ring(t, 1), 1, 1), newDatagrams(t, ring(t, 1), 2, 2)
	m, challenge, err := open(two, 1, one.SealHeartbeat(nil, []byte("beat"), 0), 0)
	if m != "" || len(challenge) == 0 || err != nil {
		t.Fatalf("got %q and a reply of %d bytes, %v; want a challenge", m, len(challenge), err)
	}
	m, answer, err := open(one, 2, challenge, 0)
	if m != "" || len(answer) == 0 || err != nil {
		t.Fatalf("got %q and a reply of %d bytes, %v; want an answer", m, len(answer), err)
	}
	if m, reply, err := open(two, 1, answer, 0); m != "beat" || len(reply) > 0 || err != nil {
		t.Fatalf("got %q and a reply of %d bytes, %v; want the beat", m, len(reply), err)
	}
	for i := range 200 {
		want := strings.Repeat("x", i+1)
		if m, reply, err := open(two, 1, one.Seal(nil, []byte(want)), 0); m != want || len(reply) > 0 || err != nil {
			t.Errorf("got %q, %x, %v; want %q", m, reply, err, want)
		}
	}
	if m, challenge, err := open(one, 2, two.Seal(nil, []byte("x")), 0); m != "" || len(challenge) == 0 || err != nil {
		t.Errorf("the other way no session is known yet, but got %q, %x, %v", m, challenge, err)
	}
}

// The bytes and the keys, so that no change of the wire format goes unnoticed.
func TestDatagramsBytes(t *testing.T) {
	t.Parallel()
	one, two := newDatagrams(t, ring(t, 9), 0x102, 1), newDatagrams(t, ring(t, 9), 2, 2)
	var session, number [8]byte
	io.ReadFull(dice(1), session[:])
	twos := dice(2)
	io.ReadFull(twos, make([]byte, 8))
	io.ReadFull(twos, number[:])
	key := bytes.Repeat([]byte{9}, 32)
	sealed := func(counter uint64, plain string) []byte {
		b := append([]byte{0x82, 1, 1, 2}, session[:]...)
		b = binary.BigEndian.AppendUint64(b, counter)
		nonce := binary.BigEndian.AppendUint64(make([]byte, 4), counter)
		return gcm(t, key, session[:], "memberly 2 datagram\x01\x02").Seal(b, nonce, []byte(plain), b)
	}
	first := one.SealHeartbeat([]byte("before"), []byte("beat"), 0)
	if want := append([]byte("before"), sealed(0, "\x00beat")...); !bytes.Equal(first, want) {
		t.Errorf("a message is %x, want %x", first, want)
	}
	if n, want := len(first)-len("beforebeat"), datagramHeader+1+tagSize; n != want {
		t.Errorf("it grew by %d bytes, want %d", n, want)
	}
	_, challenge, _ := open(two, 0x102, first[len("before"):], 0)
	if _, answer, _ := open(one, 2, challenge, 0); !bytes.Equal(answer, sealed(1, "\x02"+string(number[:])+"beat")) {
		t.Errorf("an answer is %x", answer)
	}
	if _, challenge, _ := open(one, 2, two.Seal(nil, nil), 0); len(challenge) != 4+8+8+1+8+8+16 {
		t.Errorf("a challenge is %x", challenge)
	}
}

// A peer without keys reports the remedy for any datagram of a peer with keys.
func TestUnsealedPeerIsTold(t *testing.T) {
	t.Parallel()
	lane := newDatagrams(t, ring(t, 1), 2, 0)
	for what, payload := range map[string][]byte{"hello": hello(t, accepting, 1)[4:], "datagram": lane.Seal(nil, []byte("beat"))} {
		err := types.DecodeMessage(payload, new(types.Message))
		if !errors.Is(err, types.ErrVersion) {
			t.Errorf("%s: %v", what, err)
		}
		wants(t, err, "sealed message from peer 2: ", "this peer has none: start all with the same -key, or none")
	}
}

// Without keys, datagrams are plain.
func TestPlainDatagrams(t *testing.T) {
	t.Parallel()
	one := newDatagrams(t, Keyring{}, 1, 1)
	if got := one.Seal([]byte("x"), []byte("yz")); string(got) != "xyz" {
		t.Errorf("appends %q", got)
	}
	if m, reply, err := open(one, 2, one.SealHeartbeat(nil, []byte("beat"), 0), 0); m != "beat" || reply != nil || err != nil {
		t.Errorf("got %q, %x, %v", m, reply, err)
	}
}

// Rekey can add the first keys, and remove all.
func TestDatagramsKeysComeAndGo(t *testing.T) {
	t.Parallel()
	one, two := newDatagrams(t, Keyring{}, 1, 1), newDatagrams(t, Keyring{}, 2, 2)
	for _, keys := range [][]byte{{1}, nil, {2}} {
		one.Rekey(ring(t, keys...))
		two.Rekey(ring(t, keys...))
		b := one.SealHeartbeat(nil, []byte("beat"), 0)
		if sealed := len(b) > len("beat"); sealed != (keys != nil) {
			t.Errorf("keys %v: a beat is %x", keys, b)
		}
		if m, err := exchange(one, two, b, 0); m != "beat" && keys == nil || err != nil {
			t.Errorf("keys %v: got %q, %v", keys, m, err)
		}
	}
}

// Every reason to drop a datagram. Peer 2 opens, and knows the session of peer 1, but not of peer 3.
func TestDatagramsRefuses(t *testing.T) {
	t.Parallel()
	beat, err := types.AppendMessage(nil, &types.Message{Kind: types.Heartbeat, From: 1})
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int, to byte, b []byte) []byte {
		b[i] = to
		return b
	}
	says := func(l *Datagrams, says byte, message string) []byte { return l.append(nil, says, 0, []byte(message)) }
	for _, c := range []struct {
		what string
		from types.ID
		make func(one *Datagrams) []byte
		want error
	}{
		{"not sealed", 1, func(*Datagrams) []byte { return beat }, ErrUnsealed},
		{"another version", 1, func(one *Datagrams) []byte { return at(0, 0x81, one.Seal(nil, nil)) }, types.ErrVersion},
		{"a hello", 1, func(one *Datagrams) []byte { return at(1, kindHello, one.Seal(nil, nil)) }, ErrUnopened},
		{"another's address", 3, func(one *Datagrams) []byte { return one.Seal(nil, []byte("x")) }, ErrImpostor},
		{"another's id", 3, func(one *Datagrams) []byte { return at(3, 3, one.Seal(nil, []byte("x"))) }, ErrUnopened},
		{"nothing", 1, func(*Datagrams) []byte { return nil }, ErrUnopened},
		{"a header alone", 1, func(one *Datagrams) []byte { return one.Seal(nil, nil)[:datagramHeader] }, ErrUnopened},
		{"another key", 1, func(*Datagrams) []byte { return newDatagrams(t, ring(t, 9), 1, 1).Seal(nil, []byte("x")) }, ErrUnopened},
		{"another key, another life", 1, func(*Datagrams) []byte { return newDatagrams(t, ring(t, 9), 1, 5).Seal(nil, []byte("x")) }, ErrUnopened},
		{"says nothing", 1, func(one *Datagrams) []byte { return resealed(one, nil) }, ErrUnopened},
		{"unknown kind", 1, func(one *Datagrams) []byte { return says(one, 3, "x") }, ErrUnopened},
		{"a challenge without number", 1, func(one *Datagrams) []byte { return resealed(one, []byte{saysChallenge, 1, 2, 3, 4, 5, 6, 7}) }, ErrUnopened},
		{"an answer to nothing", 1, func(one *Datagrams) []byte { return says(one, saysAnswer, "x") }, ErrReplayed},
		{"an answer of an earlier life", 1, func(*Datagrams) []byte { return says(newDatagrams(t, ring(t, 1), 1, 5), saysAnswer, "x") }, ErrReplayed},
		{"sound", 1, func(one *Datagrams) []byte { return one.Seal(nil, []byte("x")) }, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			one, two := introduced(t, ring(t, 1), ring(t, 1, 2))
			m, reply, err := open(two, c.from, c.make(one), 0)
			if !errors.Is(err, c.want) || (m != "") != (c.want == nil) || reply != nil {
				t.Errorf("got %q, %x, %v; want %v", m, reply, err, c.want)
			}
			if m, _, err := open(two, 1, one.Seal(nil, []byte("next")), 0); m != "next" {
				t.Errorf("after it, got %q, %v", m, err)
			}
		})
	}
}

// resealed returns a datagram of l with this plaintext.
func resealed(l *Datagrams, plain []byte) []byte {
	b := l.Seal(nil, nil)[:datagramHeader]
	counter := binary.BigEndian.Uint64(b[headerSize+numberLen:])
	return l.own.aead.Seal(b, l.nonce.of(counter), plain, b)
}

// Any changed bit and any missing byte is detected, for a known session, a challenge and an answer.
func TestDatagramsTampering(t *testing.T) {
	t.Parallel()
	one, two := introduced(t, ring(t, 1), ring(t, 1, 2))
	late := newDatagrams(t, ring(t, 1, 2), 3, 3)
	beat := one.SealHeartbeat(nil, []byte("beat"), 0)
	_, challenge, _ := open(late, 1, beat, 0)
	_, answer, _ := open(one, 3, bytes.Clone(challenge), 0)
	for _, c := range []struct {
		what     string
		to       *Datagrams
		from     types.ID
		datagram []byte
	}{{"message", two, 1, beat}, {"challenge", one, 3, challenge}, {"answer", late, 1, answer}} {
		for bit := range len(c.datagram) * 8 {
			b := bytes.Clone(c.datagram)
			b[bit/8] ^= 1 << (bit % 8)
			if m, reply, err := open(c.to, c.from, b, time.Minute); m != "" || reply != nil || err == nil {
				t.Errorf("%s with bit %d changed: %q, %x, %v", c.what, bit, m, reply, err)
			}
		}
		for n := range c.datagram {
			if m, reply, err := open(c.to, c.from, c.datagram[:n:n], time.Minute); m != "" || reply != nil || err == nil {
				t.Errorf("%s cut to %d bytes: %q, %x, %v", c.what, n, m, reply, err)
			}
		}
	}
	if m, _, err := open(two, 1, beat, 0); m != "beat" {
		t.Errorf("unchanged: %q, %v", m, err)
	}
	if m, _, err := open(late, 1, answer, 0); m != "beat" {
		t.Errorf("unchanged: %q, %v", m, err)
	}
}

// Datagrams older than the newest are not handed on. Those that came before, or may have, are errors.
func TestDatagramsWindow(t *testing.T) {
	t.Parallel()
	one, two := introduced(t, ring(t, 1), ring(t, 1))
	now := time.Duration(0)
	var sent [][]byte
	for i := range 300 {
		sent = append(sent, one.Seal(nil, fmt.Append(nil, i)))
	}
	for _, c := range []struct {
		index int
		want  place
	}{
		{5, ahead}, {3, overtaken}, {5, again}, {3, again}, {4, overtaken}, {68, ahead}, {5, again}, {4, again},
		{6, overtaken}, {67, overtaken}, {68, again}, {200, ahead}, {136, again}, {137, overtaken}, {137, again},
		{68, again}, {201, ahead}, {137, again}, {138, overtaken}, {299, ahead}, {235, again}, {236, overtaken},
	} {
		now += time.Second // else the newest, again, would be a copy
		m, _, err := open(two, 1, sent[c.index], now)
		if (m == fmt.Sprint(c.index)) != (c.want == ahead) || (err == ErrReplayed) != (c.want == again) {
			t.Errorf("datagram %d: %q, %v; want %d", c.index, m, err, c.want)
		}
	}
}

// A recording of a datagram to another host does not open, during its sender's life and later, even at
// a host that lost some datagrams. Neither does a copy for another address of this host.
func TestDatagramsRecordedElsewhere(t *testing.T) {
	t.Parallel()
	one, two := introduced(t, ring(t, 1), ring(t, 1))
	three := newDatagrams(t, ring(t, 1), 3, 3)
	introduce(t, one, three, 0)
	var tapped [][]byte
	now := time.Second
	for i := range 40 {
		b := one.SealHeartbeat(nil, []byte("beat"), now)
		tapped = append(tapped, b)
		if lost := i%3 == 1; !lost {
			if m, _, err := open(two, 1, b, now); m != "beat" || err != nil {
				t.Fatalf("heartbeat %d: %q, %v", i, m, err)
			}
			if m, _, err := open(two, 1, b, now+copyLasts-1); m != "" || err != nil {
				t.Errorf("its copy: %q, %v", m, err)
			}
		}
		now += time.Second
	}
	for i, b := range tapped {
		if m, reply, err := open(two, 1, b, now); m != "" || reply != nil || i%3 != 1 && err != ErrReplayed {
			t.Errorf("recorded heartbeat %d: %q, %x, %v", i, m, reply, err)
		}
	}
}

// Only the session that a challenge names answers it, as often as it comes within the rate limit.
// Another challenge is answered at once.
func TestDatagramsChallengeIsForOne(t *testing.T) {
	t.Parallel()
	one, two := newDatagrams(t, ring(t, 1), 1, 1), newDatagrams(t, ring(t, 1), 2, 2)
	_, recorded, _ := open(two, 1, one.Seal(nil, []byte("x")), 0)
	for what, l := range map[string]*Datagrams{"a third": newDatagrams(t, ring(t, 1), 3, 3), "its next life": newDatagrams(t, ring(t, 1), 1, 11)} {
		if m, answer, err := open(l, 2, recorded, 0); m != "" || answer != nil || err != ErrUnasked {
			t.Errorf("%s answers %x, %v", what, answer, err)
		}
	}
	open(one, 2, recorded, 2*time.Second)
	_, fresh, _ := open(two, 1, one.Seal(nil, []byte("x")), 2*time.Second) // recorded is out of date
	_, answer, err := open(one, 2, fresh, 2*time.Second)
	if answer == nil || err != nil {
		t.Fatalf("after one that was repeated, a challenge is answered with %x, %v", answer, err)
	}
	if _, _, err := open(two, 1, answer, 2*time.Second); err != nil {
		t.Errorf("the answer: %v", err)
	}
	if _, _, err := open(two, 1, answer, 3*time.Second); err != ErrUnasked {
		t.Errorf("the answer again: %v", err)
	}
}

// Recorded challenges draw few answers, however many there are: those of a known session one each, and those
// of unknown sessions one in each pause.
func TestDatagramsChallengesReplayed(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	one := newDatagrams(t, ring(t, 1), 1, 1)
	lives := []*Datagrams{newDatagrams(t, ring(t, 1), 2, 2), newDatagrams(t, ring(t, 1), 2, 12)}
	var recorded [][]byte
	for i := range 20 {
		_, challenge, err := open(lives[i%2], 1, one.Seal(nil, []byte("x")), time.Duration(i)*time.Second)
		if err != nil && err != ErrUnasked || challenge == nil {
			t.Fatalf("%x, %v", challenge, err)
		}
		recorded = append(recorded, challenge)
	}
	answers := func(b []byte, now time.Duration) int {
		if _, answer, _ := open(one, 2, b, now); answer != nil {
			return 1
		}
		return 0
	}
	drawn := 0
	for now := time.Duration(0); now < time.Second; now += 10 * ms {
		for _, b := range recorded {
			drawn += answers(b, now)
		}
	}
	if drawn > 30 { // one in each pause, and each once
		t.Errorf("unknown sessions draw %d answers", drawn)
	}
	introduce(t, lives[0], one, 30*time.Second)
	drawn = 0
	_, fresh, _ := open(lives[0], 1, newDatagrams(t, ring(t, 1), 1, 21).Seal(nil, []byte("x")), time.Minute)
	if _, _, err := open(one, 2, fresh, time.Minute); err != ErrUnasked {
		t.Errorf("a challenge to another life: %v", err)
	}
	_, fresh, _ = open(lives[0], 1, one.Seal(nil, []byte("x")), 2*time.Minute)
	for range 3 {
		drawn += answers(fresh, 2*time.Minute)
		drawn += answers(fresh, 3*time.Minute)
	}
	if _, _, err := open(one, 2, fresh, 3*time.Minute); drawn != 1 || err != ErrUnasked {
		t.Errorf("a known session's challenge draws %d answers, then %v", drawn, err)
	}
}

// For who has sent too much that does not open, one decryption is all: a known session is heard, with another
// key or in another session nobody is.
func TestDatagramsOnlyKnown(t *testing.T) {
	t.Parallel()
	one, two := introduced(t, ring(t, 1), ring(t, 1))
	b := one.Seal(nil, []byte("known"))
	if m, _, err := two.OpenKnown(1, b, 0); string(m) != "known" || err != nil {
		t.Errorf("a known session: %q, %v", m, err)
	}
	if _, _, err := two.OpenKnown(1, b, time.Second); err != ErrReplayed {
		t.Errorf("again: %v", err)
	}
	life := newDatagrams(t, ring(t, 1), 1, 11).Seal(nil, []byte("x"))
	if m, reply, err := two.OpenKnown(1, life, 0); m != nil || reply != nil || err != ErrUnopened {
		t.Errorf("a new life: %q, %x, %v", m, reply, err)
	}
	if _, reply, err := open(two, 1, life, 0); reply == nil || err != nil {
		t.Errorf("a new life, without that limit: %x, %v", reply, err)
	}
}

// A new life is heard even if its answer takes longer than the pause between challenges, or if
// datagrams of an earlier life keep coming.
func TestDatagramsSlowAnswers(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	old, one, two := newDatagrams(t, ring(t, 1), 1, 11), newDatagrams(t, ring(t, 1), 1, 1), newDatagrams(t, ring(t, 1), 2, 2)
	recorded := old.Seal(nil, []byte("old"))
	type flight struct {
		at time.Duration
		b  []byte
	}
	var to1, to2 []flight
	heard := 0
	for now := time.Duration(0); now < 2*time.Second; now += 10 * ms {
		if now%(100*ms) == 0 {
			to2 = append(to2, flight{now + 150*ms, one.SealHeartbeat(nil, []byte("beat"), now)})
		}
		if m, _, _ := open(two, 1, recorded, now); m != "" {
			t.Fatal("an earlier life is heard")
		}
		for len(to2) > 0 && to2[0].at <= now {
			m, reply, _ := open(two, 1, to2[0].b, now)
			if to2 = to2[1:]; m == "beat" {
				heard++
			}
			if reply != nil {
				to1 = append(to1, flight{now + 150*ms, reply})
			}
		}
		for len(to1) > 0 && to1[0].at <= now {
			_, reply, _ := open(one, 2, to1[0].b, now)
			if to1 = to1[1:]; reply != nil {
				to2 = append(to2, flight{now + 150*ms, reply})
			}
		}
	}
	if heard < 10 {
		t.Errorf("%d heartbeats were heard", heard)
	}
}

// Datagrams sealed before the answer that introduced their session are dropped, because an attacker may
// have delayed them.
func TestDatagramsIntroductionStartsWindow(t *testing.T) {
	t.Parallel()
	one, two := newDatagrams(t, ring(t, 1), 1, 1), newDatagrams(t, ring(t, 1), 2, 2)
	held := one.Seal(nil, []byte("held"))
	introduce(t, one, two, 0)
	if m, _, err := open(two, 1, held, 0); err != ErrReplayed {
		t.Errorf("got %q, %v", m, err)
	}
}

// A peer that restarts opens no recordings, nor do others open those of its earlier life.
func TestDatagramsReplayFromEarlierLife(t *testing.T) {
	t.Parallel()
	one, two := newDatagrams(t, ring(t, 1), 1, 1), newDatagrams(t, ring(t, 1), 2, 2)
	beat := one.SealHeartbeat(nil, []byte("old"), 0)
	_, challenge, _ := open(two, 1, beat, 0)
	_, answer, _ := open(one, 2, challenge, 0)
	open(two, 1, answer, 0)
	recorded := [][]byte{beat, answer, one.Seal(nil, []byte("older"))}

	refuses := func(to *Datagrams, now time.Duration) {
		t.Helper()
		for i, b := range recorded {
			if m, _, _ := open(to, 1, b, now); m != "" {
				t.Errorf("recorded datagram %d hands on %q", i, m)
			}
		}
	}
	restarted := newDatagrams(t, ring(t, 1), 2, 22)
	refuses(restarted, 0) // with its challenge pending, too
	refuses(restarted, time.Hour)
	next := newDatagrams(t, ring(t, 1), 1, 11)
	introduce(t, next, two, time.Hour)
	refuses(two, time.Hour)
	if m, _, err := open(two, 1, next.Seal(nil, []byte("new")), time.Hour); m != "new" {
		t.Errorf("the new life is heard no more: %q, %v", m, err)
	}
}

// A host's datagram for one peer does not open at the host itself, nor at a third that expects an
// answer.
func TestDatagramsReflection(t *testing.T) {
	t.Parallel()
	one, two := introduced(t, ring(t, 1), ring(t, 1))
	if m, reply, err := open(two, 1, two.Seal(nil, []byte("mine")), 0); err != ErrImpostor {
		t.Errorf("its own message is %q, %x, %v", m, reply, err)
	}
	three := newDatagrams(t, ring(t, 1), 3, 3)
	_, toOne, _ := open(three, 1, one.SealHeartbeat(nil, []byte("1"), 0), 0)
	open(three, 2, two.SealHeartbeat(nil, []byte("2"), 0), 0)
	_, answer, _ := open(one, 3, toOne, 0)
	if m, _, err := open(three, 2, answer, 0); err != ErrImpostor {
		t.Errorf("another's answer is %q, %v", m, err)
	}
}

// Challenges and answers are rate-limited. Each number and each heartbeat is valid for a while, and a
// number for one answer.
func TestDatagramsPace(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	one, two := newDatagrams(t, ring(t, 1), 1, 1), newDatagrams(t, ring(t, 1), 2, 2)
	challengeAt := func(now time.Duration) []byte {
		_, challenge, err := open(two, 1, one.Seal(nil, []byte("x")), now)
		if err != nil && err != ErrUnasked {
			t.Fatal(err)
		}
		return challenge
	}
	var challenges []time.Duration
	for now := time.Duration(0); now <= time.Second; now += 10 * ms {
		if len(challengeAt(now)) > 0 {
			challenges = append(challenges, now)
		}
	}
	if got := fmt.Sprint(challenges); got != "[0s 200ms 400ms 600ms 800ms 1s]" {
		t.Errorf("challenges at %s", got)
	}
	challenge := challengeAt(2 * time.Second)
	var answers []string
	for now := 2 * time.Second; now <= 2200*ms; now += 10 * ms {
		if now == 2050*ms {
			one.SealHeartbeat(nil, []byte("beat"), now-101*ms)
		}
		if _, answer, _ := open(one, 2, challenge, now); len(answer) > 0 {
			answers = append(answers, fmt.Sprintf("%v+%d", now, len(answer)-45))
		}
	}
	if got := fmt.Sprint(answers); got != "[2s+0 2.05s+4 2.1s+4 2.15s+0 2.2s+0]" {
		t.Errorf("answers at %s", got)
	}
	_, late, _ := open(one, 2, challenge, 2300*ms)
	if m, _, err := open(two, 1, late, 3001*ms); err != ErrUnasked {
		t.Errorf("an answer after over a second: %q, %v", m, err)
	}
	if m, _, err := open(two, 1, late, 3000*ms); m != "" || err != nil {
		t.Errorf("an answer without a heartbeat: %q, %v", m, err)
	}
	_, twice, _ := open(one, 2, challenge, 2400*ms)
	if m, _, err := open(two, 1, twice, 2400*ms); err != ErrUnasked {
		t.Errorf("a second answer: %q, %v", m, err)
	}
	if m, _, _ := open(two, 1, one.Seal(nil, []byte("known")), 2400*ms); m != "known" {
		t.Errorf("got %q", m)
	}
}

// An answer of the known session passes through its window, so it does not open twice.
func TestDatagramsAnswerOfKnownSession(t *testing.T) {
	t.Parallel()
	one, two := introduced(t, ring(t, 1), ring(t, 1))
	passed := one.Seal(nil, []byte("passed"))
	open(two, 1, passed, 0)
	challenge, _ := two.challenge(two.hosts[1], one.session, time.Second) // it was under way
	challenge = bytes.Clone(challenge)
	one.SealHeartbeat(nil, []byte("beat"), time.Second)
	before := one.Seal(nil, []byte("before"))
	_, answer, _ := open(one, 2, challenge, time.Second)
	if m, _, err := open(two, 1, answer, time.Second); m != "beat" {
		t.Errorf("the answer hands on %q, %v", m, err)
	}
	if m, _, err := open(two, 1, before, time.Second); m != "" || err != nil {
		t.Errorf("what it overtook hands on %q, %v", m, err)
	}
	if m, _, err := open(two, 1, passed, time.Second); err != ErrReplayed {
		t.Errorf("what had passed hands on %q, %v", m, err)
	}
}

// Two peers change their key in three steps, one after the other. No message is lost, and no session
// has to be challenged again.
func TestDatagramsRotates(t *testing.T) {
	t.Parallel()
	one, two := introduced(t, ring(t, 1), ring(t, 1))
	introduce(t, two, one, time.Second)
	var held [][]byte
	for step, keys := range [][]byte{{1}, {1, 2}, {2, 1}, {2}} {
		for i, l := range []*Datagrams{one, two} {
			l.Rekey(ring(t, keys...))
			for _, pair := range [][2]*Datagrams{{one, two}, {two, one}} {
				held = append(held, pair[0].Seal(nil, []byte("held")))
				want := fmt.Sprint(step, i)
				m, reply, err := open(pair[1], pair[0].self, pair[0].Seal(nil, []byte(want)), time.Second)
				if m != want || reply != nil || err != nil {
					t.Errorf("keys %v at peer %d: %d hears %q, %x, %v", keys, i+1, pair[1].self, m, reply, err)
				}
			}
		}
	}
	for i, b := range held[len(held)-4:] { // of the last step: the window went on
		to := []*Datagrams{two, one}[i%2]
		if m, _, err := open(to, 3-to.self, b, time.Second); m != "" || err != nil {
			t.Errorf("what was held back hands on %q, %v", m, err)
		}
		if m, _, err := open(to, 3-to.self, b, time.Second); err != ErrReplayed {
			t.Errorf("again it hands on %q, %v", m, err)
		}
	}
}

// Datagrams that are in flight while their sender changes keys may arrive in any order.
func TestDatagramsKeysMixed(t *testing.T) {
	t.Parallel()
	one, two := introduced(t, ring(t, 1, 2), ring(t, 1, 2))
	old := [][]byte{one.Seal(nil, []byte("a")), one.Seal(nil, []byte("b"))}
	one.Rekey(ring(t, 2, 1))
	later := [][]byte{one.Seal(nil, []byte("c")), one.Seal(nil, []byte("d"))}
	for _, b := range [][]byte{later[0], old[1], later[1], old[0]} {
		if _, _, err := open(two, 1, b, 0); err != nil {
			t.Error(err)
		}
	}
	for _, b := range append(old, later...) {
		if m, _, err := open(two, 1, b, time.Second); err != ErrReplayed {
			t.Errorf("again it hands on %q, %v", m, err)
		}
	}
}

// A removed key opens nothing, and its sessions are challenged again, so a thief of the key cannot have
// exhausted the counters for ever.
func TestDatagramsKeyTakenAway(t *testing.T) {
	t.Parallel()
	one, two := introduced(t, ring(t, 1), ring(t, 1, 2))
	thief := newDatagrams(t, ring(t, 1), 1, 1) // the same session
	thief.counter = 1 << 63
	if m, _, _ := open(two, 1, thief.Seal(nil, []byte("forged")), 0); m != "forged" {
		t.Fatal("a thief with the key is not heard")
	}
	two.Rekey(ring(t, 2))
	if m, reply, err := open(two, 1, thief.Seal(nil, []byte("forged")), 0); err != ErrUnopened {
		t.Errorf("with the key taken away: %q, %x, %v", m, reply, err)
	}
	one.Rekey(ring(t, 2))
	if m, err := exchange(one, two, one.SealHeartbeat(nil, []byte("beat"), time.Second), time.Second); m != "beat" || err != nil {
		t.Errorf("the true one is heard no more: %q, %v", m, err)
	}
}

func TestDatagramsWithoutDice(t *testing.T) {
	t.Parallel()
	failed := errors.New("no more dice")
	if _, err := NewDatagrams(ring(t, 1), 1, iotest.ErrReader(failed)); !errors.Is(err, failed) {
		t.Errorf("error is %v", err)
	}
	two, err := NewDatagrams(ring(t, 1), 2, io.MultiReader(bytes.NewReader(make([]byte, 8)), iotest.ErrReader(failed)))
	if err != nil {
		t.Fatal(err)
	}
	m, reply, err := open(two, 1, newDatagrams(t, ring(t, 1), 1, 1).Seal(nil, []byte("x")), 0)
	if m != "" || reply != nil || !errors.Is(err, failed) {
		t.Errorf("got %q, %x, %v", m, reply, err)
	}
}

// One goroutine seals, another opens, a third changes keys.
func TestDatagramsAtOnce(t *testing.T) {
	t.Parallel()
	one, two := introduced(t, ring(t, 1, 2), ring(t, 1, 2))
	sealed := make(chan []byte)
	var all sync.WaitGroup
	all.Go(func() {
		defer close(sealed)
		for i := range 300 {
			sealed <- one.SealHeartbeat(nil, []byte("beat"), time.Duration(i))
		}
	})
	all.Go(func() {
		for i := range 50 {
			one.Rekey(ring(t, 1+byte(i%2), 2-byte(i%2)))
			two.Rekey(ring(t, 2, 1))
		}
	})
	for b := range sealed {
		if m, _, err := open(two, 1, b, 0); m != "beat" {
			t.Errorf("got %q, %v", m, err)
		}
	}
	all.Wait()
}

// Sealing and opening a heartbeat do not allocate.
func TestDatagramsAllocations(t *testing.T) {
	one, two := introduced(t, ring(t, 1), ring(t, 1))
	message := make([]byte, 100)
	var b []byte
	allocations := testing.AllocsPerRun(100, func() {
		b = one.SealHeartbeat(b[:0], message, 0)
		if m, _, err := two.Open(1, b, 0); len(m) != 100 {
			t.Error(err)
		}
	})
	if allocations != 0 {
		t.Errorf("a heartbeat sealed and opened takes memory %v times", allocations)
	}
}

// FuzzDatagrams opens datagrams of a sender without a key, which open only if they were sealed before,
// and those of a faulty member, which are handed on only if they are messages.
func FuzzDatagrams(f *testing.F) {
	one, two := introduced(f, ring(f, 1), ring(f, 1, 2))
	sound := one.Seal(nil, []byte("message"))
	_, challenge, _ := open(newDatagrams(f, ring(f, 1), 1, 9), 2, two.Seal(nil, nil), 0)
	for _, seed := range [][]byte{sound, challenge, sound[:36], {}, {0, 'x'}, {saysChallenge, 1, 2, 3, 4, 5, 6, 7, 8}, {saysAnswer, 1}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		one, two := introduced(t, ring(t, 1), ring(t, 1, 2))
		m, reply, err := open(two, 1, b, 0)
		if (m != "" || reply != nil || err == nil) && !bytes.Equal(b, sound) && !bytes.Equal(b, challenge) {
			t.Errorf("%x is %q, %x, %v", b, m, reply, err)
		}
		m, reply, err = open(two, 1, resealed(one, b), 0)
		switch {
		case len(b) > 0 && b[0] == saysMessage:
			if m != string(b[1:]) || reply != nil || err != nil {
				t.Errorf("the message %x is %q, %x, %v", b[1:], m, reply, err)
			}
		case m != "", err == nil && (len(b) < 9 || b[0] != saysChallenge):
			t.Errorf("the sealed %x is %q, %x, %v", b, m, reply, err)
		}
	})
}

func BenchmarkSealHeartbeat(b *testing.B) {
	one := newDatagrams(b, ring(b, 1), 1, 1)
	message := make([]byte, 60)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = one.SealHeartbeat(buf[:0], message, 0)
	}
}

// Benchmarks of opening: a heartbeat (including its sealing), and a stranger's datagrams, by the number
// of keys that do not open them.
func BenchmarkOpen(b *testing.B) {
	b.Run("heartbeat", func(b *testing.B) {
		one, two := introduced(b, ring(b, 1), ring(b, 1))
		message := make([]byte, 60)
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf = one.SealHeartbeat(buf[:0], message, 0)
			if _, _, err := two.Open(1, buf, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, keys := range [][]byte{{1}, {1, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}} {
		for i, what := range []string{"known", "other"} {
			b.Run(fmt.Sprintf("forged/session=%s/keys=%d", what, len(keys)), func(b *testing.B) {
				_, two := introduced(b, ring(b, 1), ring(b, keys...))
				forged := newDatagrams(b, ring(b, 99), 1, byte(i+1)).Seal(nil, make([]byte, 60))
				b.ReportAllocs()
				for b.Loop() {
					if _, _, err := two.Open(1, forged, 0); err != ErrUnopened {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
