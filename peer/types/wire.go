package types

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"time"
)

// FirstVersion is the lowest wire version that this program accepts: peers of all versions from this one on can
// be in one group.
const FirstVersion = 2

// SealedVersion is the version in which payloads are encrypted with a key.
const SealedVersion = 2

// Sealed is the Version of a payload that is encrypted with a key. Its kind is one of package seal, and
// the sender follows as in any other payload. DecodeMessage rejects it with ErrSealed.
const Sealed = sealedBit | SealedVersion

// sealedBit is set in the version byte of encrypted payloads only.
const sealedBit = 1 << 7

// MaxFrame is the maximum length of a frame's payload in bytes.
const MaxFrame = 1 << 16

// ErrVersion is the error for a message of another wire version.
var ErrVersion = errors.New("unknown wire version")

// ErrSealed is the error for a sealed message. Such an error wraps ErrVersion too.
var ErrSealed = errors.New("it is sealed with a key, and this peer has none: start all with the same -key, or none")

// frameLength is the size of a frame's length field in bytes.
const frameLength = 4

// AppendFrame appends m to b as a frame for TCP: the length in four bytes, then the bytes of
// AppendMessage. If m is invalid, it returns b unchanged and an error that names the fault.
func AppendFrame(b []byte, m *Message) ([]byte, error) {
	start := len(b)
	framed, err := AppendMessage(append(b, make([]byte, frameLength)...), m)
	if err != nil {
		return b, err
	}
	binary.BigEndian.PutUint32(framed[start:], uint32(len(framed)-start-frameLength))
	return framed, nil
}

// AppendMessage appends m to b without a frame's length, as in a UDP datagram. It writes only the fields
// that m.Kind uses, and never To. It does not modify m, so several goroutines may send one message. If m
// is invalid, it returns b unchanged and an error that names the fault.
func AppendMessage(b []byte, m *Message) ([]byte, error) {
	c := codec{bytes: b}
	c.message(m)
	if c.err != nil {
		return b, fmt.Errorf("%v to peer %d: %w", m.Kind, m.To, c.err)
	}
	return c.bytes, nil
}

// DecodeMessage decodes b into m. It trusts nothing: for an id above MaxHosts, an impossible view or host, or missing
// bytes it returns an error that names the fault, and sets m to zero. Which ids up to MaxHosts are hosts, it does not
// know: the receiver may list fewer than the sender. A version below FirstVersion is ErrVersion. What a later version
// may add, it skips: bytes after the fields that it knows, and all but the first fields of a kind above LastKind. m
// shares no memory with b. Decoding a HEARTBEAT that names nobody unreachable does not allocate.
func DecodeMessage(b []byte, m *Message) error {
	*m = Message{}
	c := codec{bytes: b, decoding: true}
	c.message(m)
	if c.err != nil {
		err := fmt.Errorf("%s from peer %d: %w", title(b, m.Kind), m.From, c.err)
		*m = Message{}
		return err
	}
	return nil
}

// title names the message b in errors.
func title(b []byte, k Kind) string {
	if len(b) > 0 && isSealed(b[0]) {
		return "sealed message"
	}
	return k.String()
}

func isSealed(version uint8) bool { return version&sealedBit != 0 }

// ReadFrame reads one frame from r and returns its payload, in the memory of buf if it fits. It allocates
// for the bytes received, not for the length claimed. The error is io.EOF if r ends before a frame, wraps
// io.ErrUnexpectedEOF if r ends within one, and otherwise wraps r's error or reports a length of zero or
// above MaxFrame. After an error the stream must be closed.
func ReadFrame(r *bufio.Reader, buf []byte) ([]byte, error) {
	length, err := readLength(r)
	if err != nil {
		return nil, err
	}
	buf = buf[:0]
	for len(buf) < length {
		if _, err := r.Peek(1); err != nil {
			return nil, fmt.Errorf("reading a frame, of which %d of %d bytes came: %w", len(buf), length, unexpected(err))
		}
		// Peek of buffered bytes cannot fail.
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
		return 0, fmt.Errorf("a frame claims %d bytes, not 1 to %d: its sender is no peer", length, MaxFrame)
	}
	return int(length), nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// codec encodes or decodes the fields of a message in their order on the wire. One description serves
// both directions, with the same checks, so they cannot drift apart. Encoding never modifies the message.
type codec struct {
	bytes    []byte // encoding: all so far. Decoding: the rest
	decoding bool
	spoken   uint8 // the version of the message
	err      error // the first fault; after it, decoded values are meaningless
}

// message is the wire format. Integers are big-endian: ids and counts take two bytes, flags, enumerations, versions
// and the lengths of names one, all others eight. Addresses take 16, IPv4 ones as ::ffff:a.b.c.d.
func (c *codec) message(m *Message) {
	c.version()
	enum(c, &m.Kind, Join, c.lastKind(), "kind")
	c.id(&m.From, 1)
	c.incarnation(&m.Incarnation, 0)
	c.group(&m.Group)
	c.number(&m.Number)
	c.body(m)
	c.added(m)
}

// body has the fields that depend on the kind.
func (c *codec) body(m *Message) {
	switch m.Kind {
	case Req, NewLeader, OK, PendingResponse, NewView:
		c.agreement(m)
	case Join, Probe:
		c.question(m)
	case Heartbeat:
		code64(c, &m.Request)
		code64(c, &m.Heard)
		c.term(&m.Term)
		c.flag(&m.Leads)
		c.flag(&m.Ceased)
		code8(c, &m.Speaks)
		c.ids(&m.Unreachable)
		code64(c, &m.File)
	case Leave:
		c.incarnation(&m.For, 0)
		c.term(&m.Term)
	case State:
		c.addressed(m)
		enum(c, &m.Standing, Fresh, Returned, "standing")
		c.flag(&m.Leads)
		c.flag(&m.HasLeader)
		c.incarnation(&m.Last, 0)
		code64(c, &m.Heard)
		code64(c, &m.File)
	case Refused:
		c.addressed(m)
		enum(c, &m.Reason, Promised, IsRetired, "reason")
		if m.Reason == Differs {
			c.prefix(m)
		}
		if m.Reason == Twice || m.Reason == Elsewhere {
			c.lives(&m.Lives)
		}
	case Echo, Echoed:
		code64(c, &m.Request)
		c.prefix(m)
		c.flag(&m.Broadcast)
		enum(c, &m.Standing, 0, Joined, "standing")
	case Hosts:
		c.addressed(m)
		c.hosts(m)
	}
}

// hosts has the hosts that m, a HOSTS, lists.
func (c *codec) hosts(m *Message) {
	c.id(&m.First, 1)
	before := len(c.bytes)
	c.listed(m.First, &m.Listed)
	if size := max(before-len(c.bytes), len(c.bytes)-before) - 2; size > MaxListed { // but for their number
		c.fail("the listed hosts have %d bytes, more than %d", size, MaxListed)
	}
}

// prefix has the digest of the first hosts that the sender lists, and of how many. Only who asks or says over UDP
// whether a host runs may leave it out.
func (c *codec) prefix(m *Message) {
	least := 1
	if m.Kind == Echo || m.Kind == Echoed {
		least = 0
	}
	code16(c, &m.Lines)
	if m.Lines < least || m.Lines > MaxHosts {
		c.fail("a digest of %d hosts, not %d to %d", m.Lines, least, MaxHosts)
	}
	code64(c, &m.Digest)
}

// listed has how many hosts are listed, and the hosts from first on.
func (c *codec) listed(first ID, hosts *[]Host) {
	n := c.count(len(*hosts), leastHost)
	if last := int(first) + n - 1; last > MaxHosts {
		c.fail("hosts %d to %d are listed, but there are %d at most", first, last, MaxHosts)
		return
	}
	if c.decoding && n > 0 {
		*hosts = make([]Host, n)
	}
	for i := range n {
		h := &(*hosts)[i]
		c.hostName(&h.Name)
		c.hostAddr(&h.Addr)
		c.flag(&h.Retired)
	}
}

// leastHost is the least size of a listed host in bytes.
const leastHost = 1 + 1 + 16 + 1

// hostName has the length of a host's name, and the name.
func (c *codec) hostName(name *string) {
	n := uint8(min(len(*name), math.MaxUint8))
	code8(c, &n)
	if n < 1 || n > MaxName {
		c.fail("a host's name has %d bytes, not 1 to %d", max(len(*name), int(n)), MaxName)
		return
	}
	if !c.decoding {
		c.bytes = append(c.bytes, *name...)
	} else if b := c.take(int(n)); b != nil {
		*name = string(b)
	}
	if !IsName(*name) {
		c.fail("%q is not a host's name", *name)
	}
}

// hostAddr has a host's only address, or zeros if its name is to be looked up.
func (c *codec) hostAddr(a *netip.Addr) {
	var none [16]byte
	switch {
	case !c.decoding && !a.IsValid():
		c.bytes = append(c.bytes, none[:]...)
	case c.decoding && bytes.HasPrefix(c.bytes, none[:]):
		c.take(len(none))
	default:
		c.addr(a)
	}
}

// question has the fields of JOIN and PROBE after the first ones.
func (c *codec) question(m *Message) {
	code64(c, &m.Request)
	c.prefix(m)
	code16(c, &m.Full)
	if m.Full < m.Lines || m.Full > MaxHosts {
		c.fail("%d of %d hosts are compared", m.Lines, m.Full)
	}
	code8(c, &m.Speaks)
	if m.Kind == Join {
		c.duration(&m.Monitor)
		return
	}
	c.term(&m.Term)
	c.flag(&m.Leads)
}

// agreement has the fields of the messages about a change.
func (c *codec) agreement(m *Message) {
	c.addressed(m)
	c.change(m)
	switch m.Kind {
	case OK, PendingResponse:
		c.term(&m.Accepted)
	case NewView:
		c.term(&m.Chosen)
		c.view(m)
		c.ids(&m.Unreachable)
		c.flag(&m.Unanswered)
	case NewLeader:
		c.ids(&m.Unreachable)
		c.flag(&m.PreVote)
		c.founding(m)
	default:
		c.ids(&m.Unreachable)
		c.shown(m)
		c.founding(m)
	}
}

// founding has the FileDigest of the sender's hosts file where a message is about view 0.
func (c *codec) founding(m *Message) {
	if m.Number == 0 {
		code64(c, &m.Digest)
	}
}

// addressed has the fields that requests to one incarnation share with their answers.
func (c *codec) addressed(m *Message) {
	c.incarnation(&m.For, 0)
	code64(c, &m.Request)
	c.term(&m.Term)
}

// lives has two different addresses.
func (c *codec) lives(lives *[2]netip.Addr) {
	for i := range lives {
		c.addr(&lives[i])
	}
	if lives[0] == lives[1] {
		c.fail("both processes are at %v", lives[0])
	}
}

// addr has the address of a host, without a zone, which means something on one machine alone.
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
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || *a == toAll {
		c.fail("%v is no address of a host", *a)
	}
}

// toAll is the address of all hosts of a network.
var toAll = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (c *codec) version() {
	c.spoken = Version
	code8(c, &c.spoken)
	if isSealed(c.spoken) {
		c.fail("%w %d: %w", ErrVersion, c.spoken, ErrSealed)
	}
	if c.spoken < FirstVersion {
		c.fail("%w %d, this peer speaks %d and later: run the same release on all hosts", ErrVersion, c.spoken, FirstVersion)
	}
}

// lastKind returns the highest kind: of what comes from a later version, only the fields before the body count.
func (c *codec) lastKind() Kind {
	if c.decoding {
		return math.MaxUint8
	}
	return LastKind
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
	enum(c, &change.Operation, Nothing, Retire, "operation")
	if !suits(change.Operation, m.Kind) {
		c.fail("%v is not allowed in %v", change.Operation, m.Kind)
	}
	c.details(change)
}

// details has the fields of a change that depend on its operation.
func (c *codec) details(change *Change) {
	switch change.Operation {
	case Add, Del:
		c.id(&change.Member.ID, 1)
		c.incarnation(&change.Member.Incarnation, 1)
	case Grow, Retire:
		c.id(&change.Member.ID, 1)
	}
	switch change.Operation {
	case Del:
		enum(c, &change.Cause, Unreachable, Expelled, "cause of a removal")
	case Grow:
		c.hostName(&change.Name)
		c.hostAddr(&change.Addr)
	}
}

func suits(o Operation, k Kind) bool {
	switch k {
	case Req:
		return o != Nothing && o != Pending
	case NewLeader:
		return o == Pending
	}
	return o != Pending
}

// view has a flag, and if it is set the view, whose group and number are the message's.
func (c *codec) view(m *Message) {
	whole := m.View != nil
	c.flag(&whole)
	if whole {
		c.whole(m)
	}
}

// shown has the view that a REQ is about, if the sender shows it: none, the change that made it, or the view.
func (c *codec) shown(m *Message) {
	shows := showsNone
	switch {
	case m.View != nil:
		shows = showsView
	case m.Made.Operation != Nothing:
		shows = showsChange
	}
	enum(c, &shows, showsNone, showsView, "way to show a view")
	if shows == showsNone {
		return
	}
	c.term(&m.Chosen)
	if shows == showsView {
		c.whole(m)
		return
	}
	enum(c, &m.Made.Operation, Add, Retire, "operation")
	if m.Made.Operation == Pending {
		c.fail("%v makes no view", m.Made.Operation)
	}
	c.details(&m.Made)
}

// The ways in which a REQ shows the view that it is about.
const (
	showsNone uint8 = iota
	showsChange
	showsView
)

// whole has a view, whose group, number and term are the message's.
func (c *codec) whole(m *Message) {
	if c.decoding {
		m.View = &View{Group: m.Group, Number: m.Number, Term: m.Chosen}
	}
	if m.View.Group != m.Group || m.View.Number != m.Number {
		c.fail("a message about view %d of %v has view %d of %v", m.Number, m.Group, m.View.Number, m.View.Group)
	}
	c.id(&m.View.Leader, 1)
	c.ids(&m.View.Members)
	c.pasts(&m.View.Last)
	code64(c, &m.View.Digest)
	c.sound(m.View)
}

// ids has the ids of different hosts, in any order.
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

// pasts has the Past of each host that the group has agreed on.
func (c *codec) pasts(last *[]Past) {
	n := c.count(len(*last), 9)
	if c.decoding {
		*last = make([]Past, n)
	}
	for i := range n {
		past := &(*last)[i]
		c.incarnation(&past.Incarnation, 0)
		enum(c, &past.Cause, Present, Retired, "cause of a removal")
		if past.Incarnation == 0 && past.Cause != Present && past.Cause != Retired {
			c.fail("host %d never was a member, but has the cause of removal %v", i+1, past.Cause)
		}
	}
}

// sound fails for a view that no chain of changes can have made.
func (c *codec) sound(v *View) {
	if v.Number < 1 || v.Group == (Group{}) {
		c.fail("a view needs a group and a number: %d of %v", v.Number, v.Group)
	}
	if !v.Has(v.Leader) {
		c.fail("leader %d is no member", v.Leader)
	}
	for _, id := range v.Members {
		if !v.Has(id) {
			c.fail("peer %d is listed as a member, but the view does not hold it", id)
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

// id has the id of a host, or zero if least is zero.
func (c *codec) id(id *ID, least ID) {
	code16(c, id)
	if *id < least || *id > MaxHosts {
		c.fail("peer %d is none of at most %d hosts", *id, MaxHosts)
	}
}

func (c *codec) incarnation(i *Incarnation, least Incarnation) {
	code64(c, i)
	if *i < least {
		c.fail("incarnation %d is below %d", *i, least)
	}
}

func (c *codec) duration(d *time.Duration) {
	code64(c, d)
	if *d < 0 {
		c.fail("duration %v is negative", *d)
	}
}

func (c *codec) number(n *int64) {
	code64(c, n)
	if *n < 0 {
		c.fail("view number %d is negative", *n)
	}
}

// count has the number of elements, of this size each, that follow. It returns zero after a fault, so that
// no memory is allocated for a list that the remaining bytes cannot hold.
func (c *codec) count(n, size int) int {
	code16(c, &n)
	if n > MaxHosts {
		c.fail("a list of %d among at most %d hosts", n, MaxHosts)
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

// take returns the next n bytes, or nil if there are fewer.
func (c *codec) take(n int) []byte {
	if len(c.bytes) < n {
		c.fail("cut short: %d bytes are left of a field of %d", len(c.bytes), n)
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
