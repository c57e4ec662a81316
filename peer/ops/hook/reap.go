package hook

import (
	"os"
	"os/signal"
	"syscall"
)

// reap collects the processes that runs of the command left behind, once they end. It does so in a process
// with the id 1, as the only one of a container has: the system hands it all processes whose parent has ended,
// and no other process collects them. It returns when h is done.
func (h *Hook) reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		select {
		case <-ended:
			h.collect()
		case <-h.done:
			return
		}
	}
}

// collect waits for the end of the run under way, whose process is not to be collected here, and collects all
// processes that have ended.
func (h *Hook) collect() {
	h.running.Lock()
	defer h.running.Unlock()
	for {
		if id, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); id <= 0 || err != nil {
			return
		}
	}
}
