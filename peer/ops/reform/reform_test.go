package reform

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/config"
	"memberly/peer/storage"
	"memberly/peer/types"
)

// five returns the hosts of the hosts file of a site.
func five() (hosts []types.Host) {
	for _, name := range []string{"one", "two", "three", "four", "five"} {
		hosts = append(hosts, types.Host{Name: name})
	}
	return hosts
}

// member is what two of five has stored: view 5, led by one, and the removal of three, which one has proposed.
func member() types.Stored {
	v := types.View{Group: types.Group{Made: 10, Maker: 1}, Number: 5, Leader: 1, Members: []types.ID{1, 2, 3, 4, 5},
		Term: types.Term{Counter: 3, Peer: 1}, Last: make([]types.Past, 5), Digest: types.Digest(five())}
	for i := range v.Last {
		v.Last[i].Incarnation = types.Incarnation(10 + i)
	}
	return types.Stored{Incarnation: 11, Lives: 2, Clock: time.Hour, View: v, First: 1, Listed: five(), Group: v.Group, Highest: 5, Counter: 4,
		Promised: types.Term{Counter: 4, Peer: 1}, Accepted: types.Accepted{Term: types.Term{Counter: 4, Peer: 1},
			Change: types.Change{Operation: types.Del, Member: types.Member{ID: 3, Incarnation: 12}, Cause: types.Unreachable}}}
}

// site is a hosts file of five, and the state file of two.
type site struct{ hosts, state string }

// open opens the state file as the peer of two does.
func (s site) open(t *testing.T) *storage.File {
	t.Helper()
	c, err := config.Parse([]string{"-h", s.hosts, "-n", "two"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := storage.Open(s.state, storage.Owner{ID: c.ID, Name: c.Name}, c.Hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func newSite(t *testing.T, stored types.Stored) site {
	t.Helper()
	s := site{loopback.WriteHostsFile(t, "one", "two", "three", "four", "five"), filepath.Join(t.TempDir(), "state")}
	f := s.open(t)
	if err := f.Write(&stored); err != nil {
		t.Fatal(err)
	}
	f.Close()
	return s
}

func (s site) reform(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = Run(t.Context(), append([]string{"-h", s.hosts, "-n", "two", "-state", s.state}, args...), nil, &out, &errs)
	return code, out.String(), errs.String()
}

// Without a number nothing changes; with it this host is the only member of a group made later, with numbers and fences
// above the stored ones.
func TestReform(t *testing.T) {
	t.Parallel()
	s := newSite(t, member())
	before, err := os.ReadFile(s.state)
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := s.reform(t)
	for _, want := range []string{"of host 2 (two)\n", "made by one at 1970-01-01 00:00:00 UTC (10)\n", "view      5: one, two, three, four, five; its leader is one\n", "hosts     5 are agreed on\n",
		"to follow no leader with a fence below 16384, that of one\n", "view 6, without three (unreachable), proposed by one: the others may have agreed",
		"two with 2 of one, three, four, five\n", "view 7, and fences from 4096016386 on", "two groups at once", "at the end: 5\n"} {
		if code != 0 || errs != "" || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want %q in\n%s%s", code, want, out, errs)
		}
	}
	if code, _, errs := s.reform(t, "4"); code != 1 || !strings.Contains(errs, "the stored view is 5, not 4: nothing was changed") {
		t.Errorf("with a wrong number: exit code %d, %s", code, errs)
	}
	if after, err := os.ReadFile(s.state); err != nil || string(after) != string(before) {
		t.Errorf("the file has changed: %v", err)
	}
	now := time.Now()
	if code, out, errs := s.reform(t, "5"); code != 0 || !strings.Contains(out, "in view 7, with fences from 4096016386 on") || errs != "" {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	got := s.open(t).Stored()
	v, old := &got.View, member()
	if v.Number != 7 || len(v.Members) != 1 || v.Leader != 2 || got.Highest != 7 || got.Accepted != (types.Accepted{}) || got.Promised != v.Term ||
		!old.Promised.Below(v.Term) || got.Counter != v.Term.Counter || got.Lives != 2 || got.Clock != time.Hour {
		t.Errorf("stored is %+v", got)
	}
	if made := got.Group.Made; got.Group.Maker != 2 || v.Group != got.Group || v.Incarnation(2) != made || got.Incarnation != made || int64(made) < now.UnixNano() {
		t.Errorf("the group is %v, of %v", got.Group, v.Last)
	}
	if v.Digest != old.View.Digest || len(v.Last) != 5 {
		t.Errorf("it is of other hosts: %+v", v)
	}
	if past := v.Past(5); past != (types.Past{Incarnation: 14, Cause: types.Unreachable}) || v.Admits(types.Change{Operation: types.Add, Member: types.Member{ID: 5, Incarnation: 14}}) {
		t.Errorf("of five it knows %v", past)
	}
}

// grown is what two has stored of a group with a host more than its hosts file has, six, and of which five is retired.
// The hosts from first on are stored.
func grown(first types.ID) types.Stored {
	s := member()
	hosts := append(five(), types.Host{Name: "six", Addr: netip.MustParseAddr("10.0.0.6")})
	hosts[4].Retired = true
	v := &s.View
	v.Members, v.Digest = []types.ID{1, 2, 3, 6}, types.Digest(hosts)
	v.Last[3].Cause, v.Last[4].Cause = types.Left, types.Retired
	v.Last = append(v.Last, types.Past{Incarnation: 16})
	s.First, s.Listed = first, hosts[first-1:]
	return s
}

// The hosts that the group has agreed on stay, those too that only the state has: who is retired stays so, and the next
// process of the peer knows the others.
func TestReformKeepsHosts(t *testing.T) {
	t.Parallel()
	for _, first := range []types.ID{1, 4} {
		s := newSite(t, types.Stored{})
		s.hosts = loopback.WriteHostsFile(t, "one", "two", "three") // it is behind
		f := s.open(t)
		old := grown(first)
		if err := f.Write(&old); err != nil {
			t.Fatal(err)
		}
		f.Close()
		code, out, errs := s.reform(t)
		for _, want := range []string{"view      5: one, two, three, six; its leader is one\n",
			"hosts     6 are agreed on, of them retired: five; the hosts file lacks the lines four, !five, six 10.0.0.6: write them at its end\n",
			"two with 2 of one, three, six; or with 1, if one is among them"} {
			if code != 0 || errs != "" || !strings.Contains(out, want) {
				t.Errorf("exit code %d, want %q in\n%s%s", code, want, out, errs)
			}
		}
		if code, _, errs := s.reform(t, "5"); code != 0 {
			t.Fatalf("exit code %d, %s", code, errs)
		}
		got := s.open(t).Stored()
		hosts, err := got.Hosts(five()[:3])
		if err != nil || len(hosts) != 6 || hosts[5] != old.Listed[len(old.Listed)-1] || !hosts[4].Retired || hosts[3].Retired {
			t.Errorf("it has hosts %v, %v", hosts, err)
		}
		v, made := &got.View, got.Group.Made
		want := []types.Past{{Incarnation: 10, Cause: types.Unreachable}, {Incarnation: made}, {Incarnation: 12, Cause: types.Unreachable},
			{Incarnation: 13, Cause: types.Left}, {Incarnation: 14, Cause: types.Retired}, {Incarnation: 16, Cause: types.Unreachable}}
		if !slices.Equal(v.Last, want) || v.Digest != old.View.Digest || got.First != first || !slices.Equal(got.Listed, old.Listed) {
			t.Errorf("stored is %+v", got)
		}
		if v.Admits(types.Change{Operation: types.Add, Member: types.Member{ID: 5, Incarnation: 1 << 62}}) {
			t.Error("it lets in five, which is retired")
		}
	}
}

// Where the hosts file and the group differ is told, and a change of the hosts that was accepted.
func TestTellHosts(t *testing.T) {
	t.Parallel()
	o := order{config: config.Config{ID: 2, Name: "two", Hosts: append(five(), types.Host{Name: "six"}, types.Host{Name: "seven"})}, stored: member(), hosts: five()}
	if got, want := o.listed(), "5 are agreed on; the hosts file has 2 more"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	o.hosts[1].Retired = true
	o.config.Hosts[2].Retired = true
	if got, want := o.listed(), "5 are agreed on, of them retired: two; the hosts file does not retire two: write ! before the name; "+
		"the hosts file also retires three; the hosts file has 2 more"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for want, c := range map[string]types.Change{
		"view 6, with six as a new host, proposed by one: ": {Operation: types.Grow, Member: types.Member{ID: 6}, Name: "six"},
		"view 6, with five retired, proposed by one: ":      {Operation: types.Retire, Member: types.Member{ID: 5}},
	} {
		o.stored.Accepted.Change = c
		if got := o.accepted(); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if o.number() != 7 {
			t.Errorf("with %v the next view is %d", c, o.number())
		}
	}
}

// A clock that was set back does not make the group an earlier one.
func TestReformWithClockBehind(t *testing.T) {
	t.Parallel()
	o := order{config: config.Config{ID: 2, Hosts: five()}, stored: member(), hosts: five()}
	if got := o.next(time.Unix(0, 3)); got.Group.Made != 15 || got.Incarnation != 15 {
		t.Errorf("made in incarnation %d, as %d, want 15", got.Group.Made, got.Incarnation)
	}
}

// What cannot be re-formed is refused, and nothing is made.
func TestReformRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t, member())
	missing := site{s.hosts, filepath.Join(t.TempDir(), "none")}
	if code, _, errs := missing.reform(t); code != 1 || !strings.Contains(errs, "nothing is stored there: name the file") {
		t.Errorf("no file: exit code %d, %s", code, errs)
	}
	if _, err := os.Stat(missing.state); !os.IsNotExist(err) {
		t.Errorf("the file was made: %v", err)
	}
	if code, _, errs := newSite(t, types.Stored{Incarnation: 4}).reform(t, "0"); code != 1 || !strings.Contains(errs, "has stored no view") {
		t.Errorf("no view: exit code %d, %s", code, errs)
	}
	other := site{loopback.WriteHostsFile(t, "one", "two", "drei", "four", "five"), s.state}
	if code, _, errs := other.reform(t, "5"); code != 1 || !strings.Contains(errs, `host 3 of the hosts file is "drei", but the group has agreed on "three"`) {
		t.Errorf("another hosts file: exit code %d, %s", code, errs)
	}
	retired := member()
	retired.View.Members, retired.View.Last[1] = []types.ID{1, 3, 4, 5}, types.Past{Incarnation: 11, Cause: types.Retired}
	if code, _, errs := newSite(t, retired).reform(t, "5"); code != 1 || !strings.Contains(errs, "host 2 (two) is retired") {
		t.Errorf("a retired host: exit code %d, %s", code, errs)
	}
	if code, _, errs := s.reform(t, "-n", "one"); code != 1 || !strings.Contains(errs, `it is of host 2 ("two")`) {
		t.Errorf("another host: exit code %d, %s", code, errs)
	}
	s.open(t)
	if code, _, errs := s.reform(t, "5"); code != 1 || !strings.Contains(errs, "it is used by another process") {
		t.Errorf("while its peer runs: exit code %d, %s", code, errs)
	}
	for args, want := range map[string]string{"": "no state file", "-h " + s.hosts + " -n two": "no state file", "-state x": "no hosts file", "-state x five": `"five" is no view`, "-state x -1": "-1", "-state x 5 6": `unexpected argument "6"`} {
		var errs strings.Builder
		if code := Run(t.Context(), strings.Fields(args), nil, nil, &errs); code != 2 || !strings.Contains(errs.String(), want) || !strings.Contains(errs.String(), "Usage: memberly reform") {
			t.Errorf("%q: exit code %d, %s, want %q", args, code, errs.String(), want)
		}
	}
}

// Who else would have to be back is told for every view.
func TestQuorum(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		members []types.ID
		leader  types.ID
		want    string
	}{
		{[]types.ID{2}, 2, "two alone"}, {[]types.ID{2, 1}, 2, "two alone"}, {[]types.ID{2, 1}, 1, "two with one"},
		{[]types.ID{1, 2, 3}, 1, "two with 1 of one, three"}, {[]types.ID{1, 2, 3, 4}, 2, "two with 1 of one, three, four"},
		{[]types.ID{1, 2, 3, 4}, 1, "two with 2 of one, three, four; or with 1, if one is among them"},
		{[]types.ID{1, 3, 4}, 1, "2 of one, three, four; two is not a member any more"},
	} {
		o := order{config: config.Config{ID: 2, Name: "two"}, hosts: five()[:4]}
		v := &o.stored.View
		v.Leader, v.Members, v.Last = c.leader, c.members, make([]types.Past, 4)
		for _, id := range c.members {
			v.Last[id-1].Incarnation = 1
		}
		if got := o.quorum(); !strings.HasPrefix(got, c.want) {
			t.Errorf("of %v led by %d: %q, want %q", c.members, c.leader, got, c.want)
		}
	}
}
