package types

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Version is the wire version that this program speaks. It is the first byte of every
// message; the kind is the second, and the sender's id the third and fourth, in all versions.
const Version = 1

// SealedVersion is the version of how payloads are sealed with a key.
const SealedVersion = 2

// Sealed is what a payload that is sealed with a key has for its Version. Kind and sender
// follow as in any other; the kind is one of peer/seal. DecodeMessage knows only to say so.
const Sealed = sealedBit | SealedVersion

// sealedBit is set in the version byte of sealed payloads only.
const sealedBit = 1 << 7

// MaxHosts is how many hosts a hosts file may list: a NEWVIEW among so many still fits a frame.
const MaxHosts = 4096

// MaxFrame is the longest message, in bytes without the frame's length.
const MaxFrame = 1 << 16

// ErrVersion is wrapped by the error for a message of another wire version.
var ErrVersion = errors.New("unknown wire version")

// ErrSealed is wrapped, besides ErrVersion, by the error for a message that is sealed.
var ErrSealed = errors.New("it is sealed with a key, and this peer has none: start all with the same -key, or none")

// frameLength is how many bytes a frame's length takes.
const frameLength = 4

// AppendFrame appends m as a frame for TCP: its length, four bytes, then AppendMessage's bytes.
// If m breaks the rules of the wire, it returns b as it was, and an error that names the fault.
func AppendFrame(b []byte, m *Message) ([]byte, error) {
	start := len(b)
	framed, err := AppendMessage(append(b, make([]byte, frameLength)...), m)
	if err != nil {
		return b, err
	}
	binary.BigEndian.PutUint32(framed[start:], uint32(len(framed)-start-frameLength))
	return framed, nil
}

// AppendMessage appends m without a frame's length, as a UDP datagram holds it. Only the
// fields that m.Kind uses are written; To never is. It only reads m, so several goroutines
// may send one message. If m breaks the rules of the wire, it returns b as it was, and an
// error that names the fault.
func AppendMessage(b []byte, m *Message) ([]byte, error) {
	c := codec{bytes: b, hosts: MaxHosts}
	c.message(m)
	if c.err != nil {
		return b, fmt.Errorf("%v to peer %d: %w", m.Kind, m.To, c.err)
	}
	return c.bytes, nil
}

// DecodeMessage sets m to the message that b holds, in a group with so many hosts in its
// file. It trusts nothing: an unknown kind, an id of no host (see Kind.Hosts), an impossible
// view, bytes missing or left over are errors that name the fault, and leave m zero; another
// wire version is ErrVersion. m shares no memory with b. Decoding a HEARTBEAT does not allocate.
func DecodeMessage(b []byte, hosts int, m *Message) error {
	*m = Message{}
	c := codec{bytes: b, decoding: true, hosts: min(hosts, MaxHosts)}
	c.message(m)
	if left := len(c.bytes); left > 0 {
		c.fail("%d bytes are left over", left)
	}
	if c.err != nil {
		err := fmt.Errorf("%s from peer %d: %w", title(b, m.Kind), m.From, c.err)
		*m = Message{}
		return err
	}
	return nil
}

// title names what b is, for errors.
func title(b []byte, k Kind) string {
	if len(b) > 0 && isSealed(b[0]) {
		return "sealed message"
	}
	return k.String()
}

func isSealed(version uint8) bool { return version&sealedBit != 0 }

// ReadFrame reads one frame from r and returns its message's bytes, in buf's memory as far as
// that reaches. Memory grows with what was received, not with what the length claims. The
// error is io.EOF if r ended before a frame began, wraps io.ErrUnexpectedEOF if it ended
// within one, and else wraps r's own; a length of zero or above MaxFrame is an error too.
// After any error the stream is of no more use.
func ReadFrame(r *bufio.Reader, buf []byte) ([]byte, error) {
	length, err := readLength(r)
	if err != nil {
		return nil, err
	}
	buf = buf[:0]
	for len(buf) < length {
		if _, err := r.Peek(1); err != nil {
			return nil, fmt.Errorf("%d of a frame's %d bytes came: %w", len(buf), length, unexpected(err))
		}
		// What is buffered can be neither short nor fail.
		chunk, _ := r.Peek(min(r.Buffered(), length-len(buf)))
		buf = append(buf, chunk...)
		r.Discard(len(chunk))
	}
	return buf, nil
}

func readLength(r *bufio.Reader) (int, error) {
	b, err := r.Peek(frameLength)
	switch {
	case err == io.EOF && len(b) == 0:
		return 0, io.EOF
	case err != nil:
		return 0, fmt.Errorf("reading a frame's length: %w", unexpected(err))
	}
	length := binary.BigEndian.Uint32(b)
	r.Discard(frameLength)
	if length == 0 || length > MaxFrame {
		return 0, fmt.Errorf("a frame of %d bytes is claimed, not 1 to %d: its sender is no peer", length, MaxFrame)
	}
	return int(length), nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// codec goes over the fields of a message in their order on the wire, and writes each or
// reads each. One description serves both directions, and the same rules hold in both, so
// neither can drift from the other. Writing never touches the message.
type codec struct {
	bytes    []byte // writing: all so far. Reading: what is left
	decoding bool
	hosts    int   // in the file
	err      error // the first fault; what comes after it means nothing
}

// message is the wire format. Integers are big endian and of fixed size: ids and counts take
// two bytes, flags and enumerations one, everything else eight.
func (c *codec) message(m *Message) {
	c.version()
	enum(c, &m.Kind, Join, Echoed, "kind")
	c.hosts = m.Kind.Hosts(c.hosts)
	c.id(&m.From, 1)
	c.incarnation(&m.Incarnation, 0)
	c.group(&m.Group)
	c.number(&m.Number)
	c.body(m)
}

// body is what the kinds differ in.
func (c *codec) body(m *Message) {
	switch m.Kind {
	case Join, Probe:
		code64(c, &m.Request)
		code64(c, &m.Digest)
	case Req, NewLeader:
		c.addressed(m)
		c.change(m)
		c.ids(&m.Unreachable)
	case OK, PendingResponse:
		c.addressed(m)
		c.change(m)
		c.term(&m.Accepted)
	case NewView:
		c.addressed(m)
		c.change(m)
		c.view(m)
		c.ids(&m.Unreachable)
	case Heartbeat:
		code64(c, &m.Request)
		code64(c, &m.Heard)
		c.term(&m.Term)
		c.flag(&m.Leads)
		c.ids(&m.Unreachable)
	case Leave:
		c.incarnation(&m.For, 0)
		c.term(&m.Term)
	case State:
		c.addressed(m)
		enum(c, &m.Standing, Fresh, Joined, "standing")
		c.flag(&m.Leads)
		c.flag(&m.HasLeader)
		c.incarnation(&m.Last, 0)
	case Refused:
		c.addressed(m)
		enum(c, &m.Reason, Promised, Twice, "reason")
		if m.Reason == Twice {
			c.lives(&m.Lives)
		}
	case Echo, Echoed:
		code64(c, &m.Request)
		code64(c, &m.Digest)
		c.flag(&m.Broadcast)
		enum(c, &m.Standing, 0, Joined, "standing")
	}
}

// addressed is what requests to one incarnation, and their answers, have in common.
func (c *codec) addressed(m *Message) {
	c.incarnation(&m.For, 0)
	code64(c, &m.Request)
	c.term(&m.Term)
}

// lives are two different addresses of 16 bytes each, IPv4 ones as ::ffff:a.b.c.d.
func (c *codec) lives(lives *[2]netip.Addr) {
	for i := range lives {
		c.addr(&lives[i])
	}
	if lives[0] == lives[1] {
		c.fail("both processes are at %v", lives[0])
	}
}

func (c *codec) addr(a *netip.Addr) {
	if !c.decoding {
		if bare := a.Unmap().WithZone(""); bare != *a {
			c.fail("%v is not a bare address", *a)
		}
		b := a.As16()
		c.bytes = append(c.bytes, b[:]...)
	} else if b := c.take(16); b != nil {
		*a = netip.AddrFrom16([16]byte(b)).Unmap()
	}
	if !a.IsValid() || a.IsUnspecified() {
		c.fail("%v is no address of a host", *a)
	}
}

func (c *codec) version() {
	version := uint8(Version)
	code8(c, &version)
	if isSealed(version) {
		c.fail("%w %d: %w", ErrVersion, version, ErrSealed)
	}
	if version != Version {
		c.fail("%w %d, this peer speaks %d: run the same release on all hosts", ErrVersion, version, Version)
	}
}

func (c *codec) group(g *Group) {
	c.incarnation(&g.Made, 0)
	c.id(&g.Maker, 0)
	if (g.Made == 0) != (g.Maker == 0) {
		c.fail("group %d of maker %d is neither a group nor none", g.Made, g.Maker)
	}
}

func (c *codec) term(t *Term) {
	code64(c, &t.Counter)
	c.id(&t.Peer, 0)
}

func (c *codec) change(m *Message) {
	change := &m.Change
	enum(c, &change.Operation, Nothing, Pending, "operation")
	if !suits(change.Operation, m.Kind) {
		c.fail("%v says nothing in a %v", change.Operation, m.Kind)
	}
	if change.Operation == Add || change.Operation == Del {
		c.id(&change.Member.ID, 1)
		c.incarnation(&change.Member.Incarnation, 1)
	}
	if change.Operation == Del {
		enum(c, &change.Cause, Unreachable, Expelled, "cause of a removal")
	}
}

func suits(o Operation, k Kind) bool {
	switch k {
	case Req:
		return o == Add || o == Del
	case NewLeader:
		return o == Pending
	}
	return o != Pending
}

// view is a flag, and the view if the flag is set. Its group and number are the message's.
func (c *codec) view(m *Message) {
	whole := m.View != nil
	c.flag(&whole)
	if !whole {
		return
	}
	if c.decoding {
		m.View = &View{Group: m.Group, Number: m.Number}
	}
	if m.View.Group != m.Group || m.View.Number != m.Number {
		c.fail("about view %d of %v, it carries view %d of %v", m.Number, m.Group, m.View.Number, m.View.Group)
	}
	c.id(&m.View.Leader, 1)
	c.ids(&m.View.Members)
	c.pasts(&m.View.Last)
	c.sound(m.View)
}

// ids is a list of different hosts in any order.
func (c *codec) ids(ids *[]ID) {
	n := c.count(len(*ids), 2)
	if n == 0 {
		return
	}
	if c.decoding {
		*ids = make([]ID, n)
	}
	var seen [MaxHosts + 1]bool
	for i := range n {
		id := &(*ids)[i]
		c.id(id, 1)
		if c.err != nil {
			return
		}
		if seen[*id] {
			c.fail("peer %d is listed twice", *id)
		}
		seen[*id] = true
	}
}

// pasts is what a view remembers of each host of the file.
func (c *codec) pasts(last *[]Past) {
	n := c.count(len(*last), 9)
	if c.decoding {
		if n != c.hosts {
			c.fail("a view over %d hosts, but the hosts file here lists %d: use the same file everywhere", n, c.hosts)
			return
		}
		*last = make([]Past, n)
	}
	for i := range n {
		past := &(*last)[i]
		c.incarnation(&past.Incarnation, 0)
		enum(c, &past.Cause, Present, Expelled, "cause of a removal")
		if past.Incarnation == 0 && past.Cause != Present {
			c.fail("host %d never was a member, yet it was removed: %v", i+1, past.Cause)
		}
	}
}

// sound faults a view that no chain of changes can have made.
func (c *codec) sound(v *View) {
	if v.Number < 1 || v.Group == (Group{}) {
		c.fail("a view needs a group and a number: %d of %v", v.Number, v.Group)
	}
	if !v.Has(v.Leader) {
		c.fail("leader %d is no member", v.Leader)
	}
	for _, id := range v.Members {
		if !v.Has(id) {
			c.fail("peer %d is listed as a member, but is none", id)
		}
	}
	present := 0
	for _, past := range v.Last {
		if past.Incarnation != 0 && past.Cause == Present {
			present++
		}
	}
	if present != len(v.Members) {
		c.fail("%d members are listed, but %d are present", len(v.Members), present)
	}
}

// id is a host's, or nobody's if least is zero.
func (c *codec) id(id *ID, least ID) {
	code16(c, id)
	if *id < least || int(*id) > c.hosts {
		c.fail("peer %d is none of the %d hosts", *id, c.hosts)
	}
}

func (c *codec) incarnation(i *Incarnation, least Incarnation) {
	code64(c, i)
	if *i < least {
		c.fail("incarnation %d is below %d", *i, least)
	}
}

func (c *codec) number(n *int64) {
	code64(c, n)
	if *n < 0 {
		c.fail("view number %d is negative", *n)
	}
}

// count is how many elements of so many bytes each follow; zero after a fault.
// A list that the bytes at hand cannot hold is found out before memory is taken for it.
func (c *codec) count(n, size int) int {
	code16(c, &n)
	if n > c.hosts {
		c.fail("a list of %d among %d hosts", n, c.hosts)
	}
	if c.decoding && n*size > len(c.bytes) {
		c.fail("cut short: %d bytes are left of a list of %d", len(c.bytes), n)
	}
	if c.err != nil {
		return 0
	}
	return n
}

func (c *codec) flag(f *bool) {
	var bit uint8
	if *f {
		bit = 1
	}
	code8(c, &bit)
	if bit > 1 {
		c.fail("a flag is %d, not 0 or 1", bit)
	}
	if c.decoding {
		*f = bit == 1
	}
}

func enum[T ~uint8](c *codec, v *T, least, most T, what string) {
	code8(c, v)
	if *v < least || *v > most {
		c.fail("there is no %s %d", what, uint8(*v))
	}
}

func code8[T ~uint8](c *codec, v *T) {
	if !c.decoding {
		c.bytes = append(c.bytes, byte(*v))
	} else if b := c.take(1); b != nil {
		*v = T(b[0])
	}
}

func code16[T ~int](c *codec, v *T) {
	if !c.decoding {
		c.bytes = binary.BigEndian.AppendUint16(c.bytes, uint16(*v))
	} else if b := c.take(2); b != nil {
		*v = T(binary.BigEndian.Uint16(b))
	}
}

func code64[T ~int64 | ~uint64](c *codec, v *T) {
	if !c.decoding {
		c.bytes = binary.BigEndian.AppendUint64(c.bytes, uint64(*v))
	} else if b := c.take(8); b != nil {
		*v = T(binary.BigEndian.Uint64(b))
	}
}

// take cuts the next n bytes off, or returns nil if there are too few.
func (c *codec) take(n int) []byte {
	if len(c.bytes) < n {
		c.fail("cut short: a field of %d bytes has %d", n, len(c.bytes))
		c.bytes = nil
		return nil
	}
	b := c.bytes[:n]
	c.bytes = c.bytes[n:]
	return b
}

func (c *codec) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}
