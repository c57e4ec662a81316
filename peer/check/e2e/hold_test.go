package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
)

// witness is a file to which held commands write when they start and when they end, with a lock that all processes
// of a command hold, so that a second copy notices.
type witness struct {
	*testing.T
	path string
}

func newWitness(t *testing.T) witness { return witness{t, filepath.Join(t.TempDir(), "witness")} }

// command returns one that runs until it gets SIGTERM, upon which it does last, with a child that holds the lock too.
func (w witness) command(last string) string {
	return fmt.Sprintf(`exec 9>>%[1]s.lock; flock -n 9 || { echo two at once, the second at $MEMBERLY_PEER >>%[1]s; exit 1; }
		trap 'echo stop $MEMBERLY_PEER >>%[1]s; %[2]s' TERM
		sleep 3600 & echo start $MEMBERLY_PEER $MEMBERLY_FENCE $$ $! >>%[1]s; while :; do wait; done`, w.path, last)
}

// obedient is the end of a command that heeds SIGTERM.
const obedient = "exit 0"

// start is a line of a command that started.
type startLine struct {
	peer       int
	fence      uint64
	pid, child int
	stopped    bool // it wrote that it got SIGTERM
}

// starts returns the commands that started, and fails if two ran at once.
func (w witness) starts() (all []startLine) {
	w.Helper()
	content, err := os.ReadFile(w.path)
	if err != nil && !os.IsNotExist(err) {
		w.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var s startLine
		if n, _ := fmt.Sscanf(line, "start %d %d %d %d\n", &s.peer, &s.fence, &s.pid, &s.child); n == 4 {
			all = append(all, s)
		} else if strings.HasPrefix(line, "stop ") && len(all) > 0 {
			all[len(all)-1].stopped = true
		} else {
			w.Fatalf("%s: in\n%s", strings.TrimSpace(line), content)
		}
	}
	return all
}

// await waits until n commands have started, and returns the last.
func (w witness) await(n int) startLine {
	w.Helper()
	within(w.T, fmt.Sprintf("%d starts of the command", n), func() bool { return len(w.starts()) >= n })
	all := w.starts()
	if len(all) != n {
		w.Fatalf("it started %d times, want %d: %+v", len(all), n, all)
	}
	if last := all[n-1]; n > 1 && last.fence < all[n-2].fence {
		w.Errorf("fences do not grow: %+v", all)
	}
	return all[n-1]
}

// holders starts three peers that hold the command, and waits until it runs at the first.
func (w witness) holders(last string, args ...string) []*daemon {
	w.Helper()
	file := loopback.NewSubnet(w.T).HostsFile(w.T, "one", "two", "three")
	var daemons []*daemon
	for _, name := range []string{"one", "two", "three"} {
		daemons = append(daemons, start(w.T, file, name, append(args, "-hold", w.command(last))...))
	}
	awaitView(daemons, 3)
	if s := w.await(1); s.peer != 1 {
		w.Fatalf("it started at peer %d, want 1", s.peer)
	}
	return daemons
}

// When the leader is killed, all of its command dies with it, and the next leader's starts after that.
func TestHoldKilled(t *testing.T) {
	t.Parallel()
	w := newWitness(t)
	daemons := w.holders(obedient)
	first := w.await(1)
	daemons[0].signal(syscall.SIGKILL)
	awaitGone(t, first.pid)
	awaitGone(t, first.child)
	if s := w.await(2); s.peer != 2 || w.starts()[0].stopped {
		t.Errorf("the starts are %+v", w.starts())
	}
}

// When the leader gets SIGTERM, its command ends before the next leader's starts, also one that takes its time.
func TestHoldLeaves(t *testing.T) {
	t.Parallel()
	w := newWitness(t)
	daemons := w.holders("sleep 3; exit 0")
	daemons[0].signal(syscall.SIGTERM)
	if s := w.await(2); s.peer != 2 || !w.starts()[0].stopped {
		t.Errorf("the starts are %+v", w.starts())
	}
	if code := daemons[0].awaitExit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, d := range daemons[1:] {
		if records := d.stderr.Lines(); contains("unreachable")(records) {
			t.Errorf("%s wrote %q", d.name, records)
		}
	}
}

// The command of a leader that is frozen ends before its lease does, whether it heeds SIGTERM or not, and does not start
// again when the peer resumes and follows another one.
func TestHoldFrozen(t *testing.T) {
	t.Parallel()
	for what, last := range map[string]string{"heeds": obedient, "does not heed": ":"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWitness(t)
			daemons := w.holders(last)
			first := w.await(1)
			daemons[0].signal(syscall.SIGSTOP)
			frozen := time.Now()
			awaitGone(t, first.pid)
			awaitGone(t, first.child)
			if took := time.Since(frozen); took > 2200*time.Millisecond {
				t.Errorf("it ended %v after its peer was frozen", took)
			}
			w.await(2)
			<-time.After(time.Until(frozen.Add(4 * time.Second)))
			daemons[0].signal(syscall.SIGCONT)
			daemons[0].awaitRecord("removed from the group")
			daemons[0].awaitRecord("view_id: 5, ")
			if s := w.await(2); s.peer != 2 || !w.starts()[0].stopped {
				t.Errorf("the starts are %+v", w.starts())
			}
		})
	}
}

// A command that ends by itself is started again after a pause, but with -hold-once.
func TestHoldAgain(t *testing.T) {
	t.Parallel()
	for _, once := range []bool{false, true} {
		t.Run(fmt.Sprint("once ", once), func(t *testing.T) {
			t.Parallel()
			w := newWitness(t)
			args := []string{}
			if once {
				args = append(args, "-hold-once")
			}
			daemons := w.holders(obedient, args...)
			first := w.await(1)
			syscall.Kill(first.child, syscall.SIGKILL) // what it leaves behind would be ended too
			syscall.Kill(first.pid, syscall.SIGKILL)
			if !once {
				daemons[0].awaitNotice("Error running -hold: exit code 137; it is started again in 1s")
				if s := w.await(2); s.peer != 1 || s.fence != first.fence {
					t.Errorf("the starts are %+v", w.starts())
				}
				return
			}
			daemons[0].awaitNotice("Error running -hold: exit code 137; it is not started again before the peer leads anew")
			daemons[0].signal(syscall.SIGTERM)
			if s := w.await(2); s.peer != 2 {
				t.Errorf("the starts are %+v", w.starts())
			}
		})
	}
}

// hold starts `memberly hold`.
func hold(t *testing.T, args ...string) *daemon {
	t.Helper()
	return launch(t, "hold", exec.Command(program, append([]string{"hold"}, args...)...))
}

// heldBeside starts three peers, and `memberly hold` beside each.
func (w witness) heldBeside(last string) (peers, holds []*daemon) {
	w.Helper()
	s := loopback.NewSubnet(w.T)
	file := s.HostsFile(w.T, "one", "two", "three")
	for i, name := range []string{"one", "two", "three"} {
		peers = append(peers, start(w.T, file, name, "-http", "8082"))
		holds = append(holds, hold(w.T, fmt.Sprint(s.Host(i+1), ":8082"), "--", "sh", "-c", w.command(last)))
	}
	awaitView(peers, 3)
	if s := w.await(1); s.peer != 1 {
		w.Fatalf("it started at peer %d, want 1", s.peer)
	}
	return peers, holds
}

// What holds for -hold holds for `memberly hold`: when the peer is killed, frozen, or leaves, and when `memberly hold`
// itself is killed or gets SIGTERM.
func TestHoldBeside(t *testing.T) {
	t.Parallel()
	t.Run("the peer is killed", func(t *testing.T) {
		t.Parallel()
		w := newWitness(t)
		peers, holds := w.heldBeside(obedient)
		first := w.await(1)
		holds[1].await(&holds[1].stderr, "why nothing runs there", contains("memberly: two does not lead: sh waits until it does"))
		peers[0].signal(syscall.SIGKILL)
		awaitGone(t, first.pid)
		awaitGone(t, first.child)
		if s := w.await(2); s.peer != 2 {
			t.Errorf("the starts are %+v", w.starts())
		}
		holds[0].await(&holds[0].stderr, "a line about the peer", contains("no answer from"))
	})
	t.Run("the peer is frozen", func(t *testing.T) {
		t.Parallel()
		w := newWitness(t)
		peers, _ := w.heldBeside(":")
		first := w.await(1)
		peers[0].signal(syscall.SIGSTOP)
		frozen := time.Now()
		awaitGone(t, first.pid)
		awaitGone(t, first.child)
		if took := time.Since(frozen); took > 2200*time.Millisecond {
			t.Errorf("it ended %v after its peer was frozen", took)
		}
		w.await(2)
		peers[0].signal(syscall.SIGCONT)
		peers[0].awaitRecord("view_id: 5, ")
		if s := w.await(2); s.peer != 2 || !w.starts()[0].stopped {
			t.Errorf("the starts are %+v", w.starts())
		}
	})
	t.Run("the peer leaves", func(t *testing.T) {
		t.Parallel()
		w := newWitness(t)
		peers, _ := w.heldBeside("sleep 3; exit 0")
		peers[0].signal(syscall.SIGTERM)
		if s := w.await(2); s.peer != 2 || !w.starts()[0].stopped {
			t.Errorf("the starts are %+v", w.starts())
		}
		if code := peers[0].awaitExit(patience); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	})
	t.Run("hold is killed", func(t *testing.T) {
		t.Parallel()
		w := newWitness(t)
		_, holds := w.heldBeside(obedient)
		first := w.await(1)
		holds[0].signal(syscall.SIGKILL)
		awaitGone(t, first.pid)
		awaitGone(t, first.child)
	})
	t.Run("hold gets SIGTERM", func(t *testing.T) {
		t.Parallel()
		w := newWitness(t)
		peers, holds := w.heldBeside("sleep 4; exit 3")
		first := w.await(1)
		holds[0].signal(syscall.SIGTERM)
		if code := holds[0].awaitExit(patience); code != 0 || alive(first.pid) || !w.starts()[0].stopped {
			t.Errorf("exit code %d, want 0; the starts are %+v", code, w.starts())
		}
		peers[0].signal(syscall.SIGTERM) // nothing is to be waited for
		if code := peers[0].awaitExit(3 * time.Second); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	})
}

// As many as a peer allows hold a command beside it, and are not disturbed by others who ask it.
func TestHoldMany(t *testing.T) {
	t.Parallel()
	const most = 32
	s := loopback.NewSubnet(t)
	one := start(t, s.HostsFile(t, "one"), "one", "-http", "8082")
	one.awaitRecord("view_id: 1,")
	at := fmt.Sprint(s.Host(1), ":8082")
	var holds []*daemon
	for range most {
		holds = append(holds, hold(t, at, "--", "sh", "-c", "echo runs; exec sleep 3600"))
	}
	for _, d := range holds {
		d.await(&d.stdout, "its command", contains("runs"))
	}
	for range 20 {
		c, err := net.Dial("tcp", at) // and says nothing
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, stderr, code := commandOf(t, "ready", at); code != 0 {
			t.Errorf("ready: code %d, %s", code, stderr)
		}
	}
	for i, d := range holds {
		if out := d.stdout.Lines(); len(out) != 1 || contains("no answer")(d.stderr.Lines()) {
			t.Errorf("hold %d: its command began %d times; %q", i+1, len(out), d.stderr.Lines())
		}
	}
	_, stderr, code := commandOf(t, "hold", "-once", at, "--", "true")
	if code != 1 || !strings.Contains(stderr, fmt.Sprint(most, " others hold commands with this peer already")) {
		t.Errorf("one more: code %d, %q", code, stderr)
	}
}

// The exit codes of `memberly hold`, and what it says.
func TestHoldCodes(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	one := start(t, s.HostsFile(t, "one"), "one", "-http", "8082")
	one.awaitRecord("view_id: 1,")
	at := fmt.Sprint(s.Host(1), ":8082")
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	status := httptest.NewServer(http.NotFoundHandler())
	defer status.Close()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{at, "-once", "--", "true"}, 2, "unexpected argument"},
		{[]string{"-once", at, "--", "sh", "-c", "exit 7"}, 7, ""},
		{[]string{"-once", at, "--", "true"}, 0, ""},
		{[]string{"-once", at, "--", "sh", "-c", "kill -KILL $$"}, 137, ""},
		{[]string{"-once", at, "--", "sh", "-c", `[ "$MEMBERLY_PEER_NAME" = one ] && [ $MEMBERLY_FENCE -gt 0 ]`}, 0, ""},
		{[]string{at, "--", "/no/such/program"}, 127, "/no/such/program"},
		{[]string{at, "--", "no-such-program"}, 127, "no-such-program"},
		{[]string{at, "--", plain}, 126, plain},
		{[]string{at}, 2, "no command"},
		{[]string{at, "--"}, 2, "no command"},
		{[]string{"nonsense", "--", "true"}, 2, "give a port"},
		{[]string{"-help"}, 0, ""},
		{[]string{strings.TrimPrefix(status.URL, "http://"), "--", "true"}, 1, "does not serve a lease"},
	} {
		_, stderr, code := commandOf(t, append([]string{"hold"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("hold %q: code %d, %q; want %d, %q", c.args, code, stderr, c.code, c.says)
		}
	}
	again := hold(t, at, "--", "sh", "-c", "echo ran; exit 4")
	again.await(&again.stderr, "a pause", contains("sh ended with exit code 4; it is started again in 1s"))
	again.await(&again.stdout, "another run", func(lines []string) bool { return len(lines) >= 2 })
	one.signal(syscall.SIGTERM)
	if code := one.awaitExit(3 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
