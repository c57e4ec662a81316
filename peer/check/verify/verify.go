// Package verify reads the records of a group, and finds that its peers agreed, as far as these
// tell, or names the first contradiction. It knows records alone: nothing of the code that wrote them.
//
// A contradiction is what no group can have written, whatever failed:
//
//   - A peer installs a view that it is not in, or follows one there that is not in it.
//   - A number has more memberships, or one peer installs it more often, than there were groups
//     by then; or a view does not come of an earlier one by one member more or less a number.
//     Records name no group, but show where one begins: a peer installs a view of itself alone
//     that no removal explains. (groups.go)
//   - A peer's numbers fall, and there is no second group.
//   - A peer that was a member all the time loses another without a record of its failure, and
//     that one did not say that it left or was removed, nor can the drill have expelled it.
//     Its own "crashing" explains nothing: every member that stays records the failure.
//   - A failure is reported twice in a view, or of a peer that is not in the view.
//   - The group goes on by something else after a failure, and never removes the failed one,
//     which itself installs no later view. (That a failure is followed by no removal is no
//     contradiction: the peer may have been heard again, or only one member did not hear it.
//     What waits for one in the end is named under the verdict.)
//   - A peer writes of another view than it holds, or writes on after it crashed or was removed.
//
// A process that is killed and started again leaves no record of that. So where another group
// could explain what a peer did, it does; in particular, a peer that comes from a view of two
// to itself alone may always have been killed and have made a new group.
package verify

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

const usage = `Usage: memberly verify [FILE ...]

Reads the records of a group, from one file a host or from all hosts' in one:
what the daemons wrote on stderr, the output of docker-compose logs or of
-local, with or without colours and times. Without FILE, or for -, it reads
standard input. Lines that are no records are counted and ignored; stderr says
so where one looks like a record.

Prints the first contradiction, if there is one, and the history as a table: a
row for each view, a column for each peer, and in it whose lead the peer
followed when it installed the view; - where it is a member, but has no record.
Of several groups it finds that each agrees within itself: records do not tell
whether one came after the other or both were there at once, as in a split.

Give the records of all hosts, from the beginning, and of one host in the order
of writing: what explains one host's record may stand in those of another.

Exit code: 0 the records agree, 1 they contradict each other, or one is
malformed, 2 wrong usage, or nothing to read
`

// The exit codes.
const (
	agreed       = 0
	contradicted = 1
	misused      = 2
)

// Run is the command `memberly verify`. It returns the exit code. When ctx ends, it takes
// what it has read for all there is.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("memberly verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return agreed
	case err != nil:
		fmt.Fprintf(stderr, "memberly verify: %v\n\n%s", err, usage)
		return misused
	}
	files := flags.Args()
	if len(files) == 0 {
		files = []string{"-"}
	}
	b := newBook()
	for _, name := range files {
		err := b.readFile(ctx, name, stdin)
		if malformed, ok := errors.AsType[malformedError](err); ok {
			fmt.Fprintln(stdout, malformed)
			return contradicted
		}
		if err != nil {
			fmt.Fprintf(stderr, "memberly verify: %v\n", err)
			return misused
		}
	}
	if n := len(b.odd); n > 0 {
		fmt.Fprintf(stderr, "memberly verify: ignored %s with %s inside, the first at %s:%d: a record stands at the line's beginning, or behind a blank, a tab or a colon\n",
			count(n, "line"), opening, b.files[b.odd[0].file], b.odd[0].line)
	}
	if b.records == 0 {
		fmt.Fprintf(stderr, "memberly verify: there is no record among %d lines: give what the daemons wrote on stderr\n", b.others)
		return misused
	}
	return b.tell(stdout)
}

// tell prints the verdict and the history, and returns the exit code.
func (b *book) tell(stdout io.Writer) int {
	code := agreed
	if c := b.judge(); c != nil {
		code = contradicted
		fmt.Fprintf(stdout, "contradiction: %s\n", c.What)
		for _, n := range c.notes {
			fmt.Fprintf(stdout, "%s:%d: %v\n", b.files[n.at.file], n.at.line, n.Record)
		}
		fmt.Fprintln(stdout)
	}
	b.table(stdout)
	verdict, groups := "The records agree", count(len(b.groups), "group")
	if len(b.groups) > 1 {
		verdict += " within each group"
		groups += ", which may have stood side by side"
	}
	if code != agreed {
		verdict = "The records contradict each other"
	}
	fmt.Fprintf(stdout, "\n%s: %s of %s, %s, %s; %s ignored\n", verdict, count(b.records, "record"),
		count(len(b.diaries), "peer"), groups, count(b.rows(), "view"), count(b.others, "other line"))
	for _, line := range b.pending() {
		fmt.Fprintln(stdout, line)
	}
	return code
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// rows returns how many views all groups had.
func (b *book) rows() (n int) {
	for _, g := range b.groups {
		n += len(g.views)
	}
	return n
}

// readFile reads the file called name, or standard input for "-".
func (b *book) readFile(ctx context.Context, name string, stdin io.Reader) error {
	if name == "-" {
		return b.read(ctx, "standard input", stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return b.read(ctx, name, f)
}
