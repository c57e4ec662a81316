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
	"time"

	"memberly/peer/config"
	"memberly/peer/utils"
)

const usage = `Usage: memberly doctor -h FILE [-n NAME] [-key FILE] [-for D]

Checks whether a peer could run on this host. Start it on all hosts, or on one
while peers run on the others. Ctrl-C ends it early and shows the results so far.

  -h FILE   hosts file
  -n NAME   this host's name in the file (default: the machine's host name)
  -key FILE the peers' key file, if they have one
  -for D    how long to check, and to answer other doctors (default 10s)

Exit code: 0 all is well, 1 a check failed or has no result, 2 wrong usage
`

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
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "memberly doctor: %v\n", err)
		if _, ok := errors.AsType[config.UsageError](err); !ok {
			return 1
		}
		fmt.Fprintf(stderr, "\n%s", usage)
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
	for _, name := range []string{"h", "n", "key"} {
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
		return config.Config{}, 0, config.UsageError{Problem: err.Error()}
	case flags.NArg() > 0:
		return config.Config{}, 0, config.UsageError{Problem: fmt.Sprintf("unexpected argument %q: put nothing but options after doctor", flags.Arg(0))}
	case *window < minWindow || *window > maxWindow:
		return config.Config{}, 0, config.UsageError{Problem: fmt.Sprintf("-for %v: give a duration from %v to %gh", *window, minWindow, maxWindow.Hours())}
	}
	c, err := config.Parse(peer, utils.HostName)
	return c, *window, err
}
