package storage

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"memberly/peer/types"
)

// fileOf returns a hosts file: names after a ! are of retired hosts.
func fileOf(names string) (list []types.Host) {
	for name := range strings.FieldsSeq(names) {
		name, retired := strings.CutPrefix(name, "!")
		list = append(list, types.Host{Name: name, Retired: retired})
	}
	return list
}

// memberOf is what two has stored in a view of these hosts, of which those from first on are stored with it.
func memberOf(names string, first types.ID) *types.Stored {
	list := fileOf(names)
	g := types.Group{Made: 1, Maker: 1}
	s := &types.Stored{Incarnation: 2, Lives: 1, Group: g, Highest: 7, First: first}
	if first > 0 {
		s.Listed = list[first-1:]
	}
	s.View = types.View{Group: g, Number: 7, Leader: 1, Members: []types.ID{1, 2}, Digest: types.Digest(list)}
	for i, h := range list {
		past := types.Past{}
		switch {
		case h.Retired:
			past.Cause = types.Retired
		case i < 2:
			past.Incarnation = types.Incarnation(i + 1)
		}
		s.View.Last = append(s.View.Last, past)
	}
	return s
}

// Which hosts files a state file goes with, and what is said of the others. It is not changed.
func TestHostsFile(t *testing.T) {
	t.Parallel()
	all, tail := memberOf("one two !three four", 1), memberOf("one two !three four", 4)
	founder := &types.Stored{Incarnation: 2, Lives: 1, Counter: 1, File: types.FileDigest(fileOf("one two")), Promised: types.Term{Counter: 1, Peer: 1}}
	left := &types.Stored{Incarnation: 2, Lives: 1, Group: types.Group{Made: 1, Maker: 1}, Highest: 7}
	for _, c := range []struct {
		what, file string
		stored     *types.Stored
		want       string // "": it goes with it
	}{
		{"the same", "one two !three four", all, ""},
		{"other case, a final dot", "ONE two. !three four", all, ""},
		{"more lines", "one two !three four five six", all, ""},
		{"other marks", "!one two three four", all, ""},
		{"a prefix", "one two", all, ""},
		{"a prefix, and the state has the rest", "one two three", tail, ""},
		{"shorter than what the state lacks", "one two", tail, "of the 4 hosts that the group has agreed on the hosts file has only 2, and not all the others are stored: write them all into it"},
		{"another name", "one two drei four", all, `host 3 of the hosts file is "drei", but the group has agreed on "three": write that again; to replace a host`},
		{"another last name, and more", "one two three vier five", tail, `host 4 of the hosts file is "vier", but the group has agreed on "four"`},
		{"another name that the state lacks", "eins two three four", tail, "the first 3 hosts of the hosts file are not those that the group has agreed on: use it as it was"},
		{"a line in between", "one two zero three four", all, `host 3 of the hosts file is "zero"`},
		{"more lines than at first, and no group", "one two three", founder, ""},
		{"other marks than at first, and no group", "!one two", founder, ""},
		{"nothing but a group", "eins two", left, ""},
		{"nothing", "eins two", &types.Stored{}, ""},
	} {
		d := newDisk(1, nil)
		f, err := open("x", d, owner(), fileOf("one two"))
		if err == nil {
			err = f.Write(c.stored)
		}
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(d.cache)
		d.calls = nil
		_, err = open("x", d, owner(), fileOf(c.file))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.what, err)
		case c.want == "":
		case err == nil || !strings.HasPrefix(err.Error(), "it is for another hosts file: "+c.want) || slices.Contains(d.calls, "write"):
			t.Errorf("%s: %v, %v; want %q", c.what, err, d.calls, c.want)
		}
		if !bytes.Equal(d.cache, before) {
			t.Errorf("%s: the state file has changed", c.what)
		}
	}
}

// A host that was retired and listed again is told so: what it has stored is of the host that it was.
func TestListedAgain(t *testing.T) {
	t.Parallel()
	_, err := open("x", newDisk(1, written(t, 3)), Owner{ID: 4, Name: "two"}, fileOf("one !two three two"))
	want := `it is of host 2 ("two"), which is retired; this is host 4 of the same name: to let this host begin anew, remove the file`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}
