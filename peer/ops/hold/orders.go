package hold

import (
	"fmt"
	"time"
)

// This file is what the keeper and the supervisor say to each other.

// Supervisor is the first argument of a process that is to call Supervise.
const Supervisor = "hold-supervisor"

// The supervisor's files, besides the standard ones, which are the command's.
const (
	ordersFD  = 3
	reportsFD = 4
)

// The codes with which shells say that a command could not be run.
const (
	notRunnable = 126
	notFound    = 127
	bySignal    = 128 // and the number of the signal that ended it
)

// order is what the keeper says: when to end the command, by clock. The zero order is the end of the pipe, upon which
// everything is killed at once.
type order struct{ terminate, kill time.Duration }

func (o order) String() string { return fmt.Sprintf("%d %d\n", o.terminate, o.kill) }

// The reports to the keeper, one on a line.
const (
	reportStarted = "started %d\n"   // the process, and its group
	reportEnded   = "ended %d %t\n"  // the exit code, as shells have it; whether it was after SIGTERM by order
	reportFailed  = "failed %d %q\n" // to start it: the exit code that says so, and why
	reportStuck   = "stuck %d %q\n"  // the process group, which SIGKILL does not end, and why
)
