package process

import (
	"errors"
	"os/exec"
	"syscall"
)

// separate fails: Windows has no process groups that could be ended as a whole. So nothing is ever started.
func separate(*exec.Cmd) error { return errors.New("Windows has no process groups") }

// kill is never called.
func kill(int, syscall.Signal) error { return errors.ErrUnsupported }
