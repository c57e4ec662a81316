package verify

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"memberly/peer/check/scenario"
)

// run runs the command on standard input.
func run(t *testing.T, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = Run(t.Context(), args, strings.NewReader(input), &out, &errs)
	return code, out.String(), errs.String()
}

// records returns all records of a scenario, one host's after the other.
func records(s scenario.Scenario) (lines []string) {
	for _, p := range s.Peers {
		lines = append(lines, p.Records...)
	}
	return lines
}

func numbered(t *testing.T, number int) scenario.Scenario {
	t.Helper()
	return scenario.Scenarios()[number-1]
}

// histories are the tables of the scenarios.
var histories = []string{`
  view  1 2 3 4 5  members      the group that peer 1 made
     1  1          <1>
     2  1 1        <1,2>        2 joins
     3  1 1 1      <1,2,3>      3 joins
     4  1 1 1 1    <1,2,3,4>    4 joins
     5  1 1 1 1 1  <1,2,3,4,5>  5 joins
`, `
  view  1 2 3 4 5  members      the group that peer 1 made
     1  1          <1>
     2  1 1        <1,2>        2 joins
     3  1 1 1      <1,2,3>      3 joins
     4  1 1 1 1    <1,2,3,4>    4 joins
     5  1 1 1 1 1  <1,2,3,4,5>  5 joins
     6  1 1 1 1    <1,2,3,4>    without 5: crashed, unreachable to 1, 2, 3, 4
`, `
  view  1 2 3 4 5  members      the group that peer 1 made
     1  1          <1>
     2  1 1        <1,2>        2 joins
     3  1 1 1      <1,2,3>      3 joins
     4  1 1 1 1    <1,2,3,4>    4 joins
     5  1 1 1 1 1  <1,2,3,4,5>  5 joins
     6  1 1 1 1    <1,2,3,4>    without 5: crashed, unreachable to 1, 2, 3, 4
     7  1 1 1      <1,2,3>      without 4: crashed, unreachable to 1, 2, 3
     8  1 1        <1,2>        without 3: crashed, unreachable to 1, 2
     9  1          <1>          without 2: crashed, unreachable to 1
`, `
  view  1 2 3 4 5  members      the group that peer 1 made
     1  1          <1>
     2  1 1        <1,2>        2 joins
     3  1 1 1      <1,2,3>      3 joins
     4  1 1 1 1    <1,2,3,4>    4 joins
     5  1 1 1 1 1  <1,2,3,4,5>  5 joins
     6  - 2 2 2    <1,2,3,4>    without 5: expelled
     7    2 2 2    <2,3,4>      without 1: crashed, unreachable to 2, 3, 4, 5
`}

func TestScenarios(t *testing.T) {
	t.Parallel()
	for i, s := range scenario.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			lines := records(s)
			code, out, errs := run(t, strings.Join(lines, "\n")+"\n")
			verdict := fmt.Sprintf("\nThe records agree: %d records of 5 peers, 1 group, %d views; 0 other lines ignored\n",
				len(lines), strings.Count(histories[i], "\n")-2)
			if want := histories[i][1:] + verdict; code != 0 || out != want || errs != "" {
				t.Errorf("exit code %d, %s\n%s\nwant 0 and\n%s", code, errs, out, want)
			}
		})
	}
}

// Whatever stands before the records, and in whatever order hosts come, the verdict is the same.
func TestStreams(t *testing.T) {
	t.Parallel()
	s := numbered(t, 4)
	_, want, _ := run(t, strings.Join(records(s), "\n"))
	for name, wrap := range map[string]func(host, record string) string{
		"compose":            func(h, r string) string { return fmt.Sprintf("%-8s | %s", h+"_1", r) },
		"compose in colour":  func(h, r string) string { return fmt.Sprintf("\x1b[36m%-8s |\x1b[0m %s", h+"_1", r) },
		"compose, old":       func(h, r string) string { return fmt.Sprintf("\x1b[33;1m%-8s | \x1b[0m%s", h+"_1", r) },
		"compose with times": func(h, r string) string { return h + "-1  | 2024-05-06T07:08:09.123456789Z " + r },
		"docker with times":  func(_, r string) string { return "2024-05-06T07:08:09.123456789Z " + r },
		"-local":             func(h, r string) string { return fmt.Sprintf("%-5s | %s", h, r) },
		"-local in colour":   func(h, r string) string { return fmt.Sprintf("\x1b[31m%-5s | \x1b[0m%s", h, r) },
		"system log":         func(h, r string) string { return "May 06 07:08:09 " + h + " memberly[123]: " + r },
		"terminal":           func(_, r string) string { return r + "\r" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var lines []string
			for _, i := range []int{4, 2, 0, 1, 3} {
				for _, r := range s.Peers[i].Records {
					lines = append(lines, wrap(s.Peers[i].Name, r))
				}
			}
			if code, got, errs := run(t, strings.Join(lines, "\n")); code != 0 || got != want {
				t.Errorf("exit code %d, %s\n%s\nwant 0 and\n%s", code, errs, got, want)
			}
		})
	}
}

// Each host's records in a file of its own, and other lines among them.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var files []string
	for _, p := range numbered(t, 3).Peers {
		file := filepath.Join(dir, p.Name+".log")
		text := "Attaching to five\n" + strings.Join(p.Records, "\nWaiting for {peer_id\n") + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	code, out, errs := run(t, "", files...)
	if want := " of 5 peers, 1 group, 9 views; "; code != 0 || !strings.Contains(out, want) || !strings.HasPrefix(out, histories[2][1:]) {
		t.Errorf("exit code %d, %s\n%s\nwant 0 and %s", code, errs, out, want)
	}
	last, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if code, again, _ := run(t, string(last), append(files[1:], "-")...); code != 0 || again != out {
		t.Errorf("with one's records from standard input: exit code %d\n%s\nwant 0 and\n%s", code, again, out)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, args, input string
		code              int
		stdout, stderr    string // begins with it
	}{
		{"help", "-help", "", 0, Page.Text(), ""},
		{"unknown flag", "-x", "", 2, "", "memberly verify: flag provided but not defined: -x\nUsage: "},
		{"no such file", "/nowhere/x.log", "", 2, "", "memberly verify: open /nowhere/x.log: no such file"},
		{"a folder", os.TempDir(), "", 2, "", "memberly verify: reading "},
		{"nothing", "", "", 2, "", "memberly verify: there is no record among 0 lines"},
		{"no record", "-", "a\nb\n", 2, "", "memberly verify: there is no record among 2 lines"},
		{"odd", "", "a\n\"{peer_id:1\n", 2, "", "memberly verify: ignored 1 line with {peer_id: inside, the first at standard input:2: "},
		{"malformed", "", "a\nb | {peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]\n", 1,
			"malformed record: at byte 50: want >]}\nstandard input:2: {peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]\n", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			code, out, errs := run(t, c.input, strings.Fields(c.args)...)
			if code != c.code || !strings.HasPrefix(out, c.stdout) || !strings.HasPrefix(errs, c.stderr) ||
				c.stdout == "" && out != "" || c.stderr == "" && errs != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %q, %q", code, out, errs, c.code, c.stdout, c.stderr)
			}
		})
	}
}

// When ctx ends, verify judges what it has read, even while it waits for more.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	go func() {
		io.WriteString(write, strings.Join(records(numbered(t, 1)), "\n")+"\n")
		io.WriteString(write, "{peer_id:") // is taken only when all before has been
		cancel()
	}()
	var out, errs strings.Builder
	if code := Run(ctx, nil, read, &out, &errs); code != 0 || !strings.HasPrefix(out.String(), histories[0][1:]) {
		t.Errorf("exit code %d, %s\n%s", code, errs.String(), out.String())
	}
}

// A line may be longer than any buffer: it is ignored, or malformed.
func TestLongLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3*maxLine)
	text := long + "\n" + strings.Join(records(numbered(t, 1)), "\n"+long+"\n") + "\n" + long
	if code, out, _ := run(t, text); code != 0 || !strings.HasSuffix(out, "; 16 other lines ignored\n") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if code, out, _ := run(t, "{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}"+long); code != 1 || !strings.HasPrefix(out, "malformed record: at byte 53: ") {
		t.Errorf("exit code %d\n%.100s", code, out)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"{peer_id:x":                            "{peer_id:x",
		"one | {peer_id:x\r":                    "{peer_id:x",
		"\x1b[1m\x1b[31mone | \x1b[0m{peer_id:": "{peer_id:",
		"want \"{peer_id:1\"":                   "",
		"um{peer_id:1":                          "",
		"\x1b[zm{peer_id:1":                     "",
		"one | peer_id:1":                       "",
		"one\t{peer_id:x":                       "{peer_id:x",
		"one.log:{peer_id:x":                    "{peer_id:x",
		"\ufeff{peer_id:x":                      "{peer_id:x",
		" ":                                     "",
		"":                                      "",
	} {
		got, ok, odd := find([]byte(line))
		if string(got) != want || ok != (want != "") || odd != (want == "" && strings.Contains(line, opening)) {
			t.Errorf("in %q it finds %q, %v, odd %v, want %q", line, got, ok, odd, want)
		}
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, want string }{
		{`{peer_id:`, "at byte 10: want a number from 1 to 4096"},
		{`{peer_id: 1, view_id: 1, leader: 1, memb_list: [<1>]}`, "at byte 10: want a number"},
		{`{peer_id:1, view_id:1, leader: 1, memb_list: [<1>]}`, "at byte 11: want , view_id: "},
		{`{peer_id:0, view_id: 1, leader: 1, memb_list: [<1>]}`, "at byte 10: want a number"},
		{`{peer_id:01, view_id: 1, leader: 1, memb_list: [<1>]}`, "at byte 10: want a number"},
		{`{peer_id:4097, view_id: 1, leader: 1, memb_list: [<1>]}`, "at byte 10: want a number"},
		{`{peer_id:1, view_id: -1, leader: 1, memb_list: [<1>]}`, "at byte 22: want a number"},
		{`{peer_id:1, view_id: 9223372036854775808, leader: 1, memb_list: [<1>]}`, "at byte 22: want a number"},
		{`{peer_id:1, view_id: 0, leader: 1, memb_list: [<1>]}`, "no view 0"},
		{`{peer_id:1, view_id: 1, leader: 0, memb_list: [<1>]}`, "needs a leader, not 0"},
		{`{peer_id:1, view_id: 1, leader: 1, memb_list: [<>]}`, "at byte 49: want a number"},
		{`{peer_id:1, view_id: 1, leader: 1, memb_list: [<1, 2>]}`, "at byte 51: want a number"},
		{`{peer_id:1, view_id: 1, leader: 1, memb_list: [<1,2,1>]}`, "at byte 53: peer 1 is listed twice"},
		{`{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]} `, "want the end of the line"},
		{`{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]`, "want >]}"},
		{`{peer_id:1, view_id: 1, leader: 1, message: "leaving"}`, "want , memb_list"},
		{`{peer_id:1, view_id: 1, leader: 1, message:"left"}`, "want peer "},
		{`{peer_id:1, view_id: 1, leader: 1, message:"leaving`, "want "},
		{`{peer_id:1, view_id: 1, leader: 1, message:"peer 2 (leader)  unreachable"}`, "want  unreachable"},
		{`{peer_id:1, view_id: 1, leader: 1, message:"peer 2 unreachable"`, `want "}`},
		{`{peer_id:1, view_id: 0, leader: 0, message:"leaving"}`, "without a view"},
	} {
		if r, err := new(parser).parse([]byte(c.line)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: read as %v, error %v, want %s", c.line, r, err, c.want)
		}
	}
}

// What is not text is shown without harm.
func TestShownWithoutHarm(t *testing.T) {
	t.Parallel()
	const line = "{peer_id:1, \x1b]0;owned\a\u202e"
	if code, out, _ := run(t, line+"\n"); code != 1 || !strings.HasSuffix(out, `standard input:1: {peer_id:1, \x1b]0;owned\a\u202e`+"\n") {
		t.Errorf("code %d, %q", code, out)
	}
}

// What is read as a record is written as the same bytes.
func FuzzParse(f *testing.F) {
	for _, s := range scenario.Scenarios() {
		for _, line := range records(s) {
			f.Add([]byte(line))
		}
	}
	f.Add([]byte(`{peer_id:3, view_id: 0, leader: 0, message:"crashing"}`))
	p := new(parser)
	f.Fuzz(func(t *testing.T, line []byte) {
		if r, err := p.parse(line); err == nil && r.String() != string(line) {
			t.Errorf("%q is read as %v", line, r)
		}
	})
}

// edit is a change of a scenario's lines.
type edit func(lines []string) []string

func replace(old, new string) edit {
	return func(lines []string) []string {
		i := slices.Index(lines, old)
		lines[i] = new
		return lines
	}
}

func remove(old string) edit {
	return func(lines []string) []string {
		i := slices.Index(lines, old)
		return slices.Delete(lines, i, i+1)
	}
}

func after(old string, more ...string) edit {
	return func(lines []string) []string {
		i := slices.Index(lines, old)
		return slices.Insert(lines, i+1, more...)
	}
}

// swap exchanges a line for the one after it.
func swap(old string) edit {
	return func(lines []string) []string {
		i := slices.Index(lines, old)
		lines[i], lines[i+1] = lines[i+1], lines[i]
		return lines
	}
}

// TestMutations changes one thing in the records of a scenario, which the verdict must name.
func TestMutations(t *testing.T) {
	t.Parallel()
	view := func(peer, number, leader int, members string) string {
		return fmt.Sprintf("{peer_id:%d, view_id: %d, leader: %d, memb_list: [<%s>]}", peer, number, leader, members)
	}
	says := func(peer, number, leader int, message string) string {
		return fmt.Sprintf("{peer_id:%d, view_id: %d, leader: %d, message:\"%s\"}", peer, number, leader, message)
	}
	six := view(3, 6, 1, "1,2,3,4")
	for _, c := range []struct {
		what     string
		scenario int
		edit     edit
		want     string
	}{
		{"another member", 2, replace(six, view(3, 6, 1, "1,2,3,5")), "view 6 has two memberships"},
		{"another order", 1, replace(view(4, 5, 1, "1,2,3,4,5"), view(4, 5, 1, "1,2,3,5,4")), "view 5 has two memberships"},
		{"nothing happened", 2, replace(six, view(3, 6, 1, "1,2,3,4,5")), "view 6 has two memberships"},
		{"not in its view", 2, replace(six, view(3, 6, 1, "1,2,4")), "peer 3 installs view 6, which lacks it"},
		{"led from outside", 2, replace(six, view(3, 6, 5, "1,2,3,4")), "peer 3 follows peer 5 in view 6"},
		{"numbers fall", 2, after(six, view(3, 5, 1, "1,2,3,4,5")), "peer 3 installs view 5 again, and the records show no second group"},
		{"numbers stand", 2, after(six, six), "peer 3 installs view 6 again, and the records show no second group"},
		{"numbers fall to one it had not", 1, after(view(5, 5, 1, "1,2,3,4,5"), view(5, 4, 1, "1,2,3,4")), "peer 5 installs view 4, which lacks it"},
		{"views out of order", 1, swap(view(2, 4, 1, "1,2,3,4")), "the view numbers of peer 2 drop from 5 to 4"},
		{"two changes in one view", 1, func([]string) []string { return []string{view(1, 1, 1, "1"), view(1, 2, 1, "1,2,3")} },
			"view 2 cannot follow view 1"},
		{"a host was added before the records of it", 1, func([]string) []string { return []string{view(1, 1, 1, "1"), view(1, 3, 1, "1,2")} }, ""},
		{"two changes in a view after one of hosts", 1, func([]string) []string {
			return []string{view(1, 1, 1, "1"), view(1, 2, 1, "1"), view(1, 3, 1, "1,2,3")}
		}, "view 3 cannot follow view 2"},
		{"hosts change", 1, func(lines []string) []string {
			for id := 1; id <= 5; id++ {
				lines = append(lines, view(id, 6, 1, "1,2,3,4,5"), view(id, 7, 1, "1,2,3,4,5"))
			}
			return append(lines, view(1, 8, 1, "1,2,3,4,5,6"), view(6, 8, 1, "1,2,3,4,5,6"))
		}, ""},
		{"hosts change, says one, and another that a member joined", 1, func(lines []string) []string {
			return append(lines, view(1, 6, 1, "1,2,3,4,5"), view(2, 6, 1, "1,2,3,4,5,6"))
		}, "view 6 has two memberships"},
		{"hosts change, and it installs that twice", 1, func(lines []string) []string {
			return append(lines, view(1, 6, 1, "1,2,3,4,5"), view(1, 6, 1, "1,2,3,4,5"))
		}, "peer 1 installs view 6 again"},
		{"hosts change, and numbers fall", 1, func(lines []string) []string {
			return append(lines, view(1, 6, 1, "1,2,3,4,5"), view(1, 7, 1, "1,2,3,4,5"), view(1, 6, 1, "1,2,3,4,5"))
		}, "peer 1 installs view 6 again"},
		{"hosts change with one member", 1, func([]string) []string {
			return []string{view(1, 1, 1, "1"), view(1, 2, 1, "1"), view(1, 3, 1, "1,2"), view(2, 3, 1, "1,2"), says(1, 3, 1, "leaving"),
				view(2, 4, 2, "2"), view(2, 5, 2, "2"), view(2, 6, 2, "2,1"), view(1, 6, 2, "2,1")}
		}, ""},
		{"hosts change before the failed one is removed", 2, func(lines []string) []string {
			lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "view_id: 6") })
			return append(lines, view(1, 6, 1, "1,2,3,4,5"), view(2, 6, 1, "1,2,3,4,5"))
		}, ""},
		{"a join in the middle", 1, func([]string) []string { return []string{view(1, 1, 1, "1"), view(2, 2, 1, "2,1")} },
			"view 2 cannot follow view 1"},
		{"no record of a failure", 2, remove(says(3, 5, 1, "peer 5 unreachable")), "peer 3 installs view 6 without peer 5, and no record explains it"},
		{"no peer recorded it", 1, func(lines []string) []string {
			return append(lines, view(1, 6, 1, "1,2,3,4"), view(2, 6, 1, "1,2,3,4"))
		}, "peer 1 installs view 6 without peer 5, and no record explains it"},
		{"one of two, and no cause", 1, func([]string) []string {
			return []string{view(1, 1, 1, "1"), view(1, 2, 1, "1,2"), view(1, 3, 1, "1")}
		}, "peer 1 installs view 3 without peer 2, and no record explains it (the input has no record of peer 2)"},
		{"one of two was killed, and made a new group", 1, func([]string) []string {
			return []string{view(1, 1, 1, "1"), view(1, 2, 1, "1,2"), view(2, 2, 1, "1,2"), says(2, 2, 1, "peer 1 (leader) unreachable"),
				view(1, 3, 1, "1"), view(1, 4, 1, "1,2"), view(2, 4, 1, "1,2")}
		}, ""},
		{"the failure is recorded too late", 2, swap(says(3, 5, 1, "peer 5 unreachable")), "peer 3 installs view 6 without peer 5, and no record explains it"},
		{"not told that it is out", 4, remove(says(1, 5, 1, "crashing")), ""},
		{"the drill's end is missing", 4, func(lines []string) []string {
			return remove(says(5, 5, 2, "removed from the group"))(remove(says(1, 5, 1, "crashing"))(lines))
		}, "peer 2 installs view 6 without peer 5, and no record explains it"},
		{"the same failure twice", 2, after(says(2, 5, 1, "peer 5 unreachable"), says(2, 5, 1, "peer 5 unreachable")),
			"peer 2 reports the failure of peer 5 twice in view 5"},
		{"the failure of one that is gone", 2, after(six, says(3, 6, 1, "peer 5 unreachable")), "peer 3 reports the failure of peer 5, which is not in view 6"},
		{"its own failure", 2, after(six, says(3, 6, 1, "peer 3 unreachable")), "peer 3 reports itself unreachable"},
		{"the leader, unnamed", 4, replace(says(3, 5, 1, "peer 1 (leader) unreachable"), says(3, 5, 1, "peer 1 unreachable")), `peer 3 must say "(leader)"`},
		{"not the leader", 2, replace(says(3, 5, 1, "peer 5 unreachable"), says(3, 5, 1, "peer 5 (leader) unreachable")), `peer 3 must say "(leader)"`},
		{"of another view", 2, replace(says(5, 5, 1, "crashing"), says(5, 4, 1, "crashing")), "peer 5 speaks of view 4, but holds view 5"},
		{"after its end", 2, after(says(5, 5, 1, "crashing"), says(5, 5, 1, "peer 4 unreachable")), "peer 5 writes another record after its end"},
		{"a failure without removal", 2, func(lines []string) []string {
			lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "view_id: 6") })
			return append(lines, view(1, 6, 1, "1,2,3,4,5,6"), view(2, 6, 1, "1,2,3,4,5,6"), view(6, 6, 1, "1,2,3,4,5,6"))
		}, "peer 5 was reported unreachable in view 5, but is still in the group after view 6"},
		{"a failure without removal, beside another group", 2, func(lines []string) []string {
			lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "view_id: 6") })
			return append(lines, view(1, 6, 1, "1,2,3,4,5,6"), view(2, 6, 1, "1,2,3,4,5,6"), view(6, 6, 1, "1,2,3,4,5,6"), view(7, 1, 7, "7"))
		}, "peer 5 was reported unreachable in view 5, but is still in the group after view 6"},
		{"a failure in the group before", 1, func([]string) []string {
			return []string{view(1, 1, 1, "1"), view(1, 2, 1, "1,2"), view(2, 2, 1, "1,2"), view(1, 3, 1, "1,2,3"), view(2, 3, 1, "1,2,3"),
				says(1, 3, 1, "peer 2 unreachable"), says(1, 3, 1, "leaving"), view(2, 4, 2, "2"), view(2, 5, 2, "2,1"), view(1, 5, 2, "2,1"),
				view(1, 6, 2, "2,1,4")}
		}, ""},
		{"the records end before the removal", 2, func(lines []string) []string {
			return slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "view_id: 6") })
		}, ""},
		{"left", 1, func(lines []string) []string {
			return append(lines, says(5, 5, 1, "leaving"), view(1, 6, 1, "1,2,3,4"))
		}, ""},
		{"left, came back, and vanished", 1, func(lines []string) []string {
			return append(lines, says(5, 5, 1, "leaving"), view(1, 6, 1, "1,2,3,4"), view(1, 7, 1, "1,2,3,4,5"), view(5, 7, 1, "1,2,3,4,5"), view(1, 8, 1, "1,2,3,4"))
		}, "peer 1 installs view 8 without peer 5"},
		{"all started again", 1, func(lines []string) []string { return append(lines, lines...) }, ""},
		{"all started again, and differ", 1, func(lines []string) []string {
			return append(slices.Clone(lines), replace(view(3, 5, 1, "1,2,3,4,5"), view(3, 5, 1, "1,2,3,4"))(lines)...)
		}, "view 5 "},
		{"one was killed and came back", 2, func(lines []string) []string {
			lines = remove(says(5, 5, 1, "crashing"))(lines)
			return append(lines, view(1, 7, 1, "1,2,3,4,5"), view(5, 7, 1, "1,2,3,4,5"))
		}, ""},
		{"crashed before it was let in", 2, after(says(5, 5, 1, "crashing"), says(5, 0, 0, "crashing")), ""},
		{"the beginning is missing", 3, func(lines []string) []string {
			return slices.DeleteFunc(lines, func(line string) bool {
				return strings.Contains(line, "view_id: 1,") || strings.Contains(line, "view_id: 2,")
			})
		}, ""},
		{"only one peer's", 3, func(lines []string) []string {
			return slices.DeleteFunc(lines, func(line string) bool { return !strings.HasPrefix(line, "{peer_id:3,") })
		}, ""},
		{"two groups", 1, func([]string) []string {
			return []string{view(1, 1, 1, "1"), view(2, 1, 2, "2"), view(2, 2, 2, "2,3"), view(3, 2, 2, "2,3"), view(1, 2, 1, "1,4"), view(4, 2, 1, "1,4"),
				says(2, 2, 2, "leaving"), view(1, 3, 1, "1,4,2"), view(2, 3, 1, "1,4,2")}
		}, ""},
		{"three memberships, two groups", 1, func([]string) []string {
			return []string{view(1, 1, 1, "1"), view(2, 1, 2, "2"), view(2, 2, 2, "2,3"), view(3, 2, 2, "2,3"), view(1, 2, 1, "1,4"), view(4, 2, 1, "1,4"),
				view(5, 2, 1, "1,5")}
		}, "view 2 has two memberships"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			lines := c.edit(records(numbered(t, c.scenario)))
			code, out, errs := run(t, strings.Join(lines, "\n"))
			first, _, _ := strings.Cut(out, "\n")
			switch {
			case c.want == "" && code != agreed:
				t.Errorf("exit code %d, %s\n%s\nwant 0", code, errs, out)
			case c.want != "" && (code != contradicted || !strings.HasPrefix(first, "contradiction: "+c.want)):
				t.Errorf("exit code %d, %s\n%s\nwant 1 and contradiction: %s", code, errs, out, c.want)
			}
		})
	}
}

// Of several groups no more is said than records tell, and what waits for its removal is named.
func TestVerdict(t *testing.T) {
	t.Parallel()
	lines := []string{
		"{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}",
		"{peer_id:1, view_id: 2, leader: 1, memb_list: [<1,2>]}",
		"{peer_id:2, view_id: 2, leader: 1, memb_list: [<1,2>]}",
		`{peer_id:2, view_id: 2, leader: 1, message:"peer 1 (leader) unreachable"}`,
		`{peer_id:1, view_id: 2, leader: 1, message:"peer 2 unreachable"}`,
		"{peer_id:3, view_id: 1, leader: 3, memb_list: [<3>]}",
	}
	code, out, _ := run(t, strings.Join(lines, "\n"))
	const want = `
The records agree within each group: 6 records of 3 peers, 2 groups, which may have existed at the same time, 3 views; 0 other lines ignored
Not removed when the records end: peer 1, unreachable to 2 in view 2
Not removed when the records end: peer 2, unreachable to 1 in view 2
`
	if code != 0 || !strings.HasSuffix(out, want) {
		t.Errorf("exit code %d\n%s\nwant 0 and%s", code, out, want)
	}
}

// A view in which no member changes says what it changes.
func TestHostsChange(t *testing.T) {
	t.Parallel()
	code, out, _ := run(t, "{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}\n{peer_id:1, view_id: 2, leader: 1, memb_list: [<1>]}\n"+
		"{peer_id:1, view_id: 4, leader: 1, memb_list: [<1,2>]}\n")
	const want = `  view  1 2  members  the group that peer 1 made
     1  1    <1>
     2  1    <1>      a host is added or retired
     4  1 -  <1,2>    2 joins
`
	if code != agreed || !strings.HasPrefix(out, want) {
		t.Errorf("exit code %d\n%s\nwant\n%s", code, out, want)
	}
}

// A contradiction is named with both records, where they stand, and the first of several.
func TestReport(t *testing.T) {
	t.Parallel()
	lines := strings.Split(`{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}
{peer_id:1, view_id: 2, leader: 1, memb_list: [<1,2>]}
hello
two | {peer_id:2, view_id: 2, leader: 1, memb_list: [<2>]}
{peer_id:2, view_id: 2, leader: 1, message:"peer 9 unreachable"}`, "\n")
	_, out, _ := run(t, strings.Join(lines, "\n"))
	want := `contradiction: peer 2 follows peer 1 in view 2, which lacks that leader
standard input:4: {peer_id:2, view_id: 2, leader: 1, memb_list: [<2>]}

`
	if !strings.HasPrefix(out, want) {
		t.Errorf("it says\n%s\nwant\n%s", out, want)
	}
	lines[3] = "two | {peer_id:2, view_id: 2, leader: 2, memb_list: [<3,2>]}"
	_, out, _ = run(t, strings.Join(lines, "\n"))
	want = `contradiction: view 2 has two memberships (the input has no record of peer 3)
standard input:2: {peer_id:1, view_id: 2, leader: 1, memb_list: [<1,2>]}
standard input:4: {peer_id:2, view_id: 2, leader: 2, memb_list: [<3,2>]}

`
	if !strings.HasPrefix(out, want) {
		t.Errorf("it says\n%s\nwant\n%s", out, want)
	}
}
