package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"memberly/peer/check/loopback"
)

// A command that the supervisor may not end is reported. The peer runs without the right to signal other users' processes,
// as one that does not run as root, and the command becomes another user's, as with sudo.
func TestHoldCannotEnd(t *testing.T) {
	t.Parallel()
	needsUnshare(t, "-m") // root
	pids := filepath.Join(t.TempDir(), "pids")
	t.Cleanup(func() {
		list, _ := os.ReadFile(pids)
		for text := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(text); err == nil {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	started := func() int {
		list, _ := os.ReadFile(pids)
		return len(strings.Fields(string(list)))
	}
	file := loopback.NewSubnet(t).HostsFile(t, "one", "two", "three")
	var daemons []*daemon
	for _, name := range []string{"one", "two", "three"} {
		daemons = append(daemons, launch(t, name, exec.Command("setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill", program,
			"-h", file, "-n", name, "-hold", "echo $$ >>"+pids+"; exec setpriv --reuid 65534 --clear-groups sleep 600")))
	}
	awaitView(daemons, 3)
	within(t, "the command runs", func() bool { return started() == 1 })
	daemons[0].signal(syscall.SIGSTOP)
	within(t, "the next leader runs it too", func() bool { return started() == 2 })
	daemons[0].signal(syscall.SIGCONT)
	daemons[0].awaitNotice("cannot be ended (operation not permitted): end it by hand; if this host does not lead any more, another one may run the command too")
	list, _ := os.ReadFile(pids)
	if first := strings.Fields(string(list))[0]; !contains("Error running -hold: process group " + first + " cannot")(daemons[0].stdout.Lines()) {
		t.Errorf("it names another group than %s: %q", first, daemons[0].stdout.Lines())
	}
}
