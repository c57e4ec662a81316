package network

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"memberly/peer/seal"
	"memberly/peer/types"
)

// A frame begins with its length; a message with its version, kind and sender, in all versions.
const (
	lengthSize = 4
	headerSize = 4
)

// connection is a TCP connection with a host, used in both directions. One goroutine reads,
// another writes; the one that owns the protocol sends.
type connection struct {
	socket  net.Conn
	addr    netip.Addr // of the other end
	host    types.ID   // whose address that is
	dialled bool       // by this end
	in      *bufio.Reader
	buf     []byte      // for the bytes of one message, reused
	sealed  *seal.Conn  // nil without keys
	keys    *keys       // as is this
	life    uint64      // that of keys in which c was made
	packed  []byte      // for what is sealed to be written, reused
	out     chan []byte // frames to be written; closed by finish
}

func newConnection(socket net.Conn) *connection {
	if tcp, ok := socket.(*net.TCPConn); ok {
		limitUnacked(tcp)
	}
	c := &connection{socket: socket, in: bufio.NewReader(socket), out: make(chan []byte, maxFrames)}
	if tcp, ok := socket.RemoteAddr().(*net.TCPAddr); ok {
		c.addr = bare(tcp.AddrPort().Addr())
	}
	return c
}

// send queues a frame and never waits. It returns false if too many are queued, because the other end
// does not read.
func (c *connection) send(frame []byte) bool {
	select {
	case c.out <- frame:
		return true
	default:
		return false
	}
}

// finish closes c when everything queued is written. It is called once, and nothing is sent after it.
func (c *connection) finish() { close(c.out) }

// abort closes c at once. Its reader reports the end.
func (c *connection) abort() { c.socket.Close() }

// write writes the queue, until finish or a failure.
func (c *connection) write() {
	defer c.abort()
	for frame := range c.out {
		if c.keys != nil && c.keys.life() != c.life {
			return // the counters of c may have been used
		}
		frame = c.gather(frame)
		c.socket.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := c.socket.Write(frame); err != nil {
			return
		}
	}
}

// gather appends to frame whatever else is queued, so that all of it is one write. It does not change
// the memory behind frame, which may wait in another connection's queue too.
func (c *connection) gather(frame []byte) []byte {
	all := slices.Clip(frame)
	if c.sealed != nil {
		all = c.pack(c.packed[:0], frame)
	}
	for {
		select {
		case more := <-c.out: // nil once finish has closed it
			if more == nil {
				return all
			}
			all = c.pack(all, more)
		default:
			return all
		}
	}
}

// pack appends a frame to b, sealed if c is.
func (c *connection) pack(b, frame []byte) []byte {
	if c.sealed == nil {
		return append(b, frame...)
	}
	b = c.sealed.Append(b, frame[lengthSize:])
	c.packed = nil
	if cap(b) <= types.MaxFrame { // a burst is no reason to keep more
		c.packed = b
	}
	return b
}

// messages are for reuse: those that came over TCP and were handled.
var messages = sync.Pool{New: func() any { return new(types.Message) }}

// receive returns the next message. A fault is the fault of the other end; any other error is the end
// of the connection.
func (c *connection) receive(hosts int) (*types.Message, error) {
	payload, err := c.read()
	if err != nil {
		return nil, blamed(err)
	}
	c.buf = payload
	m := messages.Get().(*types.Message)
	if err := decode(payload, hosts, m); err != nil {
		return nil, err
	}
	return m, nil
}

func (c *connection) read() ([]byte, error) {
	if c.sealed != nil {
		return c.sealed.Read(c.in, c.buf)
	}
	return types.ReadFrame(c.in, c.buf)
}

// blamed makes an error of reading a connection a fault, unless it means the end of the connection.
func blamed(err error) error {
	if _, ok := errors.AsType[net.Error](err); ok || err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return &fault{unopenable(err), err}
}

// decode is types.DecodeMessage with faults for errors, where this many hosts are listed. Another id is a fault too, but for
// kinds by which peers find out that their hosts files differ.
func decode(payload []byte, hosts int, m *types.Message) error {
	err := types.DecodeMessage(payload, m)
	from, ok := sender(payload)
	if !ok || errors.Is(err, types.ErrVersion) {
		return &fault{dropMalformed, err}
	}
	switch types.Kind(payload[1]) {
	case types.Join, types.Probe, types.Refused, types.Echo, types.Echoed:
		hosts = types.MaxHosts
	}
	if from < 1 || int(from) > hosts {
		return &fault{dropNoMember, fmt.Errorf("%d is none of the %d hosts", from, hosts)}
	}
	if err != nil {
		return &fault{dropMalformed, err}
	}
	return nil
}

// sender returns the id that the message that begins with b claims to be from.
func sender(b []byte) (types.ID, bool) {
	if len(b) < headerSize {
		return 0, false
	}
	return types.ID(binary.BigEndian.Uint16(b[2:])), true
}

// reader reads the connections that were accepted or dialled, each in a goroutine of its caller.
type reader struct {
	tasks     *tasks
	addresses *addressBook
	limits    *limits
	drops     *drops
	keys      *keys // nil without -key
}

// handshakeBy is handshake on a dialled connection, within the time of the dial.
func (r *reader) handshakeBy(c *connection, deadline time.Time) error {
	if r.keys == nil {
		return nil
	}
	c.socket.SetReadDeadline(deadline)
	err := r.handshake(c)
	c.socket.SetReadDeadline(time.Time{})
	return err
}

// handshake agrees with the other end of c on how to seal, if there are keys. Its errors are like those of
// receive.
func (r *reader) handshake(c *connection) (err error) {
	if r.keys == nil {
		return nil
	}
	c.keys, c.life = r.keys, r.keys.life()
	c.sealed, err = r.keys.handshake(c.in, c.socket, c.dialled)
	if errors.Is(err, seal.ErrImpostor) {
		return &fault{dropImpostor, errors.New("it bears this host's own id: use the same hosts file on all hosts, and start each once")}
	}
	if err != nil {
		return blamed(err)
	}
	return nil
}

// stale reports whether c is to be closed because it was made with other keys than the current ones.
func (r *reader) stale(c *connection) bool { return r.keys != nil && r.keys.stale(c.sealed) }

// tie closes c when the peer ends, or when the function that it returns is called.
func (r *reader) tie(c *connection) func() {
	untie := context.AfterFunc(r.tasks.ctx, c.abort)
	return func() {
		untie()
		c.abort()
	}
}

// converse reads c, which the caller has tied, until it ends. first is the message that
// showed who the other end is, or nil.
func (r *reader) converse(c *connection, first *types.Message) {
	if !r.tasks.put(event{kind: opened, host: c.host, conn: c}) {
		return
	}
	err := r.listen(c, first)
	c.abort()
	r.drops.blame(c.addr, err)
	r.tasks.put(event{kind: broken, host: c.host, conn: c})
}

// listen hands on each message of c.
func (r *reader) listen(c *connection, m *types.Message) (err error) {
	for ; ; m = nil {
		if m == nil {
			if m, err = c.receive(r.addresses.len()); err != nil {
				return err
			}
		}
		m.Addr = c.addr
		if !r.throttle(c, m) {
			continue
		}
		if m.Kind == types.Refused && m.Reason == types.Elsewhere {
			r.addresses.corrected(c.host, m.Lives)
			continue
		}
		if m.From != c.host {
			r.drops.count(dropImpostor)
			if r.addresses.resolves(r.tasks.ctx, c.addr, m.From) {
				return nil // c was dialled by an address that is another host's by now
			}
		}
		if !r.tasks.put(event{kind: received, host: c.host, message: m, conn: c}) {
			return nil
		}
	}
}

// throttle holds the reader of c back if its host has sent too much, and reports whether m, which it
// has just read, is to be handed on. The host asks a dropped question again.
func (r *reader) throttle(c *connection, m *types.Message) bool {
	now, a := time.Now(), r.limits.of(c.host)
	if wait := max(a[limitFrames].spend(now, 1), a[limitBytes].spend(now, len(c.buf))); wait > 0 {
		r.drops.slow(c.addr)
		r.tasks.pause(wait)
	}
	if a.answers(m.Kind, now) {
		return true
	}
	r.drops.blame(c.addr, tooManyQuestions)
	return false
}
