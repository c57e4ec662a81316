//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/types"
)

// floodTime ends a flood that nobody has ended.
const floodTime = 60 * time.Second

// flooder sends to the peer at to, from an address of the loopback network, whatever one of
// floods says, as fast as one processor can.
type flooder struct {
	from, to netip.Addr
	id       types.ID // whose messages they are
	digest   uint64
	end      time.Time
}

// floods are what can be sent.
var floods = map[string]func(f *flooder){
	"connections": (*flooder).connections,
	"garbage":     (*flooder).garbage,
	"drip":        (*flooder).drip,
	"probes":      func(f *flooder) { f.messages(types.Probe) },
	"joins":       func(f *flooder) { f.messages(types.Join) },
	"states":      func(f *flooder) { f.messages(types.State) },
	"noise":       func(f *flooder) { f.datagrams([]byte("noise, from whoever it is")) },
	"heartbeats":  (*flooder).heartbeats,
}

// flood is a role: flood KIND FILE NAME FROM TO. The messages are those of the host NAME of the
// hosts file, and come from the address FROM, which is its own or a stranger's.
func flood(args []string) {
	runtime.GOMAXPROCS(1)
	c, err := config.Parse([]string{"-h", args[1], "-n", args[2]}, os.Hostname)
	if err != nil || floods[args[0]] == nil {
		fmt.Fprintln(os.Stderr, "flood:", args, err)
		os.Exit(2)
	}
	f := &flooder{from: netip.MustParseAddr(args[3]), to: netip.MustParseAddr(args[4]), id: c.ID,
		digest: c.Digest, end: time.Now().Add(floodTime)}
	floods[args[0]](f)
}

func (f *flooder) over() bool { return time.Now().After(f.end) }

// dial opens a connection that leaves nothing behind when it is closed; nil if that fails.
func (f *flooder) dial() *net.TCPConn {
	c, err := net.DialTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.from, 0)),
		net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.to, config.TCPPort)))
	if err != nil {
		return nil
	}
	c.SetLinger(0)
	return c
}

// maxHeld is how many connections a flood keeps open.
const maxHeld = 500

// hold opens connections without end, says something on each, and keeps the newest.
func (f *flooder) hold(say func(c net.Conn, i int)) {
	var held []net.Conn
	for i := 0; !f.over(); i++ {
		c := f.dial()
		if c == nil {
			<-time.After(time.Millisecond)
			continue
		}
		say(c, i)
		if held = append(held, c); len(held) == maxHeld {
			held[0].Close()
			held = slices.Delete(held, 0, 1)
		}
	}
}

func (f *flooder) connections() { f.hold(func(net.Conn, int) {}) }

// garbage is bytes that are no message: some at once, some after a sound message.
func (f *flooder) garbage() {
	noise := [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: one\r\n\r\n"),
		binary.BigEndian.AppendUint32(nil, 1<<31),
		f.endless(60000),
		append(f.frame(types.Probe, 1), f.endless(60000)...),
		append(f.frame(types.Probe, 1), "noise"...),
	}
	f.hold(func(c net.Conn, i int) { c.Write(noise[i%len(noise)]) })
}

// endless is a frame that never is whole.
func (f *flooder) endless(size int) []byte {
	return append(binary.BigEndian.AppendUint32(nil, 1<<16), make([]byte, size)...)
}

// drip keeps connections open that showed who they are, or did not, and then say a byte a second.
func (f *flooder) drip() {
	frame := f.frame(types.Probe, 1)
	for !f.over() {
		var open []net.Conn
		for i := range 100 {
			if c := f.dial(); c != nil {
				if open = append(open, c); i%2 == 0 {
					c.Write(frame)
				}
			}
		}
		for i := range 5 {
			for _, c := range open {
				c.Write(frame[i : i+1])
			}
			<-time.After(time.Second)
		}
		for _, c := range open {
			c.Close()
		}
	}
}

// frame is a message of this host's. Its incarnation is its number, so each JOIN is of a new life.
func (f *flooder) frame(kind types.Kind, number uint64) []byte {
	m := types.Message{Kind: kind, From: f.id, Incarnation: types.Incarnation(number), Request: number, Digest: f.digest,
		Standing: types.Fresh}
	frame, err := types.AppendFrame(nil, &m)
	if err != nil {
		panic(err)
	}
	return frame
}

// messages sends sound messages on one connection, and reads the answers.
func (f *flooder) messages(kind types.Kind) {
	for number := uint64(1); !f.over(); {
		c := f.dial()
		if c == nil {
			<-time.After(time.Millisecond)
			continue
		}
		go io.Copy(io.Discard, c)
		for err := error(nil); err == nil && !f.over(); {
			var batch []byte
			for range 100 {
				batch = append(batch, f.frame(kind, number)...)
				number++
			}
			_, err = c.Write(batch)
		}
		c.Close()
	}
}

func (f *flooder) heartbeats() {
	m := types.Message{Kind: types.Heartbeat, From: f.id, Incarnation: 1}
	b, err := types.AppendMessage(nil, &m)
	if err != nil {
		panic(err)
	}
	f.datagrams(b)
}

// datagrams sends b by UDP.
func (f *flooder) datagrams(b []byte) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(socket, &syscall.SockaddrInet4{Addr: f.from.As4()})
	}
	if err != nil {
		panic(err)
	}
	to := &syscall.SockaddrInet4{Port: config.UDPPort, Addr: f.to.As4()}
	for i := 0; i%1000 > 0 || !f.over(); i++ {
		syscall.Sendto(socket, b, 0, to)
	}
}
