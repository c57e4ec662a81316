package hold

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/config/options"
	"memberly/peer/utils"
)

// This file is `memberly hold`: the keeper of a command that learns of the lease over HTTP, from a peer on this machine.
// It counts what is left of the lease from before it asked, so that what the answer takes only shortens the lease. A
// second connection stays open: the peer writes to it when the lease changes, and its end shows at once that the peer
// has ended.

// The exit codes, besides those of the command.
const (
	success = 0
	failure = 1
	misuse  = 2
)

// Page describes `memberly hold`.
var Page = options.Page{Command: "hold", What: "run a command while a peer with -http leads",
	Synopsis: "[-once] [ADDR] -- COMMAND [ARG...]", Operand: "COMMAND",
	About: "Runs COMMAND while the peer of this machine at ADDR, a port or an address and a port (default 127.0.0.1:8082, or " +
		"MEMBERLY_HTTP), leads its group, and ends it before the peer's lease ends: SIGTERM to its process group, then SIGKILL. " +
		"COMMAND has MEMBERLY_FENCE.",
	Sections: []options.Section{{Options: []options.Option{
		{Name: "once", What: "when COMMAND ends by itself, exit with its exit code; without this it is run again, after a pause"},
	}}},
	Exit: "that of COMMAND, 1 the peer cannot be asked, 2 wrong usage, 126 or 127 COMMAND cannot be run"}

const (
	// answerTime is how long the peer has to answer. Its lease goes on to run out meanwhile.
	answerTime = time.Second
	// askEvery is how often to ask where nothing tells of a change, and again after no answer.
	askEvery = 200 * time.Millisecond
	// maxAnswer bounds an answer, in bytes, and maxShown what is shown of it.
	maxAnswer, maxShown = 1 << 16, 200
	// jsonVersion is that of /lease.
	jsonVersion = 1
)

// leaseJSON is what a peer serves at /lease.
type leaseJSON struct {
	Version   int    `json:"version"`
	Life      string `json:"life"`
	ID        int    `json:"id"`
	Name      string `json:"name"`
	Fence     uint64 `json:"fence"`
	LeaseMS   int64  `json:"lease_ms"`
	Resigned  bool   `json:"resigned"`
	MonitorMS int64  `json:"monitor_ms"`
}

// client is one `memberly hold`.
type client struct {
	at     string // the peer's URL
	name   string // of this process, for the peer
	argv   []string
	once   bool
	http   *http.Client
	keeper keeper
	look   chan struct{} // has a value when to ask for the lease at once
	code   int           // to exit with; set before keeper.done is closed
	stderr io.Writer
	fatal  chan error
	said   string // of the state of asking, last
	waits  bool   // it has said that the peer does not lead, and that is so
}

// Run is `memberly hold`.
func Run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	c, code := parse(args, stdout, stderr)
	if c == nil {
		return code
	}
	if !supervises {
		fmt.Fprintln(stderr, "memberly: hold is not available on Windows, where a command cannot be ended in time: run it on another system")
		return failure
	}
	if _, err := exec.LookPath(c.argv[0]); err != nil {
		fmt.Fprintf(stderr, "memberly: the command cannot be run: %v: give the path of a program, or its name in PATH\n", err)
		return startCode(err)
	}
	return c.run(ctx)
}

// parse returns the client that args are for, or an exit code.
func parse(args []string, stdout, stderr io.Writer) (*client, int) {
	c := &client{stderr: stderr, name: rand.Text(), look: make(chan struct{}, 1), fatal: make(chan error, 1)}
	flags := flag.NewFlagSet("memberly", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&c.once, "once", false, "")
	own := args
	at := slices.Index(args, "--")
	if at >= 0 {
		own, c.argv = args[:at], args[at+1:]
	}
	err := flags.Parse(own)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, Page.Text())
		return nil, success
	}
	switch {
	case err != nil:
	case flags.NArg() > 1:
		err = fmt.Errorf("unexpected argument %q: put the command after --", flags.Arg(1))
	case len(c.argv) == 0:
		err = errors.New("no command: give it after --")
	default:
		c.at, err = config.PeerAt(flags.Arg(0), os.LookupEnv)
	}
	if err != nil {
		fmt.Fprint(stderr, Page.Wrong(err))
		return nil, misuse
	}
	c.http = &http.Client{ // without a proxy
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.keeper = keeper{argv: c.argv, once: c.once, ended: c.ended, idle: c.ask,
		env: variables,
		stuck: func(group int, why string) {
			fmt.Fprintf(c.stderr, "memberly: %s: process group %d cannot be ended (%s): %s\n", c.argv[0], group, why, stuckHelp)
		},
		output: func() (io.Writer, io.Writer) { return os.Stdout, os.Stderr }}
	return c, success
}

// startCode returns the exit code for a command that cannot be started.
func startCode(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return notFound
	}
	return notRunnable
}

// run keeps the command until ctx ends, the peer cannot be asked, or the command has ended and is not to run again. It
// returns the exit code.
func (c *client) run(ctx context.Context) int {
	asking, stop := context.WithCancel(context.Background()) // it goes on after ctx, so that the lease is known while the command ends
	defer stop()
	c.keeper.open()
	go c.watch(asking)
	var err error
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	end := ctx.Done()
	for {
		if err == nil {
			err = c.learn(asking)
		}
		if err != nil {
			c.keeper.close()
		}
		select {
		case <-c.keeper.done:
			if err != nil {
				fmt.Fprintf(c.stderr, "memberly: %v\n", err)
				return failure
			}
			return c.code
		case err = <-c.fatal:
		case <-end:
			end = nil
			c.keeper.close()
		case <-c.look:
		case <-tick.C:
		}
	}
}

// ask has the lease asked for at once.
func (c *client) ask() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// get requests path. The error is fatal if the server is no peer that serves leases.
func (c *client) get(ctx context.Context, path string) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, c.at+path, nil)
	if err != nil {
		return nil, err
	}
	a, err := c.http.Do(q)
	if err != nil {
		return nil, fmt.Errorf("no answer from %s: %w: %s", c.at, errors.Unwrap(err), config.Serving(c.at))
	}
	if a.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(a.Body, maxShown))
		a.Body.Close()
		return nil, fatal{fmt.Errorf("the server at %s does not serve a lease (status %d): %s", c.at, a.StatusCode,
			utils.Printable(strings.TrimSpace(string(text))))}
	}
	return a, nil
}

// fatal is an error that asking again would not help.
type fatal struct{ error }

// learn asks for the lease and tells the keeper. The error is fatal.
func (c *client) learn(ctx context.Context) error {
	runs := "0"
	if c.keeper.mayRun() {
		runs = "1"
	}
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	asked := clock()
	path := "/lease?holder=" + c.name + "&runs=" + runs
	a, err := c.get(limited, path)
	if hasEnded(err) && !errors.Is(err, syscall.ECONNREFUSED) {
		a, err = c.get(limited, path) // the connection has ended; if the peer has too, it refuses another one
	}
	if err != nil {
		c.failed(err)
		if f, ok := errors.AsType[fatal](err); ok {
			return f.error
		}
		return nil
	}
	defer a.Body.Close()
	var l leaseJSON
	if err := json.NewDecoder(io.LimitReader(a.Body, maxAnswer)).Decode(&l); err != nil {
		if hasEnded(err) {
			c.ask()
			return nil
		}
		if limited.Err() != nil {
			c.failed(err)
			return nil
		}
		return fmt.Errorf("the server at %s is not a peer of Memberly: %w", c.at, err)
	}
	if l.Version != jsonVersion {
		return fmt.Errorf("the peer at %s speaks version %d of the lease, this program %d: use the same release", c.at, l.Version, jsonVersion)
	}
	c.said = ""
	c.sayWhetherItWaits(l)
	c.keeper.update(claim{life: l.Life, id: l.ID, name: l.Name, fence: l.Fence, until: asked + time.Duration(l.LeaseMS)*time.Millisecond,
		length: time.Duration(l.MonitorMS) * time.Millisecond, resigned: l.Resigned})
	return nil
}

// sayWhetherItWaits says once that there is no lease, so that nobody takes the silence for a fault.
func (c *client) sayWhetherItWaits(l leaseJSON) {
	waits := l.Fence == 0
	if waits && !c.waits {
		fmt.Fprintf(c.stderr, "memberly: %s does not lead: %s waits until it does\n", cmp.Or(utils.Printable(l.Name), "the peer at "+c.at), c.argv[0])
	}
	c.waits = waits
}

// hasEnded reports whether an error in asking shows that the peer has ended: it does not refuse connections or break them
// off while it runs. One that does not answer in time may only be slow.
func hasEnded(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// failed notes that there was no answer.
func (c *client) failed(err error) {
	if hasEnded(err) {
		c.keeper.update(claim{gone: true})
	}
	if text := err.Error(); text != c.said {
		if _, isFatal := errors.AsType[fatal](err); !isFatal {
			fmt.Fprintf(c.stderr, "memberly: %s\n", text)
		}
		c.said = text
	}
}

// watch has the lease asked for whenever the peer says that it has changed, and when the peer may have ended.
func (c *client) watch(ctx context.Context) {
	for ctx.Err() == nil {
		a, err := c.get(ctx, "/lease/changes")
		if err == nil {
			for lines := bufio.NewReader(a.Body); err == nil; {
				if _, err = lines.ReadByte(); err == nil {
					c.ask()
				}
			}
			a.Body.Close()
			c.ask() // at once: if nothing listens there any more, another peer may lead in a moment
		}
		if f, ok := errors.AsType[fatal](err); ok {
			select {
			case c.fatal <- f.error:
			default:
			}
			return
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			c.keeper.update(claim{gone: true})
		}
		select {
		case <-time.After(glance):
		case <-ctx.Done():
		}
	}
}

// ended says how the command ended by itself, and whether it is to run again.
func (c *client) ended(r result, pause time.Duration) bool {
	switch {
	case r.failure != "":
		fmt.Fprintf(c.stderr, "memberly: running %s: %s\n", c.argv[0], r.failure)
		c.code = r.code
		return false
	case c.once:
		c.code = r.code
		return false
	}
	fmt.Fprintf(c.stderr, "memberly: %s ended with exit code %d; it is started again in %v\n", c.argv[0], r.code, pause)
	return true
}
