package hook

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// leading is a hook of host two whose clock goes, and that has installed a view. FILE in the command is path.
type leading struct {
	*Hook
	*testing.T
	path    string
	reports *reports
}

func newLeading(t *testing.T, command string) *leading {
	t.Helper()
	start := time.Now()
	h, path, r := hookedBy(t, command, long, func() time.Duration { return time.Since(start) })
	l := &leading{h, t, path, r}
	t.Cleanup(func() { h.Ended(false) })
	return l
}

// lease tells the hook of a step after which the peer has a lease for so long; 0 for none.
func (l *leading) lease(fence uint64, left time.Duration) {
	lease := handlers.Lease{Fence: fence, Until: l.Now() + left}
	if left == 0 {
		lease = handlers.Lease{}
	}
	l.Stepped(&handlers.Step{View: types.View{Number: 3}, Lease: lease})
}

func (l *leading) install() {
	s := installs(3, 2, 2, 3)
	s.Lease = handlers.Lease{}
	l.Stepped(s)
}

// await waits until the command has written want to FILE.
func (l *leading) await(want string) {
	l.Helper()
	limit := time.After(20 * time.Second)
	for read(l.T, l.path) != want {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-limit:
			l.Fatalf("ran %q, want %q; reported %s", read(l.T, l.path), want, l.reports)
		}
	}
}

const tells = `echo $MEMBERLY_EVENT $MEMBERLY_FENCE $MEMBERLY_LEADS >>FILE`

// Beginning to lead and ceasing to are told once each, with the fence, whichever lease follows.
func TestLeading(t *testing.T) {
	t.Parallel()
	l := newLeading(t, tells)
	l.install()
	l.await("view 0 false\n")
	l.lease(7, time.Hour)
	l.await("view 0 false\nleads 7 true\n")
	l.lease(7, 2*time.Hour) // renewed
	l.lease(9, time.Hour)
	l.await("view 0 false\nleads 7 true\nceased 7 false\nleads 9 true\n")
	l.Stepped(&handlers.Step{View: types.View{Number: 3}, Lease: handlers.Lease{Fence: 9, Until: time.Hour, Resigned: true}})
	<-l.Finished()
	if got, want := read(t, l.path), "view 0 false\nleads 7 true\nceased 7 false\nleads 9 true\nceased 9 false\n"; !strings.HasPrefix(got, want) {
		t.Errorf("when it may leave, ran %q, want %q", got, want)
	}
	l.Ended(true)
	if got := read(t, l.path); strings.Count(got, "ceased") != 2 || !strings.HasSuffix(got, "left 0 false\n") || l.reports.String() != "" {
		t.Errorf("ran %q, reported %s", got, l.reports)
	}
}

// A run for leads goes on while the lease is renewed. When the lease ends without a step, the run is ended, and ceased
// comes at once, although a run for a view hangs; the same lease renewed after that is told of again.
func TestLapse(t *testing.T) {
	t.Parallel()
	l := newLeading(t, `case $MEMBERLY_EVENT in
		view) sleep 3600;;
		leads) echo begins >>FILE; trap 'echo ends >>FILE; exit' TERM; sleep 3600 & wait;;
		*) `+tells+`;; esac`)
	l.install()
	l.lease(7, 200*time.Millisecond)
	began := l.Now()
	l.await("begins\n")
	for l.Now()-began < 600*time.Millisecond {
		l.lease(7, 200*time.Millisecond)
		<-time.After(20 * time.Millisecond)
	}
	if got := read(t, l.path); got != "begins\n" {
		t.Errorf("while the lease is renewed, ran %q", got)
	}
	l.await("begins\nends\nceased 7 false\n")
	l.lease(7, time.Hour)
	l.await("begins\nends\nceased 7 false\nbegins\n")
}

// What does not heed SIGTERM, or its children do not, is killed before ceased comes.
func TestLeadsKilled(t *testing.T) {
	t.Parallel()
	l := newLeading(t, `case $MEMBERLY_EVENT in
		leads) (trap '' TERM; while :; do echo >>FILE.beat; sleep 0.01; done) &
			until [ -s FILE.beat ]; do sleep 0.01; done; echo begins >>FILE; exec sleep 3600;;
		ceased) wc -l <FILE.beat >FILE.then; `+tells+`;; esac`)
	l.install()
	l.lease(7, time.Hour)
	l.await("begins\n")
	l.lease(0, 0)
	l.await("begins\nceased 7 false\n")
	if then, now := strings.TrimSpace(read(t, l.path+".then")), fmt.Sprint(strings.Count(read(t, l.path+".beat"), "\n")); then != now {
		t.Errorf("it had written %s lines when ceased came, and then %s", then, now)
	}
	if got := l.reports.String(); got != "Error running -exec for leads 7: it did not end within 1s of SIGTERM and was killed" {
		t.Errorf("reported %s", got)
	}
}

// A lease that has ended before the command could start is told of to nobody as one that lasts.
func TestTooLate(t *testing.T) {
	t.Parallel()
	l := newLeading(t, `case $MEMBERLY_EVENT in ceased) sleep 0.2;; esac; `+tells)
	l.lease(5, time.Hour)
	l.await("leads 5 true\n")
	l.lease(0, 0)
	l.lease(6, 50*time.Millisecond)
	l.await("leads 5 true\nceased 5 false\n")
	l.lease(8, time.Hour)
	l.await("leads 5 true\nceased 5 false\nleads 8 true\n")
}

// Without a lease, the end is waited for by nobody.
func TestNothingToFinish(t *testing.T) {
	t.Parallel()
	l := newLeading(t, tells)
	l.install()
	<-l.Finished()
}
