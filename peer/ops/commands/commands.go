// Package commands runs the program's commands, such as status and doctor. From the pages of the daemon and of all commands
// it makes the help, the completion of shells and the man page.
package commands

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"memberly/peer/config"
	"memberly/peer/config/options"
)

// Command is one command. Run returns its exit code, and prints the command's own usage text for -help.
type Command struct {
	Page options.Page
	Run  func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int
}

// Table has the program's commands, in the order of the usage text. Those about the program itself, help, version,
// completion and man, it adds to them.
type Table struct {
	Commands []Command
	Version  func() string
}

// The exit codes of the commands here.
const (
	success = 0
	misuse  = 2
)

// Run runs the command that args[0] names, and returns its exit code. args must not be empty. The error
// is a config.UsageError if there is no such command, or the failure to write stdout. A command whose
// output cannot be written has failed, whatever its exit code.
func (t Table) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	c, err := t.find(args[0])
	if err != nil {
		return 0, err
	}
	out := &errWriter{to: stdout}
	code := c.Run(ctx, args[1:], stdin, out, stderr)
	if err := out.failure(); err != nil {
		return code, fmt.Errorf("writing the output: %w", err)
	}
	return code, nil
}

// all returns every command.
func (t Table) all() []Command { return slices.Concat(t.Commands, t.own()) }

// find returns the command called name. The error is a config.UsageError that says what else may have been meant.
func (t Table) find(name string) (Command, error) {
	var names []string
	for _, c := range t.all() {
		if c.Page.Command == name {
			return c, nil
		}
		names = append(names, c.Page.Command)
	}
	problem := fmt.Sprintf("unknown command %q: ", name)
	near := options.Nearest(name, names)
	switch {
	case near != "":
		problem += fmt.Sprintf("did you mean %s?", near)
	case strings.ContainsAny(name, "./"):
		problem += fmt.Sprintf("did you mean -h %s, the hosts file?", name)
	default:
		problem += fmt.Sprintf("use one of %s; to run a peer: memberly -h FILE", strings.Join(names, ", "))
	}
	return Command{}, config.UsageError{Problem: problem}
}

// Usage returns the lines of the usage text that list the commands.
func (t Table) Usage() string {
	var b strings.Builder
	b.WriteString("\nCommands, each with a -help of its own\n")
	for _, c := range t.all() {
		fmt.Fprintf(&b, "  memberly %-10s %s\n", c.Page.Command, c.Page.What)
	}
	return b.String()
}

// own returns the commands about the program itself.
func (t Table) own() []Command {
	var names []string
	for _, c := range t.Commands {
		names = append(names, c.Page.Command)
	}
	names = append(names, "help", "version", "completion", "man")
	help := options.Page{Command: "help", What: "show help for the program or for a command", Synopsis: "[COMMAND]",
		About: "Prints the usage text of the program, or of one of its commands.", Words: names, Exit: exits}
	version := options.Page{Command: "version", What: "print the version", About: "Prints the same as -version.", Exit: exits}
	completion := options.Page{Command: "completion", What: "print a shell's completion script", Synopsis: "bash|zsh|fish",
		About: "Prints the completion of commands, flags and files for a shell.", Words: shells, Exit: exits,
		Examples: []options.Example{
			{What: "for bash, in this shell", Line: "source <(memberly completion bash)"},
			{What: "for zsh, whenever it starts", Line: `memberly completion zsh >"${fpath[1]}/_memberly"`},
			{What: "for fish, whenever it starts", Line: "memberly completion fish >~/.config/fish/completions/memberly.fish"},
		}}
	man := options.Page{Command: "man", What: "print the man page", About: "Prints the man page, as roff.", Exit: exits,
		Examples: []options.Example{{What: "read it", Line: "memberly man | man -l -"}}}
	return []Command{
		{help, t.printing(help, 1, t.help)},
		{version, t.printing(version, 0, func([]string) (string, error) { return t.Version() + "\n", nil })},
		{completion, t.printing(completion, 1, t.completion)},
		{man, t.printing(man, 0, func([]string) (string, error) { return t.man(), nil })},
	}
}

const exits = "0 printed, 1 it could not be, 2 wrong usage"

// printing returns what runs a command that takes at most some arguments, and prints what a function makes of them.
func (t Table) printing(page options.Page, most int, of func(args []string) (string, error)) func(context.Context, []string, io.Reader, io.Writer, io.Writer) int {
	return func(_ context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
		flags := flag.NewFlagSet(page.Command, flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		err := flags.Parse(args)
		text := page.Text()
		switch {
		case errors.Is(err, flag.ErrHelp):
			err = nil
		case err != nil:
		case flags.NArg() > most:
			err = fmt.Errorf("unexpected argument %q: leave it out", flags.Arg(most))
		default:
			text, err = of(flags.Args())
		}
		if err != nil {
			fmt.Fprint(stderr, page.Wrong(err))
			return misuse
		}
		fmt.Fprint(stdout, text)
		return success
	}
}

// help returns the usage text of the program, or of the command that is the argument.
func (t Table) help(args []string) (string, error) {
	if len(args) == 0 {
		return config.Usage() + t.Usage(), nil
	}
	c, err := t.find(args[0])
	return c.Page.Text(), err
}

// errWriter is a writer that keeps its first error. Any goroutine may use it.
type errWriter struct {
	to  io.Writer
	mu  sync.Mutex
	err error
}

// Unwrap returns the writer behind w, so that a command can find out whether it is a terminal.
func (w *errWriter) Unwrap() io.Writer { return w.to }

func (w *errWriter) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = cmp.Or(w.err, err)
	return n, err
}

func (w *errWriter) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
