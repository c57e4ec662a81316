package commands

import (
	"fmt"
	"slices"
	"strings"

	"memberly/peer/config"
	"memberly/peer/config/options"
)

// This file makes the completions of shells: of the commands, of their flags, and of the names of files and programs where
// a flag or an argument takes one.

var shells = []string{"bash", "zsh", "fish"}

// completion returns the completion for the shell that is the argument.
func (t Table) completion(args []string) (string, error) {
	if len(args) == 0 {
		return "", fmt.Errorf("no shell: give one of %s", strings.Join(shells, ", "))
	}
	switch args[0] {
	case "bash":
		return t.bash(), nil
	case "zsh":
		return t.zsh(), nil
	case "fish":
		return t.fish(), nil
	}
	return "", fmt.Errorf("no completion for %q: give one of %s", args[0], strings.Join(shells, ", "))
}

// pages returns the pages of the daemon and of all commands.
func (t Table) pages() []options.Page {
	pages := []options.Page{config.Page}
	for _, c := range t.all() {
		pages = append(pages, c.Page)
	}
	return pages
}

// names returns those of all commands.
func (t Table) names() (names []string) {
	for _, c := range t.all() {
		names = append(names, c.Page.Command)
	}
	return names
}

// flagsOf returns the flags of a page, with their dashes.
func flagsOf(p options.Page, which func(options.Option) bool) (names []string) {
	for _, o := range withHelp(p) {
		if which(o) {
			names = append(names, "-"+o.Name)
		}
	}
	return names
}

func withHelp(p options.Page) []options.Option {
	return append(p.Options(), options.Option{Name: "help", What: "print the usage text and exit"})
}

func every(options.Option) bool { return true }

// taking returns a function that says which flags take such an argument.
func taking(arg string) func(options.Option) bool {
	return func(o options.Option) bool { return o.Arg == arg }
}

// takingOther says which flags take what no shell can know.
func takingOther(o options.Option) bool { return o.Arg != "" && o.Arg != "FILE" && o.Arg != "COMMAND" }

const bashHead = `# bash completion for memberly, made by: memberly completion bash
_memberly() {
    local current=${COMP_WORDS[COMP_CWORD]} before= command= words= files= programs= texts= operand=
    [ "$COMP_CWORD" -gt 0 ] && before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $COMP_CWORD -gt 1 && ${COMP_WORDS[1]} != -* ]] && command=${COMP_WORDS[1]}
    COMPREPLY=()
    case $command in
`

const bashTail = `    *) return ;;
    esac
    if [[ " $files " == *" $before "* ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    elif [[ " $programs " == *" $before "* || $before == -- && $operand == COMMAND ]]; then
        mapfile -t COMPREPLY < <(compgen -c -- "$current")
    elif [[ " $texts " == *" $before "* ]]; then
        return
    elif [[ $current == -* || -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    fi
    if [[ $operand == FILE && $current != -* && ${#COMPREPLY[@]} -eq 0 ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}
complete -F _memberly memberly
`

// bash returns the completion for bash.
func (t Table) bash() string {
	var b strings.Builder
	b.WriteString(bashHead)
	for _, p := range t.pages() {
		words := slices.Concat(p.Words, flagsOf(p, every))
		name := p.Command
		if name == "" {
			name, words = `""`, slices.Concat([]string{"$(((COMP_CWORD == 1)) && echo " + strings.Join(t.names(), " ") + ")"}, words)
		}
		fmt.Fprintf(&b, "    %s) words=\"%s\" files=\"%s\" programs=\"%s\" texts=\"%s\" operand=%s ;;\n", name, strings.Join(words, " "),
			strings.Join(flagsOf(p, taking("FILE")), " "), strings.Join(flagsOf(p, taking("COMMAND")), " "),
			strings.Join(flagsOf(p, takingOther), " "), p.Operand)
	}
	b.WriteString(bashTail)
	return b.String()
}

// zsh returns the completion for zsh.
func (t Table) zsh() string {
	var b strings.Builder
	b.WriteString("#compdef memberly\n# zsh completion for memberly, made by: memberly completion zsh\n_memberly() {\n  local curcontext=$curcontext\n" +
		"  local -a commands\n  commands=(\n")
	for _, c := range t.all() {
		fmt.Fprintf(&b, "    %s\n", quoted(c.Page.Command+":"+strings.ReplaceAll(c.Page.What, ":", `\:`)))
	}
	b.WriteString("  )\n  if ((CURRENT == 2)) && [[ $PREFIX != -* ]]; then\n    _describe -t commands command commands\n    return\n  fi\n" +
		"  case $words[2] in\n")
	for _, p := range t.pages() {
		if p.Command != "" {
			fmt.Fprintf(&b, "  %s)\n    shift words\n    ((CURRENT--))\n    %s\n    ;;\n", p.Command, zshArguments(p))
		}
	}
	fmt.Fprintf(&b, "  -*)\n    %s\n    ;;\n  esac\n}\n", zshArguments(config.Page))
	b.WriteString("if [ \"$funcstack[1]\" = _memberly ]; then\n  _memberly \"$@\"\nelse\n  compdef _memberly memberly\nfi\n")
	return b.String()
}

// zshArguments is the call that completes the flags and arguments of a page.
func zshArguments(p options.Page) string {
	args := []string{"_arguments"}
	for _, o := range withHelp(p) {
		spec := "-" + o.Name + "[" + strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(brief(o.What)) + "]"
		if o.Arg != "" {
			spec += ":" + o.Arg + ":" + zshAction(o.Arg)
		}
		args = append(args, quoted(spec))
	}
	switch {
	case p.Words != nil:
		args = append(args, quoted("1:what:("+strings.Join(p.Words, " ")+")"))
	case p.Operand == "FILE":
		args = append(args, quoted("*:file:_files"))
	case p.Operand == "COMMAND":
		args = append(args, quoted("*::command:_normal"))
	}
	return strings.Join(args, " \\\n      ")
}

func zshAction(arg string) string {
	switch arg {
	case "FILE":
		return "_files"
	case "COMMAND":
		return "_command_names"
	}
	return " "
}

// fish returns the completion for fish.
func (t Table) fish() string {
	var b strings.Builder
	b.WriteString("# fish completion for memberly, made by: memberly completion fish\n" +
		"complete -c memberly -e\ncomplete -c memberly -f\n")
	for _, c := range t.all() {
		fmt.Fprintf(&b, "complete -c memberly -n 'test (count (commandline -opc)) -eq 1' -a %s -d %s\n", c.Page.Command, quoted(c.Page.What))
	}
	for _, p := range t.pages() {
		when := quoted("__fish_seen_subcommand_from " + p.Command)
		if p.Command == "" {
			when = quoted("not __fish_seen_subcommand_from " + strings.Join(t.names(), " "))
		}
		for _, o := range withHelp(p) {
			takes := map[string]string{"": "", "FILE": " -r -F", "COMMAND": " -x -a '(__fish_complete_command)'"}
			how, known := takes[o.Arg]
			if !known {
				how = " -x"
			}
			// -o for letters too: with -s, fish takes -ht for -h with the value t.
			fmt.Fprintf(&b, "complete -c memberly -n %s -o %s%s -d %s\n", when, o.Name, how, quoted(brief(o.What)))
		}
		switch {
		case p.Words != nil:
			fmt.Fprintf(&b, "complete -c memberly -n %s -a %s\n", when, quoted(strings.Join(p.Words, " ")))
		case p.Operand == "FILE":
			fmt.Fprintf(&b, "complete -c memberly -n %s -F\n", when)
		case p.Operand == "COMMAND":
			fmt.Fprintf(&b, "complete -c memberly -n %s -a '(__fish_complete_command)'\n", when)
		}
	}
	return b.String()
}

// brief is the beginning of a flag's meaning, for a list.
func brief(what string) string {
	const most = 70
	what, _, _ = strings.Cut(what, ". ")
	if len(what) <= most {
		return what
	}
	return what[:strings.LastIndexByte(what[:most], ' ')] + " …"
}

// quoted is text as one word of a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
