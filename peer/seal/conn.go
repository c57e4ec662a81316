package seal

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"memberly/peer/types"
)

// Each direction of a connection has keys of its own.
const (
	dialerInfo   = "memberly 1 dialer"
	acceptorInfo = "memberly 1 acceptor"
)

const (
	frameLength = 4
	helloNonce  = 32
	helloSize   = headerSize + helloNonce
)

// Conn seals and opens the frames of a TCP connection. One goroutine may call Append while
// another calls Read, and any call Stale. The zero Conn passes frames on as they are.
type Conn struct {
	out sender
	in  receiver
}

// sender is the direction that leads away from this end.
type sender struct {
	sealer  // zero: nothing is sealed
	counter uint64
	nonce   nonce
}

// receiver is the direction that leads here.
type receiver struct {
	ring    Keyring // zero: nothing is sealed
	salt    [sha256.Size]byte
	info    string
	sealer  sealer // that opened the first frame
	counter uint64
	nonce   nonce
	opened  atomic.Pointer[key] // of sealer, for other goroutines
}

// Handshake agrees with the other end on what the frames between them are sealed with: it writes
// this end's hello to w, the connection, in one piece, and reads the other's from r. The two
// are a header and 32 bytes from random each. It returns the id that the other end says is
// its own; only when Read has opened a frame, that is the word of somebody with a key. With
// the zero Ring it does nothing, and returns the zero Conn and no id.
//
// An error of r, w or random is wrapped: see types.ReadFrame. Any other is the fault of the
// other end: ErrUnsealed, types.ErrVersion, ErrUnopened for what is no hello, ErrImpostor for
// one that bears self, which this end may have sent itself.
func Handshake(r *bufio.Reader, w io.Writer, random io.Reader, ring Keyring, self types.ID, dialer bool) (*Conn, types.ID, error) {
	if ring.Len() == 0 {
		return new(Conn), 0, nil
	}
	own, err := newHello(random, self)
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
	return newConn(ring, own, other, dialer), peer, nil
}

func newHello(random io.Reader, self types.ID) ([]byte, error) {
	hello := appendHeader(make([]byte, 0, helloSize), kindHello, self)[:helloSize]
	if _, err := io.ReadFull(random, hello[headerSize:]); err != nil {
		return nil, fmt.Errorf("drawing a nonce: %w", err)
	}
	return hello, nil
}

func appendFrame(b, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(payload))), payload...)
}

// newConn returns the Conn of the end that sent own and got other. Both hellos decide the keys,
// so neither end can be made to use the keys of another connection.
func newConn(ring Keyring, own, other []byte, dialer bool) *Conn {
	c := &Conn{in: receiver{ring: ring}}
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
	c.out.sealer = newSealer(ring.keys[0], c.in.salt[:], outInfo)
	return c
}

// Append appends to b a frame with message, which has from 1 to types.MaxFrame-Overhead bytes,
// as every message does. Frames open in the order in which they were appended, and only if
// all before them were sent.
func (c *Conn) Append(b, message []byte) []byte {
	o := &c.out
	if o.aead == nil {
		return appendFrame(b, message)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(message)+Overhead))
	body := len(b)
	b = append(b, message...)
	b = o.aead.Seal(b[:body], o.nonce.of(o.counter), b[body:], nil)
	o.counter++
	return b
}

// Read reads a frame from r, and returns its message's bytes in buf's memory as far as that
// reaches. The error is as that of types.ReadFrame, or ErrUnopened; after it the connection
// is of no more use.
func (c *Conn) Read(r *bufio.Reader, buf []byte) ([]byte, error) {
	payload, err := types.ReadFrame(r, buf)
	if err != nil || c.in.ring.Len() == 0 {
		return payload, err
	}
	return c.in.open(payload)
}

// open opens the next frame: the first with any key, all others with the same.
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
		l := newSealer(k, i.salt[:], i.info)
		// Not in place: what does not open would be lost to the other keys.
		message, err := l.aead.Open(nil, i.nonce.of(0), payload, nil)
		if err == nil {
			i.sealer, i.counter = l, 1
			i.opened.Store(&k)
			return message, nil
		}
	}
	return nil, ErrUnopened
}

// Stale reports whether c is to be closed, and another connection made, because the keys are
// those of ring now: c seals with another key than its first, or opens with one that it lacks.
// Until then all goes through c as before.
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
	for _, k := range c.in.ring.keys { // the first frame is still to come
		if !ring.has(k) {
			return true
		}
	}
	return false
}
