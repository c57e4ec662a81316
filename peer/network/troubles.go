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

	"memberly/peer/config"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// troubles reports on stdout what goes wrong with names: the cause, and the hosts that it concerns. It reports a
// cause only if that lasts, again only if the hosts change, and at most once a minute; and when it is over. Any
// goroutine may use it.
type troubles struct {
	notice *lines
	hosts  []config.Host

	mu    sync.Mutex
	now   [causes]trouble
	moved map[types.ID]time.Time // when it was last reported that a host is elsewhere
}

// cause is why a name is not found.
type cause int

const (
	noAnswer cause = iota // the name service does not answer, or fails
	noName                // it says that there is no such name
	causes
)

// trouble is a cause at present.
type trouble struct {
	since  map[types.ID]time.Time // of which hosts, since when
	detail string                 // the latest error
	said   string                 // the hosts that were reported; "" for none
	at     time.Time              // when that was
	found  bool                   // one of them was found since
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

func newTroubles(notice *lines, hosts []config.Host) *troubles {
	t := &troubles{notice: notice, hosts: hosts, moved: make(map[types.ID]time.Time)}
	for i := range t.now {
		t.now[i].since = make(map[types.ID]time.Time)
	}
	return t
}

// note notes how the latest look-up of id ended: with addresses, if err is nil.
func (t *troubles) note(id types.ID, err error) {
	if t == nil || errors.Is(err, context.Canceled) {
		return // the peer ends
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	is := causes
	if err != nil {
		if is = noAnswer; utils.NoSuchName(err) {
			is = noName
		}
		if _, lasts := t.now[is].since[id]; !lasts {
			t.now[is].since[id] = time.Now()
		}
		t.now[is].detail = reason(err)
	}
	for c := range causes {
		if _, had := t.now[c].since[id]; had && c != is {
			delete(t.now[c].since, id)
			t.now[c].found = t.now[c].found || err == nil
		}
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
	if _, lasts := t.now[noAnswer].since[id]; !lasts {
		t.now[noAnswer].since[id] = time.Now().Add(-slowAfter)
	}
	t.now[noAnswer].detail = reason(errNoAnswer)
	t.report(noAnswer)
}

// has reports whether the latest look-up of id found no address.
func (t *troubles) has(id types.ID) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range causes {
		if _, had := t.now[c].since[id]; had {
			return true
		}
	}
	return false
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

// report reports a cause, or that it is over, if that is due. The caller holds mu.
func (t *troubles) report(c cause) {
	now, after := &t.now[c], slowAfter
	if c == noName {
		after = unknownAfter
	}
	var lasting []types.ID
	for _, id := range slices.Sorted(maps.Keys(now.since)) {
		if time.Since(now.since[id]) >= after {
			lasting = append(lasting, id)
		}
	}
	names := t.names(lasting)
	switch {
	case len(now.since) == 0 && now.said != "":
		if now.found {
			t.notice.printf("Names are found again: %s", now.said)
		}
		now.said, now.found = "", false
	case len(lasting) > 0 && names != now.said && time.Since(now.at) >= reportPause:
		now.said, now.at = names, time.Now()
		t.notice.printf("%s", describe(c, names, now.detail))
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

// names lists hosts.
func (t *troubles) names(ids []types.ID) string {
	var names []string
	for _, id := range ids[:min(len(ids), maxNamed)] {
		names = append(names, t.hosts[id-1].Name)
	}
	list := strings.Join(names, ", ")
	if more := len(ids) - len(names); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}
