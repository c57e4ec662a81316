package types

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
)

// viewOf returns view 5 of a group over five hosts, led by leader, with these members in
// incarnation 10·id. Every other host was removed in that incarnation.
func viewOf(leader ID, members ...ID) View {
	v := View{Group: Group{Made: 10, Maker: 1}, Number: 5, Leader: leader, Members: members, Last: make([]Past, 5)}
	for i := range v.Last {
		v.Last[i] = Past{Incarnation(10 * (i + 1)), Unreachable}
	}
	for _, id := range members {
		v.Last[id-1].Cause = Present
	}
	return v
}

// among returns a function that reports whether an id is one of these.
func among(ids ...ID) func(ID) bool {
	return func(id ID) bool { return slices.Contains(ids, id) }
}

func add(id ID, i Incarnation) Change {
	return Change{Operation: Add, Member: Member{id, i}}
}

func del(id ID, i Incarnation, cause Cause) Change {
	return Change{Operation: Del, Member: Member{id, i}, Cause: cause}
}

// grow returns a change that adds a host at this address, or at one to be looked up if that is empty.
func grow(id ID, name, addr string) Change {
	c := Change{Operation: Grow, Member: Member{ID: id}, Name: name}
	if addr != "" {
		c.Addr = netip.MustParseAddr(addr)
	}
	return c
}

func retire(id ID) Change { return Change{Operation: Retire, Member: Member{ID: id}} }

func TestQuorum(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		view View
		in   []ID
		want bool
	}{
		{"three of five", viewOf(1, 1, 2, 3, 4, 5), []ID{3, 4, 5}, true},
		{"two of five, with the leader", viewOf(1, 1, 2, 3, 4, 5), []ID{1, 2}, false},
		{"half with the leader", viewOf(1, 1, 2, 3, 4), []ID{1, 3}, true},
		{"half without the leader", viewOf(1, 1, 2, 3, 4), []ID{2, 4}, false},
		{"half with another leader", viewOf(2, 1, 2, 3, 4), []ID{2, 4}, true},
		{"the leader of two", viewOf(1, 1, 2), []ID{1}, true},
		{"the other of two", viewOf(1, 1, 2), []ID{2}, false},
		{"the only one", viewOf(1, 1), []ID{1}, true},
		{"no members", viewOf(1, 1), nil, false},
		{"others do not count", viewOf(1, 1, 2, 3), []ID{1, 4, 5}, false},
		{"of no view", View{}, []ID{1, 2, 3}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.view.Quorum(among(tt.in...)); got != tt.want {
				t.Errorf("%v of members %v led by %d: quorum %v, want %v",
					tt.in, tt.view.Members, tt.view.Leader, got, tt.want)
			}
		})
	}
}

// Of any set of members and its complement, exactly one is a quorum (docs/protocol.md, section 2).
func TestQuorumOfAnyCut(t *testing.T) {
	t.Parallel()
	all := []ID{3, 1, 5, 2, 4}
	for n := 1; n <= len(all); n++ {
		for _, leader := range all[:n] {
			v := viewOf(leader, all[:n]...)
			for cut := range 1 << n {
				one := func(id ID) bool { return cut>>slices.Index(all, id)&1 == 1 }
				rest := func(id ID) bool { return !one(id) }
				if v.Quorum(one) == v.Quorum(rest) {
					t.Errorf("members %v led by %d, cut %b: both sides say %v", v.Members, leader, cut, v.Quorum(one))
				}
			}
		}
	}
}

// admission is a change that a view admits, or does not.
type admission struct {
	name   string
	view   View
	change Change
	want   bool
}

func checkAdmits(t *testing.T, tests []admission) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.view.Admits(tt.change); got != tt.want {
				t.Errorf("members %v admit %+v: %v, want %v", tt.view.Members, tt.change, got, tt.want)
			}
		})
	}
}

func TestAdmits(t *testing.T) {
	t.Parallel()
	v, alone := viewOf(1, 1, 2, 3), viewOf(1, 1)
	checkAdmits(t, []admission{
		{"add a host that was removed, in a later incarnation", v, add(4, 41), true},
		{"add it in its last incarnation", v, add(4, 40), false},
		{"add it in an earlier incarnation", v, add(4, 39), false},
		{"add a member in a later incarnation", v, add(2, 21), false},
		{"add host 0", v, add(0, 1), false},
		{"add a host beyond the file", v, add(6, 1), false},
		{"add a negative host", v, add(-1, 1), false},
		{"add with a cause of removal", v, Change{Operation: Add, Member: Member{4, 41}, Cause: Left}, false},
		{"remove a member", v, del(2, 20, Unreachable), true},
		{"remove the leader", v, del(1, 10, Left), true},
		{"remove another incarnation", v, del(2, 21, Unreachable), false},
		{"remove one that was removed", v, del(4, 40, Unreachable), false},
		{"remove without a cause", v, del(2, 20, Present), false},
		{"remove the last member", alone, del(1, 10, Left), false},
		{"remove no host", v, del(0, 0, Left), false},
		{"remove for a retirement", v, del(2, 20, Retired), false},
		{"nothing", v, Change{}, false},
		{"pending", v, Change{Operation: Pending}, false},
		{"add to no view", View{}, add(1, 1), false},
	})
}

func TestAdmitsOfHosts(t *testing.T) {
	t.Parallel()
	v, retired, full := viewOf(1, 1, 2, 3), viewOf(1, 1, 2, 3), viewOf(1, 1, 2, 3)
	retired.Last[3].Cause, retired.Last[4] = Retired, Past{Cause: Retired}
	full.Last = append(full.Last, make([]Past, MaxHosts-5)...)
	almost := full
	almost.Last = full.Last[:MaxHosts-1]
	inLife := retire(4)
	inLife.Member.Incarnation = 40
	grownInLife := grow(6, "six", "")
	grownInLife.Member.Incarnation = 60
	checkAdmits(t, []admission{
		{"add a retired host", retired, add(4, 41), false},
		{"add a retired host that never was a member", retired, add(5, 1), false},
		{"append a host", v, grow(6, "six", ""), true},
		{"append a host with an address", v, grow(6, "six", "10.0.0.6"), true},
		{"append a host named by its address", v, grow(6, "10.0.0.6", "10.0.0.6"), true},
		{"append one without a name", v, grow(6, "", ""), false},
		{"append a host with a gap", v, grow(7, "seven", ""), false},
		{"append a host that there is", v, grow(5, "five", ""), false},
		{"append host 0", v, grow(0, "zero", ""), false},
		{"append the last host that can be", almost, grow(MaxHosts, "last", ""), true},
		{"append one more", full, grow(MaxHosts+1, "more", ""), false},
		{"append to no view", View{}, grow(1, "one", ""), true},
		{"retire a host that was removed", v, retire(4), true},
		{"retire a host that never was a member", full, retire(6), true},
		{"retire a member", v, retire(2), false},
		{"retire the leader", v, retire(1), false},
		{"retire a host twice", retired, retire(4), false},
		{"retire one that never was a member twice", retired, retire(5), false},
		{"retire host 0", v, retire(0), false},
		{"retire a negative host", v, retire(-1), false},
		{"retire a host beyond the view", v, retire(6), false},
		{"append a host in an incarnation", v, grownInLife, false},
		{"retire a host in an incarnation", v, inLife, false},
	})
}

func TestAdmitsTheFirstIncarnation(t *testing.T) {
	t.Parallel()
	v := View{Group: Group{1, 1}, Number: 1, Leader: 1, Members: []ID{1}, Last: []Past{{Incarnation: 1}, {}}}
	if !v.Admits(add(2, 1)) {
		t.Error("a host that never was a member is not admitted in incarnation 1")
	}
	if v.Admits(add(2, 0)) {
		t.Error("a host is admitted without an incarnation")
	}
}

func TestWith(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		view    View
		change  Change
		leader  ID
		members []ID
		past    Past // of the host that the change is about
	}{
		{"the last to join stands last", viewOf(3, 3, 1), add(2, 25), 3, []ID{3, 1, 2}, Past{25, Present}},
		{"the leader stays, though a lower id joins", viewOf(2, 2, 3), add(1, 11), 2, []ID{2, 3, 1}, Past{11, Present}},
		{"a member goes", viewOf(1, 1, 2, 3), del(2, 20, Left), 1, []ID{1, 3}, Past{20, Left}},
		{"the leader goes: the lowest id leads", viewOf(1, 1, 5, 3, 4), del(1, 10, Unreachable), 3, []ID{5, 3, 4}, Past{10, Unreachable}},
		{"the lowest goes, the leader stays", viewOf(4, 1, 4, 3), del(1, 10, Expelled), 4, []ID{4, 3}, Past{10, Expelled}},
		{"two become one", viewOf(2, 1, 2), del(2, 20, Restarted), 1, []ID{1}, Past{20, Restarted}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			next := tt.view.With(tt.change)
			want := View{Group: tt.view.Group, Number: tt.view.Number + 1, Leader: tt.leader,
				Members: tt.members, Last: slices.Clone(tt.view.Last)}
			want.Last[tt.change.Member.ID-1] = tt.past
			if !reflect.DeepEqual(next, want) {
				t.Errorf("next view is\n%+v, want\n%+v", next, want)
			}
		})
	}
}

// A change of the hosts leaves members and leader as they are, even where another member has a lower id.
func TestWithOfHosts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change Change
		differ func(want *View)
	}{
		"one is appended": {grow(6, "Six.", "10.0.0.6"), func(want *View) {
			want.Last, want.Digest = append(want.Last, Past{}), Extend(7, "six")
		}},
		"one that was a member is retired": {retire(4), func(want *View) { want.Last[3] = Past{40, Retired} }},
		"one that never was is retired":    {retire(5), func(want *View) { want.Last[4] = Past{0, Retired} }},
	} {
		v := viewOf(2, 2, 3, 1)
		v.Last[4], v.Term, v.Digest = Past{}, Term{6, 2}, 7
		want := View{Group: v.Group, Number: v.Number + 1, Leader: 2, Members: []ID{2, 3, 1}, Last: slices.Clone(v.Last), Digest: 7}
		tt.differ(&want)
		if !v.Admits(tt.change) {
			t.Errorf("%s: it is not admitted", name)
		}
		if got := v.With(tt.change); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: next view is\n%+v, want\n%+v", name, got, want)
		}
	}
}

// Hosts that are appended one by one have the digest of the whole list, and can be added, and retired, as others can.
func TestWithOfHostsThatWereAppended(t *testing.T) {
	t.Parallel()
	hosts := []Host{{Name: "one"}, {Name: "two", Addr: netip.MustParseAddr("10.0.0.2")}, {Name: "three"}}
	v := View{Group: Group{1, 1}, Number: 1, Leader: 1, Members: []ID{1}, Last: []Past{{Incarnation: 1}}, Digest: Digest(hosts[:1])}
	step := func(c Change) {
		t.Helper()
		if !v.Admits(c) {
			t.Fatalf("%+v does not admit %+v", v, c)
		}
		v = v.With(c)
	}
	step(Change{Operation: Grow, Member: Member{ID: 2}, Name: hosts[1].Name, Addr: hosts[1].Addr})
	step(grow(3, hosts[2].Name, ""))
	if v.Digest != Digest(hosts) {
		t.Errorf("the digest is %x, want %x", v.Digest, Digest(hosts))
	}
	step(add(3, 1))
	step(retire(2))
	step(del(3, 1, Expelled))
	step(retire(3))
	if v.Digest != Digest(hosts) || !slices.Equal(v.Last, []Past{{Incarnation: 1}, {Cause: Retired}, {1, Retired}}) || v.Number != 7 {
		t.Errorf("it became %+v", v)
	}
}

func TestChangeOfHosts(t *testing.T) {
	t.Parallel()
	if got, want := grow(6, "six", "10.0.0.6").Host(), (Host{Name: "six", Addr: netip.MustParseAddr("10.0.0.6")}); got != want {
		t.Errorf("the new host is %+v, want %+v", got, want)
	}
}

// Copies of a view share its slices, so With must not modify them, not even if two views follow the
// same one.
func TestWithLeavesTheViewAsItWas(t *testing.T) {
	t.Parallel()
	v := viewOf(1, 1, 2, 3)
	v.Members = append(make([]ID, 0, 8), v.Members...)
	v.Last = append(make([]Past, 0, 8), v.Last...)
	before := v
	before.Members, before.Last = slices.Clone(v.Members), slices.Clone(v.Last)

	four, five := v.With(add(4, 41)), v.With(add(5, 51))
	v.With(del(1, 10, Left))
	six, retired := v.With(grow(6, "six", "")), v.With(retire(4))
	eight := six.With(add(6, 61))

	if !v.Same(&before) {
		t.Errorf("the view became\n%+v, was\n%+v", v, before)
	}
	if !slices.Equal(four.Members, []ID{1, 2, 3, 4}) || !slices.Equal(five.Members, []ID{1, 2, 3, 5}) {
		t.Errorf("two views after one have members %v and %v", four.Members, five.Members)
	}
	if six.Last[5] != (Past{}) || six.Retired(4) || !retired.Retired(4) || !eight.Has(6) || six.Has(6) {
		t.Errorf("views after one have %v, %v and %v", six.Last, retired.Last, eight.Last)
	}
}

func TestMembership(t *testing.T) {
	t.Parallel()
	v := viewOf(1, 1, 2)
	tests := []struct {
		id          ID
		incarnation Incarnation
		past        Past
	}{
		{-1, 0, Past{}},
		{0, 0, Past{}},
		{2, 20, Past{20, Present}},
		{3, 0, Past{30, Unreachable}},
		{6, 0, Past{}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint("peer ", tt.id), func(t *testing.T) {
			t.Parallel()
			if got := v.Past(tt.id); got != tt.past {
				t.Errorf("Past is %+v, want %+v", got, tt.past)
			}
			if got := v.Incarnation(tt.id); got != tt.incarnation {
				t.Errorf("Incarnation is %d, want %d", got, tt.incarnation)
			}
			if got := v.Has(tt.id); got != (tt.incarnation != 0) {
				t.Errorf("Has is %v", got)
			}
			if v.Retired(tt.id) {
				t.Error("is retired")
			}
			if v.Holds(Member{tt.id, 0}) || v.Holds(Member{tt.id, 99}) {
				t.Error("holds an incarnation that is no member")
			}
			if got := v.Holds(Member{tt.id, 20}); got != (tt.id == 2) {
				t.Errorf("Holds incarnation 20: %v", got)
			}
		})
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	v, equal := viewOf(1, 1, 2, 3), viewOf(1, 1, 2, 3)
	if !v.Same(&equal) {
		t.Error("equal views are not the same")
	}
	differences := map[string]func(*View){
		"group":            func(v *View) { v.Group.Maker = 2 },
		"number":           func(v *View) { v.Number++ },
		"leader":           func(v *View) { v.Leader = 2 },
		"order of joining": func(v *View) { v.Members = []ID{1, 3, 2} },
		"incarnation":      func(v *View) { v.Last[1].Incarnation++ },
		"cause":            func(v *View) { v.Last[4].Cause = Left },
		"retired host":     func(v *View) { v.Last[4].Cause = Retired },
		"number of hosts":  func(v *View) { v.Last = append(v.Last, Past{}) },
		"digest":           func(v *View) { v.Digest++ },
	}
	for what, differ := range differences {
		other := viewOf(1, 1, 2, 3)
		if differ(&other); v.Same(&other) {
			t.Errorf("views that differ in %s are the same", what)
		}
	}
}

func TestGroupBefore(t *testing.T) {
	t.Parallel()
	inOrder := []Group{{}, {1, 1}, {1, 2}, {2, 1}, {1 << 62, 5}}
	for i, a := range inOrder {
		for j, b := range inOrder {
			if got := a.Before(b); got != (i < j) {
				t.Errorf("%+v before %+v: %v", a, b, got)
			}
		}
	}
}

func TestTermBelow(t *testing.T) {
	t.Parallel()
	inOrder := []Term{{}, {0, 2}, {1, 1}, {1, 2}, {2, 1}, {1 << 63, 1}}
	for i, a := range inOrder {
		for j, b := range inOrder {
			if got := a.Below(b); got != (i < j) {
				t.Errorf("%+v below %+v: %v", a, b, got)
			}
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	tests := []struct {
		value fmt.Stringer
		want  string
	}{
		{Join, "JOIN"}, {Req, "REQ"}, {OK, "OK"}, {NewView, "NEWVIEW"}, {NewLeader, "NEWLEADER"},
		{PendingResponse, "PENDINGRESPONSE"}, {Heartbeat, "HEARTBEAT"}, {Leave, "LEAVE"},
		{Probe, "PROBE"}, {State, "STATE"}, {Refused, "REFUSED"}, {Echo, "ECHO"}, {Echoed, "ECHOED"}, {Hosts, "HOSTS"}, {Kind(0), "?"}, {LastKind + 1, "?"},
		{Nothing, "NOTHING"}, {Add, "ADD"}, {Del, "DEL"}, {Pending, "PENDING"}, {Grow, "GROW"}, {Retire, "RETIRE"}, {Retire + 1, "?"},
		{Present, "present"}, {Unreachable, "unreachable"}, {Restarted, "restarted"}, {Left, "left"}, {Expelled, "expelled"}, {Retired, "retired"}, {Retired + 1, "?"},
		{Fresh, "fresh"}, {Out, "out"}, {Joined, "member"},
		{Promised, "promised"}, {HasLeader, "has a leader"}, {Behind, "behind"}, {Differs, "hosts files differ"}, {Twice, "runs twice"}, {Elsewhere, "is elsewhere"},
		{Settings, "-monitor differs"}, {Unknown, "unknown kind"}, {Storing, "is storing"}, {Founded, "a group exists"}, {IsRetired, "is retired"}, {IsRetired + 1, "?"},
		{NoAnswer, "no answer"}, {Refusal, "refused"}, {NoName, "no such name"}, {Unresolved, "not resolved"}, {StaleRefusal, "refused where it was"},
	}
	for _, tt := range tests {
		if got := tt.value.String(); got != tt.want {
			t.Errorf("%T %v is %q, want %q", tt.value, reflect.ValueOf(tt.value), got, tt.want)
		}
	}
}

// Fences are in the order of the terms, and no two terms have the same.
func TestTermFence(t *testing.T) {
	t.Parallel()
	terms := []Term{{0, 1}, {0, 2}, {0, MaxHosts}, {1, 1}, {1, 2}, {1, MaxHosts - 1}, {1, MaxHosts}, {2, 1}, {2, MaxHosts}, {1 << 50, 1}, {1 << 50, 7}, {1<<52 - 1, MaxHosts}}
	for i, a := range terms {
		for j, b := range terms {
			if below := a.Fence() < b.Fence(); below != a.Below(b) || below != (i < j) || (a.Fence() == b.Fence()) != (i == j) {
				t.Errorf("the fences of %v and %v are %d and %d", a, b, a.Fence(), b.Fence())
			}
		}
	}
	for want, term := range map[uint64]Term{4096: {1, 1}, 8191: {1, MaxHosts}, 8192: {2, 1}, 24577: {6, 2}} {
		if got := term.Fence(); got != want {
			t.Errorf("the fence of %v is %d, want %d", term, got, want)
		}
	}
}
