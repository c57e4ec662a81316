// Package types holds the words of the protocol: ids, incarnations, views,
// changes and messages, their bytes on the wire, and the records a peer writes.
// It decides nothing and imports nothing of this project.
package types

import (
	"slices"
)

// ID is a host's 1-based line number in the hosts file. Zero means nobody.
type ID int

// Incarnation numbers one life of a peer as a (would-be) member. It is positive,
// and larger than any earlier one of the same host. Zero means none.
type Incarnation int64

// Member is a host in one of its incarnations.
type Member struct {
	ID          ID
	Incarnation Incarnation
}

// Group names one chain of views: the incarnation its maker made it with, and the maker.
// The zero Group is no group.
type Group struct {
	Made  Incarnation
	Maker ID
}

// Before reports whether g was made earlier than o: it has the smaller name.
func (g Group) Before(o Group) bool {
	return g.Made < o.Made || g.Made == o.Made && g.Maker < o.Maker
}

// Term is the right to lead, ordered by counter, then by the peer that leads under it.
type Term struct {
	Counter uint64
	Peer    ID
}

// Below reports whether t is ordered before o.
func (t Term) Below(o Term) bool {
	return t.Counter < o.Counter || t.Counter == o.Counter && t.Peer < o.Peer
}

// Cause says why a member was removed; Present that it was not.
type Cause uint8

// The causes of a removal.
const (
	Present Cause = iota
	Unreachable
	Restarted
	Left
	Expelled
)

func (c Cause) String() string {
	return name(c, "present", "unreachable", "restarted", "left", "expelled")
}

// Operation is what a Change does, or what is asked about one.
type Operation uint8

// The operations. Nothing answers that no change is pending; Pending asks for one.
const (
	Nothing Operation = iota
	Add
	Del
	Pending
)

func (o Operation) String() string { return name(o, "NOTHING", "ADD", "DEL", "PENDING") }

// Change turns one view into the next: ADD of a member, or DEL of one with a cause.
// The zero Change is NOTHING.
type Change struct {
	Operation Operation
	Member    Member
	Cause     Cause
}

// Accepted is a change that a member has accepted for the view after its own, and the
// term it came in: the pending operation. The zero Accepted is none.
type Accepted struct {
	Term   Term
	Change Change
}

// Past is what a view remembers of a host: its last incarnation, and the cause of its
// removal. An incarnation with cause Present is a member; without one the host never was.
type Past struct {
	Incarnation Incarnation
	Cause       Cause
}

// View is one numbered membership of a group. A View is never modified once made:
// With returns a new one, so copies may share their slices.
type View struct {
	Group   Group
	Number  int64  // 0 in the zero View, which is no view
	Leader  ID     // of the view before if still a member, else the lowest id
	Members []ID   // in the order of joining
	Last    []Past // by ID-1, one for each host of the file
}

// Incarnation returns the incarnation of the member id, or 0 if it is no member.
func (v *View) Incarnation(id ID) Incarnation {
	if past := v.Past(id); past.Cause == Present {
		return past.Incarnation
	}
	return 0
}

// Past returns what v remembers of host id; the zero Past of an unknown one.
func (v *View) Past(id ID) Past {
	if id < 1 || int(id) > len(v.Last) {
		return Past{}
	}
	return v.Last[id-1]
}

// Has reports whether id is a member, in any incarnation.
func (v *View) Has(id ID) bool { return v.Incarnation(id) != 0 }

// Holds reports whether m is a member in just that incarnation.
func (v *View) Holds(m Member) bool { return m.Incarnation > 0 && v.Incarnation(m.ID) == m.Incarnation }

// Quorum reports whether the members for whom in answers true are a quorum of v: more than
// half of all, or exactly half with the view's leader among them (docs/protocol.md, section 2).
func (v *View) Quorum(in func(ID) bool) bool {
	n := 0
	for _, id := range v.Members {
		if in(id) {
			n++
		}
	}
	return v.Enough(n, in(v.Leader))
}

// Enough reports whether n members are a quorum of v, the view's leader among them or not.
func (v *View) Enough(n int, leader bool) bool {
	return 2*n > len(v.Members) || 2*n == len(v.Members) && n > 0 && leader
}

// Admits reports whether c may turn v into the next view: an ADD of a host that has no member,
// above its last incarnation, or a DEL of a present member that is not the only one.
func (v *View) Admits(c Change) bool {
	switch c.Operation {
	case Add:
		past := v.Past(c.Member.ID)
		return c.Member.ID >= 1 && int(c.Member.ID) <= len(v.Last) && c.Cause == Present &&
			!v.Has(c.Member.ID) && c.Member.Incarnation > past.Incarnation
	case Del:
		return v.Holds(c.Member) && len(v.Members) > 1 && c.Cause != Present
	}
	return false
}

// With returns the view that follows v by c, which v must admit.
func (v *View) With(c Change) View {
	next := View{Group: v.Group, Number: v.Number + 1, Leader: v.Leader, Last: slices.Clone(v.Last)}
	if c.Operation == Add {
		next.Members = append(slices.Clip(v.Members), c.Member.ID)
	} else {
		next.Members = slices.DeleteFunc(slices.Clone(v.Members), func(id ID) bool { return id == c.Member.ID })
	}
	next.Last[c.Member.ID-1] = Past{c.Member.Incarnation, c.Cause}
	if !next.Has(next.Leader) {
		next.Leader = slices.Min(next.Members)
	}
	return next
}

// Same reports whether v and o are one view: the same group, number, members and leader.
func (v *View) Same(o *View) bool {
	return v.Group == o.Group && v.Number == o.Number && v.Leader == o.Leader &&
		slices.Equal(v.Members, o.Members) && slices.Equal(v.Last, o.Last)
}

func name[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "?"
}
