package verify

import (
	"cmp"
	"fmt"
	"slices"

	"memberly/peer/types"
)

// place is the position of a record in the input.
type place struct {
	file int32 // index into history.files
	line int32 // from 1
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.file, o.file), cmp.Compare(p.line, o.line))
}

// entry is a record and its place.
type entry struct {
	record
	at place
}

// view is a number with a membership, as some peer recorded it. Several groups may share it.
type view struct {
	number   int64
	members  []types.ID
	installs []*install
	groups   []*group
}

// by reports whether a peer recorded that it installed the view.
func (v *view) by(id types.ID) bool {
	return slices.ContainsFunc(v.installs, func(s *install) bool { return s.peer == id })
}

// install is a peer's record that it installed a view.
type install struct {
	view         *view
	group        *group   // assigned to it by assignToGroups
	before       *install // of the peer's previous view; nil if its life begins with this one
	peer, leader types.ID
	at           place
	parted       bool // the peer's record before says that it left, crashed or was removed
	unexplained  bool // the peer has no record of why a member of the view before is missing
}

func (s *install) entry() entry {
	return entry{record{Record: types.Record{Peer: s.peer, View: s.view.number, Leader: s.leader, Members: s.view.members}}, s.at}
}

// peerLog is the state of one peer, after its records so far.
type peerLog struct {
	latest   entry
	holds    *install            // of the view that it holds; nil if it has no record of that
	number   int64               // of the view that it holds; 0 if unknown or none
	ended    bool                // it crashed or was removed: its next record must be a view
	parted   bool                // it ended or announced that it leaves, and installed no view since
	reported map[types.ID]report // the failures it reported, of those that are still members
	partings []parting           // by number, once all records are read
}

// report is the record of a failure.
type report struct {
	entry
	in *install // of the reporter's view; nil if it has no record of that
}

// parting is a peer's announcement that its membership ends.
type parting struct {
	number  int64 // of the peer's view
	leader  types.ID
	message string
}

// move is a peer's step from one view to another.
type move struct {
	from, to *install
	lost     []types.ID // missing members whose failure the peer did not record
}

// failure is the failure of a member in the view with a number.
type failure struct {
	peer   types.ID
	number int64
}

// history is what all records say.
type history struct {
	stores   bool // the peers have state files: see again
	files    []string
	views    map[int64][]*view
	logs     map[types.ID]*peerLog
	moves    []move
	drops    []move                 // those to a number that is not higher
	reports  map[failure][]types.ID // all peers that reported the failure
	open     map[failure][]types.ID // those that still wait for a removal when the records end
	groups   []*group
	peers    []types.ID         // those with records or in views, ascending; set once all records are read
	tails    map[int64][]*group // the groups, by the number of their last view
	first    *contradiction
	records  int
	others   int     // lines that are not records
	doubtful []place // other lines that look like records
}

func newHistory() *history {
	return &history{views: map[int64][]*view{}, logs: map[types.ID]*peerLog{},
		reports: map[failure][]types.ID{}, open: map[failure][]types.ID{}, tails: map[int64][]*group{}}
}

// contradiction is something that cannot happen in a group that keeps its promises.
type contradiction struct {
	what    string  // in words
	entries []entry // the contradicting records, in the order of the input
}

func (c *contradiction) last() place { return c.entries[len(c.entries)-1].at }

// contradict reports a contradiction. Only the first is kept: the one that is complete earliest in
// the input.
func (h *history) contradict(entries []entry, format string, args ...any) {
	slices.SortStableFunc(entries, func(x, y entry) int { return x.at.compare(y.at) })
	if h.first == nil || entries[len(entries)-1].at.compare(h.first.last()) < 0 {
		h.first = &contradiction{fmt.Sprintf(format, args...), entries}
	}
}

// judge returns the first contradiction, or nil. All records must have been added before.
func (h *history) judge() *contradiction {
	for _, d := range h.logs {
		slices.SortStableFunc(d.partings, func(p, q parting) int { return cmp.Compare(p.number, q.number) })
	}
	h.peers = h.allPeers()
	h.assignToGroups()
	h.checkCauses()
	h.checkRemovals()
	return h.first
}

// add adds a record. Each peer's records must be added in the order of writing.
func (h *history) add(n entry) {
	h.records++
	d := h.logs[n.Peer]
	if d == nil {
		d = &peerLog{reported: map[types.ID]report{}}
		h.logs[n.Peer] = d
	}
	if n.Message == "" {
		h.installed(d, &n)
	} else {
		h.announced(d, n)
	}
	d.latest = n
}

// find returns the view that a record names, and adds it if it is new.
func (h *history) find(r types.Record) *view {
	for _, v := range h.views[r.View] {
		if slices.Equal(v.members, r.Members) {
			return v
		}
	}
	v := &view{number: r.View, members: slices.Clone(r.Members)}
	h.views[r.View] = append(h.views[r.View], v)
	return v
}

// installed adds the record of a view.
func (h *history) installed(d *peerLog, n *entry) {
	v := h.find(n.Record)
	n.Members = v.members
	if !slices.Contains(v.members, n.Peer) {
		h.contradict([]entry{*n}, "peer %d installs view %d, which lacks it", n.Peer, n.View)
	}
	if !slices.Contains(v.members, n.Leader) {
		h.contradict([]entry{*n}, "peer %d follows peer %d in view %d, which lacks that leader", n.Peer, n.Leader, n.View)
	}
	if h.stores && d.again(v, n.Peer) {
		return
	}
	s := &install{view: v, peer: n.Peer, leader: n.Leader, at: n.at, parted: d.parted}
	v.installs = append(v.installs, s)
	h.advance(d, s)
	d.holds, d.number, d.ended, d.parted = s, v.number, false, false
}

// again notes that a peer installs v again, if it did before: a process that finds itself stored as a member is that member
// again, and may then come to the views after that once more.
func (d *peerLog) again(v *view, id types.ID) bool {
	i := slices.IndexFunc(v.installs, func(s *install) bool { return s.peer == id })
	if i < 0 {
		return false
	}
	if d.holds == nil || d.ended || v.number <= d.holds.view.number {
		clear(d.reported) // by the process before
	} else {
		lost, _ := change(d.holds.view.members, v.members)
		for _, id := range lost {
			delete(d.reported, id)
		}
	}
	d.holds, d.number, d.ended, d.parted = v.installs[i], v.number, false, false
	return true
}

// advance moves a peer from the view that it holds to another, and notes what has to be explained.
// A peer that was killed and started again shows here only if its numbers drop.
func (h *history) advance(d *peerLog, s *install) {
	fell := d.holds != nil && s.view.number <= d.holds.view.number
	if fell {
		h.drops = append(h.drops, move{from: d.holds, to: s})
	}
	if fell || d.holds == nil || d.ended {
		clear(d.reported)
		return
	}
	s.before = d.holds
	m := move{from: d.holds, to: s}
	lost, _ := change(d.holds.view.members, s.view.members)
	for _, id := range lost {
		if _, ok := d.reported[id]; !ok {
			m.lost = append(m.lost, id)
		}
		delete(d.reported, id)
	}
	if s.unexplained = len(m.lost) > 0; s.unexplained {
		h.moves = append(h.moves, m)
	}
}

// announced adds the record of a message.
func (h *history) announced(d *peerLog, n entry) {
	switch {
	case n.View == 0: // the peer crashed before it had a view
	case d.ended:
		h.contradict([]entry{d.latest, n}, "peer %d writes another record after its end, without a new view", n.Peer)
	case d.number != 0 && n.View != d.number:
		h.contradict([]entry{d.latest, n}, "peer %d speaks of view %d, but holds view %d", n.Peer, n.View, d.number)
	case n.failed != 0:
		h.failed(d, n)
	}
	if n.failed == 0 {
		d.parted = true
		d.partings = append(d.partings, parting{n.View, n.Leader, n.Message})
	}
	if d.number == 0 {
		d.number = n.View
	}
	if n.Message == crashing || n.Message == removed {
		d.ended = true
		clear(d.reported)
	}
}

// failed adds the record of a failure.
func (h *history) failed(d *peerLog, n entry) {
	earlier, again := d.reported[n.failed]
	switch {
	case n.failed == n.Peer:
		h.contradict([]entry{n}, "peer %d reports itself unreachable", n.Peer)
	case (n.failed == n.Leader) != (n.Message != fmt.Sprintf("peer %d unreachable", n.failed)):
		h.contradict([]entry{n}, "peer %d must say \"(leader)\" of the peer that it follows, and of no other", n.Peer)
	case again && earlier.View == n.View:
		h.contradict([]entry{earlier.entry, n}, "peer %d reports the failure of peer %d twice in view %d", n.Peer, n.failed, n.View)
	case d.holds != nil && !slices.Contains(d.holds.view.members, n.failed):
		h.contradict([]entry{d.latest, n}, "peer %d reports the failure of peer %d, which is not in view %d", n.Peer, n.failed, n.View)
	}
	d.reported[n.failed] = report{n, d.holds}
	at := failure{n.failed, n.View}
	h.reports[at] = append(h.reports[at], n.Peer)
}

// change returns the members to remove from and to add to the earlier membership to make the later
// one. New members come last, so a member that changed its place was removed and added again.
func change(earlier, later []types.ID) (lost, added []types.ID) {
	kept := 0
	for _, id := range earlier {
		if kept < len(later) && later[kept] == id {
			kept++
		} else {
			lost = append(lost, id)
		}
	}
	return lost, later[kept:]
}
