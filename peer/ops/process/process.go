// Package process runs the operator's commands, each in a process group of its own, which no signal from a terminal
// reaches and which can be ended as a whole.
package process

import (
	"errors"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// lookEvery is how often a group that is being ended is looked at.
const lookEvery = 10 * time.Millisecond

// Group is a command that was started, with all processes of its process group.
type Group struct {
	command *exec.Cmd
	done    chan struct{} // closed when the command itself has ended
	err     error         // set before that
}

// Start starts c in a process group of its own.
func Start(c *exec.Cmd) (*Group, error) {
	if err := separate(c); err != nil {
		return nil, err
	}
	g := &Group{command: c, done: make(chan struct{})}
	children.Lock()
	err := c.Start()
	if err == nil {
		children.own[c.Process.Pid] = true
	}
	children.Unlock()
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(g.done)
		g.err = c.Wait()
		children.ended(c.Process.Pid)
	}()
	return g, nil
}

// Run starts c and waits for its end, as exec.Cmd.Run does. Where c has a context, its end kills the whole group.
func Run(c *exec.Cmd) error {
	if c.Cancel != nil {
		c.Cancel = func() error { return kill(c.Process.Pid, syscall.SIGKILL) }
	}
	g, err := Start(c)
	if err != nil {
		return err
	}
	<-g.done
	return g.err
}

// Done returns a channel that is closed when the command itself has ended. Other processes of its group may go on.
func (g *Group) Done() <-chan struct{} { return g.done }

// Err returns how the command ended, as exec.Cmd.Wait does. It is called after Done.
func (g *Group) Err() error { return g.err }

// gone reports whether no process of the group is left.
func (g *Group) gone() bool {
	select {
	case <-g.done:
		return errors.Is(kill(g.command.Process.Pid, 0), syscall.ESRCH)
	default:
		return false
	}
}

// End ends the group: by SIGTERM and, if something of it is left after grace or when hurry is closed, by SIGKILL. It
// returns when the command itself has ended, and the rest is killed.
func (g *Group) End(grace time.Duration, hurry <-chan struct{}) {
	pid := g.command.Process.Pid
	kill(pid, syscall.SIGTERM)
	limit, tick := time.After(grace), time.NewTicker(lookEvery)
	defer tick.Stop()
	for waiting := true; waiting && !g.gone(); {
		select {
		case <-tick.C:
		case <-limit:
			waiting = false
		case <-hurry:
			waiting = false
		}
	}
	if !g.gone() {
		kill(pid, syscall.SIGKILL)
	}
	<-g.done
}

// children are the processes that this process has started and waits for itself.
var children = registry{own: make(map[int]bool), changed: make(chan struct{}, 1)}

type registry struct {
	sync.Mutex // held while a process is started, so that reap never sees one that is not in own yet
	own        map[int]bool
	changed    chan struct{} // has a value when one of them has been waited for
}

// ended notes that a process has been waited for.
func (r *registry) ended(pid int) {
	r.Lock()
	delete(r.own, pid)
	r.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}
