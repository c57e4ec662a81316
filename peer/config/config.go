// Package config turns the command line, the hosts file and the key file into a valid Config, or
// into an error that says what to do.
//
// The hosts file is UTF-8 text with one host per line: its name, optionally followed by its IP
// address. Comments from # on, blank lines and surrounding space are ignored. A host's id is its place
// among the hosts listed, from 1. Names are compared ignoring case and a final dot.
package config

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"runtime"
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

// Config is the configuration of a peer or, with Local, of all hosts. If Version is set, nothing else
// counts.
type Config struct {
	HostsFile string
	Hosts     []types.Host   // by id-1
	Name      string         // this host's, as the file spells it; empty if Local
	ID        types.ID       // this host's; 0 if Local
	Delay     time.Duration  // the wait before doing anything; with Local, between two starts
	Crash     time.Duration  // after the delay; 0 for never
	KeyFile   string         // the file of Keys; "" for none
	Keys      seal.Keyring   // encrypt all traffic; none if KeyFile is ""
	Reform    bool           // with Keys too, make a new group when the quorum is lost and all other hosts refuse connections
	State     string         // the file of what this host must remember over a crash; "" for none. With Local, each host adds its name
	JoinOnly  bool           // while this host knows of no group, make none and do not vote for one
	Exec      string         // the command to run on each view; "" for none
	Hold      string         // the command to run while this peer leads; "" for none
	HoldOnce  bool           // not to be run again when it has ended by itself
	Drill     bool           // the leader-failure drill; this is the first host, or Local
	Heartbeat time.Duration  // between two heartbeats
	Monitor   time.Duration  // the silence that makes a peer unreachable; at least twice Heartbeat
	Local     bool           // run every host of the file on this machine
	Times     bool           // put the time before each record
	HTTP      netip.AddrPort // where to serve status and metrics; port 0 for nowhere; with Local, a port with an invalid address
	Version   bool           // print the version and exit
	Digest    uint64         // of the names in their order, to compare the files of all hosts
}

// UsageError reports a wrong command line. Callers print it with Page.Wrong on stderr, and exit with
// 2. For any other error except ErrHelp they print one line on stderr, and exit with 1.
type UsageError struct {
	Problem string // and what to do about it
}

func (e UsageError) Error() string { return e.Problem }

// ErrHelp is returned for -help. Callers print the usage text on stdout, and exit with 0.
var ErrHelp = errors.New("the usage text was asked for")

// Parse parses args, the command line without the program's name, and reads the hosts file and the
// key file. It calls hostname for the machine's host name unless -n, -local or -version is given.
// This host is the line with that name or, if there is none and one of the two names has no dot, the
// only line with the same first label: "one" and "one.example.org" match. With -n, the name must be
// the same.
//
// The error is a UsageError, ErrHelp, or says what is wrong with the hosts file, the key file or
// this host.
func Parse(args []string, hostname func() (string, error)) (Config, error) {
	return ParseWith(args, nil, hostname)
}

// ParseWith is Parse, but what args leave open can come from the environment, which variables looks up. They count no more
// than other options: a bad one is a UsageError that names the variable.
func ParseWith(args []string, variables Lookup, hostname func() (string, error)) (Config, error) {
	c, err := parseFlags(args, variables)
	if err != nil || c.Version {
		return c, err
	}
	if c.Hosts, err = ReadHosts(c.HostsFile); err != nil {
		return Config{}, fmt.Errorf("hosts file %q: %w", c.HostsFile, err)
	}
	c.Digest = types.Digest(c.Hosts)
	if c.KeyFile != "" {
		if _, err := seal.Parse(c.KeyFile); err == nil { // before it is shown as the path that cannot be read
			return Config{}, UsageError{"-key has a key itself: write it to a file, and give the path of that"}
		}
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
func parseFlags(args []string, variables Lookup) (Config, error) {
	c := Config{Heartbeat: defaultHeartbeat, Monitor: defaultMonitor}
	flags := c.flags()
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return Config{}, ErrHelp
	case err != nil:
		return Config{}, UsageError{Page.Problem(err)}
	case flags.NArg() > 0:
		return Config{}, UsageError{fmt.Sprintf("unexpected argument %q: put nothing but options after the program's name", flags.Arg(0))}
	case c.Version:
		return c, nil
	}
	taken, err := take(flags, variables)
	if err != nil {
		return Config{}, err
	}
	if err := cmp.Or(c.checkFlags(), c.checkSystem(runtime.GOOS)); err != nil {
		return Config{}, noting(err, taken)
	}
	return c, nil
}

// flags returns the flags that set c. Page describes them.
func (c *Config) flags() *flag.FlagSet {
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
	flags.Func("state", "", text(&c.State, "give the path of the state file"))
	flags.BoolVar(&c.Drill, "t", false, "")
	flags.BoolVar(&c.Local, "local", false, "")
	flags.BoolVar(&c.JoinOnly, "join-only", false, "")
	flags.BoolVar(&c.Reform, "reform", false, "")
	flags.BoolVar(&c.Times, "times", false, "")
	flags.BoolVar(&c.Version, "version", false, "")
	return flags
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
	case c.State != "" && c.Reform:
		return UsageError{"-reform is for peers that store nothing: with -state, use memberly reform, or leave -reform out"}
	case c.State != "" && c.Drill:
		return UsageError{"-t is for peers that store nothing: leave -state or -t out"}
	case c.Local && c.Name != "":
		return UsageError{"-n names one host, but -local runs all of them: leave one of the two out"}
	case c.Drill && c.JoinOnly:
		return UsageError{"-t is for the host that makes the group, and -join-only for one that does not: leave one of the two out"}
	case c.Local && c.JoinOnly:
		return UsageError{"-join-only is for a host whose group runs elsewhere, but -local runs all hosts: leave one of the two out"}
	case c.Local && c.HTTP.Addr().IsValid():
		return UsageError{"-http with an address is for one host, but -local runs all of them: give the port alone, and each serves at its own address"}
	}
	return nil
}

// checkSystem checks that the flags do on this operating system, by Go's name for it, what they promise.
func (c *Config) checkSystem(system string) error {
	if system != "windows" {
		return nil
	}
	const elsewhere = "is not available on Windows, where %s: leave it out, or run this peer on another system"
	switch {
	case c.Exec != "":
		return UsageError{fmt.Sprintf("-exec "+elsewhere, "there is no /bin/sh and a command cannot be ended with all that it started")}
	case c.Hold != "":
		return UsageError{fmt.Sprintf("-hold "+elsewhere, "there is no /bin/sh and a command cannot be ended in time")}
	case c.KeyFile != "":
		return UsageError{fmt.Sprintf("-key "+elsewhere, "this program cannot tell who may read the file")}
	case c.Local:
		return UsageError{"-local is not available on Windows, where a process cannot be asked to leave: leave it out and start a peer for each host, or use another system"}
	}
	return nil
}

// checkDrill checks that the group is large enough for the drill, and that this is the first host.
func (c *Config) checkDrill() error {
	serving := types.Serving(c.Hosts)
	switch {
	case !c.Drill:
		return nil
	case serving < drillHosts:
		return UsageError{fmt.Sprintf("-t needs a hosts file with at least %d hosts, and %q has %d",
			drillHosts, c.HostsFile, serving)}
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
	key := types.NameKey(name)
	matches := c.matching(key, given, false)
	retired := len(matches) == 0
	if retired {
		matches = c.matching(key, given, true)
	}
	switch {
	case len(matches) == 0:
		return fmt.Errorf("this host, %q, is not in hosts file %q: give its name there with -n NAME, or add it to the file", name, c.HostsFile)
	case len(matches) > 1:
		return fmt.Errorf("this host, %q, could be %q or %q of hosts file %q: say which with -n NAME, or write its full name to the file",
			name, c.Hosts[matches[0]-1].Name, c.Hosts[matches[1]-1].Name, c.HostsFile)
	case retired && c.State == "": // with state it may have a vote without which its group cannot let it go
		return fmt.Errorf("this host, %q, is retired in hosts file %q, as host %d: add a new line for it to the file, at its end, on every host, or give another name with -n NAME",
			name, c.HostsFile, matches[0])
	}
	c.ID, c.Name = matches[0], c.Hosts[matches[0]-1].Name
	return nil
}

// matching returns the ids of the hosts, retired or not, that match a key: the one with the same name or, unless same
// is set, those with the same first label. Of several lines with one name, as retired hosts may have, it is the last.
func (c *Config) matching(key string, same, retired bool) []types.ID {
	exact, short := types.ID(0), make(map[string]types.ID)
	for i, h := range c.Hosts {
		switch name := types.NameKey(h.Name); {
		case h.Retired != retired:
		case name == key:
			exact = types.ID(i + 1)
		case !same && isShort(name, key):
			short[name] = types.ID(i + 1)
		}
	}
	if exact != 0 {
		return []types.ID{exact}
	}
	return slices.Sorted(maps.Values(short))
}

// isShort reports whether one of two keys is the first label of the other.
func isShort(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return strings.HasPrefix(b, a+".") && !strings.Contains(a, ".") && !isAddr(b)
}
