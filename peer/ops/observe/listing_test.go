package observe

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// What is wrong with the hosts file is said in full: with what, on which host, and what to do.
func TestHostsFileWords(t *testing.T) {
	t.Parallel()
	hosts := []types.Host{{Name: "one"}, {Name: "two"}, {Name: "three", Retired: true}, {Name: "four"}, {Name: "five"},
		{Name: "six", Addr: netip.MustParseAddr("10.0.0.6")}, {Name: "seven", Retired: true}}
	ids := func(ids ...types.ID) []types.ID { return ids }
	many := make([]types.ID, 20)
	for i := range many {
		many[i] = types.ID(i + 7)
	}
	for _, c := range []struct {
		what    string
		listing handlers.Listing
		want    string
	}{
		{"settled", handlers.Listing{Agreed: 6}, ""},
		{"a host more, and others lack it", handlers.Listing{Agreed: 5, Ahead: ids(6), Differ: ids(1, 4)},
			"The hosts file here has six (host 6), which the group does not have yet: the files of one, four are not the same: make the same change there"},
		{"a host more, and nobody has other files", handlers.Listing{Agreed: 5, Ahead: ids(6)},
			"The hosts file here has six (host 6), which the group does not have yet: the leader waits until the hosts files of all members that it reaches are the same"},
		{"one replaced", handlers.Listing{Agreed: 5, Ahead: ids(2, 6), Differ: ids(1)},
			"The hosts file here has six (host 6), which the group does not have yet, and retires two (host 2), which the group has not retired yet: " +
				"the file of one is not the same: make the same change there"},
		{"one retired that runs", handlers.Listing{Agreed: 6, Ahead: ids(2), Running: ids(2)},
			"two (host 2) is retired in the hosts file here, and still runs: stop its peer"},
		{"one retired that runs, whose own file cannot say so", handlers.Listing{Agreed: 6, Ahead: ids(2), Running: ids(2), Differ: ids(2)},
			"two (host 2) is retired in the hosts file here, and still runs: stop its peer"},
		{"two retired that run, and others lack that", handlers.Listing{Agreed: 6, Ahead: ids(2, 4), Running: ids(2, 4), Differ: ids(1)},
			"two (host 2), four (host 4) are retired in the hosts file here, and still run: stop their peers. " +
				"The hosts file of one is not the same as the one here: make them the same"},
		{"a host fewer", handlers.Listing{Agreed: 6, Behind: ids(6)},
			`The hosts file here lacks six (host 6), which the group has: add "six 10.0.0.6" as host 6 at its end`},
		{"one not retired", handlers.Listing{Agreed: 6, Behind: ids(3)},
			`The hosts file here does not retire three (host 3), which the group has retired: write "!three" as host 3`},
		{"one not replaced", handlers.Listing{Agreed: 6, Behind: ids(3, 6), Differ: ids(1, 2)}, // because of that
			`The hosts file here does not retire three (host 3), which the group has retired, and lacks six (host 6), which the group has: ` +
				`write "!three" as host 3, and add "six 10.0.0.6" as host 6 at its end`},
		{"an old file that was edited", handlers.Listing{Agreed: 6, Ahead: ids(2), Behind: ids(6)},
			`The hosts file here retires two (host 2), which the group has not retired yet: the leader waits until the hosts files of all members that it reaches are the same. ` +
				`The hosts file here lacks six (host 6), which the group has: add "six 10.0.0.6" as host 6 at its end`},
		{"others", handlers.Listing{Agreed: 6, Differ: ids(2)}, "The hosts file of two is not the same as the one here: make them the same"},
		{"many more", handlers.Listing{Agreed: 6, Ahead: many}, "The hosts file here has seven (host 7), no host (host 8), no host (host 9), no host (host 10), " +
			"no host (host 11), no host (host 12), no host (host 13), no host (host 14) and 12 more, which the group does not have yet: " +
			"the leader waits until the hosts files of all members that it reaches are the same"},
		{"another name", handlers.Listing{Agreed: 6, Wrong: 4, Ahead: ids(7)},
			`Host 4 has another name in the hosts file here, and the group has agreed on "four": correct that line. The hosts in use stay`},
		{"changed before there was a group", handlers.Listing{Bound: true},
			"The hosts file has changed since this host first ran with -state, and there is no group yet that it knows: " +
				"this peer joins a group, but makes none. If there is none yet, stop all hosts and remove their state files"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			c.listing.Hosts = hosts
			n := Names{types.NewNames(hosts...)}
			if got := n.hostsFile(&c.listing); got != c.want {
				t.Errorf("it says\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// The hosts of the view stand beside those of the file. Who is retired, or is to be, is not missing.
func TestShowsHostsFile(t *testing.T) {
	t.Parallel()
	f := three()
	f.status.View.Members = []types.ID{1, 2}
	f.status.View.Last[2].Cause = types.Retired
	f.status.Hosts = append(f.status.Hosts, make([]handlers.HostStatus, 3)...)
	f.status.Hosts[2] = handlers.HostStatus{Heard: handlers.Never}
	f.status.View.Last = append(f.status.View.Last, types.Past{}, types.Past{})
	f.status.Listing = handlers.Listing{Hosts: make([]types.Host, 6), Agreed: 5, Ahead: []types.ID{4, 6}, Behind: []types.ID{2, 3}, Differ: []types.ID{2}}
	f.status.Listing.Hosts[2].Retired = true
	s := newServer(Config{Names: named("one", "two", "three", "four", "five", "six")}, f)
	r := s.report()
	if !strings.HasPrefix(r.Summary, "one leads view 3 with 2 of 3 hosts; five is missing since ") || len(r.Missing) != 1 {
		t.Errorf("it says %q, missing are %+v", r.Summary, r.Missing)
	}
	if h := r.Hosts[2]; h.State != "retired" || !h.Retired || !h.Agreed || h.Ahead || !h.Behind {
		t.Errorf("of a retired host it says %+v", h)
	}
	if h := r.Hosts[5]; h.State != "absent" || h.Agreed || !h.Ahead {
		t.Errorf("of a proposed host it says %+v", h)
	}
	table := string(tabulate(r))
	w := httptest.NewRecorder()
	s.routes().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/", nil))
	page := w.Body.String()
	for _, want := range []string{"present, not in the hosts file", "retired, not retired in the hosts file", "absent, retired in the hosts file only",
		"absent, in the hosts file only", "\nhosts file: The hosts file here has six (host 6)"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in the table\n%s", want, table)
		}
	}
	for _, want := range []string{"heard, not in the hosts file", "retired, not retired in the hosts file", "never was a member, in the hosts file only",
		"<dt>Hosts file</dt><dd>The hosts file here has six (host 6)"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page\n%s", want, page)
		}
	}
	if s, _ := serve(t, three()); strings.Contains(string(tabulate(s.report())), "hosts file") {
		t.Error("of a settled file it says something")
	}
}
