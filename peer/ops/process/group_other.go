//go:build !windows

package process

import (
	"os/exec"
	"syscall"
)

// separate has c start in a process group of its own.
func separate(c *exec.Cmd) error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setpgid = true
	return nil
}

// kill sends s to the process group that the process pid was started in.
func kill(pid int, s syscall.Signal) error { return syscall.Kill(-pid, s) }
