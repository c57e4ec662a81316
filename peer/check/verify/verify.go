// Package verify reads the records of a group and checks that its peers agreed, as far as records
// show, or names the first contradiction. It uses only the records, not the code that wrote them.
//
// A contradiction is something that no group can have written, whatever failed:
//
//   - A peer installs a view that lacks it, or follows a leader that the view lacks.
//   - A view number has more memberships, or one peer installs it more often, than there were groups
//     by then; or a view does not follow from an earlier one by one member more or less, at most, per
//     number. (A view in which a host was added to the list, or retired, has the same members.)
//     Records name no group, but show where one begins: a peer installs a view of itself alone
//     that no removal explains (groups.go).
//   - A peer's view numbers drop, and there is no second group.
//   - A peer that stayed a member loses another without a record of its failure, that one did not
//     record that it left or was removed, and the drill cannot have expelled it. Its own "crashing"
//     explains nothing, because every member that stays records the failure.
//   - A failure is reported twice in a view, or of a peer that the view lacks.
//   - After a failure the group adds a member and never removes the failed peer, which itself
//     installs no later view. (A failure without a removal is no contradiction by itself: perhaps
//     the peer was heard again, or only one member did not hear it. The verdict lists the failures
//     that still wait for a removal when the records end.)
//   - A peer writes of another view than it holds, or goes on writing after it crashed or was removed.
//
// A process that is killed and started again leaves no record of that. So if another group could
// explain what a peer did, verify accepts it. With -state, a peer may install a view again that it had installed before. In particular, a peer that goes from a view of two to
// itself alone may have been killed and have made a new group.
package verify

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"memberly/peer/config/options"
)

// Page describes `memberly verify`.
var Page = options.Page{Command: "verify", What: "check records for contradictions between peers", Synopsis: "[-state] [FILE ...]", Operand: "FILE",
	About: "Reads the records of a group, from one file per host or from one file for all: what the daemons wrote on stderr, " +
		"or the output of docker-compose logs or of -local, with or without colours and times. Without FILE, or for -, it reads " +
		"standard input. It counts and ignores lines that are not records, and reports on stderr those that look like one.\n\n" +
		"Prints the first contradiction, if there is one, and the history as a table: a row for each view, a column for each peer. " +
		"A cell is the leader that the peer followed when it installed the view, or - for a member without a record of that. " +
		"If there are several groups, it checks that each agrees within itself: records do not show whether one followed the other " +
		"or both existed at once, as in a split.\n\n" +
		"Give the records of all hosts, from the beginning, each host's in the order of writing: another host's record may explain " +
		"what looks like a contradiction.",
	Sections: []options.Section{{Options: []options.Option{
		{Name: "state", What: "the hosts store what they must remember: a process that starts again may install again the view that the one before it held"},
	}}},
	Exit: "0 the records agree, 1 they contradict each other, or one is malformed, 2 wrong usage, or no record in the input"}

// The exit codes.
const (
	agreed       = 0
	contradicted = 1
	misused      = 2
)

// Run is the command verify; args follow its name. It returns the exit code. When ctx ends, it
// judges the records that it has read so far.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("memberly verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	stores := flags.Bool("state", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, Page.Text())
		return agreed
	case err != nil:
		fmt.Fprint(stderr, Page.Wrong(err))
		return misused
	}
	files := flags.Args()
	if len(files) == 0 {
		files = []string{"-"}
	}
	h := newHistory()
	h.stores = *stores
	for _, name := range files {
		err := h.readFile(ctx, name, stdin)
		if malformed, ok := errors.AsType[malformedError](err); ok {
			fmt.Fprintln(stdout, malformed)
			return contradicted
		}
		if err != nil {
			fmt.Fprintf(stderr, "memberly verify: %v\n", err)
			return misused
		}
	}
	if n := len(h.doubtful); n > 0 {
		fmt.Fprintf(stderr, "memberly verify: ignored %s with %s inside, the first at %s:%d: a record must begin its line, or follow a blank, a tab or a colon\n",
			count(n, "line"), opening, h.files[h.doubtful[0].file], h.doubtful[0].line)
	}
	if h.records == 0 {
		fmt.Fprintf(stderr, "memberly verify: there is no record among %d lines: give what the daemons wrote on stderr\n", h.others)
		return misused
	}
	return h.print(stdout)
}

// print prints the verdict and the history, and returns the exit code.
func (h *history) print(stdout io.Writer) int {
	code := agreed
	if c := h.judge(); c != nil {
		code = contradicted
		fmt.Fprintf(stdout, "contradiction: %s\n", c.what)
		for _, n := range c.entries {
			fmt.Fprintf(stdout, "%s:%d: %v\n", h.files[n.at.file], n.at.line, n.Record)
		}
		fmt.Fprintln(stdout)
	}
	h.table(stdout)
	verdict, groups := "The records agree", count(len(h.groups), "group")
	if len(h.groups) > 1 {
		verdict += " within each group"
		groups += ", which may have existed at the same time"
	}
	if code != agreed {
		verdict = "The records contradict each other"
	}
	fmt.Fprintf(stdout, "\n%s: %s of %s, %s, %s; %s ignored\n", verdict, count(h.records, "record"),
		count(len(h.logs), "peer"), groups, count(h.rows(), "view"), count(h.others, "other line"))
	for _, line := range h.pending() {
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

// rows returns the number of views of all groups.
func (h *history) rows() (n int) {
	for _, g := range h.groups {
		n += len(g.views)
	}
	return n
}

// readFile adds the records of the file called name, or of stdin for "-".
func (h *history) readFile(ctx context.Context, name string, stdin io.Reader) error {
	if name == "-" {
		return h.read(ctx, "standard input", stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return h.read(ctx, name, f)
}
