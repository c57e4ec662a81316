// Package doctor checks whether a peer could run on this host: names, both ports in both
// directions, the other hosts' hosts files, this machine's ports and clock.
//
// It runs in place of the peer: it listens on the peer's ports and sends ECHO to the doctors and
// peers on the other hosts, which answer with ECHOED. The group works on, with one difference:
// while a doctor runs, its host does not refuse connections, so peers cannot conclude from a
// refusal that no peer runs there.
package doctor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"memberly/peer/config"
	"memberly/peer/config/options"
	"memberly/peer/utils"
)

// Page describes the flags of parse.
var Page = options.Page{Command: "doctor", What: "check whether a peer could run on this host",
	Synopsis: "-h FILE [-n NAME] [-key FILE] [-state FILE] [-for D]",
	About: "Checks whether a peer could run on this host. Start it on all hosts, or on one while peers run on the others. " +
		"Ctrl-C ends it early and shows the results so far. MEMBERLY_HOSTS_FILE, MEMBERLY_NAME, MEMBERLY_KEY and MEMBERLY_STATE count as for a peer.",
	Sections: []options.Section{{Options: []options.Option{
		{Name: "h", Arg: "FILE", What: "hosts file"},
		{Name: "n", Arg: "NAME", Default: "the machine's host name", What: "this host's name in the file"},
		{Name: "key", Arg: "FILE", What: "the peers' key file, if they have one"},
		{Name: "state", Arg: "FILE", What: "the state file of this host's peer, if it is to have one; it is not changed"},
		{Name: "for", Arg: "D", Default: "10s", What: "how long to check, and to answer other doctors"},
	}}},
	Exit: "0 all is well, 1 a check failed or has no result, 2 wrong usage"}

const (
	defaultWindow = 10 * time.Second
	minWindow     = time.Second
	maxWindow     = 24 * time.Hour
)

// Run is the command doctor; args follow its name. It returns the exit code, ends early when ctx
// does, and reads nothing from stdin.
func Run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	c, window, err := parse(args)
	switch {
	case errors.Is(err, config.ErrHelp):
		fmt.Fprint(stdout, Page.Text())
		return 0
	case err != nil:
		if _, ok := errors.AsType[config.UsageError](err); !ok {
			fmt.Fprintf(stderr, "memberly doctor: %v\n", err)
			return 1
		}
		fmt.Fprint(stderr, Page.Wrong(err))
		return 2
	}
	fmt.Fprintf(stdout, "Asking and answering for %v. Start `memberly doctor` now on the other hosts where no peer runs.\n", window)
	ctx, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	r := judge(examine(ctx, c))
	r.print(stdout)
	if r.well() {
		return 0
	}
	return 1
}

// parse returns the configuration of the peer that args describe, and for how long to examine. Its
// error is like that of config.Parse.
func parse(args []string) (config.Config, time.Duration, error) {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var peer []string
	for _, name := range []string{"h", "n", "key", "state"} {
		flags.Func(name, "", func(value string) error {
			peer = append(peer, "-"+name, value)
			return nil
		})
	}
	window := flags.Duration("for", defaultWindow, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return config.Config{}, 0, config.ErrHelp
	case err != nil:
		return config.Config{}, 0, config.UsageError{Problem: Page.Problem(err)}
	case flags.NArg() > 0:
		return config.Config{}, 0, config.UsageError{Problem: fmt.Sprintf("unexpected argument %q: put nothing but options after doctor", flags.Arg(0))}
	case *window < minWindow || *window > maxWindow:
		return config.Config{}, 0, config.UsageError{Problem: fmt.Sprintf("-for %v: give a duration from %v to %gh", *window, minWindow, maxWindow.Hours())}
	}
	c, err := config.ParseWith(peer, config.Lookup(os.LookupEnv).For("h", "n", "key", "state"), utils.HostName)
	return c, *window, err
}
