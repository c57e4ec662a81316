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
	"sync"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/types"
)

// heartbeat is the interval of the daemon and of generated members.
const heartbeat = 1100 * time.Millisecond

// members generates the messages of all members of a group but one, which is a real peer. Their leader, the lowest of
// them, lets the peer join. They send their heartbeats from their own addresses as the daemon does, which is each at a
// time of its own after the leader's.
type members struct {
	real   types.ID
	view   types.View
	file   uint64 // the FileDigest of the hosts file
	addrs  []netip.Addr
	hosts  []*member
	spread time.Duration // from the first follower's heartbeat to the last one's

	mu        sync.Mutex // guards the rest
	number    int64      // of the view that the members hold
	term      types.Term // of the leader
	stamp     uint64     // of the real leader's newest heartbeat
	beaten    time.Time  // when the leader's newest heartbeat came, or was sent
	silenced  types.ID   // a member that has become silent
	lastSent  time.Time  // when the second member last sent a heartbeat
	probes    int        // PROBEs of the peer
	bytes     int        // that the peer sent by UDP
	datagrams int
	quit      chan struct{}
}

// member is one of them.
type member struct {
	id       types.ID
	socket   int // UDP, outside of Go's poller
	listener net.Listener
	beaten   time.Time // the leader's heartbeat that it last followed
}

// newMembers starts members for all hosts of g but real.
func newMembers(g *group, real types.ID) (*members, error) {
	n := len(g.addrs)
	c := &members{real: real, file: types.FileDigest(g.list), addrs: g.addrs, number: int64(n), quit: make(chan struct{})}
	c.spread = time.Duration(n) * 100 * time.Microsecond // as package handlers has it
	if n >= 32 {
		c.spread = min(heartbeat/2, 5*c.spread)
	}
	leader := types.ID(1)
	if real == 1 {
		leader = 2
	}
	c.term = types.Term{Counter: 1, Peer: leader}
	c.view = types.View{Group: types.Group{Made: 1, Maker: leader}, Number: c.number, Leader: leader, Last: make([]types.Past, n), Digest: types.Digest(g.list)}
	for i := range n {
		c.view.Members = append(c.view.Members, types.ID(i+1))
		c.view.Last[i].Incarnation = types.Incarnation(i + 1)
	}
	for i, addr := range c.addrs {
		if types.ID(i+1) == real {
			continue
		}
		socket, err := udp(addr)
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp", netip.AddrPortFrom(addr, config.TCPPort).String())
		if err != nil {
			return nil, err
		}
		h := &member{id: types.ID(i + 1), socket: socket, listener: l}
		c.hosts = append(c.hosts, h)
		go c.serve(h)
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
	for _, h := range c.hosts {
		h.listener.Close()
		syscall.Close(h.socket)
	}
}

// sendHeartbeats sends the members' heartbeats until quit.
func (c *members) sendHeartbeats() {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	buf := make([]byte, 2048)
	for {
		select {
		case <-tick.C:
		case <-c.quit:
			return
		}
		c.mu.Lock()
		c.hear(c.hosts[len(c.hosts)-1], buf) // for all
		now := time.Now()
		if c.term.Peer != c.real && now.Sub(c.beaten) >= heartbeat {
			c.beaten = now
		}
		for _, h := range c.hosts {
			after := c.spread * time.Duration(h.id-1) / time.Duration(len(c.addrs))
			if h.id == c.term.Peer {
				after = 0
			}
			if h.beaten != c.beaten && now.Sub(c.beaten) >= after && h.id != c.silenced {
				h.beaten = c.beaten
				c.beat(h, now)
			}
		}
		c.mu.Unlock()
	}
}

// beat sends the heartbeat of h, with mu held.
func (c *members) beat(h *member, now time.Time) {
	m := c.message(types.Heartbeat, h.id)
	m.Leads, m.Heard, m.Speaks = h.id == c.term.Peer, c.stamp, types.Version
	b, _ := types.AppendMessage(nil, m)
	if h.id == 2 {
		c.lastSent = now
	}
	syscall.Sendto(h.socket, b, 0, &syscall.SockaddrInet4{Port: config.UDPPort, Addr: c.addrs[c.real-1].As4()})
}

// hear reads the datagrams that the peer has sent to h, with mu held.
func (c *members) hear(h *member, buf []byte) {
	for {
		n, _, err := syscall.Recvfrom(h.socket, buf, syscall.MSG_DONTWAIT)
		if err != nil {
			return
		}
		c.bytes, c.datagrams = c.bytes+n, c.datagrams+1
		var m types.Message
		if types.DecodeMessage(buf[:n], &m) == nil && m.Leads && m.Request > c.stamp {
			c.stamp, c.beaten = m.Request, time.Now()
		}
	}
}

// message returns a message of a member, with the fields that all kinds have. mu is held.
func (c *members) message(kind types.Kind, id types.ID) *types.Message {
	return &types.Message{Kind: kind, From: id, To: c.real, Incarnation: types.Incarnation(id),
		Group: c.view.Group, Number: c.number, Term: c.term, File: c.file}
}

func (c *members) serve(h *member) {
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			return
		}
		go c.answerAll(h.id, conn)
	}
}

// answerAll answers what comes on conn.
func (c *members) answerAll(id types.ID, conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	var buf []byte
	for {
		payload, err := types.ReadFrame(in, buf)
		if err != nil {
			return
		}
		var m types.Message
		if types.DecodeMessage(payload, &m) != nil {
			continue
		}
		a := c.answer(id, &m)
		if a == nil {
			continue
		}
		frame, err := types.AppendFrame(nil, a)
		if err != nil {
			panic(err)
		}
		conn.Write(frame)
	}
}

// answer returns the answer of member id to m; nil for none.
func (c *members) answer(id types.ID, m *types.Message) *types.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == c.silenced {
		return nil
	}
	switch m.Kind {
	case types.NewLeader:
		if !m.PreVote {
			c.term = m.Term
		}
	case types.Req, types.NewView:
		c.number = max(c.number, m.Number)
	}
	a := c.message(types.State, id)
	a.For, a.Request = m.Incarnation, m.Request
	switch {
	case m.Kind == types.Join && id == c.term.Peer:
		v := c.view
		v.Last = append([]types.Past(nil), v.Last...)
		v.Last[c.real-1] = types.Past{Incarnation: m.Incarnation}
		a.Kind, a.View, a.Request, a.Chosen = types.NewView, &v, 1, c.term
	case m.Kind == types.Join, m.Kind == types.Probe:
		a.Standing, a.HasLeader, a.Leads = types.Joined, true, id == c.term.Peer
		if m.Kind == types.Probe {
			c.probes++
			a.Heard = c.stamp
		}
	case m.Kind == types.NewLeader:
		a.Kind, a.Term, a.Change = types.PendingResponse, m.Term, types.Change{Operation: types.Nothing}
	case m.Kind == types.Req:
		a.Kind, a.Change, a.Accepted = types.OK, m.Change, m.Term
	case m.Kind == types.NewView && !m.Unanswered:
		a.Kind, a.Change = types.OK, types.Change{Operation: types.Nothing}
	default:
		return nil
	}
	return a
}

// received reads all datagrams sent to the members. It returns how many bytes and datagrams came by UDP, and how many
// PROBEs, since it was last called.
func (c *members) received() (bytes, datagrams, probes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf := make([]byte, 2048)
	for _, h := range c.hosts {
		c.hear(h, buf)
	}
	bytes, datagrams, probes = c.bytes, c.datagrams, c.probes
	c.bytes, c.datagrams, c.probes = 0, 0, 0
	return bytes, datagrams, probes
}

// endLeader ends the generated leader as a crash does: its host refuses connections.
func (c *members) endLeader() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		if h.id == c.term.Peer {
			c.silenced = h.id
			h.listener.Close()
		}
	}
}

// leads reports whether the real peer leads.
func (c *members) leads() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.term.Peer == c.real && c.stamp != 0
}

// withMembers starts host real of a group of n, with generated members, and calls f when it has joined.
func (m *meter) withMembers(n int, real types.ID, f func(g *group, c *members) error) error {
	g, err := newGroup(m.program, "", n)
	if err != nil {
		return err
	}
	defer g.end()
	c, err := newMembers(g, real)
	if err != nil {
		return err
	}
	defer c.end()
	if err := g.start(int(real)); err != nil {
		return err
	}
	err = g.await("the view of all", func() bool { return strings.Count(g.hosts[real-1].members, ",") == n-1 })
	if err != nil {
		return err
	}
	<-time.After(2 * heartbeat) // until it has heard all members and sent its first heartbeat
	return f(g, c)
}

// idle measures the resources of an idle follower in a group of n.
func (m *meter) idle(name string, n int, window time.Duration) error {
	return m.withMembers(n, types.ID(n), func(g *group, c *members) error { return m.watch(name, g, c, window) })
}

// idleLeader measures those of the leader.
func (m *meter) idleLeader(name string, n int, window time.Duration) error {
	return m.withMembers(n, 1, func(g *group, c *members) error {
		c.endLeader()
		p := g.hosts[0]
		if err := g.await("the view without the leader", func() bool { return strings.Count(p.members, ",") == n-2 }); err != nil {
			return err
		}
		if err := g.await("the lead", c.leads); err != nil {
			return err
		}
		g.mu.Lock()
		clear(p.lost)
		g.mu.Unlock()
		<-time.After(2 * heartbeat)
		return m.watch(name, g, c, window)
	})
}

// watch measures the resources of the real peer.
func (m *meter) watch(name string, g *group, c *members, window time.Duration) error {
	p := g.hosts[c.real-1]
	pid := p.cmd.Process.Pid
	c.received()
	began, before := time.Now(), cpu(pid)
	<-time.After(window)
	used, took := cpu(pid)-before, time.Since(began)
	bytes, datagrams, probes := c.received()
	m.addUnit(name+", CPU", used.Seconds()/took.Minutes(), "s a minute")
	m.addUnit(name+", of one core", 100*used.Seconds()/took.Seconds(), "%")
	m.addUnit(name+", sent", float64(bytes)/took.Seconds(), "B/s")
	m.addUnit(name+", sent in datagrams", float64(datagrams)/took.Seconds(), "1/s")
	m.addUnit(name+", PROBEs sent", float64(probes)/took.Seconds(), "1/s")
	m.addUnit(name+", memory (RSS)", float64(rss(pid))/1000, "MB")
	if len(p.lost) > 0 {
		return fmt.Errorf("it lost %v", p.lost)
	}
	return nil
}

// silence measures the time from the last heartbeat of a member to the peer's record of its failure.
func (m *meter) silence(name string, n int) error {
	return m.withMembers(n, types.ID(n), func(g *group, c *members) error {
		c.mu.Lock()
		c.silenced = 2
		c.mu.Unlock()
		p := g.hosts[n-1]
		err := g.await("the record", func() bool { return !p.lost["peer 2 unreachable"].IsZero() })
		m.add(name, p.lost["peer 2 unreachable"].Sub(c.sentBySecond()))
		return err
	})
}

// sentBySecond returns when the second member last sent a heartbeat.
func (c *members) sentBySecond() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastSent
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
