package hold

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain makes this program the supervisor that a keeper starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Supervisor {
		os.Exit(Supervise(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// kept is a keeper whose command writes to FILE, which is path.
type kept struct {
	*testing.T
	*keeper
	path string

	mu      sync.Mutex
	results []result
	pauses  []time.Duration
}

func newKept(t *testing.T, once bool, command string) *kept {
	t.Helper()
	k := &kept{T: t, path: filepath.Join(t.TempDir(), "file")}
	k.keeper = &keeper{argv: []string{shell, "-c", strings.ReplaceAll(command, "FILE", k.path)}, once: once, env: variables,
		output: func() (io.Writer, io.Writer) { return io.Discard, io.Discard },
		ended: func(r result, pause time.Duration) bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.results, k.pauses = append(k.results, r), append(k.pauses, pause)
			return true
		}}
	k.open()
	t.Cleanup(func() {
		k.update(claim{gone: true})
		k.close()
		<-k.done
	})
	return k
}

// lease returns a claim that lasts for so long.
func lease(fence uint64, left time.Duration) claim {
	return claim{fence: fence, until: clock() + left, length: left}
}

// runs returns the words that the command has written.
func (k *kept) runs() []string {
	b, err := os.ReadFile(k.path)
	if err != nil && !os.IsNotExist(err) {
		k.Fatal(err)
	}
	return strings.Fields(string(b))
}

func (k *kept) within(what string, holds func() bool) {
	k.Helper()
	limit := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-limit:
			k.Fatalf("not within 20 s: %s; ran %q, %+v", what, k.runs(), k.results)
		}
	}
}

// await waits until the command has written n words, and returns them.
func (k *kept) await(n int) []string {
	k.Helper()
	k.within(fmt.Sprint(n, " words"), func() bool { return len(k.runs()) >= n })
	return k.runs()
}

// ends waits until no process with an id that the command wrote is left, and returns the moment.
func (k *kept) ends(ids ...string) time.Duration {
	k.Helper()
	for _, text := range ids {
		pid := 0
		fmt.Sscan(text, &pid)
		k.within("the end of process "+text, func() bool { return syscall.Kill(pid, 0) != nil || isZombie(pid) })
	}
	return clock()
}

// isZombie reports whether a process has ended, and waits for its parent to notice.
func isZombie(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}

// Before the lease ends, everything of the command ends: what heeds SIGTERM by then, what does not, and what has left
// the process group.
func TestEndsBeforeTheLease(t *testing.T) {
	t.Parallel()
	for what, command := range map[string]string{
		"heeds SIGTERM":  `sleep 3600 & echo $$ $! >>FILE; trap 'echo term >>FILE; exit' TERM; wait`,
		"ignores it":     `trap '' TERM; sleep 3600 & echo $$ $! >>FILE; while :; do wait; done`,
		"is stopped":     `sleep 3600 & echo $$ $! >>FILE; kill -STOP $$`,
		"leaves":         `setsid sleep 3600 & echo $$ $! >>FILE; wait`,
		"leaves, and is": `(trap '' TERM; exec setsid sleep 3600) & echo $$ $! >>FILE; exec sleep 3600`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			k := newKept(t, false, command)
			c := lease(7, 2*time.Second)
			k.update(c)
			ids := k.await(2)[:2]
			began := clock()
			if end := k.ends(ids...); end > c.until || end < c.terminate() {
				t.Errorf("it ended %v before the lease did, want between 0 and a fifth; it ran %v", c.until-end, end-began)
			}
			if len(k.results) > 0 {
				t.Errorf("it is said to have ended by itself: %+v", k.results)
			}
		})
	}
}

// A lease that is renewed keeps the command; another fence, another life of the peer, and no lease at all end it, and the
// next one starts after its end.
func TestFollowsTheLease(t *testing.T) {
	t.Parallel()
	k := newKept(t, false, `echo $MEMBERLY_FENCE >>FILE; trap 'echo end >>FILE; exit' TERM; sleep 3600 & wait`)
	for began := clock(); clock()-began < 2500*time.Millisecond; {
		k.update(lease(7, 2*time.Second)) // longer than a busy machine needs to come here again
		<-time.After(20 * time.Millisecond)
	}
	k.update(lease(8, time.Hour))
	k.await(3)
	resigned := lease(8, time.Hour)
	resigned.resigned = true
	k.update(resigned)
	k.within("rest", func() bool { return !k.mayRun() })
	k.update(lease(9, time.Hour))
	k.await(5)
	again := lease(9, time.Hour)
	again.life = "another"
	k.update(again)
	if got, want := strings.Join(k.await(6), " "), "7 end 8 end 9 9"; got != want {
		t.Errorf("ran %q, want %q", got, want)
	}
}

// A peer that ceases to lead without having resigned may have a successor before its lease ends.
func TestLost(t *testing.T) {
	t.Parallel()
	k := newKept(t, false, `trap 'echo term >>FILE' TERM; echo $$ >>FILE; while :; do sleep 0.01; done`)
	k.update(lease(7, time.Hour))
	id := k.await(1)[0]
	began := clock()
	k.update(claim{})
	if took := k.ends(id) - began; took < lostGrace || took > time.Second {
		t.Errorf("it was killed after %v, want %v", took, lostGrace)
	}
	if got := k.runs(); len(got) != 2 || got[1] != "term" {
		t.Errorf("it wrote %q, want that it got SIGTERM", got)
	}
}

// A peer that has ended may have a successor in a moment: all is killed at once. So it is when the supervisor is killed.
func TestKilledAtOnce(t *testing.T) {
	t.Parallel()
	const command = `trap '' TERM; sleep 3600 & echo $$ $! $PPID >>FILE; while :; do wait; done`
	k := newKept(t, false, command)
	k.update(lease(7, time.Hour))
	ids := k.await(3)
	k.update(claim{gone: true})
	k.ends(ids...)
	k.update(lease(8, time.Hour))
	ids = k.await(6)[3:]
	supervisor := 0
	fmt.Sscan(ids[2], &supervisor)
	syscall.Kill(supervisor, syscall.SIGKILL)
	k.ends(ids...)
	k.within("a report", func() bool { k.mu.Lock(); defer k.mu.Unlock(); return len(k.results) == 1 })
	if r := k.results[0]; !strings.Contains(r.failure, "its supervisor ended: signal: killed") {
		t.Errorf("it is said to have ended so: %+v", r)
	}
}

// A command that ends by itself is started again after a pause that doubles; what it leaves behind is ended before.
func TestAgain(t *testing.T) {
	t.Parallel()
	k := newKept(t, false, `sleep 3600 & echo $! >>FILE; exit 5`)
	k.update(lease(7, time.Hour))
	began := clock()
	ids := k.await(3)
	if took := clock() - began; took < 3*time.Second {
		t.Errorf("three runs came within %v, want pauses of 1 s and 2 s", took)
	}
	k.ends(ids...)
	k.mu.Lock()
	defer k.mu.Unlock()
	if fmt.Sprint(k.pauses[:2], k.results[0].code) != "[1s 2s] 5" {
		t.Errorf("the pauses are %v, the results %+v", k.pauses, k.results)
	}
}

// With once, a command that has ended by itself is started again only for another lease; one that was ended, for any.
func TestOnce(t *testing.T) {
	t.Parallel()
	k := newKept(t, true, `echo $MEMBERLY_FENCE >>FILE; [ $MEMBERLY_FENCE = 8 ] || exec sleep 3600`)
	k.update(lease(7, 2*time.Second)) // longer than a busy machine needs to start the command
	k.await(1)
	k.within("its end", func() bool { return clock() > k.newest().until })
	k.update(lease(7, time.Hour))
	k.await(2)
	k.update(lease(8, time.Hour))
	k.within("rest", func() bool { return !k.mayRun() })
	k.update(lease(8, 2*time.Hour))
	k.update(lease(9, time.Hour))
	if got := strings.Join(k.await(4), " "); got != "7 7 8 9" {
		t.Errorf("ran %q", got)
	}
}
