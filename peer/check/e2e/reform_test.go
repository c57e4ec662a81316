package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"memberly/peer/check/loopback"
)

// Of five hosts three are lost for ever, with their disks. The two that are left wait, until one of them is re-formed:
// then both are in one group, with a higher view number and a higher fence, and let in a host with an empty state file.
func TestReform(t *testing.T) {
	t.Parallel()
	names := []string{"one", "two", "three", "four", "five"}
	s := loopback.NewSubnet(t)
	hosts, dir := s.HostsFile(t, names...), t.TempDir()
	state := func(name string) string { return filepath.Join(dir, name) }
	run := func(name string, args ...string) *daemon {
		return start(t, hosts, name, append(args, "-state", state(name))...)
	}
	var daemons []*daemon
	for _, name := range names {
		daemons = append(daemons, run(name, "-http", "8082"))
	}
	for _, d := range daemons {
		d.awaitRecord("view_id: 5, ")
	}
	before := fence(t, s, 1, 2, 3, 4, 5)
	reform := func(name string, args ...string) (int, string, string) {
		return execute(t, "", append([]string{"reform", "-state", state(name), "-h", hosts, "-n", name}, args...)...)
	}
	if code, _, errs := reform("four"); code != 1 || !strings.Contains(errs, "it is used by another process") {
		t.Errorf("while its peer runs: exit code %d, %s", code, errs)
	}
	killAtOnce(daemons)
	if err := errors.Join(os.Remove(state("one")), os.Remove(state("two")), os.Remove(state("three"))); err != nil {
		t.Fatal(err)
	}
	four, five := run("four"), run("five")
	four.awaitNotice("Waiting for a quorum of the group; missing: ")
	five.awaitNotice("Waiting for a quorum of the group; missing: ")
	four.signal(syscall.SIGKILL)
	four.awaitExit(patience)
	code, told, errs := reform("four")
	if code != 0 || !strings.Contains(told, "view      5: ") || !strings.Contains(told, "four with 2 of ") {
		t.Fatalf("exit code %d\n%s%s", code, told, errs)
	}
	if code, _, errs := reform("four", "6"); code != 1 || !strings.Contains(errs, "the stored view is 5, not 6: nothing was changed") {
		t.Errorf("with a wrong number: exit code %d, %s", code, errs)
	}
	if code, out, errs := reform("four", "5"); code != 0 || !strings.Contains(out, "Done: four is the only member of a new group") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	four = run("four", "-http", "8082")
	four.awaitRecord("leader: 4, memb_list: [<4>]}")
	four.awaitRecord("leader: 4, memb_list: [<4,5>]}")
	five.awaitRecord("leader: 4, memb_list: [<4,5>]}")
	one := run("one")
	one.awaitRecord("leader: 4, memb_list: [<4,5,1>]}")
	if after := fence(t, s, 4); after <= before {
		t.Errorf("the fence was %v, and is %v", before, after)
	}
	numbersFrom(t, four, 6)
}

// killAtOnce kills all of these daemons, none of which sees that another is gone.
func killAtOnce(daemons []*daemon) {
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, d := range daemons {
			d.signal(sig)
		}
	}
	for _, d := range daemons {
		d.awaitExit(patience)
	}
}

// numbersFrom checks that all records of the fourth host have this view number or a higher one.
func numbersFrom(t *testing.T, four *daemon, least int) {
	t.Helper()
	for _, line := range four.stderr.Lines() {
		number := 0
		if fmt.Sscanf(line, "{peer_id:4, view_id: %d", &number); number < least {
			t.Errorf("a view of the new group has a number of the old one: %s", line)
		}
	}
}

// fence returns that of the leader among these hosts, all of which serve their metrics.
func fence(t *testing.T, s loopback.Subnet, among ...int) (highest float64) {
	t.Helper()
	within(t, "a fence", func() bool {
		for _, id := range among {
			at := s.Host(id).String() + ":8082"
			fetch(t, at, "/metrics", func(code int, body string) bool {
				highest = max(highest, metric(body, "memberly_fence"))
				return code == http.StatusOK
			})
		}
		return highest > 0
	})
	return highest
}
