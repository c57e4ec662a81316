//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"memberly/peer/types"
)

// waitLimit is how long await waits.
const waitLimit = 60 * time.Second

// group is a hosts file of loopback addresses, and the processes that run on them.
type group struct {
	program string // the daemon
	file    string // the hosts file
	key     string // the key file; "" for none
	guard   net.Listener
	addrs   []netip.Addr
	list    []types.Host // what the hosts file has
	hosts   []*process   // by id-1; nil before the first start

	mu sync.Mutex // guards hosts and the fields that note sets
}

// process is one process of the daemon.
type process struct {
	cmd     *exec.Cmd
	called  time.Time // when it was started or, with a role, when it called the daemon's code
	members string    // of the last view that it recorded
	at      time.Time // when that record was read
	lost    map[string]time.Time
	exited  chan struct{}
}

// newGroup writes the hosts file of n hosts on loopback addresses that no other program uses.
func newGroup(program, key string, n int) (*group, error) {
	g := &group{program: program, key: key, hosts: make([]*process, n)}
	for i := os.Getpid(); g.guard == nil; i++ {
		g.addrs = loopback(16+i%16, n+1)
		g.guard, _ = net.Listen("tcp", net.JoinHostPort(g.addrs[n].String(), "8080"))
	}
	g.addrs = g.addrs[:n]
	var b strings.Builder
	for i, addr := range g.addrs {
		host := types.Host{Name: fmt.Sprint("h", i+1), Addr: addr}
		g.list = append(g.list, host)
		fmt.Fprintln(&b, host)
	}
	dir, err := os.MkdirTemp("", "memberly-bench-")
	g.file = filepath.Join(dir, "hostsfile.txt")
	if err == nil {
		err = os.WriteFile(g.file, []byte(b.String()), 0o600)
	}
	return g, err
}

// loopback returns n addresses of 127.net.0.0/16.
func loopback(net, n int) []netip.Addr {
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		addrs[i] = netip.AddrFrom4([4]byte{127, byte(net), byte(1 + i/250), byte(1 + i%250)})
	}
	return addrs
}

// end kills all processes and removes all files.
func (g *group) end() {
	for id := range g.hosts {
		g.signal(id+1, syscall.SIGKILL)
	}
	for _, p := range g.hosts {
		if p != nil {
			<-p.exited
		}
	}
	g.guard.Close()
	os.RemoveAll(filepath.Dir(g.file))
}

// start starts the daemon on host id. With a role it starts this program in that role instead.
func (g *group) start(id int, role ...string) error {
	args := append(role, "-h", g.file, "-n", "h"+strconv.Itoa(id))
	if g.key != "" {
		args = append(args, "-key", g.key)
	}
	program := g.program
	if len(role) > 0 {
		program, _ = os.Executable()
	}
	p := &process{cmd: exec.Command(program, args...), lost: make(map[string]time.Time), exited: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	records, err := p.cmd.StderrPipe()
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.hosts[id-1] = p
	g.mu.Unlock()
	p.called = time.Now()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go g.read(p, records)
	return nil
}

// read reads the records of p until it ends.
func (g *group) read(p *process, records io.Reader) {
	in := bufio.NewReaderSize(records, 1<<16)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			break
		}
		g.note(p, line, time.Now())
	}
	p.cmd.Wait()
	close(p.exited)
}

func (g *group) note(p *process, line []byte, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, list, ok := bytes.Cut(line, []byte("memb_list: [<")); ok {
		p.members, p.at = string(list[:len(list)-len(">]}\n")]), now
	} else if _, text, ok := bytes.Cut(line, []byte(`message:"`)); ok {
		p.lost[string(text[:len(text)-len("\"}\n")])] = now
	} else if _, called, ok := bytes.Cut(line, []byte("called ")); ok {
		nanoseconds, _ := strconv.ParseInt(string(bytes.TrimSpace(called)), 10, 64)
		p.called = time.Unix(0, nanoseconds)
	}
}

// await waits until holds, which it calls with mu held, returns true. It polls rarely, to leave the
// processors to the peers: measurements use the times at which records were read.
func (g *group) await(what string, holds func() bool) error {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for began := time.Now(); ; <-look.C {
		g.mu.Lock()
		ok := holds()
		g.mu.Unlock()
		if ok {
			return nil
		}
		if time.Since(began) > waitLimit {
			return fmt.Errorf("%s: not within %v", what, waitLimit)
		}
	}
}

// agree waits until each host of ids holds the view of exactly ids, in any order of joining. It returns
// the time at which the last of them recorded it.
func (g *group) agree(ids ...int) (time.Time, error) {
	var last time.Time
	return last, g.await(fmt.Sprintf("one view of %d hosts", len(ids)), func() bool {
		first := g.hosts[ids[0]-1].members
		if strings.Count(first, ",") != len(ids)-1 {
			return false
		}
		last = time.Time{}
		for _, id := range ids {
			p := g.hosts[id-1]
			if p.members != first || !strings.Contains(","+first+",", ","+strconv.Itoa(id)+",") {
				return false
			}
			if p.at.After(last) {
				last = p.at
			}
		}
		return true
	})
}

func (g *group) signal(id int, s syscall.Signal) {
	if p := g.hosts[id-1]; p != nil && p.cmd.Process != nil {
		p.cmd.Process.Signal(s)
	}
}

// upTo returns 1 to n.
func upTo(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i + 1
	}
	return ids
}
