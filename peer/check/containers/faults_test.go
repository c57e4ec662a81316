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

// Limits of waiting, for conditions that must come.
const (
	startLimit = 30 * time.Second // a group that starts, in containers that do
	patience   = 10 * time.Second // "within seconds"
	ruleSix    = 25 * time.Second // where rules 6 and 7 make someone wait
)

// fault is something that befalls a group of five that agree, until it ends and they agree
// again.
type fault struct {
	name    string
	ailment ailment
	victims func(*group) []*peer
	course  course        // what must come before it ends
	limit   time.Duration // for the view after it; 0: patience
}

// course is what must come of a fault that lasts: it returns what it has checked, and when that
// had come; the zero time if there was nothing to wait for.
type course func(*trial) (string, time.Time, error)

// faultGroups are the faults by the group that goes through them, the longest first. Those that are lodged have
// hosts that stay up when a peer is killed.
var faultGroups = []struct {
	name   string
	lodged bool
	faults []fault
}{
	{"lost-datagrams", false, []fault{
		{"udp-30-percent-lost", losingUDP, nobody, unnoticed(time.Minute), 0},
		{"udp-blocked-for-a-minute", withoutUDP, nobody, unnoticed(time.Minute), 0},
	}},
	{"container-killed", false, []fault{
		{"restart-member-late", killed, aMember, removed, 0},
		{"restart-leader-late", killed, theLeader, removed, 0},
		{"restart-member-at-once", killed, aMember, atOnce, 0},
		{"restart-leader-at-once", killed, theLeader, atOnce, 0},
		{"restart-majority-at-once", killed, majority, atOnce, ruleSix},
		{"restart-majority-late", killed, majority, stuck, ruleSix},
		{"restart-all-at-once", killed, everybody, atOnce, ruleSix},
		{"restart-all-late", killed, everybody, lasting(3 * time.Second), ruleSix},
	}},
	{"cut-off", false, []fault{
		{"disconnect-member", disconnected, aMember, removed, 0},
		{"disconnect-leader", disconnected, theLeader, removed, 0},
		{"disconnect-minority", disconnected, minority, removed, 0},
		{"disconnect-leaders-minority", disconnected, leadersMinority, removed, ruleSix},
		{"maroon-minority", marooned, minority, removed, 0},
		{"maroon-leaders-minority", marooned, leadersMinority, removed, ruleSix},
	}},
	{"one-way", false, []fault{
		{"member-unheard", mute, aMember, removed, 0},
		{"leader-unheard", mute, theLeader, removed, 0},
		{"member-hears-nothing", deaf, aMember, unnoticed(5 * time.Second), 0},
		{"leader-hears-nothing", deaf, theLeader, removed, 0},
		{"member-hears-nothing-another-killed", split(deaf, killed), minority, removed, 0},
		{"member-unheard-by-leader", muteToLeader, aMember, kept(8 * time.Second), 0},
		{"member-does-not-hear-leader", deafToLeader, aMember, unnoticed(5 * time.Second), 0},
	}},
	{"process-killed", true, []fault{
		{"kill-member", killed, aMember, removed, 0},
		{"kill-leader", killed, theLeader, removed, 0},
		{"restart-member-at-once", killed, aMember, atOnce, 0},
		{"restart-leader-at-once", killed, theLeader, atOnce, 0},
		{"kill-majority", killed, majority, formedAnew, 0},
	}},
	{"frozen", false, []fault{
		{"pause-member-0.5s", paused, aMember, unnoticed(500 * time.Millisecond), 0},
		{"pause-leader-0.5s", paused, theLeader, unnoticed(500 * time.Millisecond), 0},
		{"pause-member-1.9s", paused, aMember, lasting(1900 * time.Millisecond), 0},
		{"pause-leader-1.9s", paused, theLeader, lasting(1900 * time.Millisecond), 0},
		{"pause-member-long", paused, aMember, removed, 0},
		{"pause-leader-long", paused, theLeader, removed, 0},
		{"pause-majority-long", paused, majority, stuck, ruleSix},
	}},
	{"strangers", false, []fault{
		{"rubbish", harassed, nobody, borne, 0},
		{"rubbish-and-leader-killed", amid(harassed, killed), theLeader, removed, 0},
	}},
}

// Whom a fault strikes, in order. Two of five are a minority; three go on without them.

func nobody(*group) []*peer      { return nil }
func everybody(g *group) []*peer { return g.peers }
func theLeader(g *group) []*peer { return []*peer{g.leader()} }
func aMember(g *group) []*peer   { return g.followers()[3:] }
func minority(g *group) []*peer  { return g.followers()[2:] }

func leadersMinority(g *group) []*peer { return append(theLeader(g), aMember(g)...) }
func majority(g *group) []*peer        { return append(theLeader(g), g.followers()[:2]...) }

// trial is one fault of one group.
type trial struct {
	*group
	fault
	struck []*peer
	fine   []types.ID
}

// removed: the fine agree on a view without the victims.
func removed(tr *trial) (string, time.Time, error) {
	at, err := tr.settle(tr.fine, patience)
	return "the others' view without", at, err
}

// formedAnew is removed where the fine were no quorum, and know that the others are gone.
func formedAnew(tr *trial) (string, time.Time, error) {
	at, err := tr.settle(tr.fine, ruleSix)
	return "the others' new group", at, err
}

// stuck: the fine are no quorum. They notice, and wait.
func stuck(tr *trial) (string, time.Time, error) {
	before := tr.judge.last(tr.fine)
	err := tr.until(patience, func() bool { return tr.judge.noticed(tr.fine) })
	if err == nil && tr.judge.last(tr.fine).After(before) {
		err = fmt.Errorf("those who are no quorum have made a view")
	}
	return "the others notice and wait", time.Time{}, err
}

// atOnce: the fault ends as soon as it has begun.
func atOnce(*trial) (string, time.Time, error) { return "", time.Time{}, nil }

// lasting: the fault lasts so long, and may be noticed.
func lasting(d time.Duration) course {
	return func(tr *trial) (string, time.Time, error) {
		err := tr.watch(d, func(*peer) bool { return false })
		return fmt.Sprintf("lasts %v", d), time.Time{}, err
	}
}

// unnoticed: the fault lasts so long, and nobody who is fine writes a record; nor do the victims,
// unless they are blinded.
func unnoticed(d time.Duration) course {
	return func(tr *trial) (string, time.Time, error) {
		err := tr.watch(d, func(p *peer) bool { return !tr.judge.struck(p.id) || !tr.ailment.blinds })
		return fmt.Sprintf("no record in %v", d), time.Time{}, err
	}
}

// kept: the fault lasts so long, and nobody installs a view. Of the fine, only the leader may call the
// victims unreachable.
func kept(d time.Duration) course {
	return func(tr *trial) (string, time.Time, error) {
		before := tr.judge.last(tr.ids())
		err := tr.watch(d, func(p *peer) bool { return !tr.judge.struck(p.id) && p != tr.leader() })
		if err == nil && tr.judge.last(tr.ids()).After(before) {
			err = errors.New("the view has changed")
		}
		return fmt.Sprintf("no view in %v", d), time.Time{}, err
	}
}

// borne: strangers are told of on stdout by every peer, and have no other effect.
func borne(tr *trial) (string, time.Time, error) {
	checked, at, err := unnoticed(quiet)(tr)
	if err != nil {
		return checked, at, err
	}
	stranger, err := docker(tr.ctx, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", tr.group.name)
	for _, p := range tr.peers {
		if !strings.Contains(p.said, "(from "+stranger+")") {
			err = errors.Join(err, fmt.Errorf("%s says nothing of the stranger %s", p.name, stranger))
		}
	}
	return checked, at, err
}

// TestFaults takes groups through real faults, some groups at the same time, each its faults in
// a row. It ends with a table of how long it took until all agreed.
func TestFaults(t *testing.T) {
	needContainers(t)
	var s summary
	t.Cleanup(func() { t.Log(s.String()) })
	for _, fg := range faultGroups {
		t.Run(fg.name, func(t *testing.T) {
			t.Parallel()
			var g *group
			for i, f := range fg.faults {
				if g == nil {
					g = newGroup(t, fmt.Sprintf("%s-%s-%d", image, fg.name, i+1), fg.lodged)
				}
				tr := trial{group: g, fault: f}
				ok := t.Run(f.name, func(t *testing.T) { tr.run(t, s.row(fg.name, f.name)) })
				if !ok {
					g = nil // nobody knows what is left of it
				}
			}
		})
	}
}

// run takes the group through the fault, and out of it.
func (tr *trial) run(t *testing.T, r *row) {
	tr.struck = tr.victims(tr.group)
	victims := ids(tr.struck)
	for _, p := range tr.peers {
		p.said = ""
	}
	tr.judge.open(plight{
		victims: victims,
		blinded: tr.ailment.blinds,
		forming: 2*len(victims) >= len(tr.peers),
	})
	tr.fine = tr.judge.fine(tr.ids())
	err := tr.undergo(r)
	if err == nil {
		err = tr.recover(r)
	}
	if err != nil {
		r.after = "FAILED"
		tr.tell(time.Now(), "--    %v", err)
		tr.aftermath()
		t.Fatalf("%s of %v: %v\n%s", tr.fault.name, victims, err, tr.play.String())
	}
	tr.judge.open(plight{})
	tr.play.Reset()
}

// undergo is the fault until it ends.
func (tr *trial) undergo(r *row) error {
	began := time.Now()
	tr.tell(began, "--    %s befalls %v", tr.fault.name, ids(tr.struck))
	if err := tr.ailment.strike(tr.group, tr.struck); err != nil {
		return err
	}
	ready := time.Now()
	tr.tell(ready, "--    it has begun")
	checked, at, err := tr.course(tr)
	r.checked, r.during = checked, seconds(began, ready, at)
	return err
}

// recover is the end of the fault and what comes of it: one view of all.
func (tr *trial) recover(r *row) error {
	began := time.Now()
	tr.tell(began, "--    it ends")
	if err := tr.ailment.heal(tr.group, tr.struck); err != nil {
		return err
	}
	ready := time.Now()
	tr.tell(ready, "--    it has ended")
	at, err := tr.settle(tr.ids(), cmp.Or(tr.limit, patience))
	r.after = seconds(began, ready, at)
	return err
}

// seconds tells how long after began something came, and, in brackets, how much of that the
// command took that made it come. What was there before is a dash.
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

// row is a fault's. Its own test writes it.
type row struct {
	group, fault, checked string
	during, after         string // as seconds tells them
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
		"in brackets, how long the command took\n\n")
	fmt.Fprintf(&b, form, "group", "fault", "meanwhile", "began", "ended")
	for _, r := range s.rows {
		fmt.Fprintf(&b, form, r.group, r.fault, r.checked, r.during, r.after)
	}
	return b.String()
}
