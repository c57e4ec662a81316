// Package ledger holds what the processes of a group tell against what they told before. Its hosts have state files, so
// processes may be killed at any moment, all of them too, and yet nothing that was told may be contradicted:
//
//   - There is one group, and each number of a view has one membership, in one order.
//   - A view follows from the one before it by one member more or less, so none is lost in between.
//   - No fence is told by two processes. Nobody says that it leads after another has said so with a larger one, and no lease
//     begins with a smaller one than a lease before it.
//   - The numbers of the views of one process grow. Over the processes of a host they never fall below a view that one of
//     them said was stored. A view is stored within 10 ms after it is told (rule 9), so the next process may tell the
//     one before it again: the ledger counts that.
package ledger

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Status is the part of /status that tests of groups with state files check.
type Status struct {
	Ready, Leads bool
	Reason       string
	Fence        uint64
	Peer         struct {
		ID     int
		Stores bool
		Stored int64 `json:"stored_view"`
	}
	Group struct {
		Made  int64
		Maker int
	}
	View struct {
		Number  int64
		Leader  int
		Members []int
	}
}

// String names the group and the number of a view, and says who is in it.
func (s *Status) String() string {
	return fmt.Sprint("group ", s.Group, ", view ", s.View.Number, " of ", s.View.Members, ", leader ", s.View.Leader)
}

// Ask returns what the process that serves at an address says of itself; false if it does not answer.
func Ask(at string) (s Status, ok bool) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := client.Get("http://" + at + "/status")
	if err != nil {
		return s, false
	}
	defer a.Body.Close()
	return s, json.NewDecoder(a.Body).Decode(&s) == nil
}

// Agreed returns what the processes at these addresses, by the ids of their hosts, say once they are all ready and in one
// view of just them, and one of them leads: the leader's saying. ok is false if they do not agree at this moment.
func Agreed(at map[int]string) (lead Status, ok bool) {
	var first string
	ids := slices.Sorted(maps.Keys(at))
	for _, id := range ids {
		s, answers := Ask(at[id])
		members := slices.Sorted(slices.Values(s.View.Members))
		if first == "" {
			first = s.String()
		}
		if !answers || !s.Ready || s.String() != first || !slices.Equal(members, ids) {
			return lead, false
		}
		if s.Leads {
			lead = s
		}
	}
	return lead, lead.Leads
}

// Ledger is of one group. Any goroutine may use it.
type Ledger struct {
	t      testing.TB
	mu     sync.Mutex
	group  string           // that was told
	views  map[int64]string // the members, by number
	fences map[uint64]string
	leads  []lead
	told   []time.Time     // when each view was told first
	more   chan struct{}   // closed when a view with a higher number is told
	lives  map[int][]*Life // by host
	again  int             // how often a life told a view, and the next began with an earlier one

	began         time.Time
	behind, ahead time.Duration // how far the clock of the machine was set, at most
}

// lead is one lease that was told.
type lead struct {
	at    time.Time
	fence uint64
	who   string
}

// Life is one process of a host.
type Life struct {
	*Ledger
	id, number int
	stored     int64         // the largest view that it said was stored
	last       int64         // that it has recorded
	ended      chan struct{} // closed when it has ended
}

// New returns the ledger of a group of which nothing was told.
func New(t testing.TB) *Ledger {
	return &Ledger{t: t, began: time.Now(), views: make(map[int64]string), fences: make(map[uint64]string), more: make(chan struct{}), lives: make(map[int][]*Life)}
}

// Begin notes that a process of a host is about to start. The one before must have ended.
func (l *Ledger) Begin(id int) *Life {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := &Life{Ledger: l, id: id, number: len(l.lives[id]) + 1, ended: make(chan struct{})}
	l.lives[id] = append(l.lives[id], v)
	return v
}

// String names the process.
func (v *Life) String() string { return fmt.Sprintf("peer %d, process %d", v.id, v.number) }

// End notes that the process has ended.
func (v *Life) End() { close(v.ended) }

// Ended is closed once the process has ended.
func (v *Life) Ended() <-chan struct{} { return v.ended }

func (v *Life) HasEnded() bool {
	select {
	case <-v.ended:
		return true
	default:
		return false
	}
}

// view notes the members of a view, and fails if others were told under that number.
func (l *Ledger) view(who *Life, number int64, members string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, ok := l.views[number]
	switch {
	case ok && was != members:
		l.t.Errorf("%v: view %d has the members %s; told before: %s", who, number, members, was)
	case !ok:
		if number > l.largest() {
			close(l.more)
			l.more = make(chan struct{})
		}
		l.views[number] = members
		l.told = append(l.told, at)
	}
}

// largest returns the largest number of a view that was told. The caller holds the lock.
func (l *Ledger) largest() (most int64) {
	for number := range l.views {
		most = max(most, number)
	}
	return most
}

func (l *Ledger) sameGroup(who *Life, group string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.group != "" && l.group != group {
		l.t.Errorf("%v: group %s; told before: %s", who, group, l.group)
	}
	l.group = group
}

// fence notes which process leads with a fence.
func (l *Ledger) fence(who *Life, fence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, ok := l.fences[fence]; ok && was != who.String() {
		l.t.Errorf("%v leads with fence %d; before, %s did", who, fence, was)
	}
	l.fences[fence] = who.String()
}

// largestFence returns the largest fence that was told.
func (l *Ledger) largestFence() (most uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.fences {
		most = max(most, f)
	}
	return most
}

// More returns a channel that is closed when a view is told with a higher number than any so far.
func (l *Ledger) More() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.more
}

// Watch asks the process, which serves at an address, for its status until it has ended.
func (v *Life) Watch(at string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-v.ended:
			return
		}
		before := v.largestFence()
		if s, ok := Ask(at); ok && s.Peer.ID == v.id {
			v.status(&s, before)
		}
	}
}

// noteClock notes how far the clock of the machine was set since the beginning. The caller holds the lock.
func (l *Ledger) noteClock(now time.Time) {
	set := now.Round(0).Sub(l.began.Round(0)) - now.Sub(l.began)
	l.behind, l.ahead = min(l.behind, set), max(l.ahead, set)
}

// status notes what the process says of itself, when before was the largest fence. If it has ended meanwhile, its next one
// may have answered.
func (v *Life) status(s *Status, before uint64) {
	if s.View.Number > 0 {
		v.sameGroup(v, fmt.Sprint(s.Group))
		v.view(v, s.View.Number, list(s.View.Members), time.Now())
		if s.Leads && s.Fence < before {
			v.t.Errorf("%v says that it leads with fence %d, after another has said so with %d", v, s.Fence, before)
		}
	}
	v.mu.Lock()
	v.noteClock(time.Now())
	v.mu.Unlock()
	if v.HasEnded() {
		return
	}
	if s.Leads {
		v.fence(v, s.Fence)
	}
	if s.Peer.Stores {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.stored = max(v.stored, s.Peer.Stored)
	}
}

// list writes members as the records do.
func list(members []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(members), " ", ","), "[]")
}

// Follow reads the events of the process, which serves at an address, until it has ended.
func (v *Life) Follow(at string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := v.listen(ctx, cancel, at)
	if events == nil {
		return
	}
	defer events.Close()
	if v.HasEnded() {
		return
	}
	for lines := bufio.NewScanner(events); lines.Scan(); {
		if line, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			v.hear([]byte(line))
		}
	}
}

// listen asks the process at an address for its events until it answers, and returns them; nil if it ends before. When it
// has ended, it calls cancel.
func (v *Life) listen(ctx context.Context, cancel func(), at string) io.ReadCloser {
	asks, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/events", nil)
	if err != nil {
		v.t.Error(err)
		return nil
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answered := make(chan struct{})
	go func() {
		<-v.ended
		select {
		case <-answered:
			time.AfterFunc(time.Second, cancel) // for what it has sent; the network of a container that is killed may say no end
		default:
			cancel() // or else another process may get the address, and answer
		}
	}()
	for {
		select {
		case <-v.ended:
			return nil
		case <-time.After(2 * time.Millisecond): // it does not listen yet
		}
		if a, err := client.Do(asks); err == nil {
			close(answered)
			return a.Body
		}
	}
}

// hear holds one event against what was told before.
func (v *Life) hear(event []byte) {
	var e struct {
		Event   string
		View    int64
		Members []int
		Fence   uint64
		Time    time.Time
	}
	if json.Unmarshal(event, &e) != nil {
		return
	}
	switch e.Event {
	case "view":
		v.view(v, e.View, list(e.Members), e.Time)
	case "leads":
		v.fence(v, e.Fence)
		v.mu.Lock()
		v.leads = append(v.leads, lead{e.Time, e.Fence, v.String()})
		v.mu.Unlock()
	}
}

// Record notes a line that the process has written on stderr. Its lines are noted in their order, and after those of the
// processes of this host before it.
func (v *Life) Record(line string) {
	var number int64
	_, rest, _ := strings.Cut(line, "view_id: ")
	fmt.Sscan(strings.TrimSuffix(strings.Fields(rest + " ?")[0], ","), &number)
	_, members, ok := strings.Cut(line, "memb_list: [<")
	if !ok {
		if !strings.HasPrefix(line, fmt.Sprintf("{peer_id:%d, ", v.id)) {
			v.t.Errorf("%v: stderr has %q", v, line)
		}
		return
	}
	v.view(v, number, strings.TrimSuffix(members, ">]}"), time.Now())
	v.mu.Lock()
	defer v.mu.Unlock()
	if number <= v.last {
		v.t.Errorf("%v: view %d after view %d", v, number, v.last)
	}
	first := v.last == 0
	v.last = number
	for _, before := range v.lives[v.id][:v.number-1] {
		if number < before.stored {
			v.t.Errorf("%v: view %d, but process %d of this host said that view %d is stored", v, number, before.number, before.stored)
		}
	}
	if first && slices.ContainsFunc(v.lives[v.id][:v.number-1], func(before *Life) bool { return number < before.last }) {
		v.again++
	}
}

// Notice checks a line that the process has written on stdout: a state file may be new, and the disk may be slow, and nothing
// else.
func (v *Life) Notice(line string) {
	if !strings.HasPrefix(line, "Waiting ") && strings.Contains(strings.ToLower(line), "state") && (!strings.Contains(line, "is new") || v.number > 1 && v.wasStored()) {
		v.t.Errorf("%v says %q", v, line)
	}
}

// wasStored reports whether a process of this host before this one said that a view is stored.
func (v *Life) wasStored() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.lives[v.id][:v.number-1], func(before *Life) bool { return before.stored > 0 })
}

// Judge checks what all processes together have told, the last of them by the leader of a view of all in the end.
func (l *Ledger) Judge(end *Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortStableFunc(l.leads, func(a, b lead) int { return a.at.Compare(b.at) })
	wasSet := max(-l.behind, l.ahead) > 50*time.Millisecond
	if wasSet {
		l.t.Logf("the clock of the machine was set, by up to %v and %v, so the moments of leases are not compared", l.behind, l.ahead)
	}
	for i := 1; i < len(l.leads) && !wasSet; i++ {
		if a, b := l.leads[i-1], l.leads[i]; b.fence < a.fence { // one whose lease has ended may get it again under the same term
			l.t.Errorf("%s leads with fence %d since %v; %s with %d since %v", a.who, a.fence, a.at, b.who, b.fence, b.at)
		}
	}
	for number, members := range l.views {
		if next, ok := l.views[number+1]; ok && !follows(members, next) {
			l.t.Errorf("view %d has the members %s, view %d %s", number, members, number+1, next)
		}
		if number > end.View.Number {
			l.t.Errorf("view %d was told, with the members %s; in the end there is %v", number, members, end)
		}
	}
	for fence, who := range l.fences {
		if fence > end.Fence {
			l.t.Errorf("%s led with fence %d; in the end it is %d", who, fence, end.Fence)
		}
	}
}

// follows reports whether a view has one member more or less than the one before it, or the same.
func follows(before, after string) bool {
	a, b := strings.Split(before, ","), strings.Split(after, ",")
	if len(b) > len(a) {
		return slices.Equal(a, b[:len(b)-1]) && len(b) == len(a)+1
	}
	gone := slices.DeleteFunc(slices.Clone(a), func(id string) bool { return !slices.Contains(b, id) })
	return slices.Equal(gone, b) && len(a)-len(b) <= 1
}

// Near returns how many of these moments were at most so long after a view was told first, or before.
func (l *Ledger) Near(moments []time.Time, within time.Duration) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range moments {
		if slices.ContainsFunc(l.told, func(told time.Time) bool { return at.Sub(told).Abs() <= within }) {
			n++
		}
	}
	return n
}

// String counts what was told.
func (l *Ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lives := 0
	for _, of := range l.lives {
		lives += len(of)
	}
	return fmt.Sprintf("%d processes, %d views and %d leases; %d began with an earlier view than was told, which was not stored",
		lives, len(l.views), len(l.leads), l.again)
}
