//go:build linux

package main

import (
	"fmt"
	"syscall"
	"time"
)

// withGroup forms a group of n, one host after the other, calls f, and ends the group.
func (m *meter) withGroup(n int, f func(g *group) error) error {
	g, err := newGroup(m.program, m.key, n)
	if err != nil {
		return err
	}
	defer g.end()
	for id := 1; id <= n; id++ {
		if err := g.start(id); err != nil {
			return err
		}
		if _, err := g.agree(upTo(id)...); err != nil {
			return err
		}
	}
	return f(g)
}

// join measures the time until all five hosts hold the view with the fifth: from the start of its
// process or, with a role, from the call of its code.
func (m *meter) join(name string, role ...string) error {
	return m.withGroup(5, func(g *group) error {
		g.signal(5, syscall.SIGKILL)
		<-g.hosts[4].exited
		if _, err := g.agree(1, 2, 3, 4); err != nil {
			return err
		}
		if err := g.start(5, role...); err != nil {
			return err
		}
		last, err := g.agree(upTo(5)...)
		m.add(name, last.Sub(g.hosts[4].called))
		return err
	})
}

// signalled measures the time from a signal to host id to the last survivor's view without it.
func (m *meter) signalled(name string, id int, s syscall.Signal) error {
	return m.withGroup(5, func(g *group) error {
		began := time.Now()
		g.signal(id, s)
		last, err := g.agree(without(5, id)...)
		m.add(name, last.Sub(began))
		return err
	})
}

func without(n, id int) []int {
	ids := upTo(n)
	return append(ids[:id-1], ids[id:]...)
}

// resume measures the time from SIGCONT for two stopped hosts, which the others have removed, to one view
// of five.
func (m *meter) resume(name string) error {
	return m.withGroup(5, func(g *group) error {
		g.signal(4, syscall.SIGSTOP)
		g.signal(5, syscall.SIGSTOP)
		if _, err := g.agree(1, 2, 3); err != nil {
			return err
		}
		began := time.Now()
		g.signal(4, syscall.SIGCONT)
		g.signal(5, syscall.SIGCONT)
		last, err := g.agree(upTo(5)...)
		m.add(name, last.Sub(began))
		return err
	})
}

// five measures the CPU time of one of five idle peers.
func (m *meter) five(name string, window time.Duration) error {
	return m.withGroup(5, func(g *group) error {
		used := func() (sum time.Duration) {
			for _, p := range g.hosts {
				sum += cpu(p.cmd.Process.Pid)
			}
			return sum / time.Duration(len(g.hosts))
		}
		began, before := time.Now(), used()
		<-time.After(window)
		m.addUnit(name, (used()-before).Seconds()/time.Since(began).Minutes(), "s a minute")
		return nil
	})
}

// many measures n processes that start at once, and then the end of the last one.
func (m *meter) many(n int) error {
	name := fmt.Sprintf("many: %d processes that start at once, ", n)
	g, err := newGroup(m.program, m.key, n)
	if err != nil {
		return err
	}
	defer g.end()
	began := time.Now()
	for id := range n {
		if err := g.start(id + 1); err != nil {
			return err
		}
	}
	m.add(name+"to the last one's start", time.Since(began))
	last, err := g.agree(upTo(n)...)
	if err != nil {
		return err
	}
	m.add(name+"to all agreeing", last.Sub(began))
	var all time.Duration
	for _, p := range g.hosts {
		all += cpu(p.cmd.Process.Pid)
	}
	m.add(name+"CPU of all until then", all)
	m.add(name+"CPU of the leader until then", cpu(g.hosts[0].cmd.Process.Pid))
	began = time.Now()
	g.signal(n, syscall.SIGKILL)
	last, err = g.agree(upTo(n - 1)...)
	m.add(name+"SIGKILL of the last to the last survivor's view", last.Sub(began))
	return err
}
