package verify

import (
	"cmp"
	"fmt"
	"slices"

	"memberly/peer/types"
)

// place is where a record stands.
type place struct {
	file int32 // index of book.files
	line int32 // from 1
}

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.file, o.file), cmp.Compare(p.line, o.line))
}

// note is a record and its place.
type note struct {
	record
	at place
}

// view is a number with a membership, as somebody wrote it. Several groups may have had it.
type view struct {
	number  int64
	members []types.ID
	written []*signature
	groups  []*group
}

// by reports whether a peer wrote the view.
func (v *view) by(id types.ID) bool {
	return slices.ContainsFunc(v.written, func(s *signature) bool { return s.peer == id })
}

// signature is the record by which a peer says that it installed a view.
type signature struct {
	view         *view
	group        *group     // to which it was dealt
	before       *signature // of the view from which the peer came, if it was in one life; nil if that began here
	peer, leader types.ID
	at           place
	parted       bool // the peer had said that it left, crashed or was removed, and nothing since
	silent       bool // the peer has no record of why somebody is missing
}

func (s *signature) note() note {
	return note{record{Record: types.Record{Peer: s.peer, View: s.view.number, Leader: s.leader, Members: s.view.members}}, s.at}
}

// diary is what one peer wrote, in order.
type diary struct {
	last     note
	holds    *signature          // of the view that it holds; nil if its records do not tell, or there was none
	number   int64               // of that view; 0 if it holds none
	ended    bool                // it crashed or was removed: the next record is that of a view
	parted   bool                // it ended, or said that it leaves, and holds no later view
	failures map[types.ID]report // of who is still a member; emptied when it ends
	partings []parting           // in the order of numbers, once all records are read
}

// report is the record of a failure, by a peer that held a view then; nil if its records do not tell.
type report struct {
	note
	in *signature
}

// parting is that a peer announced the end of its membership.
type parting struct {
	number  int64 // of the view that it held
	leader  types.ID
	message string
}

// move is that a peer went from one view to another.
type move struct {
	from, to *signature
	lost     []types.ID // members for whose failure it has no record
}

// failure is that of a member in the view of a number.
type failure struct {
	peer   types.ID
	number int64
}

// book is all records that were read.
type book struct {
	files   []string
	views   map[int64][]*view
	diaries map[types.ID]*diary
	moves   []move
	falls   []move                 // from a number to one that is not higher
	reports map[failure][]types.ID // who reported it
	open    map[failure][]types.ID // who reported it, of those that wait for a removal in the end
	groups  []*group
	peers   []types.ID         // that wrote records, or are in views; ascending, once all are read
	tails   map[int64][]*group // the groups by the number of their last view
	first   *Contradiction
	records int
	others  int     // lines
	odd     []place // of these, that may be records
}

func newBook() *book {
	return &book{views: map[int64][]*view{}, diaries: map[types.ID]*diary{},
		reports: map[failure][]types.ID{}, open: map[failure][]types.ID{}, tails: map[int64][]*group{}}
}

// Contradiction is what cannot be, if the group kept its promises.
type Contradiction struct {
	What  string // in words
	notes []note // the records that contradict each other; the last one is the latest
}

func (c *Contradiction) last() place { return c.notes[len(c.notes)-1].at }

// blame keeps the first contradiction: that whose last record stands first.
func (b *book) blame(notes []note, format string, args ...any) {
	slices.SortStableFunc(notes, func(x, y note) int { return x.at.compare(y.at) })
	if b.first == nil || notes[len(notes)-1].at.compare(b.first.last()) < 0 {
		b.first = &Contradiction{fmt.Sprintf(format, args...), notes}
	}
}

// judge finds, once all records are read, what they contradict.
func (b *book) judge() *Contradiction {
	for _, d := range b.diaries {
		slices.SortStableFunc(d.partings, func(p, q parting) int { return cmp.Compare(p.number, q.number) })
	}
	b.peers = b.everybody()
	b.deal()
	b.explain()
	b.await()
	return b.first
}

// add takes the next record. Those of one peer must come in the order of writing.
func (b *book) add(n note) {
	b.records++
	d := b.diaries[n.Peer]
	if d == nil {
		d = &diary{failures: map[types.ID]report{}}
		b.diaries[n.Peer] = d
	}
	if n.Message == "" {
		b.installed(d, &n)
	} else {
		b.said(d, n)
	}
	d.last = n
}

// find returns the view of a record, which it makes if it is new.
func (b *book) find(r types.Record) *view {
	for _, v := range b.views[r.View] {
		if slices.Equal(v.members, r.Members) {
			return v
		}
	}
	v := &view{number: r.View, members: slices.Clone(r.Members)}
	b.views[r.View] = append(b.views[r.View], v)
	return v
}

// installed takes the record of a view.
func (b *book) installed(d *diary, n *note) {
	v := b.find(n.Record)
	n.Members = v.members
	if !slices.Contains(v.members, n.Peer) {
		b.blame([]note{*n}, "peer %d installs view %d, which it is not in", n.Peer, n.View)
	}
	if !slices.Contains(v.members, n.Leader) {
		b.blame([]note{*n}, "peer %d follows peer %d in view %d, which that is not in", n.Peer, n.Leader, n.View)
	}
	s := &signature{view: v, peer: n.Peer, leader: n.Leader, at: n.at, parted: d.parted}
	v.written = append(v.written, s)
	b.moved(d, s)
	d.holds, d.number, d.ended, d.parted = s, v.number, false, false
}

// moved notes what there is to explain in a peer's going from the view that it holds to
// another. Of a life that ended without a word, only a fall of the numbers is seen here.
func (b *book) moved(d *diary, s *signature) {
	fell := d.holds != nil && s.view.number <= d.holds.view.number
	if fell {
		b.falls = append(b.falls, move{from: d.holds, to: s})
	}
	if fell || d.holds == nil || d.ended {
		clear(d.failures)
		return
	}
	s.before = d.holds
	m := move{from: d.holds, to: s}
	lost, _ := change(d.holds.view.members, s.view.members)
	for _, id := range lost {
		if _, ok := d.failures[id]; !ok {
			m.lost = append(m.lost, id)
		}
		delete(d.failures, id)
	}
	if s.silent = len(m.lost) > 0; s.silent {
		b.moves = append(b.moves, m)
	}
}

// said takes the record of a message.
func (b *book) said(d *diary, n note) {
	switch {
	case n.View == 0: // it crashed before it had a view
	case d.ended:
		b.blame([]note{d.last, n}, "peer %d writes on after its end, without a new view", n.Peer)
	case d.number != 0 && n.View != d.number:
		b.blame([]note{d.last, n}, "peer %d speaks of view %d, but holds view %d", n.Peer, n.View, d.number)
	case n.failed != 0:
		b.failed(d, n)
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
		clear(d.failures)
	}
}

// failed takes the record of a failure.
func (b *book) failed(d *diary, n note) {
	earlier, again := d.failures[n.failed]
	switch {
	case n.failed == n.Peer:
		b.blame([]note{n}, "peer %d reports itself unreachable", n.Peer)
	case (n.failed == n.Leader) != (n.Message != fmt.Sprintf("peer %d unreachable", n.failed)):
		b.blame([]note{n}, "peer %d says \"(leader)\" of whom it follows, and of nobody else", n.Peer)
	case again && earlier.View == n.View:
		b.blame([]note{earlier.note, n}, "peer %d reports the failure of peer %d twice in view %d", n.Peer, n.failed, n.View)
	case d.holds != nil && !slices.Contains(d.holds.view.members, n.failed):
		b.blame([]note{d.last, n}, "peer %d reports the failure of peer %d, which is not in view %d", n.Peer, n.failed, n.View)
	}
	d.failures[n.failed] = report{n, d.holds}
	at := failure{n.failed, n.View}
	b.reports[at] = append(b.reports[at], n.Peer)
}

// change returns whom it takes to lose and to add to make the later membership of the
// earlier one. New members come last, so one that lost its place was away.
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
