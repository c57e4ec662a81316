package seal

import (
	"bufio"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"memberly/peer/types"
)

// HKDF's info, so that each direction of a connection has its own keys.
const (
	dialerInfo   = "memberly 2 dialer"
	acceptorInfo = "memberly 2 acceptor"
)

const (
	frameLength  = 4
	ephemeralKey = 32 // of X25519
	helloSize    = headerSize + ephemeralKey
)

// Conn seals and opens the frames of a TCP connection. One goroutine may call Append while
// another calls Read, and any may call Stale. With the zero Conn frames pass unchanged.
type Conn struct {
	out sender
	in  receiver
}

// sender seals outgoing frames.
type sender struct {
	sealer  // zero if nothing is sealed
	counter uint64
	nonce   nonce
}

// receiver opens incoming frames.
type receiver struct {
	ring    Keyring // zero if nothing is sealed
	shared  []byte  // what the ends alone know; zero once a frame has opened
	salt    [sha256.Size]byte
	info    string
	sealer  sealer // opened the first frame
	counter uint64
	nonce   nonce
	opened  atomic.Pointer[key] // the key of sealer, for other goroutines
}

// Handshake agrees with the other end on the keys of the connection. It writes this end's hello,
// a header and a new X25519 public key, to w in one Write, and reads the other end's from r. It returns
// the id that the other end claims, which is authenticated once Read has opened a frame. With the
// zero Keyring it does nothing, and returns the zero Conn and no id.
//
// Nothing keeps the private keys, so who gets a key of the ring later cannot derive the keys of a connection that
// he recorded.
//
// It wraps errors of r (see types.ReadFrame), w and random. Any other error is the other end's
// fault: ErrUnsealed, types.ErrVersion, ErrUnopened for a malformed hello, or ErrImpostor for a
// hello with the id self, which may be this end's own, reflected.
func Handshake(r *bufio.Reader, w io.Writer, random io.Reader, ring Keyring, self types.ID, dialer bool) (*Conn, types.ID, error) {
	if ring.Len() == 0 {
		return new(Conn), 0, nil
	}
	own, private, err := newHello(random, self)
	if err != nil {
		return nil, 0, err
	}
	if _, err := w.Write(appendFrame(nil, own)); err != nil {
		return nil, 0, fmt.Errorf("sending hello: %w", err)
	}
	other, err := types.ReadFrame(r, make([]byte, 0, helloSize))
	if err != nil {
		return nil, 0, err
	}
	peer, err := readHeader(other, kindHello)
	switch {
	case err != nil:
		return nil, 0, err
	case len(other) != helloSize:
		return nil, 0, ErrUnopened
	case peer == self:
		return nil, 0, ErrImpostor
	}
	shared, err := agree(private, other[headerSize:])
	if err != nil {
		return nil, 0, ErrUnopened // a public key that no peer makes
	}
	return newConn(ring, shared, own, other, dialer), peer, nil
}

// newHello returns a hello, and the private key that belongs to it.
func newHello(random io.Reader, self types.ID) ([]byte, *ecdh.PrivateKey, error) {
	var secret [ephemeralKey]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return nil, nil, fmt.Errorf("drawing an ephemeral key: %w", err)
	}
	private, err := ecdh.X25519().NewPrivateKey(secret[:])
	if err != nil {
		return nil, nil, fmt.Errorf("making an ephemeral key: %w", err)
	}
	return append(appendHeader(make([]byte, 0, helloSize), kindHello, self), private.PublicKey().Bytes()...), private, nil
}

// agree returns the secret that a private key of this end and a public key of the other give.
func agree(private *ecdh.PrivateKey, other []byte) ([]byte, error) {
	public, err := ecdh.X25519().NewPublicKey(other)
	if err != nil {
		return nil, err
	}
	return private.ECDH(public)
}

func appendFrame(b, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(payload))), payload...)
}

// newConn returns the Conn of the end that sent the hello own and received other. The keys depend
// on both hellos, so no attacker can make either end use the keys of another connection.
func newConn(ring Keyring, shared, own, other []byte, dialer bool) *Conn {
	c := &Conn{in: receiver{ring: ring, shared: shared}}
	h, outInfo := sha256.New(), dialerInfo
	if dialer {
		h.Write(own)
		h.Write(other)
		c.in.info = acceptorInfo
	} else {
		h.Write(other)
		h.Write(own)
		c.in.info, outInfo = dialerInfo, acceptorInfo
	}
	h.Sum(c.in.salt[:0])
	c.out.sealer = newSealer(ring.keys[0], shared, c.in.salt[:], outInfo)
	return c
}

// Append appends a frame with message, of 1 to types.MaxFrame-tagSize bytes, to b. Every message
// of the protocol fits. The other end can open a frame only after all that were appended before it.
func (c *Conn) Append(b, message []byte) []byte {
	o := &c.out
	if o.aead == nil {
		return appendFrame(b, message)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(message)+tagSize))
	body := len(b)
	b = append(b, message...)
	b = o.aead.Seal(b[:body], o.nonce.of(o.counter), b[body:], nil)
	o.counter++
	return b
}

// Read reads a frame from r and returns its message, in the memory of buf if it fits. The error
// is that of types.ReadFrame, or ErrUnopened; after an error the connection must be closed.
func (c *Conn) Read(r *bufio.Reader, buf []byte) ([]byte, error) {
	payload, err := types.ReadFrame(r, buf)
	if err != nil || c.in.ring.Len() == 0 {
		return payload, err
	}
	return c.in.open(payload)
}

// open opens the next frame. Any key may open the first; the same key must open all others.
func (i *receiver) open(payload []byte) ([]byte, error) {
	if i.sealer.aead == nil {
		return i.openFirst(payload)
	}
	message, err := i.sealer.aead.Open(payload[:0], i.nonce.of(i.counter), payload, nil)
	if err != nil {
		return nil, ErrUnopened
	}
	i.counter++
	return message, nil
}

func (i *receiver) openFirst(payload []byte) ([]byte, error) {
	for _, k := range i.ring.keys {
		l := newSealer(k, i.shared, i.salt[:], i.info)
		// Not in place: a failure would destroy payload for the other keys.
		message, err := l.aead.Open(nil, i.nonce.of(0), payload, nil)
		if err == nil {
			i.sealer, i.counter = l, 1
			i.opened.Store(&k)
			clear(i.shared)
			return message, nil
		}
	}
	return nil, ErrUnopened
}

// Stale reports whether c must be replaced by a new connection now that the keys are those of
// ring: c seals with another key than ring's first, or opens with a key that ring lacks. Until it
// is closed, c works as before.
func (c *Conn) Stale(ring Keyring) bool {
	if ring.Len() == 0 || c.in.ring.Len() == 0 {
		return ring.Len() != c.in.ring.Len()
	}
	if c.out.key != ring.keys[0] {
		return true
	}
	if opened := c.in.opened.Load(); opened != nil {
		return !ring.has(*opened)
	}
	for _, k := range c.in.ring.keys { // no frame has come yet, so any of these may open it
		if !ring.has(k) {
			return true
		}
	}
	return false
}
