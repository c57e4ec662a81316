package commands

import (
	"fmt"
	"strings"

	"memberly/peer/config"
	"memberly/peer/config/options"
)

// man returns the man page, in the macros of man(7), which groff and mandoc know.
func (t Table) man() string {
	var b strings.Builder
	d := config.Page
	fmt.Fprintf(&b, ".\\\" Made by: memberly man\n.TH MEMBERLY 8 \"\" %s\n", macroArg(t.Version()))
	fmt.Fprintf(&b, ".SH NAME\nmemberly \\- %s\n", roff(d.What))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n%s", synopsis(d))
	for _, c := range t.all() {
		fmt.Fprintf(&b, ".br\n%s", synopsis(c.Page))
	}
	b.WriteString(".SH DESCRIPTION\nWithout a command, memberly runs a peer: the member of a group on this host.\n" +
		"It writes records on standard error, one a line, and everything else on standard output.\n")
	b.WriteString(".SH OPTIONS\n")
	sections(&b, d, ".SS")
	b.WriteString(".SH COMMANDS\n")
	for _, c := range t.all() {
		fmt.Fprintf(&b, ".SS %s\n%s", macroArg("memberly "+c.Page.Command), synopsis(c.Page))
		for paragraph := range strings.SplitSeq(c.Page.About, "\n\n") {
			fmt.Fprintf(&b, ".PP\n%s\n", roff(paragraph))
		}
		sections(&b, c.Page, ".PP")
		if c.Page.Exit != "" {
			fmt.Fprintf(&b, ".PP\nExit code: %s.\n", roff(c.Page.Exit))
		}
		examples(&b, c.Page)
	}
	b.WriteString(".SH ENVIRONMENT\nThese options of a peer can come from variables too. The command line wins.\n" +
		"An option that is only on or off takes true or false.\n")
	for _, o := range d.Variables() {
		fmt.Fprintf(&b, ".TP\n.B %s\nas\n.B %s\n", roff(o.Variable), roff("-"+o.Name))
	}
	fmt.Fprintf(&b, ".SH EXIT STATUS\n%s.\n", roff(d.Exit))
	b.WriteString(".SH EXAMPLES\nSee also those of the commands.\n")
	examples(&b, d)
	return b.String()
}

// synopsis is the first line of a usage text.
func synopsis(p options.Page) string {
	return fmt.Sprintf(".B %s\n%s", roff(p.Name()), line(p.Synopsis))
}

// line is a line of text, unless it is empty.
func line(text string) string {
	if text == "" {
		return ""
	}
	return roff(text) + "\n"
}

// sections writes the flags of a page. macro begins the title of a section.
func sections(b *strings.Builder, p options.Page, macro string) {
	for _, s := range p.Sections {
		switch {
		case s.Title != "" && macro == ".SS":
			fmt.Fprintf(b, ".SS %s\n", macroArg(s.Title))
		case s.Title != "":
			fmt.Fprintf(b, ".PP\n%s:\n", roff(s.Title))
		}
		if s.About != "" {
			fmt.Fprintf(b, ".PP\n%s\n", roff(s.About))
		}
		for _, o := range s.Options {
			fmt.Fprintf(b, ".TP\n.B %s\n%s.\n", roff(o.Form()), roff(o.Meaning()))
		}
	}
}

// examples writes the examples of a page.
func examples(b *strings.Builder, p options.Page) {
	for _, e := range p.Examples {
		fmt.Fprintf(b, ".PP\nExample: %s\n.PP\n.nf\n.RS\n%s\n.RE\n.fi\n", roff(e.What), roff(e.Line))
	}
}

// roff returns text such that it is shown as it is: a dash as that of a command line, and no macro at its beginning.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`, "…", "...", "µ", "u").Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

// macroArg returns text as one argument of a macro.
func macroArg(text string) string { return `"` + roff(text) + `"` }
