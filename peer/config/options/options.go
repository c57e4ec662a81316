// Package options describes the command lines of the program. A Page is one command's table of flags, beside the code that
// parses them. The usage text, `help`, the answers to wrong usage, the completion of shells and the man page all come from
// it.
package options

import (
	"fmt"
	"slices"
	"strings"
)

// Page is the command line of the daemon or of a command, and what is to be known about it.
type Page struct {
	Command  string // its name; "" for the daemon
	What     string // in a few words, for the list of commands
	Synopsis string // what follows its name
	About    string // paragraphs, with a blank line between two
	Sections []Section
	Exit     string // its exit codes; "" if they are those of another program
	Examples []Example
	Operand  string   // what its arguments name, as Option.Arg; "" for nothing that a shell could complete
	Words    []string // what its first argument can be, if that is one of a few words
}

// Section is some flags that belong together.
type Section struct {
	Title   string // "" for none
	About   string // a paragraph between title and flags
	Options []Option
}

// Option is one flag.
type Option struct {
	Name     string // without its dash
	Arg      string // what it takes: FILE and COMMAND are completed as such; "" if it is only on or off
	What     string // one paragraph
	Default  string // a value, or words; "" if it goes without saying
	Variable string // the environment variable that does the same; "" for none
}

// Example is a command line and what it is for.
type Example struct{ What, Line string }

const (
	width  = 80 // of the texts for terminals
	indent = 2
)

// Options lists the flags in the order of the page.
func (p Page) Options() (all []Option) {
	for _, s := range p.Sections {
		all = append(all, s.Options...)
	}
	return all
}

// Name is how the command is called on a command line.
func (p Page) Name() string { return strings.TrimSuffix("memberly "+p.Command, " ") }

// Usage is the first line of its usage text, without an end.
func (p Page) Usage() string { return strings.TrimSuffix("Usage: "+p.Name()+" "+p.Synopsis, " ") }

// Help is what prints the page.
func (p Page) Help() string {
	return strings.TrimSuffix("memberly help "+strings.TrimPrefix(p.Command, "help"), " ")
}

// Text is the usage text, which ends with a newline.
func (p Page) Text() string {
	var b strings.Builder
	fmt.Fprintln(&b, p.Usage())
	for paragraph := range strings.SplitSeq(p.About, "\n\n") {
		if paragraph != "" {
			fmt.Fprintf(&b, "\n%s", Wrap(paragraph, 0))
		}
	}
	column := p.column()
	for _, s := range p.Sections {
		b.WriteByte('\n')
		if s.Title != "" {
			fmt.Fprintln(&b, s.Title)
		}
		if s.About != "" {
			fmt.Fprintf(&b, "%s\n", Wrap(s.About, 0))
		}
		for _, o := range s.Options {
			fmt.Fprint(&b, o.row(column))
		}
	}
	if p.Exit != "" {
		fmt.Fprintf(&b, "\n%s", Wrap("Exit code: "+p.Exit, 0))
	}
	for _, e := range p.Examples {
		fmt.Fprintf(&b, "\nExample: %s\n  %s\n", e.What, e.Line)
	}
	return b.String()
}

// column is where the meanings of all flags begin.
func (p Page) column() (column int) {
	for _, o := range p.Options() {
		column = max(column, indent+len(o.Form())+2)
	}
	return column
}

// Form is the flag as it is written on a command line.
func (o Option) Form() string { return strings.TrimSuffix("-"+o.Name+" "+o.Arg, " ") }

// Meaning is what the flag does, and its default.
func (o Option) Meaning() string {
	switch {
	case o.Default == "":
		return o.What
	case o.Default[0] >= 'a' && o.Default[0] <= 'z': // words
		return o.What + " (default: " + o.Default + ")"
	}
	return o.What + " (default " + o.Default + ")"
}

// row is the flag in the usage text.
func (o Option) row(column int) string {
	return fmt.Sprintf("%*s%-*s%s", indent, "", column-indent, o.Form(), strings.TrimLeft(Wrap(o.Meaning(), column), " "))
}

// Wrap breaks text into lines for a terminal, each behind as many blanks as column says and with an end.
func Wrap(text string, column int) string {
	var b strings.Builder
	at := 0 // the length of the line so far
	for word := range strings.FieldsSeq(text) {
		n := len([]rune(word))
		switch {
		case at == 0:
			fmt.Fprintf(&b, "%*s", column, "")
			at = column
		case at+1+n > width:
			fmt.Fprintf(&b, "\n%*s", column, "")
			at = column
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	b.WriteByte('\n')
	return b.String()
}

// Variables lists the options that the environment can give too.
func (p Page) Variables() []Option {
	return slices.DeleteFunc(p.Options(), func(o Option) bool { return o.Variable == "" })
}
