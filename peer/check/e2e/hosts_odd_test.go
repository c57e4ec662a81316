package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A host that is marked as retired while it runs stays a member, which the others say; when it is stopped, it is retired.
func TestHostsRetiredWhileRunning(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 4)
	lead := g.found(4)
	look := g.look(&lead, 1, 2, 3)
	g.retire(4)
	g.edit(1, 2, 3, 4)
	g.hangup(1, 2, 3, 4)
	g.says([]int{4}, `line 4: this host, "four", is retired: end its peer, or remove the !`)
	g.says([]int{1, 2, 3}, "four (host 4) is retired in the hosts file here, and still runs: stop its peer")
	g.unmoved(time.Second, &lead, 1, 2, 3, 4)
	g.stop(4)
	g.agree(4, []int{4}, 1, 2, 3)
	look.end()
	g.viewsAgree()
}

// The leader is replaced. Once all others are down too, the first host that is not retired makes the next group, at once.
func TestHostsLeaderReplaced(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 4)
	g.found(4)
	g.stop(1)
	g.retire(1)
	g.add()
	g.edit(2, 3, 4, 5)
	g.hangup(2, 3, 4)
	lead := g.agree(5, []int{1}, 2, 3, 4)
	g.begin(5)
	g.agree(5, []int{1}, 2, 3, 4, 5)
	g.viewsAgree()
	if lead.View.Leader != 2 {
		t.Errorf("%d leads, want 2", lead.View.Leader)
	}
	killAtOnce([]*daemon{g.runs[2], g.runs[3], g.runs[4], g.runs[5]})
	began := time.Now()
	g.begin(5, 4, 3, 2)
	g.agree(5, []int{1}, 2, 3, 4, 5)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the next group took %v", took)
	}
}

// A host moves to another address: it is stopped, the address is changed everywhere, and it is started there. No view says so.
func TestHostsAddressChanged(t *testing.T) {
	t.Parallel()
	bothKeys(t, func(t *testing.T, args ...string) {
		g := newHosted(t, 4, args...)
		lead := g.found(4)
		look := g.look(&lead, 1, 2, 4)
		g.stop(3)
		g.agree(4, nil, 1, 2, 4)
		g.lines[2] = fmt.Sprint("three ", g.Host(33))
		g.edit(1, 2, 3, 4)
		g.hangup(1, 2, 4)
		g.says([]int{1, 2, 4}, ": 1 at another address")
		g.begin(3)
		g.runs[3].awaitRecord("{peer_id:3, view_id: 6, leader: 1, memb_list: [<1,2,4,3>]}")
		look.not(2)
		g.runs[2].signal(syscall.SIGKILL)
		for _, id := range []int{1, 3, 4} { // the leader needs its vote
			g.runs[id].awaitRecord("view_id: 7, leader: 1, memb_list: [<1,4,3>]")
		}
		look.end()
		g.viewsAgree()
	})
}

// Comments, spelling and blank lines are no difference, wherever they are.
func TestHostsComments(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 3)
	lead := g.found(3)
	g.write(2, append([]string{"# our hosts", ""}, strings.ToUpper(strings.Join(g.lines, " # a comment\r\n\r\n\t")))...)
	g.write(3, append(slices.Clone(g.lines), "# four 10.0.0.4")...)
	g.hangup(2, 3)
	g.says([]int{2, 3}, "Read 3 hosts from ")
	g.unmoved(3*time.Second, &lead, 1, 2, 3)
	for _, id := range []int{1, 2, 3} {
		if said := g.runs[id].stdout.Lines(); contains("hosts file here")(said) || contains("not the same")(said) {
			t.Errorf("host %d said %q", id, said)
		}
	}
}

// A member with the old file that is frozen does not hold up the others for longer than it takes to notice that. It learns of
// the change when it goes on. A leader that dies before the last file is changed leaves the change to the next one.
func TestHostsFailures(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 5)
	g.found(5)
	g.runs[5].signal(syscall.SIGSTOP)
	g.add()
	g.edit(1, 2, 3, 4)
	g.hangup(1, 2, 3, 4)
	g.agree(6, nil, 1, 2, 3, 4)
	g.runs[5].signal(syscall.SIGCONT)
	g.agree(6, nil, 1, 2, 3, 4, 5)
	g.says([]int{5}, "The hosts file here lacks six (host 6), which the group has: add ")
	g.edit(5)
	g.hangup(5)
	g.add()
	g.edit(1, 2, 3)
	g.hangup(1, 2, 3)
	g.says([]int{1, 2, 3}, "has seven (host 7), which the group does not have yet")
	g.runs[1].signal(syscall.SIGKILL)
	g.agree(6, nil, 2, 3, 4, 5)
	g.edit(4, 5)
	g.hangup(4, 5)
	g.agree(7, nil, 2, 3, 4, 5)
	g.edit(1)
	g.begin(1)
	g.agree(7, nil, 1, 2, 3, 4, 5)
}

// One change of the file may add many hosts, more than the group had, and some of these may run already.
func TestHostsMany(t *testing.T) {
	t.Parallel()
	bothKeys(t, func(t *testing.T, args ...string) {
		g := newHosted(t, 3, args...)
		lead := g.found(3)
		look := g.look(&lead, 1, 2, 3)
		for len(g.lines) < 60 {
			g.add()
		}
		g.edit(1, 2, 3, 4, 60)
		g.begin(4, 60)
		g.hangup(1, 2, 3)
		g.agree(60, nil, 1, 2, 3, 4, 60)
		look.end()
		for _, id := range []int{1, 2, 3, 4, 60} {
			if lines := g.runs[id].stderr.Lines(); contains("unreachable")(lines) {
				t.Errorf("host %d wrote %q", id, lines)
			}
		}
	})
}

// The group keeps a host that has vanished from all files. Nobody says that it is retired, and without state all hosts can begin anew
// without it.
func TestHostsFewer(t *testing.T) {
	t.Parallel()
	g := newHosted(t, 4)
	g.found(4)
	g.stop(4)
	lead := g.agree(4, nil, 1, 2, 3)
	g.lines = g.lines[:3]
	g.edit(1, 2, 3)
	g.hangup(1, 2, 3)
	g.says([]int{1, 2, 3}, ": 1 fewer", "The hosts file here lacks four (host 4), which the group has: add ")
	g.unmoved(time.Second, &lead, 1, 2, 3)
	killAtOnce([]*daemon{g.runs[1], g.runs[2], g.runs[3]})
	g.begin(1, 2, 3)
	g.agree(3, nil, 1, 2, 3)
}

// An old process of a retired host at an address that another host has by now is in no group, and disturbs none.
func TestHostsAddressReused(t *testing.T) {
	t.Parallel()
	bothKeys(t, func(t *testing.T, args ...string) {
		g := newHosted(t, 4, args...)
		g.found(4)
		g.stop(3)
		g.retire(3)
		g.lines = append(g.lines, fmt.Sprint("five ", g.Host(3)))
		g.edit(1, 2, 4)
		g.hangup(1, 2, 4)
		lead := g.agree(5, []int{3}, 1, 2, 4)
		look := g.look(&lead, 1, 2, 4)
		g.begin(3)
		g.says([]int{3}, "Waiting ")
		g.idle(3*time.Second, 3)
		g.unmoved(100*time.Millisecond, &lead, 1, 2, 4)
		look.end()
		g.viewsAgree()
	})
}

// One host becomes a group of many, without state and with it.
func TestHostsFromOne(t *testing.T) {
	t.Parallel()
	for _, storing := range []bool{false, true} {
		t.Run(fmt.Sprint("state ", storing), func(t *testing.T) {
			t.Parallel()
			g := newHosted(t, 1)
			g.storing = storing
			g.edit(1)
			g.begin(1)
			lead := g.agree(1, nil, 1)
			look := g.look(&lead, 1)
			all := []int{1}
			for id := 2; id <= 4; id++ {
				g.add()
				g.edit(append(all, id)...)
				g.hangup(all...)
				g.agree(id, nil, all...)
				g.begin(id)
				all = append(all, id)
				g.agree(id, nil, all...)
				look.at(id)
			}
			look.end()
			g.viewsAgree()
		})
	}
}
