package commands

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"memberly/peer/config"
	"memberly/peer/config/options"
)

// table has one command.
func table() Table {
	return Table{Version: func() string { return `memberly "1"` }, Commands: []Command{{
		Page: options.Page{Command: "status", What: "show it's state: all", Synopsis: "[-json] [FILE]", Operand: "FILE", About: ".hidden",
			Sections: []options.Section{{Title: "How", Options: []options.Option{{Name: "json", What: "print [JSON]"}, {Name: "wait", Arg: "D", What: "how long"}}}}},
		Run: func(_ context.Context, _ []string, _ io.Reader, stdout, _ io.Writer) int {
			io.WriteString(stdout, "ran\n")
			return 7
		},
	}}}
}

func TestRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string // contains it, and is empty if this is
	}{
		{"status", 7, "ran\n", ""},
		{"help", 0, config.Usage(), ""},
		{"help", 0, "\n  memberly status     show it's state: all\n  memberly help ", ""},
		{"help status", 0, "Usage: memberly status [-json] [FILE]\n", ""},
		{"help help", 0, "Usage: memberly help [COMMAND]\n", ""},
		{"help -help", 0, "Usage: memberly help [COMMAND]\n", ""},
		{"help statsu", 2, "", "did you mean status?\nUsage: memberly help [COMMAND]; for all of it: memberly help\n"},
		{"help status json", 2, "", `unexpected argument "json"`},
		{"version", 0, "memberly \"1\"\n", ""},
		{"version -x", 2, "", "Usage: memberly version;"},
		{"completion", 2, "", "give one of bash, zsh, fish"},
		{"completion csh", 2, "", `no completion for "csh"`},
		{"completion bash", 0, "complete -F _memberly memberly\n", ""},
		{"completion zsh", 0, "#compdef memberly\n", ""},
		{"completion fish", 0, `-a status -d 'show it'\''s state: all'`, ""},
		{"man", 0, ".TH MEMBERLY 8 \"\" \"memberly \\(dq1\\(dq\"\n", ""},
	} {
		var stdout, stderr strings.Builder
		code, err := table().Run(t.Context(), strings.Fields(c.args), nil, &stdout, &stderr)
		if err != nil || code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) ||
			c.stdout == "" && stdout.Len() > 0 || c.stderr == "" && stderr.Len() > 0 || strings.Count(stderr.String(), "\n") > 3 {
			t.Errorf("%s: exit code %d, %v, stdout\n%s\nstderr\n%s", c.args, code, err, &stdout, &stderr)
		}
	}
	for name, want := range map[string]string{"statsu": "did you mean status?", "reboot": "use one of status, help, version, completion, man;",
		"hosts.txt": "did you mean -h hosts.txt, the hosts file?"} {
		_, err := table().Run(t.Context(), []string{name}, nil, nil, nil)
		if wrong, ok := errors.AsType[config.UsageError](err); !ok || !strings.Contains(wrong.Problem, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every flag, command and variable is in the completions and in the man page.
func TestComplete(t *testing.T) {
	t.Parallel()
	texts := map[string]string{"bash": table().bash(), "zsh": table().zsh(), "fish": table().fish(), "man": table().man()}
	for _, p := range table().pages() {
		for _, o := range p.Options() {
			for shell, want := range map[string]string{"bash": " -" + o.Name + " ", "zsh": "'-" + o.Name + "[", "fish": " -o " + o.Name + " ",
				"man": ".B " + roff(o.Form()) + "\n"} {
				if !strings.Contains(strings.ReplaceAll(texts[shell], "words=\"", " "), want) {
					t.Errorf("%s has no %q", shell, want)
				}
			}
		}
		for shell, text := range texts {
			if !strings.Contains(text, p.Command) {
				t.Errorf("%s has no %s", shell, p.Command)
			}
		}
	}
	for _, name := range config.Environment() {
		if !strings.Contains(texts["man"], roff(name)) {
			t.Errorf("man has no %s", name)
		}
	}
}

// Each line of the man page is text or one of a few macros, and what would begin a macro by chance is escaped.
func TestMan(t *testing.T) {
	t.Parallel()
	sections := ""
	for line := range strings.Lines(table().man()) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch {
		case word == ".SH":
			sections += rest + ", "
		case word == ".\\\"", !strings.HasPrefix(word, ".") && !strings.HasPrefix(word, "'") && word != "":
		case !strings.Contains(" .TH .SS .TP .PP .B .br .nf .fi .RS .RE ", " "+word+" "):
			t.Errorf("line %q", line)
		}
	}
	if want := "NAME, SYNOPSIS, DESCRIPTION, OPTIONS, COMMANDS, ENVIRONMENT, EXIT STATUS, EXAMPLES, "; sections != want {
		t.Errorf("sections %s, want %s", sections, want)
	}
}
