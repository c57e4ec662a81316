// Package doctor tells, before a peer is started, whether it could work: names, both ports in
// both directions, the hosts files of the others, this machine's ports and clock.
//
// It takes the peer's place: it listens on its ports, and asks the doctors and the peers that
// run on the other hosts to answer (ECHO, ECHOED). The group's work goes on and does not
// notice, but for one thing: while a doctor runs on a host, that host does not refuse
// connections, so nobody can conclude from a refusal that no peer runs there.
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

// Usage is how the command is called.
const Usage = `Usage: memberly doctor -h FILE [-n NAME] [-key FILE] [-for D]

Checks, before the peer is started, what it needs: start it on all hosts, or
on one while the peers of the others run. Ctrl-C shows what is known so far.

  -h FILE   hosts file
  -n NAME   this host's name in the file (default: the machine's host name)
  -key FILE the keys that the peers have, if they have any
  -for D    how long to ask and to answer others (default 10s)

Exit code: 0 all is well, 1 something is not, 2 wrong usage
`

const (
	defaultWindow = 10 * time.Second
	minWindow     = time.Second
	maxWindow     = 24 * time.Hour
)

// Run is the command; args come after its name. It returns the exit code. The end of ctx ends
// the examination early. Nothing is read.
func Run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	c, window, err := parse(args)
	switch {
	case errors.Is(err, config.ErrHelp):
		fmt.Fprint(stdout, Usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "memberly doctor: %v\n", err)
		if _, ok := errors.AsType[config.UsageError](err); !ok {
			return 1
		}
		fmt.Fprintf(stderr, "\n%s", Usage)
		return 2
	}
	fmt.Fprintf(stdout, "Asking and answering for %v. Start `memberly doctor` on the other hosts now, if no peer runs there.\n", window)
	ctx, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	r := judge(examine(ctx, c))
	r.print(stdout)
	if r.well() {
		return 0
	}
	return 1
}

// parse returns what args ask for. The error is as that of config.Parse.
func parse(args []string) (config.Config, time.Duration, error) {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file := flags.String("h", "", "")
	name := flags.String("n", "", "")
	keys := flags.String("key", "", "")
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
	var peer []string
	if *file != "" {
		peer = append(peer, "-h", *file)
	}
	if *name != "" {
		peer = append(peer, "-n", *name)
	}
	if *keys != "" {
		peer = append(peer, "-key", *keys)
	}
	c, err := config.Parse(peer, utils.HostName)
	return c, *window, err
}
