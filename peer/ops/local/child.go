package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"memberly/peer/types"
)

// child is the process of one host.
type child struct {
	name    string
	addr    netip.Addr
	command *exec.Cmd
	stdout  *lineWriter
	stderr  *lineWriter
	crashed atomic.Bool // it wrote that it crashes, as ordered
	err     error       // from waiting for its end
}

// hostsFileDescriptor is the pipe from which a child reads its hosts file, so that none is left on disk.
const hostsFileDescriptor = "/dev/fd/3"

// child returns the process of host id, not yet started.
func (g *group) child(id types.ID) *child {
	c := &child{name: g.hosts[id-1].Name, addr: g.hosts[id-1].Addr}
	c.command = exec.Command(g.executable, g.args(id)...)
	c.command.SysProcAttr = attributes()
	c.stdout = g.stdout.writer(g.prefix(id, g.stdout), nil)
	c.stderr = g.stderr.writer(g.prefix(id, g.stderr), c.note)
	c.command.Stdout, c.command.Stderr = c.stdout, c.stderr
	return c
}

// note checks a line of the child's stderr for its crash.
func (c *child) note(line []byte) {
	if bytes.HasSuffix(line, []byte(`message:"crashing"}`)) {
		c.crashed.Store(true)
	}
}

// args returns the command line of host id.
func (g *group) args(id types.ID) []string {
	args := []string{"-h", hostsFileDescriptor, "-n", g.hosts[id-1].Name}
	if delay := g.config.Delay * time.Duration(types.Serving(g.hosts[:id-1])); delay > 0 {
		args = append(args, "-d", seconds(delay))
	}
	if g.config.Crash > 0 && types.Serving(g.hosts[id:]) == 0 {
		args = append(args, "-c", seconds(g.config.Crash))
	}
	if g.config.State != "" {
		args = append(args, "-state", g.config.State+"."+g.hosts[id-1].Name)
	}
	if g.config.Exec != "" {
		args = append(args, "-exec", g.config.Exec)
	}
	if g.config.Hold != "" {
		args = append(args, "-hold", g.config.Hold)
	}
	if g.config.HoldOnce {
		args = append(args, "-hold-once")
	}
	if g.config.KeyFile != "" {
		args = append(args, "-key", g.config.KeyFile)
	}
	if g.config.Reform {
		args = append(args, "-reform")
	}
	if port := g.config.HTTP.Port(); port != 0 {
		args = append(args, "-http", strconv.Itoa(int(port)))
	}
	if g.config.Times {
		args = append(args, "-times")
	}
	if g.config.Drill && id == 1 {
		args = append(args, "-t")
	}
	return append(args, "-heartbeat", g.config.Heartbeat.String(), "-monitor", g.config.Monitor.String())
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// start starts the process and gives it its hosts file. The calling thread must live as long as the
// process should: see attributes.
func (c *child) start(hosts string) error {
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe for its hosts file: %w", err)
	}
	defer read.Close()
	c.command.ExtraFiles = []*os.File{read}
	if err := c.command.Start(); err != nil {
		write.Close()
		return err
	}
	go func() { // because a long file does not fit into a pipe
		defer write.Close()
		io.WriteString(write, hosts) // fails only if the child has ended, which wait reports
	}()
	return nil
}

func (c *child) pid() int { return c.command.Process.Pid }

// signal sends s, unless the child has ended.
func (c *child) signal(s syscall.Signal) { c.command.Process.Signal(s) }

// wait waits until the child has ended and all its output is written.
func (c *child) wait() {
	c.err = c.command.Wait()
	c.stdout.flush()
	c.stderr.flush()
}

// failed reports whether the ended child failed. To end by a signal or an ordered crash is no failure.
func (c *child) failed() bool {
	failure, ok := errors.AsType[*exec.ExitError](c.err)
	if !ok {
		return c.err != nil
	}
	return failure.ExitCode() > 0 && !c.crashed.Load()
}

// fate describes how the child ended.
func (c *child) fate() string {
	failure, ok := errors.AsType[*exec.ExitError](c.err)
	switch {
	case c.err == nil:
		return "ended with code 0"
	case !ok:
		return "is lost: " + c.err.Error()
	case failure.ExitCode() < 0:
		return "was ended by a signal: " + failure.Error()
	}
	return fmt.Sprintf("exited with code %d", failure.ExitCode())
}
