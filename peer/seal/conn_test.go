package seal

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"memberly/peer/types"
)

// sum is SHA-256 over parts.
func sum(parts ...[]byte) []byte {
	s := sha256.Sum256(bytes.Join(parts, nil))
	return s[:]
}

// gcm returns AES-256-GCM with a key from HKDF-SHA256.
func gcm(t *testing.T, secret, salt []byte, info string) cipher.AEAD {
	t.Helper()
	k, err := hkdf.Key(sha256.New, secret, salt, info, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// The two ends of the connections in these tests.
const (
	dialing   types.ID = 1
	accepting types.ID = 2
)

// hello returns the hello frame of an end with this seed.
func hello(t testing.TB, self types.ID, seed byte) []byte {
	t.Helper()
	payload, _, err := newHello(dice(seed), self)
	if err != nil {
		t.Fatal(err)
	}
	return appendFrame(nil, payload)
}

// shake calls Handshake for an end that receives these bytes.
func shake(ring Keyring, self types.ID, seed byte, received []byte) (c *Conn, peer types.ID, sent []byte, err error) {
	var out bytes.Buffer
	c, peer, err = Handshake(bufio.NewReader(bytes.NewReader(received)), &out, dice(seed), ring, self, self == dialing)
	return c, peer, out.Bytes(), err
}

// meet returns both ends of a connection, whose nonces come from seed.
func meet(t testing.TB, dialers, acceptors Keyring, seed byte) (dialer, acceptor *Conn) {
	t.Helper()
	first, second := hello(t, dialing, seed), hello(t, accepting, seed+100)
	dialer, peer, sent, err := shake(dialers, dialing, seed, second)
	if err != nil || peer != accepting || !bytes.Equal(sent, first) {
		t.Fatalf("the dialer sent %x to %d, %v", sent, peer, err)
	}
	acceptor, peer, sent, err = shake(acceptors, accepting, seed+100, first)
	if err != nil || peer != dialing || !bytes.Equal(sent, second) {
		t.Fatalf("the acceptor sent %x to %d, %v", sent, peer, err)
	}
	return dialer, acceptor
}

// readAll returns the messages that c reads, and the error that follows them.
func readAll(c *Conn, stream []byte) (messages []string, err error) {
	r := bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(stream)), 16)
	for {
		m, err := c.Read(r, nil)
		if err != nil {
			return messages, err
		}
		messages = append(messages, string(m))
	}
}

// passes checks that messages pass from one end to the other.
func passes(t *testing.T, from, to *Conn, messages ...string) {
	t.Helper()
	var stream []byte
	for _, m := range messages {
		stream = from.Append(stream, []byte(m))
	}
	if got, err := readAll(to, stream); err != io.EOF || fmt.Sprint(got) != fmt.Sprint(messages) {
		t.Errorf("got %d messages %.80q, %v; want %d", len(got), got, err, len(messages))
	}
}

func TestConn(t *testing.T) {
	t.Parallel()
	dialer, acceptor := meet(t, ring(t, 1), ring(t, 1), 0)
	longest := strings.Repeat("m", types.MaxFrame-tagSize)
	passes(t, dialer, acceptor, "one", "t", longest, "three")
	passes(t, acceptor, dialer, longest, "back")
	passes(t, dialer, acceptor, "four", "five")
}

// agreed is X25519 of the private key that an end with these dice draws, and of a public key.
func agreed(t *testing.T, seed byte, public []byte) []byte {
	t.Helper()
	secret := make([]byte, 32)
	io.ReadFull(dice(seed), secret)
	private, err := ecdh.X25519().NewPrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := private.ECDH(other)
	if err != nil {
		t.Fatal(err)
	}
	return shared
}

// The bytes and the keys, step by step, so that no change of the wire format goes unnoticed.
func TestConnBytes(t *testing.T) {
	t.Parallel()
	dialer, acceptor := meet(t, ring(t, 7), ring(t, 7), 0)
	first, second := hello(t, dialing, 0), hello(t, accepting, 100)
	for i, h := range [][]byte{first, second} {
		if want := []byte{0, 0, 0, 36, 0x82, 0, 0, byte(i + 1)}; !bytes.Equal(h[:8], want) || len(h) != 40 {
			t.Errorf("hello is %x, want %x and a public key", h, want)
		}
	}
	salt, secret := sum(first[4:], second[4:]), append(bytes.Repeat([]byte{7}, 32), agreed(t, 0, second[8:])...)
	if other := agreed(t, 100, first[8:]); !bytes.Equal(secret[32:], other) {
		t.Fatalf("the ends agree on %x and %x", secret[32:], other)
	}
	for _, c := range []struct {
		end  *Conn
		info string
	}{{dialer, "memberly 2 dialer"}, {acceptor, "memberly 2 acceptor"}} {
		for count := range uint64(3) {
			got := c.end.Append(nil, []byte("message"))
			nonce := binary.BigEndian.AppendUint64(make([]byte, 4), count)
			want := gcm(t, secret, salt, c.info).Seal([]byte{0, 0, 0, 23}, nonce, []byte("message"), nil)
			if !bytes.Equal(got, want) {
				t.Errorf("%s, frame %d: %x, want %x", c.info, count, got, want)
			}
		}
	}
}

// The longest message fits a frame when it is sealed.
func TestLongestMessage(t *testing.T) {
	t.Parallel()
	m := &types.Message{Kind: types.NewView, From: 1, View: &types.View{Leader: 1}, Group: types.Group{Made: 1, Maker: 1}, Number: 1}
	m.View.Group, m.View.Number = m.Group, m.Number
	for id := types.ID(1); id <= types.MaxHosts; id++ {
		m.View.Members = append(m.View.Members, id)
		m.View.Last = append(m.View.Last, types.Past{Incarnation: 1})
		m.Unreachable = append(m.Unreachable, id)
	}
	m.Change = types.Change{Operation: types.Del, Member: types.Member{ID: 1, Incarnation: 1}, Cause: types.Left}
	b, err := types.AppendMessage(nil, m)
	if err != nil || len(b)+tagSize > types.MaxFrame {
		t.Errorf("the longest message has %d bytes, %v: with %d more it must fit %d", len(b), err, tagSize, types.MaxFrame)
	}
}

// Without keys the frames are plain, and nothing else is sent.
func TestPlainConn(t *testing.T) {
	t.Parallel()
	c, peer, sent, err := shake(Keyring{}, dialing, 0, nil)
	if err != nil || peer != 0 || len(sent) > 0 {
		t.Fatalf("sent %x to %d, %v", sent, peer, err)
	}
	m := &types.Message{Kind: types.Probe, Lines: 1, Full: 1, From: 1}
	frame, err := types.AppendFrame(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Append([]byte("x"), frame[4:]); string(got) != "x"+string(frame) {
		t.Errorf("appends %x, want x and %x", got, frame)
	}
	passes(t, c, c, "one", "two")
}

func TestShakeRefuses(t *testing.T) {
	t.Parallel()
	probe, err := types.AppendFrame(nil, &types.Message{Kind: types.Probe, Lines: 1, Full: 1, From: 2})
	if err != nil {
		t.Fatal(err)
	}
	sound := hello(t, accepting, 1)
	changed := func(at int, to byte) []byte {
		b := bytes.Clone(sound)
		b[at] = to
		return b
	}
	for _, c := range []struct {
		what     string
		received []byte
		want     error
		words    string
	}{
		{"a plain message", probe, ErrUnsealed, "start all with the same -key"},
		{"another version, sealed", changed(4, 0x81), types.ErrVersion, "unknown wire version 1, sealed; this peer speaks 2: run the same release"},
		{"a datagram", changed(5, kindDatagram), ErrUnopened, ""},
		{"its own id", changed(7, byte(dialing)), ErrImpostor, ""},
		{"its own hello", hello(t, dialing, 0), ErrImpostor, ""},
		{"too short", appendFrame(nil, sound[4:39]), ErrUnopened, ""},
		{"too long", appendFrame(nil, append(bytes.Clone(sound[4:]), 0)), ErrUnopened, ""},
		{"a version alone", []byte{0, 0, 0, 1, 0x82}, ErrUnopened, ""},
		{"a public key that gives no secret", appendFrame(nil, append(bytes.Clone(sound[4:8]), make([]byte, 32)...)), ErrUnopened, ""},
		{"nothing", nil, io.EOF, ""},
		{"cut short", sound[:20], io.ErrUnexpectedEOF, ""},
		{"a stranger", []byte("GET / HTTP/1.1\r\n\r\n"), nil, "its sender is no peer"},
	} {
		conn, _, sent, err := shake(ring(t, 1), dialing, 0, c.received)
		if conn != nil || err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %v %s", c.what, err, c.want, c.words)
		}
		if !bytes.Equal(sent, hello(t, dialing, 0)) {
			t.Errorf("%s: sent %x: the other end may need it to tell what is wrong", c.what, sent)
		}
	}
	failed := errors.New("failed")
	r := bufio.NewReader(bytes.NewReader(sound))
	if _, _, err := Handshake(r, io.Discard, iotest.ErrReader(failed), ring(t, 1), dialing, true); !errors.Is(err, failed) {
		t.Errorf("without randomness: %v", err)
	}
	pipe, w := io.Pipe()
	pipe.CloseWithError(failed)
	if _, _, err := Handshake(r, w, dice(0), ring(t, 1), dialing, true); !errors.Is(err, failed) {
		t.Errorf("without a connection: %v", err)
	}
}

// frames returns one frame of c for each message.
func frames(c *Conn, messages ...string) (all [][]byte) {
	for _, m := range messages {
		all = append(all, c.Append(nil, []byte(m)))
	}
	return all
}

// Whatever an attacker between the two ends changes in the stream does not open.
func TestConnRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		feed func(dialer, acceptor, other *Conn) [][]byte // to acceptor; other is the dialer of another connection
		want string                                       // what opens until then
	}{
		{"nothing", func(d, _, _ *Conn) [][]byte { return frames(d, "one", "two", "three") }, "one two three"},
		{"repeats", func(d, _, _ *Conn) [][]byte {
			f := frames(d, "one", "two")
			return [][]byte{f[0], f[1], f[1]}
		}, "one two"},
		{"repeats the first", func(d, _, _ *Conn) [][]byte {
			f := frames(d, "one")
			return [][]byte{f[0], f[0]}
		}, "one"},
		{"exchanges two", func(d, _, _ *Conn) [][]byte {
			f := frames(d, "one", "two", "three")
			return [][]byte{f[0], f[2], f[1]}
		}, "one"},
		{"leaves one out", func(d, _, _ *Conn) [][]byte { return frames(d, "one", "two", "three")[1:] }, ""},
		{"reflects", func(_, a, _ *Conn) [][]byte { return frames(a, "one") }, ""},
		{"reflects later", func(d, a, _ *Conn) [][]byte {
			return append(frames(d, "one"), frames(a, "mine", "two")[1])
		}, "one"},
		{"splices", func(_, _, o *Conn) [][]byte { return frames(o, "one") }, ""},
		{"splices later", func(d, _, o *Conn) [][]byte {
			return append(frames(d, "one"), frames(o, "other", "two")[1])
		}, "one"},
		{"makes it short", func(d, _, _ *Conn) [][]byte { return [][]byte{frames(d, "one")[0], {0, 0, 0, 1, 0}} }, "one"},
		{"speaks plainly", func(*Conn, *Conn, *Conn) [][]byte { return frames(new(Conn), "one") }, ""},
	} {
		for keys := range 2 { // whichever of the acceptor's opens
			sealed := ring(t, byte(1+keys))
			dialer, acceptor := meet(t, sealed, ring(t, 1, 2), 0)
			other, _ := meet(t, sealed, sealed, 1)
			got, err := readAll(acceptor, bytes.Join(c.feed(dialer, acceptor, other), nil))
			if want := strings.Fields(c.want); fmt.Sprint(got) != fmt.Sprint(want) || (err != io.EOF) != (c.what != "nothing") {
				t.Errorf("he %s: %q opens, %v; want %q", c.what, got, err, want)
			}
			if err != io.EOF && !errors.Is(err, ErrUnopened) {
				t.Errorf("he %s: %v", c.what, err)
			}
		}
	}
}

// A recording of one life, including its hello, opens in no other.
func TestConnReplay(t *testing.T) {
	t.Parallel()
	dialer, _ := meet(t, ring(t, 1), ring(t, 1), 0)
	recorded := dialer.Append(nil, []byte("one"))
	again, _, _, err := shake(ring(t, 1), accepting, 99, hello(t, dialing, 0))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(again, recorded); !errors.Is(err, ErrUnopened) {
		t.Errorf("%q opens, %v", got, err)
	}
}

// Who has the group's key and a recording of a connection, but the private key of neither end, opens nothing of it.
// After the first frame of each direction, no end holds what the keys were derived from.
func TestConnForwardSecrecy(t *testing.T) {
	t.Parallel()
	keyring := ring(t, 1)
	dialer, acceptor := meet(t, keyring, keyring, 0)
	first, second := hello(t, dialing, 0)[frameLength:], hello(t, accepting, 100)[frameLength:]
	recorded := dialer.Append(nil, []byte("one"))
	for what, secret := range map[string][]byte{
		"no secret":                nil,
		"zeros":                    make([]byte, 32),
		"the dialer's public key":  first[headerSize:],
		"another private key":      agreed(t, 1, first[headerSize:]),
		"both public keys at once": append(bytes.Clone(first[headerSize:]), second[headerSize:]...),
	} {
		if got, err := readAll(newConn(keyring, secret, second, first, false), recorded); !errors.Is(err, ErrUnopened) {
			t.Errorf("with %s, %q opens", what, got)
		}
	}
	truly := newConn(keyring, agreed(t, 100, first[headerSize:]), second, first, false)
	if got, err := readAll(truly, recorded); err != io.EOF || len(got) != 1 {
		t.Errorf("with the secret: %q, %v", got, err)
	}
	if _, err := readAll(acceptor, recorded); err != io.EOF {
		t.Fatal(err)
	}
	passes(t, acceptor, dialer, "two")
	for _, end := range []*Conn{dialer, acceptor} {
		if !bytes.Equal(end.in.shared, make([]byte, 32)) {
			t.Errorf("an end keeps %x", end.in.shared)
		}
	}
}

// Any changed bit, in the id or nonce of a hello or in a frame, is detected, and so is a shortened
// frame.
func TestConnTampering(t *testing.T) {
	t.Parallel()
	keyring := ring(t, 1, 2)
	sound := hello(t, dialing, 0)
	dialer, _, _, err := shake(keyring, dialing, 0, hello(t, accepting, 100))
	if err != nil {
		t.Fatal(err)
	}
	frame := dialer.Append(nil, []byte("message"))
	for bit := range (len(sound) + len(frame)) * 8 {
		stream := append(bytes.Clone(sound), frame...)
		stream[bit/8] ^= 1 << (bit % 8)
		if got := opened(keyring, stream); got != "" {
			t.Errorf("with bit %d changed, %q opens", bit, got)
		}
	}
	for n := 1; n < len(frame)-4; n++ {
		stream := appendFrame(bytes.Clone(sound), frame[4:4+n])
		if got := opened(keyring, stream); got != "" {
			t.Errorf("of %d bytes, %q opens", n, got)
		}
	}
	if got := opened(keyring, append(bytes.Clone(sound), frame...)); got != "message" {
		t.Errorf("unchanged, %q opens", got)
	}
}

// opened returns the first message that an acceptor with meet's nonce opens, or "".
func opened(ring Keyring, stream []byte) string {
	r := bufio.NewReader(bytes.NewReader(stream))
	c, _, err := Handshake(r, io.Discard, dice(100), ring, accepting, false)
	if err != nil {
		return ""
	}
	m, err := c.Read(r, nil)
	if err != nil {
		return ""
	}
	return string(m)
}

// Which keyrings open what which others seal: the first key seals, all open.
func TestConnKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dialer, acceptor []byte
		to, back         bool
	}{
		{[]byte{1}, []byte{1}, true, true},
		{[]byte{1}, []byte{2}, false, false},
		{[]byte{1}, []byte{2, 1}, true, false},
		{[]byte{1, 2}, []byte{2, 1}, true, true},
		{[]byte{1, 2}, []byte{2}, false, true},
		{[]byte{1, 3}, []byte{2, 3}, false, false},
	} {
		dialer, acceptor := meet(t, ring(t, c.dialer...), ring(t, c.acceptor...), 0)
		_, err := readAll(acceptor, dialer.Append(nil, []byte("to")))
		if (err == io.EOF) != c.to {
			t.Errorf("from %v to %v: %v", c.dialer, c.acceptor, err)
		}
		if _, err = readAll(dialer, acceptor.Append(nil, []byte("back"))); (err == io.EOF) != c.back {
			t.Errorf("from %v to %v: %v", c.acceptor, c.dialer, err)
		}
	}
}

// Two peers change their key in three steps, one after the other. At each moment open connections pass
// messages until they are stale, and new connections pass messages at once.
func TestConnRotates(t *testing.T) {
	t.Parallel()
	rings := [2]Keyring{ring(t, 1), ring(t, 1)}
	dialer, acceptor := meet(t, rings[0], rings[1], 0)
	passes(t, dialer, acceptor, "before")
	passes(t, acceptor, dialer, "before")
	seed := byte(1)
	for step, keys := range [][]byte{{1, 2}, {2, 1}, {2}} {
		for i := range rings {
			rings[i] = ring(t, keys...)
			passes(t, dialer, acceptor, "to", "and to")
			passes(t, acceptor, dialer, "back")
			stale := dialer.Stale(rings[0]) || acceptor.Stale(rings[1])
			if want := step == 1; stale != want {
				t.Errorf("keys %v at peer %d: stale is %t", keys, i+1, stale)
			}
			if stale {
				dialer, acceptor = meet(t, rings[0], rings[1], seed)
				seed++
				passes(t, dialer, acceptor, "anew")
				passes(t, acceptor, dialer, "anew")
			}
		}
	}
}

func TestStale(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		own, other []byte // first keys of which seal
		heard      bool   // a frame of the other's
		now        []byte
		want       bool
	}{
		{[]byte{1}, []byte{1}, true, []byte{1}, false},
		{[]byte{1}, []byte{1}, true, []byte{1, 2}, false},
		{[]byte{1}, []byte{1}, true, []byte{2, 1}, true},
		{[]byte{1}, []byte{1}, true, []byte{2}, true},
		{[]byte{1}, []byte{1}, true, nil, true},
		{nil, nil, true, nil, false},
		{nil, nil, true, []byte{1}, true},
		{[]byte{2, 1}, []byte{1}, true, []byte{2, 1}, false},
		{[]byte{2, 1}, []byte{1}, true, []byte{2}, true},
		{[]byte{2, 1}, []byte{2}, true, []byte{2}, false},
		{[]byte{2, 1}, []byte{2}, false, []byte{2}, true}, // key 1 might open the first frame
		{[]byte{2, 1}, []byte{2}, false, []byte{2, 3, 1}, false},
	} {
		dialer, acceptor := &Conn{}, &Conn{}
		if len(c.own) > 0 {
			dialer, acceptor = meet(t, ring(t, c.own...), ring(t, c.other...), 0)
		}
		if c.heard {
			passes(t, acceptor, dialer, "heard")
		}
		if got := dialer.Stale(ring(t, c.now...)); got != c.want {
			t.Errorf("sealing with %v, opening %v (%t), keys now %v: stale is %t", c.own, c.other, c.heard, c.now, got)
		}
	}
}

// One goroutine per direction and one that calls Stale run without a data race.
func TestConnAtOnce(t *testing.T) {
	t.Parallel()
	dialer, acceptor := meet(t, ring(t, 2, 1), ring(t, 1, 2), 0)
	stream := bytes.Join(frames(acceptor, "one", "two", "three"), nil)
	var all sync.WaitGroup
	all.Go(func() { frames(dialer, "a", "b", "c") })
	all.Go(func() {
		if got, err := readAll(dialer, stream); len(got) != 3 {
			t.Errorf("got %q, %v", got, err)
		}
	})
	all.Go(func() { dialer.Stale(ring(t, 2)) })
	all.Wait()
	if !dialer.Stale(ring(t, 2)) || dialer.Stale(ring(t, 2, 1)) {
		t.Error("the key that opened is not known")
	}
}

// After the first frame, neither end allocates.
func TestConnAllocations(t *testing.T) {
	dialer, acceptor := meet(t, ring(t, 1), ring(t, 1), 0)
	passes(t, dialer, acceptor, "first")
	message, buf := make([]byte, 200), make([]byte, 0, 300)
	var frame []byte
	source := bytes.NewReader(nil)
	r := bufio.NewReader(source)
	allocations := testing.AllocsPerRun(100, func() {
		frame = dialer.Append(frame[:0], message)
		source.Reset(frame)
		r.Reset(source)
		if _, err := acceptor.Read(r, buf); err != nil {
			t.Error(err)
		}
	})
	if allocations != 0 {
		t.Errorf("a frame sealed and opened takes memory %v times", allocations)
	}
}

// FuzzConn reads a stream from a sender without a key. Nothing opens, except what the true dialer sent
// to this acceptor.
func FuzzConn(f *testing.F) {
	keyring := ring(f, 1, 2)
	dialer, _, _, err := shake(keyring, dialing, 0, hello(f, accepting, 100))
	if err != nil {
		f.Fatal(err)
	}
	first := append(hello(f, dialing, 0), dialer.Append(nil, []byte("message"))...)
	f.Add(first)
	f.Add(first[:50])
	f.Add(append(bytes.Clone(first), first...))
	f.Add(hello(f, accepting, 1))
	f.Add(frames(new(Conn), "plain")[0])
	f.Fuzz(func(t *testing.T, stream []byte) {
		if got := opened(keyring, stream); got != "" && !bytes.HasPrefix(stream, first) {
			t.Errorf("%q opens of %x", got, stream)
		}
	})
}

func BenchmarkConn(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			dialer, acceptor := meet(b, ring(b, 1), ring(b, 1), 0)
			message, buf := make([]byte, size), make([]byte, 0, size+tagSize)
			var frame []byte
			source := bytes.NewReader(nil)
			r := bufio.NewReader(source)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				frame = dialer.Append(frame[:0], message)
				source.Reset(frame)
				r.Reset(source)
				if _, err := acceptor.Read(r, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkShake(b *testing.B) {
	keyring, other := ring(b, 1), hello(b, accepting, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := shake(keyring, dialing, 0, other); err != nil {
			b.Fatal(err)
		}
	}
}
