package simulation

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var mutations = flag.Bool("mutations", false, "break the protocol in every way of the list, and see that each is found")

// mutation is one way to break the protocol: old, which stands once in a file of package
// handlers or types, becomes new.
type mutation struct{ name, file, old, new string }

// seldom are the mutants for which a minute of seeds is not enough, as it takes a rare meeting
// of faults, or as another rule stands in: the tables of package handlers find them.
var seldom = map[string]bool{
	"a leader does not prepare its next view":                       true,
	"a thawed peer blames the others for its own stall":             true,
	"re-forming takes silence for evidence":                         true,
	"re-forming does not ask who else has the view":                 true,
	"re-forming though the answering members are a quorum":          true,
	"two lives told the same last incarnation take the same":        true,
	"a JOIN is kept for ever":                                       true,
	"old news of failures is recorded as new":                       true,
	"an earlier incarnation whose clock was set back is never told": true,
}

var mutants = []mutation{
	{"half is a quorum without the leader", "types/types.go",
		"2*n == len(v.Members) && n > 0 && leader", "2*n == len(v.Members)"},
	{"an accepted change is forgotten by the next leader's election", "handlers/electing.go",
		"h.takeOffice(r.message.Term, r.best)", "h.takeOffice(r.message.Term, types.Accepted{})"},
	{"a member does not say what it has accepted", "handlers/following.go",
		"a.Change, a.Accepted = h.accepted.Change, h.accepted.Term", "if kind == types.OK {\n\t\ta.Change, a.Accepted = h.accepted.Change, h.accepted.Term\n\t}"},
	{"a restarted peer keeps its vote: any incarnation answers", "handlers/messagehandler.go",
		"	if !h.addressed(m) {\n		return false\n	}\n", ""},
	{"a promise is not kept", "handlers/following.go",
		"if m.Term.Below(h.promised) || !h.view.Admits(m.Change)", "if !h.view.Admits(m.Change)"},
	{"NEWVIEW is never sent again", "handlers/leading.go",
		"		if h.since(r.began) >= h.pause(0.5) {\n", "		if r.message.Kind == types.NewView && h.since(r.began) > 0 {\n			continue\n		}\n		if h.since(r.began) >= h.pause(0.5) {\n"},
	{"a change is chosen without a quorum", "handlers/leading.go",
		"	if o.round.done {\n		h.chosen(c)", "	if o.round.done || c.Operation == types.Del {\n		h.chosen(c)"},
	{"a removal without confirmation: one late heartbeat is enough", "handlers/monitoring.go",
		"case silence >= h.Monitor:", "case silence >= h.patience():"},
	{"a leader does not prepare its next view", "handlers/leading.go",
		"func (o *office) moved() { o.ready, o.settle = false, types.Accepted{} }", "func (o *office) moved() { o.settle = types.Accepted{} }"},
	{"a thawed peer blames the others for its own stall", "handlers/messagehandler.go",
		"		h.stood += gap\n", ""},
	{"nobody is drawn to an earlier group", "handlers/joining.go",
		"case m.Leads && (earlier ||", "case m.Leads && (false && earlier ||"},
	{"groups without leaders never meet", "handlers/joining.go",
		"!m.HasLeader && earlier && h.lasts(e.leaderless, 10)", "false"},
	{"a removed member does not become fresh", "handlers/following.go",
		"leader, group := h.following, h.view.Group\n		h.becomeFresh()\n", "leader, group := h.following, h.view.Group\n		h.standing, h.view = types.Out, types.View{}\n"},
	{"re-forming takes silence for evidence", "handlers/founding.go",
		"return e.outcome == types.Refusal && h.since(h.hosts[id-1].word) >= h.Monitor", "return true"},
	{"re-forming does not ask who else has the view", "handlers/founding.go",
		"e.group == h.view.Group && !e.led && !h.outranks(id, e)", "e.group == h.view.Group"},
	{"re-forming though the answering members are a quorum", "handlers/founding.go",
		"|| h.answeringQuorum() {", "{"},
	{"a failure is recorded again and again", "handlers/monitoring.go",
		"	p.failing = true\n	if p.reported == h.view.Number {\n		return\n	}\n", ""},
	{"what a dead process left in a connection brings it back", "handlers/monitoring.go",
		"if (p.gone || p.failing) && !p.revivedBy(m) {", "if false {"},
	{"an incarnation is not made new", "handlers/joining.go",
		"max(types.Incarnation(h.now.Wall), max(h.incarnation, last)+1+types.Incarnation(h.Salt))", "max(h.incarnation, last, 1_700_000_000_000_000_001)"},
	{"two lives told the same last incarnation take the same", "handlers/joining.go",
		"+1+types.Incarnation(h.Salt)", "+1"},
	{"an earlier incarnation whose clock was set back is never told", "handlers/messagehandler.go",
		"		return h.farewell == nil || m.Kind == types.Probe\n", "		return (h.farewell == nil || m.Kind == types.Probe) && (!h.mine(m) || m.Incarnation >= h.view.Past(m.From).Incarnation)\n"},
	{"a view that is late is installed", "handlers/following.go",
		"	if m.Number < h.view.Number {\n		h.showView(m)\n		return\n	}\n	if m.Number > h.view.Number && !h.advance(m) {", "	if m.Number != h.view.Number && !h.advance(m) {"},
	{"the leader does not answer one that is no member", "handlers/monitoring.go",
		"	case h.leads() && m.Incarnation <= h.view.Past(m.From).Incarnation:\n		h.anew(m.From)\n		h.showView(m)\n", ""},
	{"lost datagrams alone remove a member: no PROBE", "handlers/monitoring.go",
		"	m := h.send(types.Probe, id)\n	m.Request,", "	m := new(types.Message)\n	m.Request,"},
	{"a JOIN is kept for ever", "handlers/leading.go",
		"return h.since(r.asked) >= h.Monitor || past.Incarnation >= r.member.Incarnation", "return past.Incarnation >= r.member.Incarnation"},
	{"a leader without quorum says that it leads", "handlers/leading.go",
		"return o != nil && h.quorate && h.farewell == nil &&", "return o != nil && h.farewell == nil &&"},
	{"old news of failures is recorded as new", "handlers/following.go",
		"if m.Term == h.heeded.term && m.Request < h.heeded.request || h.hosts[m.From-1].gone {", "if false {"},
}

// TestMutants proves that the checkers bite. Each mutant is the shipped code with one text
// replaced, built with an overlay, and must be found within a minute.
func TestMutants(t *testing.T) {
	if !*mutations {
		checkMutants(t)
		return
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			began := time.Now()
			out, err := m.run(t)
			found := regexp.MustCompile(`seed (\d+).* fails(?: again)?: (.*)`).FindStringSubmatch(out)
			switch {
			case err == nil:
				t.Errorf("not found within a minute:\n%s", out)
			case seldom[m.name] && strings.Contains(out, "--- FAIL"):
				t.Logf("found by the tables: %s", regexp.MustCompile(`--- FAIL: (\w+)`).FindString(out))
			case found != nil:
				ran := "those that found bugs before"
				if runs := regexp.MustCompile(`: (\d+) runs`).FindStringSubmatch(out); runs != nil {
					ran = runs[1]
				}
				t.Logf("found after %s seeds, %.1f s: %s", ran, time.Since(began).Seconds(), found[2])
			case strings.Contains(out, "panic:") || strings.Contains(out, "test timed out"):
				t.Logf("found by a panic or endless loop")
			default:
				t.Errorf("not run: %v\n%s", err, out)
			}
		})
	}
}

// checkMutants sees that every mutation can still be applied.
func checkMutants(t *testing.T) {
	for _, m := range mutants {
		if _, err := m.apply(); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// apply returns the mutated text of the file.
func (m mutation) apply() (string, error) {
	text, err := os.ReadFile(filepath.Join("..", m.file))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("%s holds %d times %q: mend the list", m.file, n, m.old)
	}
	return strings.Replace(string(text), m.old, m.new, 1), nil
}

// run runs the seeds against the mutant.
func (m mutation) run(t *testing.T) (string, error) {
	t.Helper()
	text, err := m.apply()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	original, err := filepath.Abs(filepath.Join("..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	mutant, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	index, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{mutant: []byte(text), overlay: index} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"test", "-overlay", overlay, "-v", "-failfast", "-timeout", "65s"}
	if seldom[m.name] {
		args = append(args, "../handlers")
	} else {
		args = append(args, "-run", "^(TestFoundBySeeds|TestSeeds)$", ".", "-args", "-seeds", "1000000", "-at-most", "55s", "-brief")
	}
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	return string(out), err
}
