package scenario

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestScenarios holds the embedded tables to what every user of them relies on.
func TestScenarios(t *testing.T) {
	t.Parallel()
	scenarios := Scenarios()
	if len(scenarios) != 4 {
		t.Fatalf("%d scenarios, want 4", len(scenarios))
	}
	hosts := []string{"one", "two", "three", "four", "five"}
	for i, s := range scenarios {
		if want := fmt.Sprintf("testcase-%d", i+1); s.Name != want {
			t.Errorf("scenario %d is called %q, want %q", i+1, s.Name, want)
		}
		var names []string
		for j, p := range s.Peers {
			names = append(names, p.Name)
			checkPeer(t, s.Name, j+1, p)
		}
		if !slices.Equal(names, hosts) {
			t.Errorf("%s: peers %v, want %v", s.Name, names, hosts)
		}
	}
}

func checkPeer(t *testing.T, scenario string, id int, p Peer) {
	t.Helper()
	if len(p.Args) < 2 || p.Args[0] != "-h" || p.Args[1] != "hostsfile.txt" {
		t.Errorf("%s, %s: arguments %q do not begin with the hosts file", scenario, p.Name, p.Args)
	}
	if len(p.Records) == 0 {
		t.Errorf("%s, %s: no records", scenario, p.Name)
	}
	own := fmt.Sprintf("{peer_id:%d, view_id: ", id)
	for _, r := range p.Records {
		if !strings.HasPrefix(r, own) || !strings.HasSuffix(r, "}") {
			t.Errorf("%s, %s: %s is not a record of peer %d", scenario, p.Name, r, id)
		}
	}
}

// TestCrashes checks which peers are said to crash, in each scenario.
func TestCrashes(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"testcase-2": {"five"},
		"testcase-3": {"two", "three", "four", "five"},
		"testcase-4": {"one"},
	}
	for _, s := range Scenarios() {
		var crash []string
		for _, p := range s.Peers {
			if p.Crashes() {
				crash = append(crash, p.Name)
			}
		}
		if !slices.Equal(crash, want[s.Name]) {
			t.Errorf("%s: %v crash, want %v", s.Name, crash, want[s.Name])
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	s, err := parse("small", "# Prose.\n\n[a] -h f\n{1}\n{2}\n\n[b]\n")
	if err != nil {
		t.Fatal(err)
	}
	want := "{small [{a [-h f] [{1} {2}]} {b [] []}]}"
	if got := fmt.Sprint(s); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"", "t: no peers"},
		{"# Prose only.\n", "t: no peers"},
		{"{1}\n", `t, line 1: "{1}" is no peer, nor a peer's record`},
		{"[a]\nx\n", `t, line 2: "x" is no peer, nor a peer's record`},
		{"\n[a -h f\n", `t, line 2: "[a -h f" does not name its peer as [name]`},
		{"[] -h f\n", `t, line 1: "[] -h f" does not name its peer as [name]`},
	} {
		_, err := parse("t", c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: got error %v, want %s", c.text, err, c.want)
		}
	}
}
