package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"memberly/peer/config/options"
)

// This file has a peer read its hosts file again: POST /reload and, for people, the command `memberly reload`.

const (
	// reloadTime is how long the peer may take to read the file, whose file system may hang.
	reloadTime = 5 * time.Second
	// reloadPause is the time between two looks of the command.
	reloadPause = 200 * time.Millisecond
	// reloadLag is how long after a file was read a step may still be without it.
	reloadLag = 100 * time.Millisecond
	// reloadHeader and reloadValue are the header that a request must have. No web page can send it to another site.
	reloadHeader = "Memberly"
	reloadValue  = "reload"
	// defaultWait, minWait and maxWait bound how long the command waits for the group.
	defaultWait, minWait, maxWait = 10 * time.Second, time.Second, time.Hour
)

// ReloadPage describes the command.
var ReloadPage = options.Page{Command: "reload", What: "have a peer with -http read its hosts file again", Synopsis: "[-wait D] [ADDR]",
	About: "Has " + at + ", which must be of this machine, read its hosts file again, and waits until its group has agreed on the hosts in it. " +
		"Edit the file on all hosts first: each file is a vote.",
	Sections: []options.Section{{Options: []options.Option{{Name: "wait", Arg: "D", Default: "10s", What: "how long to wait"}}}},
	Exit:     "0 the group has agreed on them, 1 it has not, and stdout says on which hosts what is missing; or there is no answer, 2 wrong usage"}

// reloadJSON is what /reload answers.
type reloadJSON struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"` // when the file had been read
}

// reload has the peer read its hosts file again, and answers when it has.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	switch {
	case !isOwn(r):
		http.Error(w, "memberly reload works with a peer of its own machine: run it where the peer runs", http.StatusForbidden)
		return
	case r.Header.Get(reloadHeader) != reloadValue:
		http.Error(w, fmt.Sprintf("the header %q is missing: use memberly reload", reloadHeader+": "+reloadValue), http.StatusForbidden)
		return
	case s.config.Reload == nil:
		http.Error(w, "this peer does not read its hosts file again: restart it", http.StatusNotImplemented)
		return
	}
	limit := time.NewTimer(reloadTime)
	defer limit.Stop()
	late := func() {
		http.Error(w, fmt.Sprintf("the hosts file was not read within %v: check its file system", reloadTime), http.StatusGatewayTimeout)
	}
	select {
	case s.reloading <- struct{}{}:
	case <-limit.C:
		late()
		return
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-s.reloading }()
		done <- s.config.Reload()
	}()
	select {
	case err := <-done:
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		writeJSON(w, reloadJSON{jsonVersion, time.Now()})
	case <-limit.C:
		late()
	}
}

// RunReload is `memberly reload`: the exit code is 0 once the group has agreed on the hosts of the file, else 1.
func RunReload(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	c, code := parse(args, ReloadPage, stdout, stderr)
	if c == nil {
		return code
	}
	read, err := c.reload(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "memberly: %v\n", err)
		return no
	}
	words, settled, err := c.awaitSettled(ctx, read)
	if err != nil {
		fmt.Fprintf(stderr, "memberly: %v\n", err)
		return no
	}
	fmt.Fprintln(stdout, words)
	if !settled {
		return no
	}
	return yes
}

// reload has the peer read its hosts file again, and returns when it had.
func (c *command) reload(ctx context.Context) (time.Time, error) {
	q, err := http.NewRequest(http.MethodPost, c.at+"/reload", nil)
	if err != nil {
		return time.Time{}, err
	}
	q.Header.Set(reloadHeader, reloadValue)
	text, status, err := c.send(ctx, q, reloadTime+answerTime)
	var answer reloadJSON
	switch {
	case err != nil:
		return time.Time{}, err
	case status == http.StatusOK && json.Unmarshal(text, &answer) == nil && answer.Version == jsonVersion:
		return answer.Time, nil
	case status == http.StatusForbidden, status == http.StatusNotImplemented, status == http.StatusGatewayTimeout, status == http.StatusUnprocessableEntity:
		return time.Time{}, fmt.Errorf("the peer at %s has not read its hosts file: %s", c.at, shown(strings.TrimSpace(string(text)), maxSentence))
	}
	return time.Time{}, fmt.Errorf("the server at %s is not a peer of Memberly that can read its hosts file again (status %d)", c.at, status)
}

// awaitSettled waits until the hosts file that was read at a time is settled, c.wait at most. It returns what to say.
func (c *command) awaitSettled(ctx context.Context, read time.Time) (words string, settled bool, err error) {
	tick := time.NewTicker(reloadPause)
	defer tick.Stop()
	limit := time.NewTimer(c.wait)
	defer limit.Stop()
	for {
		r, _, err := c.fetch(ctx)
		if err != nil {
			return "", false, err
		}
		r.clean()
		if words, settled = r.settles(read); settled {
			return words, true, nil
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return words, false, nil
		case <-ctx.Done():
			return words, false, nil
		}
	}
}

// settles reports whether the group has agreed on the hosts of the file that the peer has read at a time, and says so, or
// what is missing.
func (r *statusJSON) settles(read time.Time) (string, bool) {
	switch {
	case r.Time.Before(read.Add(reloadLag)):
		return "the peer has taken no step since it has read its hosts file", false
	case r.File.Settled && r.View != nil:
		n := 0
		for i := range r.Hosts {
			if h := &r.Hosts[i]; h.Agreed && !h.Retired {
				n++
			}
		}
		return fmt.Sprintf("%s, agreed in view %d", count(n, "host"), r.View.Number), true
	case r.File.Words != "":
		return r.File.Words, false
	}
	return r.Summary + ": " + r.Reason, false
}
