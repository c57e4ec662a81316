package hold

import (
	"fmt"
	"io"
	"os"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/ops/process"
	"memberly/peer/types"
)

const shell = "/bin/sh"

// Config is what -hold runs, and for which peer.
type Config struct {
	Command string // for /bin/sh -c
	Once    bool   // do not start it again when it has ended by itself, before the peer leads anew
	Self    types.ID
	Name    string
	Monitor time.Duration
	Now     func() time.Duration // the present moment, by which leases are judged
	// Report writes a line that says what went wrong. It must not wait.
	Report func(format string, args ...any)
}

// Hold is the listener that runs a command while the peer leads.
type Hold struct {
	Config
	keeper keeper
	said   process.Tail
	last   handlers.Lease // of the goroutine of the steps
}

// New returns a listener that is ready. The error is that there is no shell here.
func New(c Config) (*Hold, error) {
	if _, err := os.Stat(shell); err != nil {
		return nil, fmt.Errorf("-hold needs %s: %w: leave -hold out, or use an image that has a shell", shell, err)
	}
	h := &Hold{Config: c}
	h.keeper = keeper{argv: []string{shell, "-c", c.Command}, once: c.Once, ended: h.ended,
		env: variables,
		stuck: func(group int, why string) {
			h.Report("Error running -hold: process group %d cannot be ended (%s): %s", group, why, stuckHelp)
		},
		output: func() (io.Writer, io.Writer) { h.said.Reset(); return &h.said, &h.said }}
	h.keeper.open()
	return h, nil
}

// Stepped tells the command's keeper of the lease.
func (h *Hold) Stepped(s *handlers.Step) {
	if s.Lease == h.last {
		return
	}
	h.last = s.Lease
	now := clock() // before Now, so that what passes between the two shortens the lease
	h.keeper.update(claim{id: int(h.Self), name: h.Name, fence: s.Lease.Fence, until: now + s.Lease.Until - h.Now(), length: h.Monitor, resigned: s.Lease.Resigned})
}

// Finished returns a channel that is closed when the command has ended.
func (h *Hold) Finished() <-chan struct{} {
	h.keeper.close()
	return h.keeper.done
}

// Ended ends the command, if it still runs: after a crash at once.
func (h *Hold) Ended(hasLeft bool) {
	if !hasLeft {
		h.keeper.update(claim{gone: true})
	}
	<-h.Finished()
}

// stuckHelp is what to do about a command that cannot be ended.
const stuckHelp = "end it by hand; if this host does not lead any more, another one may run the command too"

func (h *Hold) ended(r result, pause time.Duration) bool {
	again := fmt.Sprintf("it is started again in %v", pause)
	if h.Once && r.failure == "" {
		again = "it is not started again before the peer leads anew"
	}
	switch {
	case r.failure != "":
		h.Report("Error running -hold: %s; %s", r.failure, again)
	case r.code != 0:
		h.Report("Error running -hold: exit code %d%s; %s", r.code, h.said.Quoted(), again)
	}
	return true
}
