package main

import (
	"context"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/config"
)

// TestExitCodes runs what ends before a peer starts.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	file := loopback.NewSubnet(t).HostsFile(t, "one", "two", "three", "four")
	empty := filepath.Join(t.TempDir(), "empty.txt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		args   string
		code   int
		stdout string // begins with it
		stderr string // contains it
	}{
		{"no arguments", "", 2, "", "-h FILE"},
		{"no hosts file", "-d 2", 2, "", "-h FILE"},
		{"unknown flag", "-h " + file + " -x", 2, "", "-x"},
		{"negative delay", "-h " + file + " -n one -d -1", 2, "", "-d"},
		{"drill on another host", "-h " + file + " -n two -t", 2, "", "first host"},
		{"missing hosts file", "-h " + file + ".none -n one", 1, "", "no such file"},
		{"empty hosts file", "-h " + empty + " -n one", 1, "", "lists no host"},
		{"not listed", "-h " + file + " -n six", 1, "", `"six"`},
		{"-h alone", "-h", 2, "", "memberly: -h needs the hosts file; for help: memberly help\n"},
		{"mistyped flag", "-h " + file + " -htpp 8082", 2, "", "did you mean -http?\n  -http ADDR  serve"},
		{"mistyped command", "verfiy " + file, 2, "", "did you mean verify?"},
		{"unknown command", "reconfigure", 2, "", "verify, simulate"},
		{"a file for a command", file, 2, "", "did you mean -h " + file + ", the hosts file?"},
		{"-help", "-help", 0, usage(), ""},
		{"--help", "--help", 0, usage(), ""},
		{"help", "help", 0, usage(), ""},
		{"help of a command", "help verify", 0, "Usage: memberly verify", ""},
		{"version, as a command", "version", 0, "memberly ", ""},
		{"version", "-version", 0, "memberly ", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr strings.Builder
			if code := run(t.Context(), strings.Fields(c.args), nil, &stdout, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if c.stdout == "" && stdout.Len() > 0 || !strings.HasPrefix(stdout.String(), c.stdout) {
				t.Errorf("stdout is %q, want %q", stdout.String(), c.stdout)
			}
			if !strings.Contains(stderr.String(), c.stderr) || c.code == 0 && stderr.Len() > 0 {
				t.Errorf("stderr is %q, want %q in it", stderr.String(), c.stderr)
			}
			// The usage text is its first line, and how to see the rest: at most three lines in all.
			if usage := strings.HasSuffix(stderr.String(), "\nUsage: memberly -h FILE [options]; for all of it: memberly help\n"); usage != (c.code == 2) ||
				strings.Count(stderr.String(), "\n") > 3 {
				t.Errorf("stderr is %q: is the usage text in its place, and short?", stderr.String())
			}
			if c.code == 1 && strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("stderr is %q, want one line", stderr.String())
			}
		})
	}
}

// For a port that is in use, the peer prints the reference's words and one line that says what to do.
func TestPortsTaken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ network, port, want string }{
		{"tcp", "8080", "Error starting TCP listener: listen tcp "},
		{"udp", "8081", "Error starting UDP listener: listen udp "},
	} {
		t.Run(c.network, func(t *testing.T) {
			t.Parallel()
			s := loopback.NewSubnet(t)
			loopback.Occupy(t, c.network, net.JoinHostPort(s.Host(1).String(), c.port))
			var stdout, stderr strings.Builder
			code := run(t.Context(), []string{"-h", s.HostsFile(t, "one"), "-n", "one"}, nil, &stdout, &stderr)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if got := stdout.String(); !strings.HasPrefix(got, c.want) || !strings.HasSuffix(got, "address already in use\n") {
				t.Errorf("stdout is %q, want %q … address already in use", got, c.want)
			}
			if got := stderr.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "port "+c.port) {
				t.Errorf("stderr is %q, want one line about port %s", got, c.port)
			}
		})
	}
}

// While -d lasts, a signal ends the process at once.
func TestSignalDuringDelay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr strings.Builder
	code := run(ctx, []string{"-h", loopback.NewSubnet(t).HostsFile(t, "one"), "-n", "one", "-d", "3600"}, nil, &stdout, &stderr)
	if code != 0 || stdout.Len()+stderr.Len() > 0 {
		t.Errorf("exit code %d, wrote %q and %q, want 0 and nothing", code, stdout.String(), stderr.String())
	}
}

// A command that ends soon after a signal keeps its exit code. One that does not has failed, even if stderr is stuck.
func TestAwait(t *testing.T) {
	t.Parallel()
	const signal = time.Minute
	for _, c := range []struct {
		what  string
		takes time.Duration
		stuck bool
		code  int
		after time.Duration
		says  string
	}{
		{"ends before", time.Second, false, 7, time.Second, ""},
		{"ends at once", signal, false, 7, signal, ""},
		{"ends soon", signal + grace - 1, false, 7, signal + grace - 1, ""},
		{"ends late", signal + grace + 1, false, failure, signal + grace, "memberly: verify did not end within 2s of a signal, so it was ended: "},
		{"never ends", 1 << 62, false, failure, signal + grace, "memberly: verify did not end within 2s of a signal, so it was ended: "},
		{"never ends, and cannot say so", 1 << 62, true, failure, signal + 2*grace, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), signal)
				defer cancel()
				end := make(chan struct{})
				r, w := io.Pipe()
				said := start(func() int {
					if c.stuck {
						return 0
					}
					text, _ := io.ReadAll(r)
					if got := string(text); (got == "") != (c.says == "") || !strings.HasPrefix(got, c.says) {
						t.Errorf("said %q, want %q", got, c.says)
					}
					return 0
				})
				began := time.Now()
				code := await(ctx, w, "verify", func() int {
					select {
					case <-time.After(c.takes):
					case <-end:
					}
					return 7
				})
				if took := time.Since(began); code != c.code || took != c.after {
					t.Errorf("exit code %d after %v, want %d after %v", code, took, c.code, c.after)
				}
				close(end)
				w.Close()
				<-said
			})
		})
	}
}

// The reference has a row for every flag, no other rows, every variable, and a section for every command with all of its
// flags.
func TestReferenceListsFlags(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/reference-cli.md")
	if err != nil {
		t.Fatal(err)
	}
	reference := string(text)
	flags := func(text string) map[string]bool {
		found := make(map[string]bool)
		for _, f := range regexp.MustCompile("(?:^|[ \n`\\[])(-[a-z]+(?:-[a-z]+)*)").FindAllStringSubmatch(text, -1) {
			found[f[1]] = true
		}
		return found
	}
	listed := make(map[string]bool)
	for line := range strings.Lines(docSection(reference, "## Flags")) {
		if strings.HasPrefix(line, "| `-") {
			cell, _, _ := strings.Cut(line[2:], " | ")
			maps.Copy(listed, flags(cell))
		}
	}
	known := flags(config.Usage())
	for f := range known {
		if !listed[f] && f != "-help" {
			t.Errorf("docs/reference-cli.md has no row for %s, which the usage text has", f)
		}
	}
	for f := range listed {
		if !known[f] {
			t.Errorf("docs/reference-cli.md has a row for %s, which the usage text does not have", f)
		}
	}
	for _, v := range regexp.MustCompile(`MEMBERLY_[A-Z_]+`).FindAllString(usage(), -1) {
		if !strings.Contains(docSection(reference, "## Environment variables"), "`"+v+"`") && v != "MEMBERLY_" {
			t.Errorf("docs/reference-cli.md does not have the variable %s", v)
		}
	}
	commands := regexp.MustCompile(`(?m)^  memberly ([a-z]+) `).FindAllStringSubmatch(usage(), -1)
	if len(commands) < 10 {
		t.Errorf("found the commands %v in the usage text", commands)
	}
	for _, c := range commands {
		name := c[1]
		row := "\n| [`" + name + "`]("
		_, link, ok := strings.Cut(reference, row)
		link, _, _ = strings.Cut(link, ")")
		page, anchor, _ := strings.Cut(link, "#")
		in := reference
		if page != "" {
			other, err := os.ReadFile("docs/" + page)
			if err != nil {
				t.Error(err)
			}
			in = string(other)
		}
		section := docSection(in, "## memberly "+name)
		if !ok || section == "" || anchor != "memberly-"+name {
			t.Errorf("docs/reference-cli.md has no row for %s that leads to a section about it", name)
			continue
		}
		var out strings.Builder
		if code := run(t.Context(), []string{name, "-help"}, nil, &out, io.Discard); code != 0 || out.Len() == 0 {
			t.Errorf("%s -help: exit code %d", name, code)
		}
		if name == "simulate" { // the page refers to -help, which groups some thirty options
			continue
		}
		for line := range strings.Lines(out.String()) {
			if !strings.HasPrefix(line, "Usage: ") && !strings.HasPrefix(line, "  -") {
				continue
			}
			for f := range flags(line) {
				if !flags(section)[f] {
					t.Errorf("the section about %s does not have %s", name, f)
				}
			}
		}
	}
}

// docSection returns a section of a page, or "".
func docSection(page, heading string) string {
	_, section, _ := strings.Cut(page, "\n"+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}
