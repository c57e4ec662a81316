package options

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Wrong is what to print on stderr when a command line is wrong, for the reason err. It has three lines at most: what is
// wrong, the row of the flag that it is about, if there is one, and the first line of the usage text with the command that
// prints all of it. This short form is "the usage text on stderr" of the program's contract: the whole text would push
// what is wrong off the screen.
func (p Page) Wrong(err error) string {
	problem := p.Problem(err)
	row := ""
	if o, ok := p.about(problem); ok {
		first, more, _ := strings.Cut(o.row(indent+len(o.Form())+2), "\n")
		if row = first + "\n"; more != "" {
			row = first + " …\n"
		}
	}
	return fmt.Sprintf("%s: %s\n%s%s; for all of it: %s\n", p.Name(), problem, row, p.Usage(), p.Help())
}

// Problem is err in words that say what to do, where it comes from package flag.
func (p Page) Problem(err error) string {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		if near := cmp.Or(Nearest(name, p.names()), onlyWith(name, p.names())); near != "" {
			return fmt.Sprintf("%s: did you mean -%s?", text, cmp.Or(p.named(near).Name, near))
		}
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		switch o := p.named(name); {
		case name == "h":
			return "-h needs the hosts file; for help: " + p.Help()
		case o.Arg != "":
			return fmt.Sprintf("-%s needs an argument: give %s", name, o.wanted())
		}
	}
	if m := invalid.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("-%s %s: give %s", m[2], m[1], p.named(m[2]).wanted())
	}
	return text
}

// invalid is what package flag says of a value that it cannot parse.
var invalid = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-([^ :]+): (?:parse error|value out of range)$`)

// wanted describes the values of a flag.
func (o Option) wanted() string {
	switch o.Arg {
	case "":
		return "true or false, or nothing"
	case "D":
		return "a duration, such as 2.2s"
	case "N", "S":
		return "a whole number"
	}
	return o.Arg
}

// onlyWith returns the one of words that begins with prefix, in any case of its letters; "" if none or several do.
func onlyWith(prefix string, words []string) (found string) {
	for _, w := range words {
		switch {
		case !strings.HasPrefix(w, strings.ToLower(prefix)):
		case found != "":
			return ""
		default:
			found = w
		}
	}
	return found
}

// names are those of all flags, and what they are called in the environment, as -name for -n.
func (p Page) names() []string {
	all := []string{"help"}
	for _, o := range p.Options() {
		all = append(all, o.Name)
		if o.Variable != "" {
			all = append(all, o.alias())
		}
	}
	return all
}

func (o Option) alias() string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(o.Variable, Prefix), "_", "-"))
}

// Prefix begins the names of all variables.
const Prefix = "MEMBERLY_"

// named is the flag with a name, or with one in the environment.
func (p Page) named(name string) Option {
	all := p.Options()
	for _, same := range []func(o Option) bool{
		func(o Option) bool { return o.Name == name },
		func(o Option) bool { return o.Variable != "" && o.alias() == name },
	} {
		if i := slices.IndexFunc(all, same); i >= 0 {
			return all[i]
		}
	}
	return Option{}
}

// quoted is what a user gave, as %q puts it into a problem.
var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"`)

// about returns the flag that a problem names first, or whose variable it names. What is in quotes does not count.
func (p Page) about(problem string) (Option, bool) {
	for word := range strings.FieldsFuncSeq(quoted.ReplaceAllString(problem, ""), func(r rune) bool { return strings.ContainsRune(" :;,?=()", r) }) {
		for _, o := range p.Options() {
			if word == "-"+o.Name || o.Variable != "" && word == o.Variable {
				return o, true
			}
		}
	}
	return Option{}, false
}

// Nearest returns the one of words that word was most likely meant to be, or "" if it is like none of them: a third of
// the letters may be wrong.
func Nearest(word string, words []string) string {
	nearest, least := "", 1<<30
	for _, w := range words {
		d := distance(strings.ToLower(word), strings.ToLower(w))
		if d <= (max(len(word), len(w))+1)/3 && d < least {
			nearest, least = w, d
		}
	}
	return nearest
}

// distance is how many letters must be put in, left out, changed or swapped with the next one to make b of a.
func distance(a, b string) int {
	if len(a)+len(b) > 100 {
		return 1 << 20
	}
	var before, last []int // the rows before the current one
	for i := range len(a) + 1 {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			if i == 0 {
				row[j] = j
				continue
			}
			changed := last[j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			row[j] = min(changed, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
