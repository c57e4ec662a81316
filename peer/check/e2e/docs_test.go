package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/check/scenario"
)

// This file runs the console examples of the documentation as a reader does, on loopback addresses of the test's own.
// What a command prints must have the shape of what the page shows: times, durations and process ids differ.

// tried are the pages whose console examples are run, but for sections that say otherwise.
var tried = []string{"README.md", "docs/quickstart.md", "docs/testing.md"}

// untried are what a section says whose examples are not run, and what one says whose examples another test runs.
var untried = []string{"run by a test", "`go test", "`.ci/run"}

func TestDocsExamples(t *testing.T) {
	t.Parallel()
	for _, page := range tried {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			r, followed := newReader(t), 0
			for _, s := range sections(t, page) {
				if s.says(untried) {
					continue
				}
				for _, b := range s.blocks {
					r.follow(b)
					followed++
				}
			}
			if r.stop(); followed == 0 {
				t.Error("no example was run")
			}
			if r.lacks != nil {
				t.Skip("not all was run: ", r.lacks)
			}
		})
	}
}

// Every page of docs says which of its console examples no test runs.
func TestDocsSayWhatIsRun(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("found the pages %v, %v", pages, err)
	}
	for _, file := range pages {
		page, _ := filepath.Rel(root, file)
		if contains(page)(tried) {
			continue
		}
		all := sections(t, page)
		for _, s := range all {
			for _, b := range s.blocks {
				if b.console && !s.says(untried) && !all[1].says(untried) { // all[1] is for the whole page
					t.Errorf("%s, %q: say \"(not run by a test)\", or which test runs the commands", page, s.heading)
				}
			}
		}
	}
}

// The example of verify is what it says of the records of scenario 4.
func TestDocsVerifyExample(t *testing.T) {
	t.Parallel()
	var records []string
	for _, p := range scenario.Scenarios()[3].Peers {
		records = append(records, p.Records...)
	}
	code, out, errs := execute(t, strings.Join(records, "\n")+"\n", "verify")
	examples := 0
	for _, s := range sections(t, "docs/reference-records.md") {
		for _, b := range s.blocks {
			if !b.console {
				continue
			}
			examples++
			if shown := strings.Join(b.lines[1:], "\n") + "\n"; shown != out {
				t.Errorf("exit code %d, %s\n%s\nthe page shows\n%s", code, errs, out, shown)
			}
		}
	}
	if examples == 0 {
		t.Error("the page has no example")
	}
}

// section is a section of a page, up to the next heading of any level.
type section struct {
	heading string
	text    string // without blocks
	blocks  []block
}

// block is a fenced block: a console, or what a program writes.
type block struct {
	console bool
	plain   bool // without a language
	lines   []string
}

func (s *section) says(words []string) bool {
	for _, w := range words {
		if strings.Contains(s.text, w) {
			return true
		}
	}
	return false
}

// sections returns the sections of a page.
func sections(t *testing.T, page string) []*section {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	all := []*section{{}}
	var open *block
	for line := range strings.SplitSeq(string(text), "\n") {
		s := all[len(all)-1]
		fence, fenced := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fenced && open == nil:
			open = &block{console: fence == "console", plain: fence == ""}
		case fenced:
			s.blocks = append(s.blocks, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		case strings.HasPrefix(line, "#"):
			all = append(all, &section{heading: strings.TrimLeft(line, "# "), text: line + "\n"})
		default:
			s.text += line + "\n"
		}
	}
	if open != nil {
		t.Fatalf("%s ends within a block: a fence is missing", page)
	}
	return all
}

// reader follows a page in a folder that has the program and the hosts file.
type reader struct {
	t      *testing.T
	dir    string
	subnet loopback.Subnet
	group  *daemon           // that -local runs; nil if none does
	pids   map[string]string // the processes of the group, by those that the page shows
	lacks  error             // what this machine lacks for some of the commands
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{t: t, dir: t.TempDir(), subnet: loopback.NewSubnet(t), pids: make(map[string]string)}
	hosts, err := os.ReadFile(r.subnet.HostsFile(t, "one", "two", "three", "four", "five"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "hostsfile.txt"), hosts, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(r.dir, "memberly")); err != nil {
		t.Fatal(err)
	}
	return r
}

// follow runs the commands of a block, and compares what they print with what it shows.
func (r *reader) follow(b block) {
	r.t.Helper()
	switch {
	case b.plain && r.group != nil:
		r.await(b.lines)
	case b.console:
		for i := 0; i < len(b.lines); {
			command, ok := strings.CutPrefix(b.lines[i], "$ ")
			if !ok {
				r.t.Fatalf("%q follows no command", b.lines[i])
			}
			from := i + 1
			for i = from; i < len(b.lines) && !strings.HasPrefix(b.lines[i], "$ "); i++ {
			}
			r.run(command, b.lines[from:i])
		}
	}
}

// runnable are the commands that need nothing but this machine.
var runnable = regexp.MustCompile(`^(CGO_ENABLED=0 go build|go run|(\./)?memberly|kill -9) `)

// run runs a command, which must succeed and print lines of the shape that is shown.
func (r *reader) run(command string, shown []string) {
	r.t.Helper()
	switch {
	case strings.HasPrefix(command, "go test "):
		return // which this test is part of
	case !runnable.MatchString(command):
		r.t.Fatalf("this test does not run %q: say \"(not run by a test)\" in the section", command)
	case strings.HasPrefix(command, "CGO_ENABLED=0 go build"):
		command = fmt.Sprintf("cd %s && %s", mustAbs(r.t, root), strings.Replace(command, "build", "build -o "+filepath.Join(r.dir, "memberly"), 1))
		if err := os.Remove(filepath.Join(r.dir, "memberly")); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := exec.LookPath("jq"); err != nil && strings.Contains(command, "| jq ") {
		r.lacks = err
	}
	command = strings.Replace(command, "go run . ", "./memberly ", 1)
	if strings.Contains(command, " -local") {
		r.start(r.here(command), shown)
		return
	}
	if pid, ok := strings.CutPrefix(command, "kill -9 "); ok {
		command = "kill -9 " + r.pids[pid]
	}
	deadline := time.Now().Add(patience)
	for {
		out, err := r.shell(r.here(command)).CombinedOutput()
		printed := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
		switch {
		case err == nil && (len(shown) == 0 || r.matches(printed, shown)):
			return
		case len(shown) == 0 || time.Now().After(deadline):
			r.t.Fatalf("%s: %v\n%s\nthe page shows\n%s", command, err, out, strings.Join(shown, "\n"))
		}
		time.Sleep(50 * time.Millisecond) // what it shows may become true only soon
	}
}

// start starts a group, which goes on while later commands run.
func (r *reader) start(command string, shown []string) {
	r.t.Helper()
	r.stop()
	cmd := r.shell("exec " + command)
	r.group = launch(r.t, command, cmd)
	r.group.await(&r.group.stdout, "table of hosts", func(lines []string) bool { return len(lines) > 5 })
	real := make(map[string]string)
	for _, line := range r.group.stdout.Lines()[1:6] {
		f := strings.Fields(line)
		real[f[0]] = f[2]
	}
	for _, line := range shown {
		if f := strings.Fields(line); len(f) == 3 && real[f[0]] != "" {
			r.pids[f[2]] = real[f[0]]
		}
	}
	r.await(shown)
}

// stop ends the group, as Ctrl-C does.
func (r *reader) stop() {
	r.t.Helper()
	if r.group != nil {
		r.group.signal(syscall.SIGINT)
		r.group.awaitExit(patience)
		r.group = nil
	}
}

// await waits until the group has written all lines that are shown, in whatever order.
func (r *reader) await(shown []string) {
	r.t.Helper()
	for _, line := range shown {
		if line == "…" {
			continue
		}
		want := r.shape(line)
		within(r.t, "the group writes "+line, func() bool {
			for _, written := range append(r.group.stdout.Lines(), r.group.stderr.Lines()...) {
				if r.shape(written) == want {
					return true
				}
			}
			return false
		})
	}
}

// matches reports whether lines have the shapes that are shown, in this order. "…" stands for any lines.
func (r *reader) matches(lines, shown []string) bool {
	if len(shown) == 0 {
		return len(lines) == 0
	}
	if shown[0] == "…" {
		for i := range len(lines) + 1 {
			if r.matches(lines[i:], shown[1:]) {
				return true
			}
		}
		return false
	}
	return len(lines) > 0 && r.shape(lines[0]) == r.shape(shown[0]) && r.matches(lines[1:], shown[1:])
}

var (
	clockTime = regexp.MustCompile(`\b\d\d:\d\d(:\d\d)?\b`)
	duration  = regexp.MustCompile(`\b\d+\.\d s\b`)
	process   = regexp.MustCompile(`^(\w+ +127\.[\d.]+ +)\d+$`)
	blanks    = regexp.MustCompile(` +`)
)

// shape returns a line without what differs from run to run, and with this test's addresses.
func (r *reader) shape(line string) string {
	line = process.ReplaceAllString(r.here(line), "${1}PID")
	line = duration.ReplaceAllString(clockTime.ReplaceAllString(line, "TIME"), "D s")
	return strings.TrimSpace(blanks.ReplaceAllString(line, " "))
}

// here puts this test's addresses in the place of 127.0.0.1 and so on.
func (r *reader) here(text string) string {
	return strings.ReplaceAll(text, "127.0.0.", strings.TrimSuffix(r.subnet.Host(1).String(), "1"))
}

func (r *reader) shell(command string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+r.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return cmd
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil || bytes.ContainsAny([]byte(abs), " '\"$") {
		t.Fatalf("%q is no path for a shell: %v", abs, err)
	}
	return abs
}
