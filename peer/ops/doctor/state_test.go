package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"memberly/peer/config"
	"memberly/peer/storage"
	"memberly/peer/types"
)

// stateOf returns the configuration of the first of three hosts with a state file in which view 4 is stored, and the
// third host.
func stateOf(t *testing.T) config.Config {
	t.Helper()
	c := config.Config{ID: 1, Name: "one", Digest: 7, Hosts: []types.Host{{Name: "one"}, {Name: "two"}, {Name: "three"}},
		State: filepath.Join(t.TempDir(), "state")}
	f, err := storage.Open(c.State, storage.Owner{ID: 1, Name: "one"}, c.Hosts)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g := types.Group{Made: 1, Maker: 1}
	for n := range int64(4) {
		if err := f.Write(&types.Stored{Incarnation: 1, Group: g, Highest: n + 1, First: 3, Listed: c.Hosts[2:], View: types.View{Group: g, Number: n + 1, Leader: 1,
			Members: []types.ID{1}, Term: types.Term{Counter: 1, Peer: 1}, Last: []types.Past{{Incarnation: 1}, {}, {}}, Digest: types.Digest(c.Hosts)}}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// The state file is judged as a peer would find it, and stays as it is.
func TestExamineState(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		change func(t *testing.T, c *config.Config)
		mark   mark
		want   string // in what is told
	}{
		{"all is well", func(*testing.T, *config.Config) {}, good, "view 4 is stored; a write takes "},
		{"there is none", func(t *testing.T, c *config.Config) { os.Remove(c.State) }, good, "nothing is stored yet; a write takes "},
		{"it is empty", func(t *testing.T, c *config.Config) { os.Truncate(c.State, 0) }, good, "nothing is stored yet"},
		{"no folder", func(t *testing.T, c *config.Config) { c.State = filepath.Join(filepath.Dir(c.State), "none", "state") }, red,
			"there is none, and its folder cannot be written to (no such file or directory): make the folder"},
		{"another host's", func(t *testing.T, c *config.Config) { c.ID, c.Name = 2, "two" }, red, `it is of host 1 ("one"), this is host 2 ("two")`},
		{"its host on another line", func(t *testing.T, c *config.Config) { c.ID = 2 }, red, `it is for another hosts file: "one" was host 1 when the file was made`},
		{"another name in the hosts file", func(t *testing.T, c *config.Config) { c.Hosts[2].Name = "drei" }, red,
			`it is for another hosts file: host 3 of the hosts file is "drei", but the group has agreed on "three"`},
		{"a hosts file with less than it takes", func(t *testing.T, c *config.Config) { c.Hosts = c.Hosts[:1] }, red,
			"it is for another hosts file: of the 3 hosts that the group has agreed on the hosts file has only 1"},
		{"a hosts file that is behind", func(t *testing.T, c *config.Config) { c.Hosts = c.Hosts[:2] }, good,
			"view 4 is stored, and the hosts file lacks 1 of its hosts: bring it up to date; a write takes "},
		{"a hosts file with more", func(t *testing.T, c *config.Config) { c.Hosts = append(c.Hosts, types.Host{Name: "four"}) }, good,
			"view 4 is stored; a write takes "},
		{"a hosts file that changed before there was a group", func(t *testing.T, c *config.Config) { bind(t, c, c.Hosts[:2]) }, good,
			"no view is stored yet, and the hosts file has changed since this host first ran: it waits to be let in"},
		{"no group yet", func(t *testing.T, c *config.Config) { bind(t, c, c.Hosts) }, good, "no view is stored yet; a write takes "},
		{"a folder", func(t *testing.T, c *config.Config) { c.State = filepath.Dir(c.State) }, red, "it is not a file: name a file"},
		{"cut short", func(t *testing.T, c *config.Config) { os.Truncate(c.State, 1000) }, red, "it is cut short"},
		{"damaged", func(t *testing.T, c *config.Config) { scribble(t, c.State, 100, 128<<10+100) }, red, "neither of its two copies can be used"},
		{"the newer copy damaged", func(t *testing.T, c *config.Config) { scribble(t, c.State, 100) }, red, "what this host stored last is lost"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			f := healthy()
			all := f.config.Hosts // of whom there is evidence
			f.config = stateOf(t)
			c.change(t, &f.config)
			before, _ := os.ReadFile(f.config.State)
			f.state = examineState(t.Context(), f.config)
			f.config.Hosts = all
			if f.state.took > slowWrite {
				f.state.took = slowWrite - 1 // the machine may be busy
			}
			r := judge(f)
			var out strings.Builder
			r.print(&out)
			if got := r.here.cells[4].mark; got != c.mark || !strings.Contains(out.String(), c.want) || strings.Contains(out.String(), "memberly-doctor") {
				t.Errorf("it is %s, want %s and %q in\n%s", got, c.mark, c.want, out.String())
			}
			if after, _ := os.ReadFile(f.config.State); string(after) != string(before) {
				t.Error("the file has changed")
			}
			if entries, _ := os.ReadDir(filepath.Dir(f.config.State)); len(entries) > 1 {
				t.Errorf("it left %v", entries)
			}
		})
	}
}

// bind writes to the state file of c what is stored of a host that was in no group, and first ran with these hosts.
func bind(t *testing.T, c *config.Config, hosts []types.Host) {
	t.Helper()
	f, err := storage.Open(c.State, storage.Owner{ID: c.ID, Name: c.Name}, c.Hosts)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Write(&types.Stored{Incarnation: 1, Lives: 1, File: types.FileDigest(hosts)}); err != nil {
		t.Fatal(err)
	}
}

// scribble changes bytes of a file at these places.
func scribble(t *testing.T, path string, places ...int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range places {
		b[at]++
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A slow disk is a warning, a dead one a fault, and what a running peer writes at the moment is neither.
func TestStateCell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state *stateEvidence
		tcp   error
		mark  mark
		want  string
	}{
		{&stateEvidence{timed: true, took: slowWrite - 1}, nil, good, "All is well."},
		{&stateEvidence{timed: true, took: slowWrite}, nil, slow, "All is well, but the disk is slow."},
		{&stateEvidence{damage: errors.New("damaged")}, syscall.EADDRINUSE, unknown, "stop the peer"},
		{&stateEvidence{cut: true}, nil, unknown, "allow more time"},
	} {
		f := healthy()
		f.state, f.tcp = c.state, c.tcp
		r := judge(f)
		var out strings.Builder
		r.print(&out)
		if got := r.here.cells[4].mark; got != c.mark || !strings.Contains(out.String(), c.want) {
			t.Errorf("%+v is %s, want %s and %q in\n%s", c.state, got, c.mark, c.want, out.String())
		}
	}
}

// A disk that does not answer is a fault after a while; before that, the examination was cut short.
func TestStateDiskDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		look := func() *stateEvidence { <-end; return nil }
		if e := awaitState(t.Context(), "s", look); e.err == nil || e.err.Error() != "state file s: its disk did not answer in 5s: check the disk" {
			t.Errorf("it is %v", e.err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), deadDisk-1)
		defer cancel()
		if e := awaitState(ctx, "s", look); e.err != nil || !e.cut {
			t.Errorf("cut short: %v", e.err)
		}
		close(end)
	})
}
