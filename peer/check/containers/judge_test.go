package containers_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// condition is the truth about a group during a fault.
type condition struct {
	victims []types.ID // the peers that the fault affects; all others are healthy
	blinded bool       // the victims may report others unreachable
	forming bool       // the healthy are no quorum, so a new group may form
}

// judge compares what the peers of a group write with the truth about them.
//
// It checks at every moment that records are well-formed, that each view number has one membership,
// that numbers grow in each incarnation, that a peer is in the views it installs, that no healthy
// peer is reported unreachable or, while the healthy are a quorum, removed, and that each survivor
// reports each failure at most once.
type judge struct {
	condition

	held        map[types.ID]held       // the last view of each peer's present incarnation
	memberships map[int64][]types.ID    // the members of each view number
	reports     map[[2]types.ID]int     // how often the first reported the second unreachable, in this fault
	reporters   map[types.ID][]types.ID // the peers that reported each one, in this fault
}

// held is a view that a peer installed.
type held struct {
	types.Record
	at time.Time
}

func newJudge() *judge {
	j := &judge{held: make(map[types.ID]held)}
	j.forgetViews()
	j.begin(condition{forming: true})
	return j
}

// forgetViews forgets all views. It is called when no peer runs, so that none remembers them.
func (j *judge) forgetViews() { j.memberships = make(map[int64][]types.ID) }

// begin begins a fault.
func (j *judge) begin(p condition) {
	j.condition = p
	j.reports = make(map[[2]types.ID]int)
	j.reporters = make(map[types.ID][]types.ID)
}

// restarted forgets the view of a peer that starts again or ends.
func (j *judge) restarted(id types.ID) { delete(j.held, id) }

// healthy returns those of all that are no victims.
func (j *judge) healthy(all []types.ID) []types.ID {
	return slices.DeleteFunc(slices.Clone(all), j.isVictim)
}

// stays reports whether id must stay a member.
func (j *judge) stays(id types.ID) bool { return !j.isVictim(id) && !j.forming }

func (j *judge) isVictim(id types.ID) bool { return slices.Contains(j.victims, id) }

// note checks a line that peer id wrote on stderr. The error says what is wrong with it.
func (j *judge) note(id types.ID, line string, at time.Time) error {
	r, err := parseRecord(line)
	if err != nil {
		return err
	}
	if r.Peer != id {
		return fmt.Errorf("peer %d wrote the record of another: %s", id, line)
	}
	if r.Message == "" {
		err = j.noteView(r, at)
	} else {
		err = j.noteMessage(r)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

func (j *judge) noteView(r types.Record, at time.Time) error {
	before := j.held[r.Peer]
	j.held[r.Peer] = held{r, at}
	if r.View <= before.View {
		return fmt.Errorf("view %d came after view %d in one incarnation", r.View, before.View)
	}
	if !slices.Contains(r.Members, r.Peer) {
		return fmt.Errorf("peer %d is not in the view that it installs", r.Peer)
	}
	if means, ok := j.memberships[r.View]; ok && !slices.Equal(means, r.Members) {
		return fmt.Errorf("view %d is also <%v>", r.View, means)
	}
	j.memberships[r.View] = r.Members
	for id := range j.held {
		if j.stays(id) && !slices.Contains(r.Members, id) {
			return fmt.Errorf("peer %d was healthy, but a view lacks it", id)
		}
	}
	return nil
}

var unreachable = regexp.MustCompile(`^peer (\d+)(?: \(leader\))? unreachable$`)

func (j *judge) noteMessage(r types.Record) error {
	if m := unreachable.FindStringSubmatch(r.Message); m != nil {
		subject, err := strconv.Atoi(m[1])
		if err != nil {
			return err
		}
		return j.noteUnreachable(r.Peer, types.ID(subject))
	}
	switch r.Message {
	case "leaving", "removed from the group":
		j.restarted(r.Peer)
		if j.stays(r.Peer) {
			return fmt.Errorf("peer %d was healthy, and was removed", r.Peer)
		}
		return nil
	}
	return fmt.Errorf("this record is unexpected")
}

func (j *judge) noteUnreachable(observer, subject types.ID) error {
	pair := [2]types.ID{observer, subject}
	j.reports[pair]++
	j.reporters[subject] = append(j.reporters[subject], observer)
	switch {
	case !j.isVictim(subject) && !(j.blinded && j.isVictim(observer)):
		return fmt.Errorf("peer %d was healthy", subject)
	case j.reports[pair] > 1 && !j.isVictim(observer):
		return fmt.Errorf("one failure was reported %d times", j.reports[pair])
	}
	return nil
}

// agreed reports whether all of ids hold one view, of exactly them.
func (j *judge) agreed(ids []types.ID) bool {
	first := j.held[ids[0]]
	if !slices.Equal(slices.Sorted(slices.Values(first.Members)), ids) {
		return false
	}
	for _, id := range ids {
		r := j.held[id]
		r.Peer = first.Peer
		if r.String() != first.String() {
			return false
		}
	}
	return true
}

// last returns when the last of ids installed its view.
func (j *judge) last(ids []types.ID) time.Time {
	var last time.Time
	for _, id := range ids {
		if at := j.held[id].at; at.After(last) {
			last = at
		}
	}
	return last
}

// noticed reports whether each of ids has reported every victim unreachable.
func (j *judge) noticed(ids []types.ID) bool {
	for _, victim := range j.victims {
		for _, id := range ids {
			if !slices.Contains(j.reporters[victim], id) {
				return false
			}
		}
	}
	return true
}

var recordForm = regexp.MustCompile(`^\{peer_id:(\d+), view_id: (\d+), leader: (\d+), (?:memb_list: \[<([\d,]+)>\]|message:"(.+)")\}$`)

// parseRecord parses a record, which must be exact to the byte.
func parseRecord(line string) (types.Record, error) {
	m := recordForm.FindStringSubmatch(line)
	if m == nil {
		return types.Record{}, fmt.Errorf("%q on stderr is no record", line)
	}
	var ids []types.ID
	for text := range strings.SplitSeq(strings.Join(m[1:4], ",")+","+m[4], ",") {
		id, err := strconv.Atoi(text)
		if err != nil && text != "" {
			return types.Record{}, fmt.Errorf("reading %q: %w", line, err)
		}
		ids = append(ids, types.ID(id))
	}
	r := types.Record{Peer: ids[0], View: int64(ids[1]), Leader: ids[2], Message: m[5]}
	if r.Message == "" {
		r.Members = ids[3:]
	}
	if r.String() != line {
		return types.Record{}, fmt.Errorf("%q on stderr is not a record to the byte", line)
	}
	return r, nil
}

// TestJudge checks the judge with records that have known faults: peer 3 is the victim of a fault,
// 1 and 2 are healthy.
func TestJudge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		lines []string
		fault string // in the error of the last line; empty: none
	}{
		{"removed and back", []string{"1 5 1 <1,2,3>", "3 5 1 <1,2,3>", "1 5 1 peer 3 unreachable",
			"1 6 1 <1,2>", "3 5 1 removed from the group", "1 7 1 <1,2,3>", "3 7 1 <1,2,3>"}, ""},
		{"no record", []string{"panic"}, "is no record"},
		{"number again", []string{"1 5 1 <1,2,3>", "1 5 1 <1,2,3>"}, "came after view 5"},
		{"two memberships", []string{"1 5 1 <1,2,3>", "2 5 1 <1,2>"}, "is also"},
		{"not in it", []string{"3 5 1 <1,2>"}, "not in the view"},
		{"fine, removed", []string{"1 5 1 <1,2,3>", "2 5 1 <1,2,3>", "1 6 1 <1,3>"}, "peer 2 was healthy, but a view lacks it"},
		{"fine, called unreachable", []string{"1 5 1 <1,2,3>", "1 5 1 peer 2 unreachable"}, "peer 2 was healthy"},
		{"fine, called so by the victim", []string{"3 5 1 peer 1 (leader) unreachable"}, "peer 1 was healthy"},
		{"reported twice", []string{"1 5 1 peer 3 unreachable", "1 6 1 peer 3 unreachable"}, "reported 2 times"},
		{"healthy, had to go", []string{"1 5 1 <1,2,3>", "1 5 1 leaving"}, "and was removed"},
		{"no record to the byte", []string{"1 05 1 <1>"}, "to the byte"},
		{"blinded victim", []string{"3 5 1 <1,2,3>", "3 5 1 peer 1 (leader) unreachable", "1 5 1 peer 2 unreachable"}, "peer 2 was healthy"},
		{"strange", []string{"1 5 1 crashing"}, "is unexpected"},
	} {
		j := newJudge()
		j.begin(condition{victims: []types.ID{3}, blinded: strings.Contains(c.what, "blinded")})
		var err error
		for i, line := range c.lines {
			if err = j.note(types.ID(line[0]-'0'), spell(line), time.Time{}); err != nil && i < len(c.lines)-1 {
				t.Errorf("%s: line %d: %v", c.what, i+1, err)
			}
		}
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: the error is %v, want %q", c.what, err, c.fault)
		}
	}
}

// spell returns the record that `peer view leader rest` abbreviates.
func spell(short string) string {
	f := strings.SplitN(short, " ", 4)
	if len(f) < 4 {
		return short
	}
	if f[3][0] == '<' {
		return fmt.Sprintf("{peer_id:%s, view_id: %s, leader: %s, memb_list: [%s]}", f[0], f[1], f[2], f[3])
	}
	return fmt.Sprintf("{peer_id:%s, view_id: %s, leader: %s, message:%q}", f[0], f[1], f[2], f[3])
}
