package containers_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"memberly/peer/types"
)

// How long tests wait for a condition.
const (
	startLimit = 30 * time.Second // for a group to form, including the start of its containers
	usualLimit = 10 * time.Second // "within seconds"
	ruleSix    = 25 * time.Second // where rules 6 and 7 make someone wait
)

// faultCase is one fault of a group of five that agree, from its start until they agree again.
type faultCase struct {
	name    string
	fault   fault
	victims func(*group) []*peer
	course  course        // what must happen before the repair
	limit   time.Duration // for the view after the repair; 0 for usualLimit
}

// course waits for the effects of a fault and checks them. It returns what it checked, and when the
// effect occurred, or the zero time if it waited for none.
type course func(*trial) (string, time.Time, error)

// faultGroups are the faults by group, the longest first. The hosts of groups with separateHosts stay
// up when a peer is killed.
var faultGroups = []struct {
	name          string
	separateHosts bool
	faults        []faultCase
}{
	{"lost-datagrams", false, []faultCase{
		{"udp-30-percent-lost", losingUDP, noPeer, unnoticed(time.Minute), 0},
		{"udp-blocked-for-a-minute", withoutUDP, noPeer, unnoticed(time.Minute), 0},
	}},
	{"container-killed", false, []faultCase{
		{"restart-member-late", killed, aMember, removed, 0},
		{"restart-leader-late", killed, theLeader, removed, 0},
		{"restart-member-at-once", killed, aMember, atOnce, 0},
		{"restart-leader-at-once", killed, theLeader, atOnce, 0},
		{"restart-majority-at-once", killed, majority, atOnce, ruleSix},
		{"restart-majority-late", killed, majority, stuck, ruleSix},
		{"restart-all-at-once", killed, everyPeer, atOnce, ruleSix},
		{"restart-all-late", killed, everyPeer, lasting(3 * time.Second), ruleSix},
	}},
	{"cut-off", false, []faultCase{
		{"disconnect-member", cutOff, aMember, removed, 0},
		{"disconnect-leader", cutOff, theLeader, removed, 0},
		{"disconnect-minority", cutOff, minority, removed, 0},
		{"disconnect-leaders-minority", cutOff, leadersMinority, removed, ruleSix},
		{"partition-minority", partitioned, minority, removed, 0},
		{"partition-leaders-minority", partitioned, leadersMinority, removed, ruleSix},
	}},
	{"one-way", false, []faultCase{
		{"member-unheard", unheard, aMember, removed, 0},
		{"leader-unheard", unheard, theLeader, removed, 0},
		{"member-hears-nothing", notHearing, aMember, unnoticed(5 * time.Second), 0},
		{"leader-hears-nothing", notHearing, theLeader, removed, 0},
		{"member-hears-nothing-another-killed", split(notHearing, killed), minority, removed, 0},
		{"member-unheard-by-leader", unheardByLeader, aMember, kept(8 * time.Second), 0},
		{"member-does-not-hear-leader", notHearingLeader, aMember, unnoticed(5 * time.Second), 0},
	}},
	{"process-killed", true, []faultCase{
		{"kill-member", killed, aMember, removed, 0},
		{"kill-leader", killed, theLeader, removed, 0},
		{"restart-member-at-once", killed, aMember, atOnce, 0},
		{"restart-leader-at-once", killed, theLeader, atOnce, 0},
		{"kill-majority", killed, majority, formedAnew, 0},
	}},
	{"frozen", false, []faultCase{
		{"pause-member-0.5s", paused, aMember, unnoticed(500 * time.Millisecond), 0},
		{"pause-leader-0.5s", paused, theLeader, unnoticed(500 * time.Millisecond), 0},
		{"pause-member-1.9s", paused, aMember, lasting(1900 * time.Millisecond), 0},
		{"pause-leader-1.9s", paused, theLeader, lasting(1900 * time.Millisecond), 0},
		{"pause-member-long", paused, aMember, removed, 0},
		{"pause-leader-long", paused, theLeader, removed, 0},
		{"pause-majority-long", paused, majority, stuck, ruleSix},
	}},
	{"strangers", false, []faultCase{
		{"garbage", garbageSent, noPeer, tolerated, 0},
		{"garbage-and-leader-killed", during(garbageSent, killed), theLeader, removed, 0},
	}},
}

// The victims of a fault, in order. Two of five are a minority; three go on without them.

func noPeer(*group) []*peer      { return nil }
func everyPeer(g *group) []*peer { return g.peers }
func theLeader(g *group) []*peer { return []*peer{g.leader()} }
func aMember(g *group) []*peer   { return g.followers()[3:] }
func minority(g *group) []*peer  { return g.followers()[2:] }

func leadersMinority(g *group) []*peer { return append(theLeader(g), aMember(g)...) }
func majority(g *group) []*peer        { return append(theLeader(g), g.followers()[:2]...) }

// trial is one fault case in one group.
type trial struct {
	*group
	faultCase
	affected []*peer
	healthy  []types.ID
}

// removed: the healthy agree on a view without the victims.
func removed(tr *trial) (string, time.Time, error) {
	at, err := tr.settle(tr.healthy, usualLimit)
	return "the others' view without", at, err
}

// formedAnew: the healthy are no quorum, but know that the others are gone, and form a new group.
func formedAnew(tr *trial) (string, time.Time, error) {
	at, err := tr.settle(tr.healthy, ruleSix)
	return "the others' new group", at, err
}

// stuck: the healthy are no quorum. They notice the fault and wait.
func stuck(tr *trial) (string, time.Time, error) {
	before := tr.judge.last(tr.healthy)
	err := tr.until(usualLimit, func() bool { return tr.judge.noticed(tr.healthy) })
	if err == nil && tr.judge.last(tr.healthy).After(before) {
		err = fmt.Errorf("the peers installed a view without a quorum")
	}
	return "the others notice and wait", time.Time{}, err
}

// atOnce: the repair follows at once.
func atOnce(*trial) (string, time.Time, error) { return "", time.Time{}, nil }

// lasting: the fault lasts for d, and records are allowed.
func lasting(d time.Duration) course {
	return func(tr *trial) (string, time.Time, error) {
		err := tr.watch(d, func(*peer) bool { return false })
		return fmt.Sprintf("lasts %v", d), time.Time{}, err
	}
}

// unnoticed: the fault lasts for d, and no healthy peer writes a record, nor does a victim unless the
// fault blinds it.
func unnoticed(d time.Duration) course {
	return func(tr *trial) (string, time.Time, error) {
		err := tr.watch(d, func(p *peer) bool { return !tr.judge.isVictim(p.id) || !tr.fault.blinds })
		return fmt.Sprintf("no record in %v", d), time.Time{}, err
	}
}

// kept: the fault lasts for d, and no peer installs a view. Of the healthy, only the leader may
// report the victims unreachable.
func kept(d time.Duration) course {
	return func(tr *trial) (string, time.Time, error) {
		before := tr.judge.last(tr.ids())
		err := tr.watch(d, func(p *peer) bool { return !tr.judge.isVictim(p.id) && p != tr.leader() })
		if err == nil && tr.judge.last(tr.ids()).After(before) {
			err = errors.New("the view has changed")
		}
		return fmt.Sprintf("no view in %v", d), time.Time{}, err
	}
}

// tolerated: every peer reports the strangers on stdout, and they have no other effect.
func tolerated(tr *trial) (string, time.Time, error) {
	checked, at, err := unnoticed(quiet)(tr)
	if err != nil {
		return checked, at, err
	}
	stranger, err := docker(tr.ctx, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", tr.group.name)
	for _, p := range tr.peers {
		if !strings.Contains(p.output, "(from "+stranger+")") {
			err = errors.Join(err, fmt.Errorf("%s does not report the stranger %s", p.name, stranger))
		}
	}
	return checked, at, err
}

// TestFaults injects real faults into groups, some groups at the same time, the faults of each one
// after the other. It logs a table of how long it took until all agreed.
func TestFaults(t *testing.T) {
	t.Parallel()
	needContainers(t)
	var s summary
	t.Cleanup(func() { t.Log(s.String()) })
	for _, fg := range faultGroups {
		t.Run(fg.name, func(t *testing.T) {
			t.Parallel()
			var g *group
			for i, f := range fg.faults {
				if g == nil {
					g = newGroup(t, fmt.Sprintf("%s-%s-%d", image, fg.name, i+1), fg.separateHosts)
				}
				tr := trial{group: g, faultCase: f}
				ok := t.Run(f.name, func(t *testing.T) { tr.run(t, s.row(fg.name, f.name)) })
				if !ok {
					g = nil // its state is unknown
				}
			}
		})
	}
}

// run injects the fault, repairs it, and checks the effects of both.
func (tr *trial) run(t *testing.T, r *row) {
	tr.affected = tr.victims(tr.group)
	victims := ids(tr.affected)
	for _, p := range tr.peers {
		p.output = ""
	}
	tr.judge.begin(condition{
		victims: victims,
		blinded: tr.fault.blinds,
		forming: 2*len(victims) >= len(tr.peers),
	})
	tr.healthy = tr.judge.healthy(tr.ids())
	err := tr.injectAndCheck(r)
	if err == nil {
		err = tr.repairAndSettle(r)
	}
	if err != nil {
		r.after = "FAILED"
		tr.log(time.Now(), "--    %v", err)
		tr.noteRest()
		t.Fatalf("%s of %v: %v\n%s", tr.faultCase.name, victims, err, tr.transcript.String())
	}
	tr.judge.begin(condition{})
	tr.transcript.Reset()
}

// injectAndCheck injects the fault and runs its course.
func (tr *trial) injectAndCheck(r *row) error {
	began := time.Now()
	tr.log(began, "--    %s affects %v", tr.faultCase.name, ids(tr.affected))
	if err := tr.fault.inject(tr.group, tr.affected); err != nil {
		return err
	}
	ready := time.Now()
	tr.log(ready, "--    it has begun")
	checked, at, err := tr.course(tr)
	r.checked, r.during = checked, seconds(began, ready, at)
	return err
}

// repairAndSettle repairs the fault, and waits for one view of all.
func (tr *trial) repairAndSettle(r *row) error {
	began := time.Now()
	tr.log(began, "--    it ends")
	if err := tr.fault.repair(tr.group, tr.affected); err != nil {
		return err
	}
	ready := time.Now()
	tr.log(ready, "--    it has ended")
	at, err := tr.settle(tr.ids(), cmp.Or(tr.limit, usualLimit))
	r.after = seconds(began, ready, at)
	return err
}

// seconds formats the time from began to at and, in parentheses, how much of it the command took that
// caused the effect. For an effect before began it returns a dash.
func seconds(began, ready, at time.Time) string {
	if at.Before(began) {
		return "–"
	}
	return fmt.Sprintf("%.2f (%.2f)", at.Sub(began).Seconds(), ready.Sub(began).Seconds())
}

// summary is the table of all faults. Several goroutines may add rows.
type summary struct {
	mu   sync.Mutex
	rows []*row
}

// row is the row of one fault, whose test alone writes it.
type row struct {
	group, fault, checked string
	during, after         string // formatted by seconds
}

func (s *summary) row(group, fault string) *row {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &row{group: group, fault: fault}
	s.rows = append(s.rows, r)
	return r
}

func (s *summary) String() string {
	slices.SortStableFunc(s.rows, func(a, b *row) int { return cmp.Compare(a.group, b.group) })
	var b strings.Builder
	form := "%-16s %-36s %-27s %12s %12s\n"
	fmt.Fprintf(&b, "seconds from the beginning of the command that began or ended a fault to the last peer's view;\n"+
		"in parentheses, how long the command took\n\n")
	fmt.Fprintf(&b, form, "group", "fault", "meanwhile", "began", "ended")
	for _, r := range s.rows {
		fmt.Fprintf(&b, form, r.group, r.fault, r.checked, r.during, r.after)
	}
	return b.String()
}
