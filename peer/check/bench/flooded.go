//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// floodHost is a host without a peer, as which faulty members flood the leader.
const floodHost = 6

// flooded measures view changes in a group of five while its leader is flooded: it kills and restarts
// the fifth host ten times. An empty kind is no flood.
func (m *meter) flooded(name, kind string, stranger bool) error {
	g, err := newGroup(m.program, m.key, floodHost)
	if err != nil {
		return err
	}
	defer g.end()
	for id := 1; id < floodHost; id++ {
		if err := g.start(id); err != nil {
			return err
		}
		if err := g.holds(id, true, upTo(id)...); err != nil {
			return err
		}
	}
	if kind != "" {
		end, err := g.flood(kind, stranger)
		if err != nil {
			return err
		}
		defer end()
	}
	leader := g.hosts[0].cmd.Process.Pid
	began, before, most := time.Now(), cpu(leader), 0
	for range 10 {
		if err := m.restart(name, g); err != nil {
			return err
		}
		<-time.After(200 * time.Millisecond)
		most = max(most, rss(leader))
	}
	m.addUnit(name+", the leader's CPU", 100*(cpu(leader)-before).Seconds()/time.Since(began).Seconds(), "%")
	m.addUnit(name+", the leader's memory (RSS)", float64(most)/1000, "MB")
	for _, p := range g.hosts[:floodHost-1] {
		for lost := range p.lost {
			if !strings.Contains(lost, "peer 5 ") && !strings.Contains(lost, "peer 6 ") {
				return fmt.Errorf("a peer wrote %q", lost)
			}
		}
	}
	return nil
}

// restart measures how long it takes until all views show the end of the fifth host, and its return.
func (m *meter) restart(name string, g *group) error {
	began := time.Now()
	g.signal(5, syscall.SIGKILL)
	if err := g.holds(5, false, 1, 2, 3, 4); err != nil {
		return err
	}
	m.add(name+", SIGKILL to the last survivor's view", time.Since(began))
	<-g.hosts[4].exited
	began = time.Now()
	if err := g.start(5); err != nil {
		return err
	}
	err := g.holds(5, true, upTo(5)...)
	m.add(name+", start to the view of all", time.Since(began))
	return err
}

// holds waits until the last views of these hosts contain id or, if in is false, lack it.
func (g *group) holds(id int, in bool, hosts ...int) error {
	text := "," + strconv.Itoa(id) + ","
	return g.await(fmt.Sprintf("views with %d: %t", id, in), func() bool {
		for _, h := range hosts {
			members := g.hosts[h-1].members
			if members == "" || strings.Contains(","+members+",", text) != in {
				return false
			}
		}
		return true
	})
}

// flood floods the leader until end is called.
func (g *group) flood(kind string, stranger bool) (end func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	from := g.addrs[floodHost-1]
	if stranger {
		for range 100 {
			from = from.Next()
		}
	}
	flood := exec.Command(self, "flood", kind, g.file, "h"+strconv.Itoa(floodHost), from.String(), g.addrs[0].String())
	flood.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	flood.Stderr = os.Stderr
	if err := flood.Start(); err != nil {
		return nil, err
	}
	return func() {
		flood.Process.Kill()
		flood.Wait()
	}, nil
}
