package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/types"
)

// wiretap stands between two hosts, which know each other by its addresses, and records all traffic.
type wiretap struct {
	ones, twos string // their hosts files
	two        netip.Addr
	asOne      *net.UDPConn // where two sends to one, and from where one seems to send
	asTwo      *net.UDPConn

	mu        sync.Mutex
	datagrams [][]byte        // from one to two
	streams   []*bytes.Buffer // the same, of each connection
	back      int             // how many datagrams two sent
	changed   chan struct{}   // closed and replaced at every change
}

// newWiretap listens on the addresses 11 and 12 of s, in place of hosts 1 and 2.
func newWiretap(t *testing.T, s loopback.Subnet) *wiretap {
	t.Helper()
	w := &wiretap{two: s.Host(2), changed: make(chan struct{}),
		ones: loopback.WriteHostsFile(t, fmt.Sprint("one ", s.Host(1)), fmt.Sprint("two ", s.Host(12))),
		twos: loopback.WriteHostsFile(t, fmt.Sprint("one ", s.Host(11)), fmt.Sprint("two ", s.Host(2)))}
	w.asOne, w.asTwo = listenUDP(t, s.Host(11)), listenUDP(t, s.Host(12))
	go w.datagramsFrom(w.asTwo, w.asOne, s.Host(2), func(b []byte) { w.datagrams = append(w.datagrams, b) })
	go w.datagramsFrom(w.asOne, w.asTwo, s.Host(1), func([]byte) { w.back++ })
	w.connections(t, s.Host(12), s.Host(11), s.Host(2), func(opener, _ net.Conn) net.Conn { return opener })
	w.connections(t, s.Host(11), s.Host(12), s.Host(1), func(_, other net.Conn) net.Conn { return other })
	return w
}

func listenUDP(t *testing.T, at netip.Addr) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 8081)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// note changes the recording under its lock, and wakes the test that waits for it.
func (w *wiretap) note(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	close(w.changed)
	w.changed = make(chan struct{})
}

// datagramsFrom forwards datagrams from in to out.
func (w *wiretap) datagramsFrom(in, out *net.UDPConn, to netip.Addr, seen func(b []byte)) {
	buf := make([]byte, 2048)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		w.note(func() { seen(bytes.Clone(buf[:n])) })
		out.WriteToUDPAddrPort(buf[:n], netip.AddrPortFrom(to, 8081))
	}
}

// connections forwards connections that are opened to an address. one says which end is host one.
func (w *wiretap) connections(t *testing.T, at, from, to netip.Addr, one func(opener, other net.Conn) net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(at.String(), "8080"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := d.Dial("tcp", net.JoinHostPort(to.String(), "8080"))
			if err != nil {
				near.Close()
				continue
			}
			stream := new(bytes.Buffer)
			w.note(func() { w.streams = append(w.streams, stream) })
			for _, ends := range [][2]net.Conn{{far, near}, {near, far}} {
				record := io.Discard
				if ends[1] == one(near, far) {
					record = stream
				}
				go w.pass(ends[0], ends[1], record)
			}
		}
	}()
}

// pass copies one direction of a connection.
func (w *wiretap) pass(to, from net.Conn, record io.Writer) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		w.note(func() { record.Write(buf[:n]) })
		to.Write(buf[:n])
	}
}

// toTwo sends a datagram to two as if one had sent it.
func (w *wiretap) toTwo(t *testing.T, b []byte) {
	t.Helper()
	if _, err := w.asOne.WriteToUDPAddrPort(b, netip.AddrPortFrom(w.two, 8081)); err != nil {
		t.Fatal(err)
	}
}

// recorded waits until some datagrams and some bytes of a connection are recorded, and returns all of
// them.
func (w *wiretap) recorded(t *testing.T) (datagrams, streams [][]byte) {
	t.Helper()
	timeout := time.After(patience)
	for {
		w.mu.Lock()
		changed := w.changed
		datagrams, streams = slices.Clone(w.datagrams), nil
		for _, b := range w.streams {
			if b.Len() > 100 { // more than a hello
				streams = append(streams, bytes.Clone(b.Bytes()))
			}
		}
		enough := len(datagrams) > 3 && len(streams) > 0 && w.back > 3
		w.mu.Unlock()
		if enough {
			return datagrams, streams
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%d datagrams, %d streams and %d datagrams back are too little", len(datagrams), len(streams), w.back)
		}
	}
}

// frames returns the payloads of the frames in streams.
func frames(t *testing.T, streams [][]byte) (all [][]byte) {
	t.Helper()
	for _, b := range streams {
		for r := bufio.NewReader(bytes.NewReader(b)); ; {
			payload, err := types.ReadFrame(r, nil)
			if err != nil {
				break
			}
			all = append(all, payload)
		}
	}
	return all
}

// readable reports whether b is, or begins like, a message of the protocol.
func readable(b []byte) bool {
	var m types.Message
	return types.DecodeMessage(b, &m) == nil || b[0] == types.Version && b[1] <= byte(types.Echoed) && b[2] == 0 && b[3] == 1
}
