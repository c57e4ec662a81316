package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"memberly/peer/types"
	"memberly/peer/utils"
)

// troubles reports on stdout what goes wrong with names: the cause, and the hosts that it concerns. It reports a
// cause only if that lasts, again only if the hosts change, and at most once a minute; and when all hosts that were
// reported are found. Any goroutine may use it.
type troubles struct {
	notice *lines
	hosts  *types.Names

	mu       sync.Mutex
	unfound  map[types.ID]*unfound // the hosts whose latest look-up found no address
	now      [causes]trouble
	reported map[types.ID]bool      // the hosts that were reported, until all of them are found
	moved    map[types.ID]time.Time // when it was last reported that a host is elsewhere
}

// cause is why a name is not found.
type cause int

const (
	noAnswer cause = iota // the name service does not answer, or fails
	noName                // it says that there is no such name
	causes
)

// unfound is a host that is not found. The cause may change, from look-up to look-up, until it is.
type unfound struct {
	cause cause             // the latest
	since [causes]time.Time // when each cause came first; zero if it did not
}

// trouble is what was said of a cause.
type trouble struct {
	detail string    // the latest error
	said   string    // the hosts that were reported; "" for none
	at     time.Time // when that was
}

const (
	// reportPause is the least time between two reports of a cause.
	reportPause = time.Minute
	// slowAfter is how long a look-up may take, and a name service may fail, before that is reported.
	slowAfter = 2 * time.Second
	// unknownAfter is how long a name may be unknown before that is reported: hosts that start bring theirs along.
	unknownAfter = 10 * time.Second
	// maxNamed is how many hosts a report names.
	maxNamed = 8
)

func newTroubles(notice *lines, hosts *types.Names) *troubles {
	return &troubles{notice: notice, hosts: hosts, unfound: make(map[types.ID]*unfound),
		reported: make(map[types.ID]bool), moved: make(map[types.ID]time.Time)}
}

// note notes how the latest look-up of id ended: with addresses, if err is nil.
func (t *troubles) note(id types.ID, err error) {
	if t == nil || errors.Is(err, context.Canceled) {
		return // the peer ends
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		delete(t.unfound, id)
		t.over()
	case utils.NoSuchName(err):
		t.fails(id, noName, err, time.Now())
	default:
		t.fails(id, noAnswer, err, time.Now())
	}
	for c := range causes {
		t.report(c)
	}
}

// slow notes that the look-up of id has no answer yet.
func (t *troubles) slow(id types.ID) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fails(id, noAnswer, errNoAnswer, time.Now().Add(-slowAfter))
	t.report(noAnswer)
}

// fails notes that id is not found, and why, since when. The caller holds mu.
func (t *troubles) fails(id types.ID, c cause, err error, since time.Time) {
	u := t.unfound[id]
	if u == nil {
		u = new(unfound)
		t.unfound[id] = u
	}
	u.cause = c
	if u.since[c].IsZero() {
		u.since[c] = since
	}
	t.now[c].detail = reason(err)
}

// has reports whether the latest look-up of id found no address.
func (t *troubles) has(id types.ID) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unfound[id] != nil
}

var errNoAnswer = errors.New("no answer")

// reason returns an error of a look-up in a few words.
func reason(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsTimeout {
			return errNoAnswer.Error()
		}
		return dns.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errNoAnswer.Error()
	}
	return err.Error()
}

// rarely reports that a host is elsewhere, at most once a minute for each host.
func (t *troubles) rarely(id types.ID, words string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, told := t.moved[id]; told && time.Since(last) < reportPause {
		return
	}
	t.moved[id] = time.Now()
	t.notice.printf("%s", words)
}

// report reports a cause, if that is due. The caller holds mu.
func (t *troubles) report(c cause) {
	now, after := &t.now[c], slowAfter
	if c == noName {
		after = unknownAfter
	}
	var lasting []types.ID
	for _, id := range slices.Sorted(maps.Keys(t.unfound)) {
		if u := t.unfound[id]; u.cause == c && time.Since(u.since[c]) >= after {
			lasting = append(lasting, id)
		}
	}
	names := t.names(lasting)
	if len(lasting) == 0 || names == now.said || time.Since(now.at) < reportPause {
		return
	}
	now.said, now.at = names, time.Now()
	for _, id := range lasting {
		t.reported[id] = true
	}
	t.notice.printf("%s", describe(c, names, now.detail))
}

// over reports that all hosts that were reported are found, if that is so. The caller holds mu.
func (t *troubles) over() {
	if len(t.reported) == 0 {
		return
	}
	for id := range t.reported {
		if t.unfound[id] != nil {
			return
		}
	}
	t.notice.printf("Names are found again: %s", t.names(slices.Sorted(maps.Keys(t.reported))))
	clear(t.reported)
	for c := range t.now {
		t.now[c].said = ""
	}
}

// describe says what is wrong, and what to do.
func describe(c cause, names, detail string) string {
	if c == noName {
		return fmt.Sprintf("The name service does not know %s: correct the name, add it to the name service, "+
			"or write the host's address after the name in the hosts file", names)
	}
	return fmt.Sprintf("The name service does not answer for %s (%s): addresses that are known stay in use. "+
		"Check the name servers of this machine (/etc/resolv.conf), or write addresses after the names in the hosts file",
		names, detail)
}

// forget forgets what was noted of id, which is another host now, or none.
func (t *troubles) forget(id types.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.unfound, id)
	delete(t.moved, id)
	if !t.reported[id] {
		return
	}
	delete(t.reported, id)
	if len(t.reported) > 0 {
		t.over()
		return
	}
	for c := range t.now {
		t.now[c].said = ""
	}
}

// names lists hosts.
func (t *troubles) names(ids []types.ID) string {
	var names []string
	for _, id := range ids[:min(len(ids), maxNamed)] {
		names = append(names, t.hosts.Name(id))
	}
	list := strings.Join(names, ", ")
	if more := len(ids) - len(names); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}
