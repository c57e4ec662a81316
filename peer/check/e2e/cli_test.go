package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
)

// This file tests the command line as people try it: help, completion, the man page, variables, and times.

// commandNames are those of all commands, as the usage text has them.
func commandNames(t *testing.T) (names []string) {
	_, text, _ := execute(t, "", "help")
	for _, m := range regexp.MustCompile(`(?m)^  memberly ([a-z]+) `).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	if len(names) != 13 {
		t.Errorf("the usage text has the commands %q", names)
	}
	return names
}

// help COMMAND, COMMAND -help and COMMAND --help are the same, the command has every flag in it, and answers what is wrong in
// three lines at most.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, name := range append(commandNames(t), "") {
		command, page := strings.Fields(name), append([]string{"help"}, strings.Fields(name)...)
		_, text, errs := execute(t, "", page...)
		if !strings.HasPrefix(text, strings.TrimSuffix("Usage: memberly "+name, " ")) || errs != "" {
			t.Errorf("help %s: %q, %q", name, text, errs)
		}
		for _, flag := range []string{"-help", "--help"} {
			if code, same, _ := execute(t, "", append(command, flag)...); code != 0 || same != text {
				t.Errorf("%s %s: exit code %d, and not the same as help", name, flag, code)
			}
		}
		for line := range strings.Lines(text) {
			if n := len([]rune(line)); n > 81 && !strings.HasPrefix(line, "  memberly ") {
				t.Errorf("help %s: %d wide: %s", name, n, line)
			}
		}
		flags := regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(text, -1)
		for _, flag := range flags {
			if _, _, errs := execute(t, "", append(command, "-"+flag[1], "-help")...); strings.Contains(errs, "not defined") {
				t.Errorf("%s has no %s", name, flag[1])
			}
		}
		code, out, errs := execute(t, "", append(command, "-no-such-flag")...)
		if code != 2 || out != "" || strings.Count(errs, "\n") > 3 || !strings.Contains(errs, "not defined: -no-such-flag\nUsage: memberly ") ||
			!strings.Contains(errs, "; for all of it: memberly help") {
			t.Errorf("%s -no-such-flag: exit code %d, %q, %q", name, code, out, errs)
		}
	}
}

// Nothing that is not written to a terminal is coloured, whatever the environment says. TestWatchOnTerminal is about those.
func TestNoColor(t *testing.T) {
	t.Parallel()
	file := loopback.NewSubnet(t).HostsFile(t, "one")
	one := start(t, file, "one", "-http", "8082", "-times")
	one.awaitRecord("view_id: 1,")
	host, _, _ := strings.Cut(strings.TrimPrefix(string(must(os.ReadFile(file))), "one "), "\n")
	for _, args := range []string{"help", "help verify", "version", "man", "completion bash", "completion zsh", "completion fish", "-x", "statsu",
		"status " + host + ":8082", "status -json " + host + ":8082", "ready " + host + ":8082", "status 127.0.0.1:1",
		"simulate -records", "simulate -trace", "simulate", "verify -x", "doctor -h " + file + " -n two"} {
		cmd := exec.CommandContext(t.Context(), program, strings.Fields(args)...)
		cmd.Env = append(os.Environ(), "TERM=xterm-256color", "CLICOLOR_FORCE=1", "FORCE_COLOR=1")
		out, _ := cmd.CombinedOutput()
		if i := strings.IndexFunc(string(out), func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }); i >= 0 || len(out) == 0 {
			t.Errorf("%s prints %q", args, out)
		}
	}
	for _, out := range []string{one.stdout.String(), one.stderr.String()} {
		if strings.Contains(out, "\x1b") {
			t.Errorf("a peer prints %q", out)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// The completions, loaded by the shells that are here.
func TestCompletion(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{"hosts.txt", "hosts file", "other"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const load = `source "$SCRIPT" || exit; `
	for shell, script := range map[string]string{
		"bash": `set -u; ` + load + `read -ra COMP_WORDS <<<"$LINE"; [[ $LINE == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			complete -p memberly >/dev/null && _memberly && printf '%s\n' "${COMPREPLY[@]}"`,
		"fish": load + `complete -C "$LINE"`,
		"zsh": `zmodload zsh/zpty; zpty z "PS1= TERM=dumb zsh -fi"
			zpty -w z 'autoload -Uz compinit; compinit -u -D; source "$SCRIPT"; zstyle ":completion:*" insert-unambiguous false; setopt auto_menu; unsetopt zle_bracketed_paste 2>/dev/null; print LOADED'
			zpty -r z line '*LOADED*LOADED*'; zpty -w -n z "$LINE"$'\t'; sleep 1; while zpty -rt z line; do print -rn -- "$line"; done; zpty -d z`,
	} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(shell); err != nil {
				t.Skip(err)
			}
			_, completion, _ := execute(t, "", "completion", shell)
			path := filepath.Join(t.TempDir(), "completion")
			if err := os.WriteFile(path, []byte(completion), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct{ line, want, lacks string }{
				{"memberly sta", "status", "ready"},
				{"memberly -htt", "-http", "-hold"},
				{"memberly -h hosts.", "hosts.txt", "other"},
				{"memberly -h x -sta", "-state", "-local"},
				{"memberly status -j", "-json", "-watch"},
				{"memberly help verif", "verify", "status"},
				{"memberly completion fi", "fish", "bash"},
				{"memberly verify oth", "other", "hosts"},
				{"memberly doctor -key oth", "other", "hosts"},
				{"memberly simulate -power", "-power-cuts", "-crashes"},
			} {
				cmd := exec.CommandContext(t.Context(), shell, "-c", script)
				cmd.Dir, cmd.Env = folder, append(os.Environ(), "SCRIPT="+path, "LINE="+c.line, "HOME="+folder, "TERM=dumb")
				out, err := cmd.CombinedOutput()
				if got := string(out); !strings.Contains(got, c.want) || strings.Contains(got, c.lacks) {
					t.Errorf("%q: %v, %q, want %s and not %s", c.line, err, got, c.want, c.lacks)
				}
			}
		})
	}
}

// The formatters that are here show the man page, and find nothing wrong with it. (mandoc would like a date.)
func TestManPage(t *testing.T) {
	t.Parallel()
	_, page, _ := execute(t, "", "man")
	for name, args := range map[string][]string{"groff": {"-man", "-Tascii", "-ww", "-P-c"}, "mandoc": {"-T", "ascii", "-W", "error,stop"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(name); err != nil {
				t.Skip(err)
			}
			var out, errs strings.Builder
			cmd := exec.CommandContext(t.Context(), name, args...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(page), &out, &errs
			if err := cmd.Run(); err != nil || errs.Len() > 0 {
				t.Errorf("%v: %s", err, errs.String())
			}
			text := regexp.MustCompile(`.\x08|\x1b\[[0-9;]*m`).ReplaceAllString(out.String(), "")
			for _, want := range append(commandNames(t), "-h FILE", "MEMBERLY_HOSTS_FILE", "-power-cuts N", "EXIT STATUS") {
				if !strings.Contains(text, want) {
					t.Errorf("it lacks %s", want)
				}
			}
		})
	}
}

// environment returns the environment of this test with variables, as NAME=VALUE without MEMBERLY_.
func environment(variables ...string) []string {
	all := os.Environ()
	for _, v := range variables {
		all = append(all, "MEMBERLY_"+v)
	}
	return all
}

// A peer is configured by variables alone. What -exec and -hold run inherits none of them, so a peer that they start is
// configured by its own command line.
func TestVariables(t *testing.T) {
	t.Parallel()
	outer, inner := loopback.NewSubnet(t), loopback.NewSubnet(t)
	log := filepath.Join(t.TempDir(), "log")
	try := fmt.Sprintf(`env | sed -n 's/^\(MEMBERLY_[A-Z_]*\)=.*/\1/p' >%[1]s.BY; timeout 5 %[2]s -h %[3]s -n inner >%[1]s.BY.out 2>%[1]s.BY.err`,
		log, program, "FILE")
	of := func(by string, s loopback.Subnet) string {
		return strings.NewReplacer("BY", by, "FILE", s.HostsFile(t, "inner")).Replace(try)
	}
	cmd := exec.Command(program)
	cmd.Env = environment("HOSTS_FILE="+outer.HostsFile(t, "one"), "NAME=one", "HTTP=8082", "TIMES=true", "STATE="+log+".state",
		"EXEC=[ $MEMBERLY_EVENT = view ] || exit 0; "+of("exec", inner), "HOLD="+of("hold", loopback.NewSubnet(t)), "HOLD_ONCE=true")
	one := launch(t, "one", cmd)
	one.awaitRecord("Z {peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}")
	_, usage, _ := execute(t, "", "help")
	for _, by := range []string{"exec", "hold"} {
		written := func() string {
			b, _ := os.ReadFile(log + "." + by + ".err")
			return string(b)
		}
		for end := time.Now().Add(patience); !strings.HasSuffix(written(), "\n") && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		if got := written(); !strings.HasPrefix(got, "{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}\n") {
			t.Errorf("a peer that -%s starts writes %q", by, got)
		}
		has := strings.Fields(string(must(os.ReadFile(log + "." + by))))
		for _, name := range has {
			if strings.Contains(usage, name+" (-") {
				t.Errorf("the command of -%s has %s", by, name)
			}
		}
		if !slices.Contains(has, "MEMBERLY_PEER_NAME") {
			t.Errorf("the command of -%s has only %q", by, has)
		}
	}
	status := exec.CommandContext(t.Context(), program, "ready")
	status.Env = environment("HTTP=" + outer.Host(1).String() + ":8082")
	if out, err := status.CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Errorf("ready: %v, %q", err, out)
	}
	one.signal(syscall.SIGTERM)
}

// The peers of -local have what their variables and flags say for all, and not -local itself.
func TestLocalVariables(t *testing.T) {
	t.Parallel()
	file := loopback.NewSubnet(t).HostsFile(t, "one", "two", "three")
	cmd := exec.Command(program, "-heartbeat", "200ms")
	cmd.Env = environment("LOCAL=true", "HOSTS_FILE="+file, "TIMES=1", "HEARTBEAT=nonsense", "MONITOR=600ms", "HTTP=8082")
	group := launch(t, "-local", cmd)
	for _, name := range []string{"one   | ", "two   | ", "three | "} {
		group.await(&group.stderr, "view 3 of "+name, func(lines []string) bool {
			return slices.ContainsFunc(lines, func(line string) bool {
				return strings.HasPrefix(line, name+"2") && strings.Contains(line, "Z {peer_id:") && strings.Contains(line, "view_id: 3, leader: 1, memb_list: [")
			})
		})
	}
	if code, out, errs := execute(t, group.stderr.String(), "verify"); code != 0 || !strings.Contains(out, "6 records of 3 peers") || errs != "" {
		t.Errorf("verify: exit code %d, %s%s", code, out, errs)
	}
}

// -times puts the time before each record and changes nothing else; verify reads them.
func TestTimes(t *testing.T) {
	t.Parallel()
	file := loopback.NewSubnet(t).HostsFile(t, "one", "two")
	one, two := start(t, file, "one", "-times"), start(t, file, "two")
	awaitView([]*daemon{one, two}, 2)
	timed := regexp.MustCompile(`^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\{peer_id:1, .*\})$`)
	for _, line := range one.stderr.Lines() {
		if !timed.MatchString(line) {
			t.Errorf("a record is %q", line)
		}
	}
	for _, line := range two.stderr.Lines() {
		if !strings.HasPrefix(line, "{peer_id:2, ") {
			t.Errorf("without -times a record is %q", line)
		}
	}
	code, out, errs := execute(t, one.stderr.String()+two.stderr.String(), "verify")
	if code != 0 || !strings.Contains(out, "The records agree: 3 records of 2 peers, 1 group, 2 views; 0 other lines ignored") || errs != "" {
		t.Errorf("verify: exit code %d, %s%s", code, out, errs)
	}
}
