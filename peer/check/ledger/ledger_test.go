package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// listener is a test that keeps what it is told.
type listener struct {
	testing.TB
	said []string
}

func (l *listener) Errorf(format string, args ...any) {
	l.said = append(l.said, fmt.Sprintf(format, args...))
}

// Each contradiction is found, and what may happen is none.
func TestLedger(t *testing.T) {
	t.Parallel()
	record := func(v *Life, number int, members string) {
		v.Record(fmt.Sprintf("{peer_id:%d, view_id: %d, leader: 1, memb_list: [<%s>]}", v.id, number, members))
	}
	says := func(v *Life, number, stored int64, fence uint64, members ...int) {
		s := Status{Leads: fence > 0, Fence: fence}
		s.Peer.Stores, s.Peer.Stored, s.Group.Made, s.View.Number, s.View.Members = true, stored, 1, number, members
		v.status(&s, v.largestFence())
	}
	leads := func(v *Life, at int, fence uint64) {
		v.leads = append(v.leads, lead{time.Unix(int64(at), 0), fence, v.String()})
	}
	end := Status{Fence: 9}
	end.View.Number = 9
	for _, c := range []struct {
		what string
		do   func(one, two *Life)
		want string // of the only error; "" for none
	}{
		{"all is well", func(one, two *Life) {
			record(one, 1, "1")
			record(one, 2, "1,2")
			record(two, 2, "1,2")
			says(one, 2, 2, 1, 1, 2)
			one.Record(`{peer_id:1, view_id: 2, leader: 1, message:"peer 2 unreachable"}`)
			one.Notice("Waiting for a quorum of the group; missing: two")
			one.Notice("Waiting for its own disk, which has not stored what this peer must remember: check the disk of its state file")
			two.Notice(`State file "x" is new: this host remembers nothing from before`)
			leads(one, 1, 1)
			leads(two, 2, 3)
			one.End()
			again := one.Begin(1)
			record(again, 2, "1,2")
			record(again, 3, "2")
		}, ""},
		{"one that was not stored is told again", func(one, two *Life) {
			record(one, 1, "1")
			record(one, 2, "1,2")
			says(one, 2, 1, 0, 1, 2)
			record(one.Begin(1), 1, "1")
			if one.again != 1 {
				t.Errorf("%d views were told again, want 1", one.again)
			}
		}, ""},
		{"one that was stored is lost", func(one, two *Life) {
			record(one, 2, "1,2")
			says(one, 2, 2, 0, 1, 2)
			record(one.Begin(1), 1, "1")
		}, "peer 1, process 2: view 1, but process 1 of this host said that view 2 is stored"},
		{"a number falls in one process", func(one, two *Life) {
			record(one, 2, "1,2")
			record(one, 1, "1")
		}, "peer 1, process 1: view 1 after view 2"},
		{"two memberships", func(one, two *Life) {
			record(one, 2, "1,2")
			record(two, 2, "2,1")
		}, "peer 2, process 1: view 2 has the members 2,1; told before: 1,2"},
		{"two memberships, one by status", func(one, two *Life) {
			record(one, 2, "1,2")
			says(two, 2, 2, 0, 1, 2, 3)
		}, "peer 2, process 1: view 2 has the members 1,2,3; told before: 1,2"},
		{"two groups", func(one, two *Life) {
			says(one, 2, 2, 0, 1, 2)
			one.sameGroup(two, "{2 2}")
		}, "peer 2, process 1: group {2 2}; told before: {1 0}"},
		{"two with one fence", func(one, two *Life) {
			says(one, 2, 2, 4, 1, 2)
			says(two, 2, 2, 4, 1, 2)
		}, "peer 2, process 1 leads with fence 4; before, peer 1, process 1 did"},
		{"a fence again, after a restart", func(one, two *Life) {
			one.fence(one, 4)
			one.fence(one.Begin(1), 4)
		}, "peer 1, process 2 leads with fence 4; before, peer 1, process 1 did"},
		{"a smaller fence", func(one, two *Life) {
			says(one, 2, 2, 4, 1, 2)
			says(two, 2, 2, 3, 1, 2)
		}, "says that it leads with fence 3, after another has said so with 4"},
		{"a lease with a smaller fence", func(one, two *Life) {
			leads(one, 1, 4)
			leads(two, 2, 3)
		}, "peer 1, process 1 leads with fence 4"},
		{"a lease with a smaller fence, by a clock that was set", func(one, two *Life) {
			leads(one, 1, 4)
			leads(two, 2, 3)
			one.ahead = time.Second
		}, ""},
		{"a view is lost in between", func(one, two *Life) {
			record(one, 2, "1,2")
			record(one, 3, "1,3")
		}, "view 2 has the members 1,2, view 3 1,3"},
		{"two join at once", func(one, two *Life) {
			record(one, 2, "1,2")
			record(one, 3, "1,2,3,4")
		}, "view 2 has the members 1,2, view 3 1,2,3,4"},
		{"the last view is lost", func(one, two *Life) { record(one, 10, "1,2") }, "view 10 was told"},
		{"the last fence is lost", func(one, two *Life) { one.fence(one, 10) }, "led with fence 10; in the end it is 9"},
		{"no record", func(one, two *Life) { one.Record("panic: x") }, `peer 1, process 1: stderr has "panic: x"`},
		{"another's record", func(one, two *Life) { one.Record(`{peer_id:2, view_id: 2, leader: 1, message:"leaving"}`) }, "peer 1, process 1: stderr has"},
		{"a damaged file", func(one, two *Life) { one.Notice("state file x: one of its two copies is damaged") }, "says"},
		{"a disk that fails", func(one, two *Life) { one.Notice("Error writing state: x") }, "says"},
		{"a file that is new again", func(one, two *Life) {
			says(one, 2, 2, 0, 1, 2)
			one.Begin(1).Notice(`State file "x" is new: this host remembers nothing from before`)
		}, "peer 1, process 2 says"},
	} {
		heard := &listener{TB: t}
		l := New(heard)
		c.do(l.Begin(1), l.Begin(2))
		l.Judge(&end)
		if said := strings.Join(heard.said, "\n"); !strings.Contains(said, c.want) || len(heard.said) > 1 || (c.want == "") != (said == "") {
			t.Errorf("%s: it says %q, want %q", c.what, said, c.want)
		}
	}
}

// What an ended process is thought to say of leading, its next one may have said.
func TestEnded(t *testing.T) {
	t.Parallel()
	l := New(t)
	one, more := l.Begin(1), l.More()
	one.End()
	s := Status{Leads: true, Fence: 3}
	s.Peer.Stores, s.Peer.Stored, s.View.Number, s.View.Members = true, 2, 2, []int{1}
	one.status(&s, 0)
	if l.largestFence() != 0 || one.stored != 0 || l.views[2] != "1" {
		t.Errorf("fence %d, stored %d, view 2 %q; want 0, 0, 1", l.largestFence(), one.stored, l.views[2])
	}
	select {
	case <-more:
	default:
		t.Error("view 2 is not more than none")
	}
	now := time.Now()
	if n := l.Near([]time.Time{now, now.Add(-time.Hour)}, time.Minute); n != 1 {
		t.Errorf("%d moments are near a view, want 1", n)
	}
}
