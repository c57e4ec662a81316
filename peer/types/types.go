// Package types has the data types of the protocol: ids, incarnations, views, changes and messages, their
// wire format, and the records that a peer writes. It has no protocol logic, and imports no other package
// of this project.
package types

import (
	"net/netip"
	"slices"
)

// ID is a host's place in the hosts file, and in the list that the group has agreed on, from 1. Zero means no host.
type ID int

// Incarnation identifies one life of a peer, from its wish to join until it is removed or ends. It is
// positive, and larger than all earlier ones of the same host. Zero means none.
type Incarnation int64

// Member is a host in one of its incarnations.
type Member struct {
	ID          ID
	Incarnation Incarnation
}

// Group identifies one chain of views by the peer that made it, and that peer's incarnation. The zero
// Group means none.
type Group struct {
	Made  Incarnation
	Maker ID
}

// Before reports whether g is ordered before o, as a group that was made earlier is.
func (g Group) Before(o Group) bool {
	return g.Made < o.Made || g.Made == o.Made && g.Maker < o.Maker
}

// Term is a candidate's right to lead. Terms are ordered by counter, then by the peer that leads.
type Term struct {
	Counter uint64
	Peer    ID
}

// Below reports whether t is ordered before o.
func (t Term) Below(o Term) bool {
	return t.Counter < o.Counter || t.Counter == o.Counter && t.Peer < o.Peer
}

// Fence returns t as a number in the same order: no two terms have the same one. A counter alone would not do, as two
// peers may take the same.
func (t Term) Fence() uint64 { return t.Counter*fenceStep + uint64(max(t.Peer, 1)-1) }

// fenceStep is the number of peers that may take the same counter: MaxHosts, which must not change any more.
const fenceStep = 4096

// Cause is why a member was removed. Present means that it was not.
type Cause uint8

// The causes of a removal.
const (
	Present Cause = iota
	Unreachable
	Restarted
	Left
	Expelled
	Retired // of no member: the host is no host of the group any more, for ever
)

func (c Cause) String() string {
	return name(c, "present", "unreachable", "restarted", "left", "expelled", "retired")
}

// Operation is the kind of a Change.
type Operation uint8

// The operations. NEWLEADER has Pending, which asks for the pending change; Nothing answers that there is
// none.
const (
	Nothing Operation = iota
	Add
	Del
	Pending
	Grow
	Retire
)

func (o Operation) String() string {
	return name(o, "NOTHING", "ADD", "DEL", "PENDING", "GROW", "RETIRE")
}

// Change turns one view into the next: it adds a member, or removes one for a cause; or it adds a host to those
// that can be members, or retires one. The zero Change has the operation Nothing.
type Change struct {
	Operation Operation
	Member    Member     // Grow, Retire: without an incarnation
	Cause     Cause      // Del
	Name      string     // Grow: of the host
	Addr      netip.Addr // Grow: its only address, without a zone; invalid if its name is to be looked up
}

// Host returns the host that c, a Grow, adds.
func (c Change) Host() Host { return Host{Name: c.Name, Addr: c.Addr} }

// Accepted is the pending change: the one that a member accepted for the view after its own, and the term
// of its proposal. The zero Accepted means none.
type Accepted struct {
	Term   Term
	Change Change
}

// Past is what a view records about a host: the last incarnation that was a member, and the cause of its
// removal, which is Present for a member. A host that never was a member has the zero Past. The Cause of a host that is
// retired is Retired, whether or not it was a member.
type Past struct {
	Incarnation Incarnation
	Cause       Cause
}

// View is one numbered membership of a group. A View is immutable, so copies may share slices: With
// returns a new one.
type View struct {
	Group   Group
	Number  int64  // from 1; 0 in the zero View, which means none
	Leader  ID     // that of the view before if it is still a member, else the member with the lowest id
	Members []ID   // in the order of joining
	Term    Term   // a term in which it was chosen: the peers that hold it have promised that
	Last    []Past // one for each host that the group has agreed on, by ID-1
	Digest  uint64 // of the list of these hosts: see Extend
}

// Incarnation returns the incarnation of the member id, or 0 if it is no member.
func (v *View) Incarnation(id ID) Incarnation {
	if past := v.Past(id); past.Cause == Present {
		return past.Incarnation
	}
	return 0
}

// Past returns what v records about host id, or the zero Past for an unknown host.
func (v *View) Past(id ID) Past {
	if id < 1 || int(id) > len(v.Last) {
		return Past{}
	}
	return v.Last[id-1]
}

// Retired reports whether the host id is retired.
func (v *View) Retired(id ID) bool { return v.Past(id).Cause == Retired }

// Has reports whether id is a member, in any incarnation.
func (v *View) Has(id ID) bool { return v.Incarnation(id) != 0 }

// Holds reports whether m is a member in exactly that incarnation.
func (v *View) Holds(m Member) bool { return m.Incarnation > 0 && v.Incarnation(m.ID) == m.Incarnation }

// Quorum reports whether the members for which in returns true are a quorum of v: more than half of all,
// or exactly half including the view's leader (docs/protocol.md, section 2).
func (v *View) Quorum(in func(ID) bool) bool {
	n := 0
	for _, id := range v.Members {
		if in(id) {
			n++
		}
	}
	return v.Enough(n, in(v.Leader))
}

// Enough reports whether n members are a quorum of v. leader says whether the view's leader is one of
// them.
func (v *View) Enough(n int, leader bool) bool {
	return 2*n > len(v.Members) || 2*n == len(v.Members) && n > 0 && leader
}

// Admits reports whether c can turn v into the next view: it adds a host that is no member, and not retired, with a
// higher incarnation than its last one, or removes a member that is not the only one; or it appends a host to the
// list, or retires one that is no member.
func (v *View) Admits(c Change) bool {
	switch c.Operation {
	case Add:
		past := v.Past(c.Member.ID)
		return c.Member.ID >= 1 && int(c.Member.ID) <= len(v.Last) && c.Cause == Present &&
			!v.Has(c.Member.ID) && past.Cause != Retired && c.Member.Incarnation > past.Incarnation
	case Del:
		return v.Holds(c.Member) && len(v.Members) > 1 && c.Cause != Present && c.Cause != Retired
	case Grow:
		return int(c.Member.ID) == len(v.Last)+1 && c.Member.ID <= MaxHosts && c.Member.Incarnation == 0 && IsName(c.Name)
	case Retire:
		return c.Member.ID >= 1 && int(c.Member.ID) <= len(v.Last) && c.Member.Incarnation == 0 &&
			!v.Has(c.Member.ID) && !v.Retired(c.Member.ID)
	}
	return false
}

// With returns the view that c makes of v. v must admit c.
func (v *View) With(c Change) View {
	next := View{Group: v.Group, Number: v.Number + 1, Leader: v.Leader, Members: v.Members,
		Last: slices.Clone(v.Last), Digest: v.Digest}
	switch c.Operation {
	case Add:
		next.Members = append(slices.Clip(v.Members), c.Member.ID)
		next.Last[c.Member.ID-1] = Past{Incarnation: c.Member.Incarnation}
	case Del:
		next.Members = slices.DeleteFunc(slices.Clone(v.Members), func(id ID) bool { return id == c.Member.ID })
		next.Last[c.Member.ID-1] = Past{c.Member.Incarnation, c.Cause}
	case Grow:
		next.Last, next.Digest = append(next.Last, Past{}), Extend(v.Digest, c.Name)
	case Retire:
		next.Last[c.Member.ID-1].Cause = Retired
	}
	if !next.Has(next.Leader) {
		next.Leader = slices.Min(next.Members)
	}
	return next
}

// Same reports whether v and o are equal.
func (v *View) Same(o *View) bool {
	return v.Group == o.Group && v.Number == o.Number && v.Leader == o.Leader && v.Digest == o.Digest &&
		slices.Equal(v.Members, o.Members) && slices.Equal(v.Last, o.Last)
}

func name[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "?"
}
