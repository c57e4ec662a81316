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
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"memberly/peer/config"
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
	// some fifty values for each host: ten, the members that it does not hear, and its addresses.
	maxDepth, maxValues = 8, 64 * types.MaxHosts
	// maxSentence and maxName bound the texts of an answer that are shown, in bytes.
	maxSentence, maxName = 4000, 256
	// watchPause is the time between two looks of -watch.
	watchPause = 500 * time.Millisecond
)

// statusUsage and readyUsage are the usage texts of the commands.
const (
	statusUsage = "Usage: memberly status [-json] [-watch] [ADDR]\n\n" +
		"Prints what the peer at ADDR, a port or an address and a port (default 127.0.0.1:8082),\n" +
		"knows of its group: as a table, or as JSON; with -watch again whenever it changes.\n"
	readyUsage = "Usage: memberly ready [ADDR]\n\n" +
		"Exits with 0 if the peer at ADDR, a port or an address and a port (default 127.0.0.1:8082),\n" +
		"is in a view whose quorum is reachable and whose leader leads, else with 1.\n"
)

// command is a command line that asks a peer something.
type command struct {
	json, watch bool
	at          string // the peer's URL
	stdout      io.Writer
	stderr      io.Writer
}

// parse returns the command that args are, or an exit code.
func parse(args []string, usage string, stdout, stderr io.Writer) (*command, int) {
	c := &command{stdout: stdout, stderr: stderr}
	flags := flag.NewFlagSet("memberly", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if usage == statusUsage {
		flags.BoolVar(&c.json, "json", false, "")
		flags.BoolVar(&c.watch, "watch", false, "")
	}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return nil, yes
	}
	if err == nil && flags.NArg() > 1 {
		err = fmt.Errorf("unexpected argument %q: give one address at most", flags.Arg(1))
	}
	if err == nil {
		c.at, err = config.PeerURL(cmp.Or(flags.Arg(0), strconv.Itoa(config.HTTPPort)))
	}
	if err != nil {
		fmt.Fprintf(stderr, "memberly: %v\n\n%s", err, usage)
		return nil, misuse
	}
	return c, yes
}

// RunReady is `memberly ready`: the exit code is 0 if the peer is ready, else 1, and stdout
// says why not.
func RunReady(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	c, code := parse(args, readyUsage, stdout, stderr)
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
	c, code := parse(args, statusUsage, stdout, stderr)
	if c == nil {
		return code
	}
	if c.watch {
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
	answer, status, err := c.ask(ctx, "/status")
	if err != nil {
		return nil, "", err
	}
	var full struct {
		statusJSON
		Missing ignored `json:"missing"`
	}
	if status != http.StatusOK || !isModest(answer) || json.Unmarshal(answer, &full) != nil {
		return nil, "", fmt.Errorf("the server at %s is not a peer of Memberly (status %d)", c.at, status)
	}
	r := &full.statusJSON
	if r.Version != jsonVersion {
		return nil, "", fmt.Errorf("the peer at %s speaks version %d of the status, this program %d: use the same release", c.at, r.Version, jsonVersion)
	}
	r.clean()
	table := tabulate(r)
	r.Time = time.Time{}
	for i := range r.Hosts {
		r.Hosts[i].Heard = nil
	}
	facts = string(tabulate(r))
	if c.json {
		return printableJSON(answer), facts, nil
	}
	return table, facts, nil
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
	for _, text := range []*string{&r.Summary, &r.Reason, &r.CanLose.Words} {
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
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, c.at+path, nil)
	if err != nil {
		return nil, 0, err
	}
	direct := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // without a proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	a, err := direct.Do(q)
	if err != nil {
		return nil, 0, fmt.Errorf("no answer from %s: %w: does a peer run there with -http?", c.at, errors.Unwrap(err))
	}
	defer a.Body.Close()
	b, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	return b, a.StatusCode, err
}

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
	fmt.Fprintf(&b, "can lose now: %s\n\n", r.CanLose.Words)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "id\thost\tstate\tlast heard\taddress\tdoes not hear")
	for i := range r.Hosts {
		fmt.Fprintln(t, r.line(&r.Hosts[i]))
	}
	t.Flush()
	b.WriteByte('\n')
	return b.Bytes()
}

// line is a host in the table.
func (r *statusJSON) line(h *hostJSON) string {
	state, heard := h.State, "-"
	if h.ID == r.Follows && h.Member && r.led() {
		state += ", leads"
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
	return strings.Join([]string{strconv.Itoa(int(h.ID)), h.Name, state, heard,
		cmp.Or(strings.Join(h.Addresses, " "), "-"), cmp.Or(strings.Join(unheard, " "), "-")}, "\t")
}
