package doctor

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"memberly/peer/config"
	"memberly/peer/network"
	"memberly/peer/types"
)

// three returns the configuration of the first of three hosts, on addresses that no other test
// uses.
func three(t *testing.T) config.Config {
	t.Helper()
	for i := os.Getpid(); ; i++ {
		at := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{127, byte(192 + i/256%60), byte(i), n}) }
		if guard, err := net.Listen("tcp", at(254).String()+":8080"); err == nil {
			t.Cleanup(func() { guard.Close() })
			return config.Config{ID: 1, Name: "one", Digest: 7, Hosts: []config.Host{
				{Name: "one", Addr: at(1)}, {Name: "two", Addr: at(2)}, {Name: "three", Addr: at(3)}}}
		}
	}
}

// as returns c as the host id has it.
func as(c config.Config, id types.ID) config.Config {
	c.ID, c.Name = id, c.Hosts[id-1].Name
	return c
}

func port8080(addr netip.Addr) string {
	return net.JoinHostPort(addr.String(), strconv.Itoa(network.TCPPort))
}

// Three at once find each other well.
func TestExamine(t *testing.T) {
	t.Parallel()
	c := three(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for id := types.ID(1); id <= 3; id++ {
		all.Go(func() {
			f := examine(ctx, as(c, id))
			f.stall = 0 // the machine may be busy
			if r := judge(f); !r.well() {
				t.Errorf("%s: %s", c.Hosts[id-1].Name, short(r))
			}
		})
	}
	all.Wait()
}

// Another version is told, and one that comes from an address that is not its own.
func TestExamineOddOnes(t *testing.T) {
	t.Parallel()
	c := three(t)
	two, err := net.Listen("tcp", port8080(c.Hosts[1].Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	go func() { // two: whatever it is asked, its answer is of version 99
		for {
			socket, err := two.Accept()
			if err != nil {
				return
			}
			if _, err := types.ReadFrame(bufio.NewReader(socket), nil); err == nil {
				socket.Write([]byte{0, 0, 0, 4, 99, 13, 0, 2})
			}
			socket.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	done := make(chan *findings)
	go func() { done <- examine(ctx, c) }()
	elsewhere := c.Hosts[2].Addr.Next()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(elsewhere, 0))}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case f := <-done:
			if f.hosts[1].version == nil || f.hosts[2].stray != elsewhere {
				t.Errorf("of two: %v, of three: %v", f.hosts[1].version, f.hosts[2].stray)
			}
			return
		case <-tick.C:
			socket, err := d.Dial("tcp", port8080(c.Hosts[0].Addr))
			if err != nil {
				continue // it does not listen yet
			}
			frame, err := types.AppendFrame(nil, &types.Message{Kind: types.Echo, From: 3, Request: 1})
			if err != nil {
				t.Error(err)
			}
			socket.Write(frame)
			defer socket.Close()
		}
	}
}

// A stall is seen though the time ended in it, before anything was looked at.
func TestWatchSeesWholeStall(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	x := &examination{ctx: ctx}
	x.watch(time.Now().Add(-2 * longStall))
	if x.found.stall < longStall {
		t.Errorf("it was %v", x.found.stall)
	}
}
