//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/types"
)

// heartbeat is the interval of the daemon and of generated members.
const heartbeat = 1100 * time.Millisecond

// members generates the messages of all members of a group but the last, which is a real peer. It sends
// their heartbeats from their own addresses, evenly spread over the interval, and their leader lets the
// peer join. What the peer sends to them by UDP stays in the sockets until received counts it.
type members struct {
	view      types.View
	addrs     []netip.Addr
	sockets   []int // UDP, by id-1, outside of Go's poller
	listeners []net.Listener
	silenced  atomic.Int64 // the id of a member that has become silent
	lastSent  atomic.Int64 // when the second member last sent a heartbeat, in Unix nanoseconds
	quit      chan struct{}
}

// newMembers starts members for all hosts of g but the last.
func newMembers(g *group) (*members, error) {
	n := len(g.addrs)
	c := &members{addrs: g.addrs, quit: make(chan struct{})}
	c.view = types.View{Group: types.Group{Made: 1, Maker: 1}, Number: int64(n), Leader: 1, Last: make([]types.Past, n)}
	for i := range n {
		c.view.Members = append(c.view.Members, types.ID(i+1))
		c.view.Last[i].Incarnation = types.Incarnation(i + 1)
	}
	for i, addr := range c.addrs[:n-1] {
		socket, err := udp(addr)
		if err != nil {
			return nil, err
		}
		c.sockets = append(c.sockets, socket)
		l, err := net.Listen("tcp", netip.AddrPortFrom(addr, config.TCPPort).String())
		if err != nil {
			return nil, err
		}
		c.listeners = append(c.listeners, l)
		go c.serve(types.ID(i+1), l)
	}
	go c.sendHeartbeats()
	return c, nil
}

func udp(addr netip.Addr) (int, error) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return socket, syscall.Bind(socket, &syscall.SockaddrInet4{Port: config.UDPPort, Addr: addr.As4()})
}

func (c *members) end() {
	close(c.quit)
	for _, l := range c.listeners {
		l.Close()
	}
	for _, s := range c.sockets {
		syscall.Close(s)
	}
}

// sendHeartbeats sends the members' heartbeats until quit.
func (c *members) sendHeartbeats() {
	tick := time.NewTicker(heartbeat / time.Duration(len(c.sockets)))
	defer tick.Stop()
	to := &syscall.SockaddrInet4{Port: config.UDPPort, Addr: c.addrs[len(c.addrs)-1].As4()}
	began, sent := time.Now(), 0
	var b []byte
	for {
		select {
		case <-tick.C:
		case <-c.quit:
			return
		}
		// Catch up on missed ticks.
		for due := int(time.Since(began) * time.Duration(len(c.sockets)) / heartbeat); sent < due; sent++ {
			i := sent % len(c.sockets)
			if int64(i+1) == c.silenced.Load() {
				continue
			}
			m := c.message(types.Heartbeat, types.ID(i+1))
			m.Leads = i == 0
			b, _ = types.AppendMessage(b[:0], m)
			if i == 1 {
				c.lastSent.Store(time.Now().UnixNano())
			}
			syscall.Sendto(c.sockets[i], b, 0, to)
		}
	}
}

// message returns a message of a member, with the fields that all kinds have.
func (c *members) message(kind types.Kind, id types.ID) *types.Message {
	return &types.Message{Kind: kind, From: id, To: types.ID(len(c.addrs)), Incarnation: types.Incarnation(id),
		Group: c.view.Group, Number: c.view.Number, Term: types.Term{Counter: 1, Peer: 1}}
}

func (c *members) serve(id types.ID, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go c.answer(id, conn)
	}
}

// answer answers JOIN and PROBE on conn.
func (c *members) answer(id types.ID, conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	var buf []byte
	for {
		payload, err := types.ReadFrame(in, buf)
		if err != nil {
			return
		}
		var m types.Message
		if types.DecodeMessage(payload, len(c.addrs), &m) != nil || int64(id) == c.silenced.Load() {
			continue
		}
		a := c.message(types.State, id)
		a.For, a.Request, a.Standing = m.Incarnation, m.Request, types.Joined
		a.HasLeader, a.Leads = true, id == 1
		switch {
		case m.Kind == types.Join && id == 1:
			v := c.view
			v.Last = append([]types.Past(nil), v.Last...)
			v.Last[len(v.Last)-1] = types.Past{Incarnation: m.Incarnation}
			a.Kind, a.View, a.Request = types.NewView, &v, 1
		case m.Kind == types.Join, m.Kind == types.Probe:
		default:
			continue
		}
		frame, err := types.AppendFrame(nil, a)
		if err != nil {
			panic(err)
		}
		conn.Write(frame)
	}
}

// received reads all datagrams sent to the members, and returns how many bytes and datagrams they are.
func (c *members) received() (bytes, datagrams int) {
	buf := make([]byte, 2048)
	for _, s := range c.sockets {
		for {
			n, _, err := syscall.Recvfrom(s, buf, syscall.MSG_DONTWAIT)
			if err != nil {
				break
			}
			bytes, datagrams = bytes+n, datagrams+1
		}
	}
	return bytes, datagrams
}

// withMembers starts the last host of a group of n, with generated members, and calls f when it has
// joined.
func (m *meter) withMembers(n int, f func(g *group, c *members) error) error {
	g, err := newGroup(m.program, "", n)
	if err != nil {
		return err
	}
	defer g.end()
	c, err := newMembers(g)
	if err != nil {
		return err
	}
	defer c.end()
	if err := g.start(n); err != nil {
		return err
	}
	err = g.await("the view of all", func() bool { return strings.Count(g.hosts[n-1].members, ",") == n-1 })
	if err != nil {
		return err
	}
	<-time.After(2 * heartbeat) // until it has heard all members and sent its first heartbeat
	return f(g, c)
}

// idle measures the resources of an idle peer in a group of n.
func (m *meter) idle(name string, n int, window time.Duration) error {
	return m.withMembers(n, func(g *group, c *members) error {
		p := g.hosts[n-1]
		pid := p.cmd.Process.Pid
		c.received()
		began, before := time.Now(), cpu(pid)
		<-time.After(window)
		used, took := cpu(pid)-before, time.Since(began)
		bytes, datagrams := c.received()
		m.addUnit(name+", CPU", used.Seconds()/took.Minutes(), "s a minute")
		m.addUnit(name+", of one core", 100*used.Seconds()/took.Seconds(), "%")
		m.addUnit(name+", sent", float64(bytes)/took.Seconds(), "B/s")
		m.addUnit(name+", sent in datagrams", float64(datagrams)/took.Seconds(), "1/s")
		m.addUnit(name+", memory (RSS)", float64(rss(pid))/1000, "MB")
		if len(p.lost) > 0 {
			return fmt.Errorf("it lost %v", p.lost)
		}
		return nil
	})
}

// silence measures the time from the last heartbeat of a member to the peer's record of its failure.
func (m *meter) silence(name string, n int) error {
	return m.withMembers(n, func(g *group, c *members) error {
		c.silenced.Store(2)
		p := g.hosts[n-1]
		err := g.await("the record", func() bool { return !p.lost["peer 2 unreachable"].IsZero() })
		m.add(name, p.lost["peer 2 unreachable"].Sub(time.Unix(0, c.lastSent.Load())))
		return err
	})
}

// cpu returns the CPU time of a process.
func cpu(pid int) time.Duration {
	var sum time.Duration
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		var ns int64
		fmt.Sscan(string(b), &ns)
		sum += time.Duration(ns)
	}
	return sum
}

// rss returns the resident memory of a process in KiB.
func rss(pid int) (kib int) {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	fmt.Sscan(rest, &kib)
	return kib
}
