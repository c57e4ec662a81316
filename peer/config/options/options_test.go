package options

import (
	"errors"
	"strings"
	"testing"
)

var page = Page{Command: "try", Synopsis: "[-wait D] [FILE]", About: strings.Repeat("word ", 40) + "\n\nSecond.",
	Sections: []Section{{Title: "First", About: "About it.", Options: []Option{
		{Name: "wait", Arg: "D", Default: "10s", What: "how long " + strings.Repeat("to wait ", 12), Variable: "MEMBERLY_PATIENCE"},
		{Name: "n", Arg: "NAME", Default: "that of the machine", What: "a name", Variable: "MEMBERLY_NAME"},
		{Name: "h", Arg: "FILE", What: "hosts file"},
		{Name: "t", What: "the drill"},
	}}},
	Exit: "0 done, 1 not done", Examples: []Example{{"how", "memberly try"}}}

func TestText(t *testing.T) {
	t.Parallel()
	text := page.Text()
	for _, want := range []string{"Usage: memberly try [-wait D] [FILE]\n\nword word", "\n\nSecond.\n\nFirst\nAbout it.\n\n  -wait D  how long to wait",
		"\n           wait to wait", "(default 10s)\n", "\n  -n NAME  a name (default: that of the machine)\n", "\n  -t       the drill\n\nExit code: 0 done, 1 not done\n",
		"\nExample: how\n  memberly try\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) > width || strings.HasSuffix(line, " ") {
			t.Errorf("line is too wide, or ends with space: %q", line)
		}
	}
}

func TestWrong(t *testing.T) {
	t.Parallel()
	const last = "\nUsage: memberly try [-wait D] [FILE]; for all of it: memberly help try\n"
	for problem, want := range map[string]string{
		"something else":                                 "memberly try: something else" + last,
		"flag provided but not defined: -x":              "memberly try: flag provided but not defined: -x" + last,
		"flag provided but not defined: -wiat":           "memberly try: flag provided but not defined: -wiat: did you mean -wait?\n  -wait D  how long",
		"flag provided but not defined: -name":           "did you mean -n?\n  -n NAME  a name (default: that of the machine)" + last,
		"flag provided but not defined: -hlep":           "did you mean -help?" + last,
		"flag provided but not defined: -W":              "did you mean -wait?\n  -wait D  how long",
		"flag needs an argument: -wait":                  "memberly try: -wait needs an argument: give a duration, such as 2.2s\n  -wait D",
		`invalid value "x" for flag -wait: parse error`:  "memberly try: -wait \"x\": give a duration, such as 2.2s\n  -wait D",
		`invalid boolean value "-n" for -t: parse error`: "memberly try: -t \"-n\": give true or false, or nothing\n  -t  the drill" + last,
		"flag needs an argument: -h":                     "memberly try: -h needs the hosts file; for help: memberly help try\n  -h FILE  hosts file" + last,
		"flag needs an argument: -n":                     "memberly try: -n needs an argument: give NAME\n  -n NAME",
		`invalid value "-t" for flag -wait: too short`:   "\n  -wait D  how long",
		`unexpected argument "a -t \" -n b": leave it`:   "leave it" + last,
		`MEMBERLY_NAME="": give a name`:                  "\n  -n NAME  a name",
		"-t and -n: leave one out":                       "\n  -t  the drill" + last,
	} {
		got := page.Wrong(errors.New(problem))
		if !strings.Contains(got, want) || !strings.HasSuffix(got, last) || strings.Count(got, "\n") > 3 {
			t.Errorf("%s: got\n%s\nwant\n%s", problem, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	words := []string{"status", "ready", "reload", "reform", "verify", "version", "h", "n", "http", "heartbeat", "key"}
	for word, want := range map[string]string{
		"stauts": "status", "sttus": "status", "Status": "status", "statuses": "status", "verfiy": "verify", "versoin": "version", "relaod": "reload",
		"htpp": "http", "heartbaet": "heartbeat", "kye": "key",
		"x": "", "hh": "h", "hostsfile.txt": "", "": "", "simulate": "", strings.Repeat("x", 1000): "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("nearest to %.20q is %q, want %q", word, got, want)
		}
	}
}
