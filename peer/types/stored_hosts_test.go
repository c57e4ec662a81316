package types

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// hostsOf returns hosts by the lines of a hosts file.
func hostsOf(lines ...string) (hosts []Host) {
	for _, line := range lines {
		name, retired := strings.CutPrefix(line, "!")
		name, addr, _ := strings.Cut(name, " ")
		h := Host{Name: name, Retired: retired}
		if addr != "" {
			h.Addr = netip.MustParseAddr(addr)
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// linesOf is the inverse of hostsOf.
func linesOf(hosts []Host) (lines []string) {
	for _, h := range hosts {
		lines = append(lines, h.String())
	}
	return lines
}

// storedWith has a view of agreed hosts. Those from first on are stored with it; none if that is 0.
func storedWith(first ID, agreed ...Host) *Stored {
	s := &Stored{Group: Group{1, 1}, First: first, View: View{Group: Group{1, 1}, Number: 7, Leader: 1, Members: []ID{1}, Digest: Digest(agreed)}}
	for _, h := range agreed {
		past := Past{}
		if h.Retired {
			past.Cause = Retired
		}
		s.View.Last = append(s.View.Last, past)
	}
	s.View.Last[0].Incarnation = 1
	if first > 0 {
		s.Listed = agreed[first-1:]
	}
	return s
}

func TestStoredHosts(t *testing.T) {
	t.Parallel()
	agreed := hostsOf("one 10.0.0.1", "two", "!three", "four 10.0.0.4")
	all, tail, none := storedWith(1, agreed...), storedWith(4, agreed...), storedWith(0, agreed...)
	few := storedWith(4, hostsOf("one", "two", "three", "four", "five", "six")...)
	few.Listed = few.Listed[:1]
	many := storedWith(1, agreed[:3]...)
	many.Listed = agreed
	missing := func(file, agreed string) string {
		return "of the " + agreed + " hosts that the group has agreed on the hosts file has only " + file + ", and not all the others are stored: write them all into it"
	}
	const foreign = "the first 3 hosts of the hosts file are not those that the group has agreed on: use it as it was"
	for _, c := range []struct {
		what   string
		stored *Stored
		file   []string
		want   []string
		fault  string
	}{
		{"the same file", all, []string{"one 10.0.0.1", "two", "!three", "four 10.0.0.4"}, []string{"one 10.0.0.1", "two", "!three", "four 10.0.0.4"}, ""},
		{"as it writes names and addresses", all, []string{"One 10.0.0.9", "TWO. 10.0.0.2", "three", "four"},
			[]string{"One 10.0.0.9", "TWO. 10.0.0.2", "!three", "four"}, ""},
		{"more lines", all, []string{"one", "two", "!three", "four", "five"}, []string{"one", "two", "!three", "four"}, ""},
		{"a prefix", all, []string{"one", "two"}, []string{"one", "two", "!three", "four 10.0.0.4"}, ""},
		{"no file", all, nil, []string{"one 10.0.0.1", "two", "!three", "four 10.0.0.4"}, ""},
		{"a prefix, and the state has the tail alone", tail, []string{"one", "two", "three"}, []string{"one", "two", "!three", "four 10.0.0.4"}, ""},
		{"all, and the state has the tail alone", tail, []string{"one", "two", "!three", "four", "five"}, []string{"one", "two", "!three", "four"}, ""},
		{"all, and the state has none", none, []string{"one", "two", "three", "four", "five"}, []string{"one", "two", "!three", "four"}, ""},
		{"other marks", all, []string{"!one", "!two", "three", "four"}, []string{"one", "two", "!three", "four"}, ""},
		{"shortened below the first", tail, []string{"one", "two"}, nil, missing("2", "4")},
		{"shortened, and the state has none", none, []string{"one", "two", "three"}, nil, missing("3", "4")},
		{"the state has not all that it lacks", few, []string{"one", "two", "three"}, nil, missing("3", "6")},
		{"nor all that it lacks behind these", few, []string{"one", "two", "three", "four", "five"}, nil, missing("5", "6")},
		{"it lacks none", few, []string{"one", "two", "three", "four", "five", "six"}, []string{"one", "two", "three", "four", "five", "six"}, ""},
		{"another name", all, []string{"one", "zwei", "three"}, nil,
			`host 2 of the hosts file is "zwei", but the group has agreed on "two": write that again; to replace a host, write ! before its name, and the new one at the end`},
		{"another name in the tail", tail, []string{"one", "two", "three", "vier", "five"}, nil, `host 4 of the hosts file is "vier", but the group has agreed on "four"`},
		{"another name, of a retired host", all, []string{"one", "two", "!drei", "four"}, nil, `host 3 of the hosts file is "drei"`},
		{"a line removed", all, []string{"one", "!three", "four"}, nil, `host 2 of the hosts file is "three"`},
		{"another name before the first", tail, []string{"one", "zwei", "three"}, nil, foreign},
		{"the state has a host too many", many, []string{"one", "two", "three"}, []string{"one", "two", "!three"}, ""},
		{"no view", &Stored{Group: Group{1, 1}}, []string{"zwei"}, nil, ""},
		{"nothing", &Stored{}, []string{"one"}, nil, ""},
		{"another file than at first, and no group", &Stored{File: FileDigest(agreed), Promised: Term{1, 1}}, []string{"one"}, nil, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			file := hostsOf(c.file...)
			got, err := c.stored.Hosts(file)
			if lines := linesOf(got); !reflect.DeepEqual(lines, c.want) {
				t.Errorf("they are %q, want %q", lines, c.want)
			}
			if (err == nil) != (c.fault == "") || err != nil && !strings.HasPrefix(err.Error(), c.fault) {
				t.Errorf("error %v, want %q", err, c.fault)
			}
			if !reflect.DeepEqual(file, hostsOf(c.file...)) {
				t.Errorf("the file has become %v", file)
			}
		})
	}
}
