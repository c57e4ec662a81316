// Package config turns the command line, the hosts file and the key file into a valid Config, or
// into an error that says what to do.
//
// The hosts file is UTF-8 text with one host per line: its name, optionally followed by its IP
// address. Comments from # on, blank lines and surrounding space are ignored. A host's id is its place
// among the hosts listed, from 1. Names are compared ignoring case and a final dot.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"memberly/peer/seal"
	"memberly/peer/types"
)

// The ports of every peer.
const (
	TCPPort = 8080 // membership messages
	UDPPort = 8081 // heartbeats
)

const (
	defaultHeartbeat = 1100 * time.Millisecond
	defaultMonitor   = 2200 * time.Millisecond

	minInterval  = time.Millisecond // with a shorter one, a peer would do nothing but send heartbeats
	maxHeartbeat = time.Hour
	maxMonitor   = 24 * time.Hour
	maxSeconds   = 365 * 24 * 60 * 60 // of -d and -c: a year, which a Duration can hold

	drillHosts = 4 // the minimum for the drill
)

const usage = `Usage: memberly -h FILE [options]

Required
  -h FILE        hosts file: one host name per line, optionally followed by its
                 address. For help, use -help

Timing
  -d N           wait N seconds before doing anything (default 0)
  -c N           crash N seconds after that wait (default 0: never)
  -heartbeat D   time between two heartbeats (default 1.1s)
  -monitor D     silence that makes a peer unreachable, at least twice the
                 heartbeat (default 2.2s)

This host
  -n NAME        this host's name in the file (default: the machine's host name)
  -t             leader-failure drill; on the first of four or more hosts
  -exec COMMAND  run COMMAND with /bin/sh on each view, and once more when the
                 peer has left, with the view as JSON on standard input and in
                 MEMBERLY_ variables. It may take 10 s; the group does not wait
  -hold COMMAND  run COMMAND with /bin/sh while this peer leads, and never while
                 another one does; again when it ends, but with -hold-once

Whole group on this machine
  -local         run every host of the file on this machine, started -d seconds
                 apart; -c then applies to the last host, -t to the first. They
                 use the file's addresses if all are loopback addresses, else
                 127.0.0.1, 127.0.0.2 and so on

Security (off unless given)
  -key FILE      encrypt and authenticate all traffic with the keys in FILE, the
                 same on all hosts, and reject all else; see memberly keygen
  -reform        with -key: re-form a lost group on refusals, as without -key

Monitoring (off unless given)
  -http ADDR     serve status, events, metrics and a web page at PORT on a
                 loopback address only, or at ADDRESS:PORT

  -version       print the version and exit

Example: five hosts on this machine, started two seconds apart
  memberly -h hostsfile.txt -local -d 2
`

// Config is the configuration of a peer or, with Local, of all hosts. If Version is set, nothing else
// counts.
type Config struct {
	HostsFile string
	Hosts     []Host         // by id-1
	Name      string         // this host's, as the file spells it; empty if Local
	ID        types.ID       // this host's; 0 if Local
	Delay     time.Duration  // the wait before doing anything; with Local, between two starts
	Crash     time.Duration  // after the delay; 0 for never
	KeyFile   string         // the file of Keys; "" for none
	Keys      seal.Keyring   // encrypt all traffic; none if KeyFile is ""
	Reform    bool           // with Keys too, make a new group when the quorum is lost and all other hosts refuse connections
	Exec      string         // the command to run on each view; "" for none
	Hold      string         // the command to run while this peer leads; "" for none
	HoldOnce  bool           // not to be run again when it has ended by itself
	Drill     bool           // the leader-failure drill; this is the first host, or Local
	Heartbeat time.Duration  // between two heartbeats
	Monitor   time.Duration  // the silence that makes a peer unreachable; at least twice Heartbeat
	Local     bool           // run every host of the file on this machine
	HTTP      netip.AddrPort // where to serve status and metrics; port 0 for nowhere; with Local, a port with an invalid address
	Version   bool           // print the version and exit
	Digest    uint64         // of the names in their order, to compare the files of all hosts
}

// UsageError reports a wrong command line. Callers print it and the usage text on stderr, and exit with
// 2. For any other error except ErrHelp they print one line on stderr, and exit with 1.
type UsageError struct {
	Problem string // and what to do about it
}

func (e UsageError) Error() string { return e.Problem }

// ErrHelp is returned for -help. Callers print the usage text on stdout, and exit with 0.
var ErrHelp = errors.New("the usage text was asked for")

// Usage returns the usage text, which ends with a newline.
func Usage() string { return usage }

// Parse parses args, the command line without the program's name, and reads the hosts file and the
// key file. It calls hostname for the machine's host name unless -n, -local or -version is given.
// This host is the line with that name or, if there is none and one of the two names has no dot, the
// only line with the same first label: "one" and "one.example.org" match. With -n, the name must be
// the same.
//
// The error is a UsageError, ErrHelp, or says what is wrong with the hosts file, the key file or
// this host.
func Parse(args []string, hostname func() (string, error)) (Config, error) {
	c, err := parseFlags(args)
	if err != nil || c.Version {
		return c, err
	}
	if c.Hosts, err = readHosts(c.HostsFile); err != nil {
		return Config{}, fmt.Errorf("hosts file %q: %w", c.HostsFile, err)
	}
	c.Digest = digest(c.Hosts)
	if c.KeyFile != "" {
		if c.Keys, err = seal.Read(c.KeyFile); err != nil {
			return Config{}, err
		}
	}
	if !c.Local {
		if err := c.findSelf(hostname); err != nil {
			return Config{}, err
		}
		c.placeHTTP()
	}
	if err := c.checkDrill(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// parseFlags parses args without reading any file. Name is that of -n.
func parseFlags(args []string) (Config, error) {
	c := Config{Heartbeat: defaultHeartbeat, Monitor: defaultMonitor}
	flags := flag.NewFlagSet("memberly", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Func("h", "", text(&c.HostsFile, "give the path of the hosts file"))
	flags.Func("n", "", text(&c.Name, "give this host's name in the hosts file"))
	flags.Func("d", "", seconds(&c.Delay))
	flags.Func("c", "", seconds(&c.Crash))
	flags.Func("heartbeat", "", interval(&c.Heartbeat, maxHeartbeat))
	flags.Func("monitor", "", interval(&c.Monitor, maxMonitor))
	flags.Func("exec", "", text(&c.Exec, "give the command to run on each view"))
	flags.Func("hold", "", text(&c.Hold, "give the command to run while this peer leads"))
	flags.BoolVar(&c.HoldOnce, "hold-once", false, "")
	flags.Func("key", "", text(&c.KeyFile, "give the path of the key file"))
	flags.Func("http", "", func(s string) (err error) {
		c.HTTP, err = ParseHTTP(s) // without the address of a port alone, which placeHTTP adds
		return err
	})
	flags.BoolVar(&c.Drill, "t", false, "")
	flags.BoolVar(&c.Local, "local", false, "")
	flags.BoolVar(&c.Reform, "reform", false, "")
	flags.BoolVar(&c.Version, "version", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		err = ErrHelp
	case err != nil:
		err = UsageError{err.Error()}
	case flags.NArg() > 0:
		err = UsageError{fmt.Sprintf("unexpected argument %q: put nothing but options after the program's name", flags.Arg(0))}
	case !c.Version:
		err = c.checkFlags()
	}
	if err != nil {
		return Config{}, err
	}
	return c, nil
}

// checkFlags checks the combination of flags.
func (c *Config) checkFlags() error {
	switch {
	case c.HostsFile == "":
		return UsageError{"no hosts file: name one with -h FILE"}
	case c.Monitor/2 < c.Heartbeat:
		return UsageError{fmt.Sprintf("-monitor %v is less than twice -heartbeat %v: make -monitor %v or longer",
			c.Monitor, c.Heartbeat, 2*c.Heartbeat)}
	case c.HoldOnce && c.Hold == "":
		return UsageError{"-hold-once is for the command of -hold: give one, or leave -hold-once out"}
	case c.Local && c.Name != "":
		return UsageError{"-n names one host, but -local runs all of them: leave one of the two out"}
	case c.Local && c.HTTP.Addr().IsValid():
		return UsageError{"-http with an address is for one host, but -local runs all of them: give the port alone, and each serves at its own address"}
	}
	return nil
}

// checkDrill checks that the group is large enough for the drill, and that this is the first host.
func (c *Config) checkDrill() error {
	switch {
	case !c.Drill:
		return nil
	case len(c.Hosts) < drillHosts:
		return UsageError{fmt.Sprintf("-t needs a hosts file with at least %d hosts, and %q has %d",
			drillHosts, c.HostsFile, len(c.Hosts))}
	case !c.Local && c.ID != 1:
		return UsageError{fmt.Sprintf("-t is for the first host, %q, and this is %q: start that one with it",
			c.Hosts[0].Name, c.Name)}
	}
	return nil
}

// text returns the setter of a flag that must not be empty.
func text(to *string, remedy string) func(string) error {
	return func(s string) error {
		if *to = s; s == "" {
			return errors.New(remedy)
		}
		return nil
	}
}

// seconds returns the setter of a flag in whole seconds.
func seconds(to *time.Duration) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > maxSeconds {
			return fmt.Errorf("give whole seconds, from 0 to %d", maxSeconds)
		}
		*to = time.Duration(n) * time.Second
		return nil
	}
}

// interval returns the setter of a flag with a duration.
func interval(to *time.Duration, longest time.Duration) func(string) error {
	return func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < minInterval || d > longest {
			return fmt.Errorf("give a duration with its unit, such as 1.5s, from %v to %gh", minInterval, longest.Hours())
		}
		*to = d
		return nil
	}
}

// findSelf sets ID and Name to those of this host's line. It looks for Name if -n gave it, else for
// the machine's host name.
func (c *Config) findSelf(hostname func() (string, error)) error {
	name, given := c.Name, c.Name != ""
	if !given {
		var err error
		if name, err = hostname(); err != nil {
			return fmt.Errorf("cannot find this machine's host name: %w: give this host's name in hosts file %q with -n NAME", err, c.HostsFile)
		}
	}
	matches := c.matching(nameKey(name), given)
	switch len(matches) {
	case 0:
		return fmt.Errorf("this host, %q, is not in hosts file %q: give its name there with -n NAME, or add it to the file", name, c.HostsFile)
	case 1:
		c.ID, c.Name = matches[0], c.Hosts[matches[0]-1].Name
		return nil
	}
	return fmt.Errorf("this host, %q, could be %q or %q of hosts file %q: say which with -n NAME, or write its full name to the file",
		name, c.Hosts[matches[0]-1].Name, c.Hosts[matches[1]-1].Name, c.HostsFile)
}

// matching returns the ids of the hosts that match a key: the one with the same name or, unless same
// is set, those with the same first label.
func (c *Config) matching(key string, same bool) []types.ID {
	isSame := func(h Host) bool { return nameKey(h.Name) == key }
	if i := slices.IndexFunc(c.Hosts, isSame); i >= 0 {
		return []types.ID{types.ID(i + 1)}
	}
	var matches []types.ID
	for i, h := range c.Hosts {
		if !same && isShort(nameKey(h.Name), key) {
			matches = append(matches, types.ID(i+1))
		}
	}
	return matches
}

// isShort reports whether one of two keys is the first label of the other.
func isShort(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return strings.HasPrefix(b, a+".") && !strings.Contains(a, ".") && !isAddr(b)
}
