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

// floodTime is the longest duration of a flood.
const floodTime = 60 * time.Second

// flooder sends one kind of flood to the peer at to, from a loopback address, as fast as one processor
// can.
type flooder struct {
	from, to netip.Addr
	id       types.ID // the sender of the messages
	lines    int
	digest   uint64
	end      time.Time
}

// floods are the kinds of floods.
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

// flood is the role flood KIND FILE NAME FROM TO. It sends messages of the host NAME of the hosts file
// from the address FROM, which is that host's or unknown.
func flood(args []string) {
	runtime.GOMAXPROCS(1)
	c, err := config.Parse([]string{"-h", args[1], "-n", args[2]}, os.Hostname)
	if err != nil || floods[args[0]] == nil {
		fmt.Fprintln(os.Stderr, "flood:", args, err)
		os.Exit(2)
	}
	f := &flooder{from: netip.MustParseAddr(args[3]), to: netip.MustParseAddr(args[4]), id: c.ID,
		lines: len(c.Hosts), digest: c.Digest, end: time.Now().Add(floodTime)}
	floods[args[0]](f)
}

func (f *flooder) over() bool { return time.Now().After(f.end) }

// dial opens a connection that closes with a reset, so that it does not linger. It returns nil on
// failure.
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

// hold opens connections until the flood is over, calls say on each, and keeps the newest open.
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

// garbage sends bytes that are no message, some of them after a valid message.
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

// endless returns the beginning of a frame whose end never comes.
func (f *flooder) endless(size int) []byte {
	return append(binary.BigEndian.AppendUint32(nil, 1<<16), make([]byte, size)...)
}

// drip keeps connections open, half of them after a valid message, and sends one byte per second on each.
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

// frame returns a message of the host. Its incarnation is number, so each JOIN is of a new life.
func (f *flooder) frame(kind types.Kind, number uint64) []byte {
	m := types.Message{Kind: kind, From: f.id, Incarnation: types.Incarnation(number), Request: number, Lines: f.lines, Full: f.lines, Digest: f.digest,
		Standing: types.Fresh}
	frame, err := types.AppendFrame(nil, &m)
	if err != nil {
		panic(err)
	}
	return frame
}

// messages sends valid messages on one connection, and discards the answers.
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

// datagrams sends b by UDP until the flood is over.
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
