package containers_test

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/check/scenario"
)

// quiet is how long peers that have written all their records are watched for a further one. A peer
// wrongly held unreachable shows within the monitor interval, 2.2 s.
const quiet = 3 * time.Second

// event is a record that a peer wrote, or the end of its container.
type event struct {
	peer   int // index
	record string
	ended  error // if not nil, there is no record, and none will follow
}

// watched is a peer of the table in its container.
type watched struct {
	scenario.Peer
	container string
	got       []string // records so far
	ended     bool
}

// watch collects the records of a scenario's peers. Only the test's goroutine uses it; readers send
// events.
type watch struct {
	peers  []*watched
	events chan event
}

// read sends what a container writes on stderr, line by line, until the container ends.
func (w *watch) read(ctx context.Context, peer int) {
	send := func(e event) {
		select {
		case w.events <- e:
		case <-ctx.Done():
		}
	}
	logs := exec.CommandContext(ctx, "docker", "logs", "-f", w.peers[peer].container)
	err := follow(logs, func(from stream, text string) {
		if from == stderr {
			send(event{peer: peer, record: text})
		}
	})
	send(event{peer: peer, ended: fmt.Errorf("its log ended: %v", err)})
}

// untilQuiet waits until every peer has written the records of its table, those that crash have
// ended, and nothing more has come for a while. The error is the first deviation.
func (w *watch) untilQuiet(ctx context.Context) error {
	var silence <-chan time.Time
	for {
		if silence == nil && w.complete() {
			silence = time.After(quiet)
		}
		select {
		case e := <-w.events:
			if err := w.note(e); err != nil {
				return err
			}
		case <-silence:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("not all records came within %v", scenarioLimit)
		}
	}
}

// note compares an event with the table.
func (w *watch) note(e event) error {
	p := w.peers[e.peer]
	done := len(p.got) == len(p.Records)
	switch {
	case e.ended != nil:
		p.ended = true
		if !done || !p.Crashes() {
			return fmt.Errorf("%s ended too early: %w", p.Name, e.ended)
		}
		return nil
	case done:
		p.got = append(p.got, e.record)
		return fmt.Errorf("%s wrote a record too many: %s", p.Name, e.record)
	default:
		p.got = append(p.got, e.record)
		if want := p.Records[len(p.got)-1]; e.record != want {
			return fmt.Errorf("%s wrote %s, want %s", p.Name, e.record, want)
		}
		return nil
	}
}

func (w *watch) complete() bool {
	for _, p := range w.peers {
		if len(p.got) < len(p.Records) || p.Crashes() && !p.ended {
			return false
		}
	}
	return true
}

// checkCrashes checks that the peers that crash did so with exit code 1, and stayed down.
func (w *watch) checkCrashes(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, p := range w.peers {
		if p.Crashes() {
			p.checkExit(ctx, t, 1)
		}
	}
}

// checkExit checks that the container has ended with the code given, and never restarted.
func (p *watched) checkExit(ctx context.Context, t *testing.T, code int) {
	t.Helper()
	var c struct {
		State        struct{ ExitCode int }
		RestartCount int
	}
	inspect(ctx, t, p.container, &c)
	if c.State.ExitCode != code || c.RestartCount != 0 {
		t.Errorf("%s: exit code %d after %d restarts, want exit code %d and none",
			p.Name, c.State.ExitCode, c.RestartCount, code)
	}
}

// stop runs `docker stop` for all that still run, and checks that each left the group before Docker
// killed it. It returns how long that took.
func (w *watch) stop(ctx context.Context, t *testing.T) time.Duration {
	t.Helper()
	args := []string{"stop"}
	for _, p := range w.peers {
		if !p.ended {
			args = append(args, p.container)
		}
	}
	began := time.Now()
	if _, err := docker(ctx, args...); err != nil {
		t.Error(err)
	}
	took := time.Since(began)
	w.drain(ctx)
	for _, p := range w.peers {
		if !p.Crashes() {
			p.checkExit(ctx, t, 0)
			p.checkLeave(t)
		}
	}
	return took
}

// drain reads events until every container has ended.
func (w *watch) drain(ctx context.Context) {
	for slices.ContainsFunc(w.peers, func(p *watched) bool { return !p.ended }) {
		select {
		case e := <-w.events:
			p := w.peers[e.peer]
			p.ended = e.ended != nil
			if !p.ended {
				p.got = append(p.got, e.record)
			}
		case <-ctx.Done():
			return
		}
	}
}

// checkLeave checks that a peer that was stopped as a member recorded once that it leaves.
func (p *watched) checkLeave(t *testing.T) {
	t.Helper()
	if !strings.Contains(p.Records[len(p.Records)-1], "memb_list") {
		return // it was no member any more
	}
	leaving := 0
	for _, r := range p.got[len(p.Records):] {
		if strings.HasSuffix(r, `message:"leaving"}`) {
			leaving++
		}
	}
	if leaving != 1 {
		t.Errorf("%s wrote %d records of leaving when stopped, want 1; it wrote %q",
			p.Name, leaving, p.got[len(p.Records):])
	}
}

// sideBySide formats the expected and the actual records of each peer; ! marks differences.
func (w *watch) sideBySide() string {
	var b strings.Builder
	for _, p := range w.peers {
		fmt.Fprintf(&b, "[%s]\n  %-70s   %s\n", p.Name, "expected", "got")
		for i := range max(len(p.Records), len(p.got)) {
			want, got := at(p.Records, i), at(p.got, i)
			mark := " "
			if want != got {
				mark = "!"
			}
			fmt.Fprintf(&b, "%s %-70s | %s\n", mark, want, got)
		}
	}
	return b.String()
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}
