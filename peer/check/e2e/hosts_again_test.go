package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A line that was added, taken back and added again names a host as any other: the group has it, and with it goes on without
// its leader.
func TestHostsAddedAgain(t *testing.T) {
	t.Parallel()
	bothKeys(t, func(t *testing.T, args ...string) {
		g := newHosted(t, 3, args...)
		g.found(3)
		g.add()
		g.edit(1, 2)
		g.hangup(1, 2)
		g.says([]int{1, 2}, "1 more")
		g.lines = g.lines[:3]
		g.edit(1, 2)
		g.hangup(1, 2)
		g.says([]int{1, 2}, "1 fewer")
		g.add()
		g.edit(1, 2, 3, 4)
		g.hangup(1, 2, 3)
		g.begin(4)
		g.agree(4, nil, 1, 2, 3, 4)
		g.runs[1].signal(syscall.SIGKILL)
		if lead := g.agree(4, nil, 2, 3, 4); lead.View.Leader != 2 {
			t.Errorf("%d leads, want 2", lead.View.Leader)
		}
		g.viewsAgree()
	})
}

// The leader is marked as retired everywhere, still runs, and the other hosts are started again one after the other: they join
// its group, and make none beside it. Once it has left, it is retired.
func TestHostsLeaderMarked(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 4)
	g.found(4)
	g.retire(1)
	g.edit(2, 3, 4)
	for _, id := range []int{2, 3, 4} {
		g.stop(id)
		g.begin(id)
		if lead := g.agree(4, nil, 1, 2, 3, 4); lead.View.Leader != 1 {
			t.Errorf("%d leads, want 1", lead.View.Leader)
		}
	}
	g.stop(1)
	g.agree(4, []int{1}, 2, 3, 4)
	g.viewsAgree()
}

// A wrong address of a member in one file changes nothing while the member runs.
func TestHostsWrongAddress(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 3)
	lead := g.found(3)
	g.write(1, append(strings.Split(strings.Join(g.lines[:2], "\n"), "\n"), fmt.Sprint("three ", g.Host(33)))...)
	g.hangup(1)
	g.says([]int{1}, "1 at another address")
	g.unmoved(3*time.Second, &lead, 1, 2, 3)
	g.viewsAgree()
}
