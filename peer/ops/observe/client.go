package observe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"memberly/peer/config"
	"memberly/peer/config/options"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// The exit codes of the commands.
const (
	yes    = 0
	no     = 1
	misuse = 2
)

const (
	// answerTime is how long a peer has to answer a command.
	answerTime = 3 * time.Second
	// maxAnswer bounds an answer, in bytes: twice what a group of the largest size takes.
	maxAnswer = 4 << 20
	// maxDepth and maxValues bound the lists and objects of an answer. A peer's are nested three deep, and have
	// some sixty values for each host: fifteen, the members that it does not hear, and its addresses.
	maxDepth, maxValues = 8, 64 * types.MaxHosts
	// maxSentence and maxName bound the texts of an answer that are shown, in bytes.
	maxSentence, maxName = 4000, 256
	// watchPause is the time between two looks of -watch.
	watchPause = 500 * time.Millisecond
	// slowDisk is for how many milliseconds something waits for the disk before that is shown.
	slowDisk = 1000
)

// at is how pages say whom a command asks.
const at = "the peer at ADDR, a port or an address and a port (default 127.0.0.1:8082, or MEMBERLY_HTTP)"

// StatusPage and ReadyPage describe two commands.
var (
	StatusPage = options.Page{Command: "status", What: "show what a peer with -http knows about its group", Synopsis: "[-json] [-watch] [ADDR]",
		About: "Prints what " + at + ", knows of its group: as a table, or as JSON.",
		Sections: []options.Section{{Options: []options.Option{
			{Name: "json", What: "print JSON, as /status has it"},
			{Name: "watch", What: "print it again whenever it changes; on a terminal, redraw it in place"},
		}}},
		Exit: "0 printed, 1 there is no answer, 2 wrong usage"}
	ReadyPage = options.Page{Command: "ready", What: "exit with 0 if a peer with -http is ready, else 1", Synopsis: "[ADDR]",
		About: "Tells whether " + at + ", is in a view whose quorum is reachable and whose leader leads.",
		Exit:  "0 it is ready, 1 it is not, and stdout says why, or there is no answer, 2 wrong usage"}
)

// command is a command line that asks a peer something.
type command struct {
	json, watch bool
	wait        time.Duration // of reload
	at          string        // the peer's URL
	stdout      io.Writer
	stderr      io.Writer
}

// parse returns the command that args are, or an exit code.
func parse(args []string, page options.Page, stdout, stderr io.Writer) (*command, int) {
	c := &command{stdout: stdout, stderr: stderr}
	flags := flag.NewFlagSet("memberly", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	switch page.Command {
	case StatusPage.Command:
		flags.BoolVar(&c.json, "json", false, "")
		flags.BoolVar(&c.watch, "watch", false, "")
	case ReloadPage.Command:
		flags.DurationVar(&c.wait, "wait", defaultWait, "")
	}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, page.Text())
		return nil, yes
	}
	if err == nil && flags.NArg() > 1 {
		err = fmt.Errorf("unexpected argument %q: give one address at most", flags.Arg(1))
	}
	if err == nil && page.Command == ReloadPage.Command && (c.wait < minWait || c.wait > maxWait) {
		err = fmt.Errorf("-wait %v: give a duration from %v to %gh", c.wait, minWait, maxWait.Hours())
	}
	if err == nil {
		c.at, err = config.PeerAt(flags.Arg(0), os.LookupEnv)
	}
	if err != nil {
		fmt.Fprint(stderr, page.Wrong(err))
		return nil, misuse
	}
	return c, yes
}

// RunReady is `memberly ready`: the exit code is 0 if the peer is ready, else 1, and stdout
// says why not.
func RunReady(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	c, code := parse(args, ReadyPage, stdout, stderr)
	if c == nil {
		return code
	}
	answer, status, err := c.ask(ctx, "/ready")
	if err != nil {
		fmt.Fprintf(stderr, "memberly: %v\n", err)
		return no
	}
	if status == http.StatusOK && string(answer) != ready {
		fmt.Fprintf(stderr, "memberly: the server at %s is not a peer of Memberly\n", c.at)
		return no
	}
	fmt.Fprintln(stdout, shown(strings.TrimSuffix(string(answer), "\n"), maxSentence))
	if status != http.StatusOK {
		return no
	}
	return yes
}

// RunStatus is `memberly status`: the exit code is 0, or 1 if there is no answer.
func RunStatus(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	c, code := parse(args, StatusPage, stdout, stderr)
	if c == nil {
		return code
	}
	if c.watch {
		if s := newScreen(stdout, os.Getenv); s != nil && !c.json {
			return s.follow(ctx, c)
		}
		return c.follow(ctx)
	}
	text, _, err := c.look(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "memberly: %v\n", err)
		return no
	}
	stdout.Write(text)
	return yes
}

// follow shows the status whenever it changes, until ctx ends, and returns the exit code.
func (c *command) follow(ctx context.Context) int {
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	for before := ""; ; {
		text, facts, err := c.look(ctx)
		to := c.stdout
		if err != nil {
			facts, text = "error", []byte(time.Now().Format(time.TimeOnly)+" "+err.Error()+"\n")
			if c.json {
				to = c.stderr
			}
		}
		if ctx.Err() != nil {
			return yes
		}
		if facts != before {
			before = facts
			if _, err := to.Write(text); err != nil {
				return no // the reader has gone
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return yes
		}
	}
}

// look asks for the status. It returns what to show, and the facts in it whose change -watch shows: all but
// how long ago something was.
func (c *command) look(ctx context.Context) (text []byte, facts string, err error) {
	r, answer, err := c.fetch(ctx)
	if err != nil {
		return nil, "", err
	}
	r.clean()
	table := tabulate(r)
	r.Time = time.Time{}
	r.Peer.StoringMS = min(r.Peer.StoringMS/slowDisk, 1) * slowDisk
	for i := range r.Hosts {
		r.Hosts[i].Heard = nil
	}
	facts = string(tabulate(r))
	if c.json {
		return printableJSON(answer), facts, nil
	}
	return table, facts, nil
}

// fetch asks for the status. It returns it, and as it was answered.
func (c *command) fetch(ctx context.Context) (*statusJSON, []byte, error) {
	answer, status, err := c.ask(ctx, "/status")
	if err != nil {
		return nil, nil, err
	}
	var full struct {
		statusJSON
		Missing ignored `json:"missing"`
	}
	if status != http.StatusOK || !isModest(answer) || json.Unmarshal(answer, &full) != nil {
		return nil, nil, fmt.Errorf("the server at %s is not a peer of Memberly (status %d)", c.at, status)
	}
	r := &full.statusJSON
	if r.Version != jsonVersion {
		return nil, nil, fmt.Errorf("the peer at %s speaks version %d of the status, this program %d: use the same release", c.at, r.Version, jsonVersion)
	}
	return r, answer, nil
}

// ignored is a part of an answer that is not decoded.
type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// isModest reports whether a text of JSON is no larger, decoded, than what a peer may answer: no list or object
// has more than types.MaxHosts values, none is nested deeper than maxDepth, and there are at most maxValues in
// all. Values of two bytes would else become structures of a hundred. It neither allocates, nor finds out
// whether the text is valid.
func isModest(text []byte) bool {
	var in [maxDepth]int // the values so far in each list and object around
	depth, values := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			if depth == maxDepth {
				return false
			}
			in[depth] = 1
			depth++
			values++
		case ']', '}':
			depth = max(depth-1, 0)
		case ',':
			values++
			if depth == 0 {
				return false // it is not valid
			}
			if in[depth-1]++; in[depth-1] > types.MaxHosts {
				return false
			}
		}
		if values > maxValues {
			return false
		}
	}
	return true
}

// shown returns a text of an answer as it may be shown: whatever answers may not be a peer, and may mean harm.
func shown(text string, limit int) string { return utils.Printable(text[:min(len(text), limit)]) }

// clean makes the texts of r such as may be shown.
func (r *statusJSON) clean() {
	for _, text := range []*string{&r.Summary, &r.Reason, &r.CanLose.Words, &r.File.Words} {
		*text = shown(*text, maxSentence)
	}
	for i := range r.Hosts {
		h := &r.Hosts[i]
		h.Name, h.State = shown(h.Name, maxName), shown(h.State, maxName)
		h.Addresses = []string{shown(strings.Join(h.Addresses, " "), maxName)}
	}
}

// printableJSON returns JSON with what a terminal would not simply show as escapes of JSON. Of such characters
// valid JSON has outside of its strings only white space, which it leaves out.
func printableJSON(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, r := range string(b) {
		if r == '\n' || r >= ' ' && r < 0x7f || strconv.IsPrint(r) && r != utf8.RuneError {
			out = utf8.AppendRune(out, r)
			continue
		}
		if r < ' ' {
			continue // white space between the values
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out
}

// ask returns what the peer answers, and the HTTP status.
func (c *command) ask(ctx context.Context, path string) ([]byte, int, error) {
	q, err := http.NewRequest(http.MethodGet, c.at+path, nil)
	if err != nil {
		return nil, 0, err
	}
	return c.send(ctx, q, answerTime)
}

// send sends q, and returns what the peer answers within a time, and the HTTP status.
func (c *command) send(ctx context.Context, q *http.Request, within time.Duration) ([]byte, int, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	direct := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // without a proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	a, err := direct.Do(q.WithContext(ctx))
	if err != nil {
		return nil, 0, fmt.Errorf("no answer from %s: %w: %s", c.at, errors.Unwrap(err), config.Serving(c.at))
	}
	defer a.Body.Close()
	b, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	return b, a.StatusCode, err
}

// columns are the names of those of the table.
const columns = "id\thost\tstate\twire\tlast heard\taddress\tdoes not hear"

// tabulate returns r as text.
func tabulate(r *statusJSON) []byte {
	var b bytes.Buffer
	if !r.Time.IsZero() {
		fmt.Fprintf(&b, "%s  ", r.Time.Local().Format(time.TimeOnly))
	}
	fmt.Fprintf(&b, "%s", r.Summary)
	if r.Ready {
		fmt.Fprintf(&b, ": ready\n")
	} else {
		fmt.Fprintf(&b, "\nnot ready: %s\n", r.Reason)
	}
	fmt.Fprintf(&b, "can lose now: %s\n", r.CanLose.Words)
	if r.Leads {
		fmt.Fprintf(&b, "fence: %d\n", r.Fence)
	}
	if words := r.Peer.stored(); words != "" {
		fmt.Fprintf(&b, "stored: %s\n", words)
	}
	if r.File.Words != "" {
		fmt.Fprintf(&b, "hosts file: %s\n", r.File.Words)
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, columns)
	for i := range r.Hosts {
		fmt.Fprintln(t, r.line(&r.Hosts[i]))
	}
	t.Flush()
	b.WriteByte('\n')
	return b.Bytes()
}

// stored says in words what the peer has stored; "" if it stores nothing.
func (p *peerJSON) stored() string {
	words := "view " + strconv.FormatInt(p.StoredView, 10)
	switch {
	case !p.Stores:
		return ""
	case p.StoredView == 0:
		words = "no view"
	}
	if p.StoringMS >= slowDisk {
		words += fmt.Sprintf("; more has been waiting for the disk for %d s", p.StoringMS/1000)
	}
	return words
}

// line is a host in the table.
func (r *statusJSON) line(h *hostJSON) string {
	state, wire, heard := h.State, "-", "-"
	if h.Wire != 0 {
		wire = strconv.Itoa(int(h.Wire))
	}
	if h.ID == r.Follows && h.Member && r.led() {
		state += ", leads"
	}
	if words := h.beside(); words != "" {
		state += ", " + words
	}
	if h.Heard != nil {
		heard = fmt.Sprintf("%.1f s ago", *h.Heard)
	}
	var unheard []string
	for _, id := range h.DoesNotHear[:min(len(h.DoesNotHear), maxNames)] {
		if id >= 1 && int(id) <= len(r.Hosts) { // the server may not be a peer
			unheard = append(unheard, r.Hosts[id-1].Name)
		}
	}
	if more := len(h.DoesNotHear) - maxNames; more > 0 {
		unheard = append(unheard, fmt.Sprintf("and %d more", more))
	}
	return strings.Join([]string{strconv.Itoa(int(h.ID)), h.Name, state, wire, heard,
		cmp.Or(strings.Join(h.Addresses, " "), "-"), cmp.Or(strings.Join(unheard, " "), "-")}, "\t")
}
