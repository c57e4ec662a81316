// Package reform is the command `memberly reform`: it makes a new group from what one host has stored, when the quorum
// of the old one is lost for ever. It works on the state file of a host whose peer does not run.
package reform

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"memberly/peer/config"
	"memberly/peer/config/options"
	"memberly/peer/storage"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// Page describes the flags of parse.
var Page = options.Page{Command: "reform", What: "make a new group from a state file after the quorum is lost for ever",
	Synopsis: "-state FILE -h FILE [-n NAME] [VIEW]",
	About: "Makes a new group, of this host alone, from its state file, when so many hosts are lost for ever that no quorum of the old group " +
		"can come back. The peer of this host must not run. Without VIEW it changes nothing: it says what is stored, what it would do, " +
		"and what that risks. With VIEW, the number of the stored view, it does it. " +
		"MEMBERLY_HOSTS_FILE, MEMBERLY_NAME and MEMBERLY_STATE count as for a peer.",
	Sections: []options.Section{{Options: []options.Option{
		{Name: "state", Arg: "FILE", What: "this host's state file"},
		{Name: "h", Arg: "FILE", What: "hosts file"},
		{Name: "n", Arg: "NAME", Default: "the machine's host name", What: "this host's name in the file"},
	}}},
	Exit: "0 done, or the plan is printed; 1 it cannot be done; 2 wrong usage"}

// The exit codes.
const (
	success = 0
	failure = 1
	misuse  = 2
)

// unheard is how many terms may have begun that this host has not heard of: leaders of the old group had fences that
// those of the new group must exceed.
const unheard = 1_000_000

// order is what `memberly reform` is asked for.
type order struct {
	config config.Config
	view   int64 // the number that confirms it; -1 for none
	file   *storage.File
	stored types.Stored
	hosts  []types.Host // those of the stored view, by id-1; the hosts file may lack some
}

// Run is the command reform; args follow its name. It returns the exit code, and reads nothing from stdin.
func Run(_ context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args)
	if errors.Is(err, config.ErrHelp) {
		fmt.Fprint(stdout, Page.Text())
		return success
	}
	if err == nil {
		err = o.open()
	}
	if err == nil {
		defer o.file.Close()
		err = o.carry(stdout)
	}
	if err == nil {
		return success
	}
	if _, ok := errors.AsType[config.UsageError](err); ok {
		fmt.Fprint(stderr, Page.Wrong(err))
		return misuse
	}
	fmt.Fprintf(stderr, "memberly reform: %v\n", err)
	return failure
}

// parse returns what args ask for. Its error is like that of config.Parse.
func parse(args []string) (*order, error) {
	o := &order{view: -1}
	flags := flag.NewFlagSet("reform", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var peer []string
	for _, name := range []string{"h", "n", "state"} {
		flags.Func(name, "", func(value string) error {
			peer = append(peer, "-"+name, value)
			return nil
		})
	}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, config.ErrHelp
	case err != nil:
		return nil, config.UsageError{Problem: Page.Problem(err)}
	case flags.NArg() > 1:
		return nil, config.UsageError{Problem: fmt.Sprintf("unexpected argument %q: give the number of the view, and nothing after it", flags.Arg(1))}
	case !slices.Contains(peer, "-state") && !isSet("MEMBERLY_STATE"):
		return nil, config.UsageError{Problem: "no state file: name this host's with -state FILE"}
	case flags.NArg() == 1:
		if o.view, err = strconv.ParseInt(flags.Arg(0), 10, 64); err != nil || o.view < 0 {
			return nil, config.UsageError{Problem: fmt.Sprintf("%q is no view: give the number of the stored view, or none to see it", flags.Arg(0))}
		}
	}
	o.config, err = config.ParseWith(peer, config.Lookup(os.LookupEnv).For("h", "n", "state"), utils.HostName)
	return o, err
}

func isSet(variable string) bool {
	_, set := os.LookupEnv(variable)
	return set
}

// open opens the state file, which must exist and have something stored.
func (o *order) open() error {
	c := &o.config
	switch s, err := os.Stat(c.State); {
	case err != nil && os.IsNotExist(err), err == nil && s.Mode().IsRegular() && s.Size() == 0:
		return fmt.Errorf("state file %s: nothing is stored there: name the file that the peer of this host was given with -state", c.State)
	case err != nil:
		return fmt.Errorf("state file %w", err)
	}
	f, err := storage.Open(c.State, storage.Owner{ID: c.ID, Name: c.Name}, c.Hosts)
	if err != nil {
		return err
	}
	if o.file, o.stored = f, f.Stored(); o.stored.View.Number == 0 {
		f.Close()
		return fmt.Errorf("state file %s: this host has stored no view, so there is no group to re-form: "+
			"start its peer, with more than half of the hosts, or use the state file of a host that was a member", c.State)
	}
	if o.hosts, err = o.stored.Hosts(c.Hosts); err == nil && (int(c.ID) > len(o.hosts) || o.hosts[c.ID-1].Retired) {
		err = fmt.Errorf("host %d (%s) is retired, or no host of the stored view: use the state file of a host that was a member", c.ID, c.Name)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("state file %s: %w", c.State, err)
	}
	return nil
}

// carry tells what is stored and what can be done, or does it.
func (o *order) carry(stdout io.Writer) error {
	number := o.stored.View.Number
	switch {
	case o.view < 0:
		o.tell(stdout)
		return nil
	case o.view != number:
		return fmt.Errorf("state file %s: the stored view is %d, not %d: nothing was changed; to see what is stored, leave the number out",
			o.config.State, number, o.view)
	}
	next := o.next(time.Now())
	for range 2 { // so that neither copy in the file is of the old group
		if err := o.file.Write(&next); err != nil {
			return fmt.Errorf("%w: to know whether it was done, run this again without the number", err)
		}
	}
	fmt.Fprintf(stdout, "Done: %s is the only member of a new group, in view %d, with fences from %d on.\n"+
		"Start its peer: it waits for %v, then leads, and lets in the others.\n"+
		"Start hosts with a new, empty state file only when it leads.\n",
		o.config.Name, next.View.Number, next.Promised.Fence()+1, o.config.Monitor)
	return nil
}

// next returns what is to be stored: this host is the only member of a new group, made now, of the same hosts.
func (o *order) next(now time.Time) types.Stored {
	s, id := &o.stored, o.config.ID
	made := max(s.Incarnation, s.Group.Made, s.View.Group.Made)
	last := slices.Clone(s.View.Last)
	for i := range last {
		made = max(made, last[i].Incarnation)
		if s.View.Has(types.ID(i + 1)) {
			last[i].Cause = types.Unreachable
		}
	}
	made = max(types.Incarnation(now.UnixNano()), made+1)
	last[id-1] = types.Past{Incarnation: made}
	term := types.Term{Counter: max(s.Counter, s.Promised.Counter, s.Accepted.Term.Counter, s.View.Term.Counter) + unheard, Peer: id}
	next := types.Stored{Incarnation: made, Lives: s.Lives, Clock: s.Clock, First: s.First, Listed: s.Listed,
		Group: types.Group{Made: made, Maker: id}, Highest: o.number(), Counter: term.Counter, Promised: term}
	next.View = types.View{Group: next.Group, Number: next.Highest, Leader: id, Members: []types.ID{id}, Term: term,
		Last: last, Digest: s.View.Digest}
	return next
}

// number returns the number of the first view of the new group: above those of the old one that this host knows, with
// the one that the change which it has accepted would make.
func (o *order) number() int64 {
	number := o.stored.View.Number
	if o.stored.Accepted.Change.Operation != types.Nothing {
		number++
	}
	return max(number, o.stored.Highest) + 1
}

// name returns the name of a host.
func (o *order) name(id types.ID) string {
	if id < 1 || int(id) > len(o.hosts) {
		return "host " + strconv.Itoa(int(id))
	}
	return o.hosts[id-1].Name
}
