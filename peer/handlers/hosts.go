package handlers

import (
	"slices"
	"time"

	"memberly/peer/types"
)

// This page is rule 10 (docs/protocol.md): which hosts the group has, and how that changes while it runs.

// listing is the hosts that a peer knows. As a member it has those that the group has agreed on; its hosts file may have
// more, or fewer.
type listing struct {
	hosts   []types.Host  // by ID-1: those that a group has agreed on, then what the file adds to them
	digests []uint64      // by ID-1: of the hosts up to that one
	agreed  int           // on how many of these a group has agreed, as far as this peer knows
	marks   uint64        // the FileDigest of a file that has just what the view has; 0 before the first view
	file    []types.Host  // the hosts file, as it was last read
	vote    uint64        // its FileDigest
	wrong   types.ID      // the first of the agreed hosts that the file has under another name; 0 for none
	told    []types.Host  // what the caller knows
	stale   bool          // told may differ from hosts
	later   bool          // the file has addresses that are taken later: see takeFile
	stored  types.Stored  // First and Listed alone
	asked   uint64        // the request of the newest HOSTS that asks for hosts; 0 once it is answered
	fetched int           // up to which host answers have come for a view that has more; 0 for none
	outside time.Duration // when a member of a group with hosts that this peer does not list last asked it
	noted   Listing       // what was last told
	since   time.Duration // when it became so, or never
	notedAt time.Duration // when it was told
}

// HostChange is a host that is new to a peer, or whose name or address has changed, or that is retired now or no more.
type HostChange struct {
	ID   types.ID
	Host types.Host
}

// Listing is what a peer knows of the hosts of its group, and of its hosts file (rule 10).
type Listing struct {
	Hosts   []types.Host // by ID-1: that the peer knows; retired ones, too
	Agreed  int          // on how many of these the group has agreed; 0 without a view
	Ahead   []types.ID   // hosts that the file adds or retires, and the group has not
	Behind  []types.ID   // hosts that the group has added or retired, and the file has not
	Wrong   types.ID     // the first of the agreed hosts that the file has under another name; 0 for none. Such a file is not used
	Differ  []types.ID   // reachable members whose hosts files are not the same as this peer's
	Bound   bool         // the file has changed since this host first ran, and it was in no group since: it makes none, but joins one
	Running []types.ID   // members that the file retires: they have to leave first
}

// same reports whether l and o say the same about the file.
func (l *Listing) same(o *Listing) bool {
	return slices.Equal(l.Ahead, o.Ahead) && slices.Equal(l.Behind, o.Behind) && l.Wrong == o.Wrong && l.Bound == o.Bound &&
		slices.Equal(l.Differ, o.Differ) && slices.Equal(l.Running, o.Running)
}

// settled reports whether there is nothing to say about the file.
func (l *Listing) settled() bool { return l.same(&Listing{}) }

func newListing(file []types.Host) listing {
	l := listing{file: file, vote: types.FileDigest(file), told: slices.Clone(file), since: never, notedAt: never, outside: never}
	l.put(0, unmarked(file))
	return l
}

// unmarked returns the hosts of a file as they are to a peer that has not heard what a group says of them: those that are marked
// may still be members, unless another line has their name or address by now.
func unmarked(file []types.Host) []types.Host {
	hosts := slices.Clone(file)
	for i := range hosts {
		hosts[i].Retired = file[i].Retired && slices.ContainsFunc(file, func(h types.Host) bool {
			return !h.Retired && (types.NameKey(h.Name) == types.NameKey(file[i].Name) || h.Addr.IsValid() && h.Addr == file[i].Addr)
		})
	}
	return hosts
}

// put makes hosts those from place i on, and leaves what is behind them.
func (l *listing) put(i int, hosts []types.Host) {
	l.hosts = slices.Concat(l.hosts[:i], hosts, l.hosts[min(len(l.hosts), i+len(hosts)):])
	var d uint64
	if i > 0 {
		d = l.digests[i-1]
	}
	l.digests = slices.Clip(l.digests[:i])
	for _, h := range l.hosts[i:] {
		d = types.Extend(d, h.Name)
		l.digests = append(l.digests, d)
	}
	l.stale = true
}

// has reports whether the first n hosts are those of this digest.
func (l *listing) has(n int, digest uint64) bool {
	return n >= 1 && n <= len(l.digests) && l.digests[n-1] == digest
}

// shared returns how many lines the file has in common with the first n hosts, from the first on.
func (l *listing) shared(n int) int {
	n = min(n, len(l.file))
	for i := range n {
		if types.NameKey(l.file[i].Name) != types.NameKey(l.hosts[i].Name) {
			return i
		}
	}
	return n
}

// listed returns for how many hosts this peer speaks when it compares lists: those of its view or, without one, those that
// it knows.
func (h *Handler) listed() int {
	switch {
	case h.joined():
		return len(h.view.Last)
	case h.listing.wrong != 0:
		return h.listing.agreed
	}
	return max(h.listing.agreed, len(h.listing.file))
}

// isRetired reports whether host id is retired, as far as this peer knows: it is neither asked nor heard.
func (h *Handler) isRetired(id types.ID) bool { return h.listing.hosts[id-1].Retired }

// isMarked reports whether the file of this peer, which holds no view, retires host id, and it does not know whether a group has:
// the host is asked, but nobody waits for its answer.
func (h *Handler) isMarked(id types.ID) bool {
	return !h.joined() && int(id) <= len(h.listing.file) && h.listing.file[id-1].Retired && !h.isRetired(id)
}

// isAway reports whether host id is retired, or perhaps retired.
func (h *Handler) isAway(id types.ID) bool { return h.isRetired(id) || h.isMarked(id) }

// before returns how many hosts come before this one in the list that are not retired.
func (h *Handler) before() (n int) {
	for i := range int(h.ID) - 1 {
		if !h.isAway(types.ID(i + 1)) {
			n++
		}
	}
	return n
}

// serving lists the hosts, of the first n, that are not retired.
func (l *listing) serving(n int) (ids []types.ID) {
	for i, host := range l.hosts[:n] {
		if !host.Retired {
			ids = append(ids, types.ID(i+1))
		}
	}
	return ids
}

// sameHosts reports whether the sender of m, a JOIN or PROBE, and this peer list the same hosts, as far as both list any.
// Within a group they do.
func (h *Handler) sameHosts(m *types.Message) bool {
	return m.Kind == types.Probe && h.mine(m) || m.Lines == min(m.Full, h.listed()) && h.listing.has(m.Lines, m.Digest)
}

// sign adds to m, a JOIN or PROBE, what the receiver compares with its own list.
func (h *Handler) sign(m *types.Message) {
	m.Full = h.listed()
	m.Lines = m.Full
	if n := h.hosts[m.To-1].lines; n > 0 {
		m.Lines = min(m.Lines, n)
	}
	m.Digest = h.listing.digests[m.Lines-1]
}

// refuseFile refuses a JOIN or PROBE from another hosts file, to the host that it really came from, because the sender's
// id may mean another host here. One that compares more hosts than this peer lists, or fewer than both do, is asked to compare
// those that both list.
func (h *Handler) refuseFile(remote types.ID, m *types.Message) {
	if !h.known(remote) {
		return
	}
	r := h.answer(m, types.Refused)
	r.To, r.Reason = remote, types.Differs
	r.Lines = max(1, min(m.Full, h.listed()))
	r.Digest = h.listing.digests[r.Lines-1]
	if m.Lines <= r.Lines && !h.listing.has(m.Lines, m.Digest) {
		h.tellOfHost(remote, FilesDiffer)
	}
}

// onDiffers handles REFUSED (files differ). If the sender just lists fewer hosts, it is asked again about these alone. Else
// this peer founds no group while that one is in a group.
func (h *Handler) onDiffers(remote types.ID, m *types.Message) {
	if !h.known(remote) {
		return
	}
	p := &h.hosts[remote-1]
	if bid := h.storing.founding.bid; h.listing.has(m.Lines, m.Digest) && (bid == nil || bid.message.Request != m.Request) {
		if m.Lines < int(h.ID) { // it does not know this host yet
			h.refusedBy(remote, m, Unlisted)
			return
		}
		again := p.lines != m.Lines
		p.lines = m.Lines
		switch {
		case !again:
		case h.role == roleFresh && h.fresh.target == remote:
			h.join(remote)
		default:
			h.probe(remote, false)
		}
		return
	}
	h.refusedBy(remote, m, FilesDiffer)
}

// refusedBy notes that a host has refused this peer because their hosts files differ, and whether it is in a group. One that
// just does not list this peer yet is one of the hosts that have to be accounted for as any other, and draws it (rule 6); but
// a group of hosts that store does not end, and who stores keeps its vote.
func (h *Handler) refusedBy(remote types.ID, m *types.Message, what EventKind) {
	h.tellOfHost(remote, what)
	h.answered(remote, m)
	p := &h.hosts[remote-1]
	p.lastContact = h.now.Run
	if m.Group != (types.Group{}) {
		p.refuses = what == FilesDiffer || h.stores()
		h.recordEvidence(remote, evidence{asked: time.Duration(m.Request), answered: true, standing: types.Joined, group: m.Group, number: m.Number, led: true})
	} else {
		p.refuses = false
	}
	late := h.since(time.Duration(m.Request)) >= h.Monitor
	if what == Unlisted && h.joined() && h.role != roleDeparting && !h.stores() && m.Group != (types.Group{}) && !late {
		h.joinEarlierGroup(m) // if that group has no leader, it may have to be made anew, and cannot while this one seems to go on
	}
}

// Stranger is called with m, a JOIN or PROBE of a host that this peer does not list, at its last step or later, and returns
// the answer: so a host that was added to its own file knows of the group, and makes none. Nor does this peer, if it is the
// one whose file is behind, while a member of a group with more hosts asks it. A host that the group has retired is told so.
func (h *Handler) Stranger(m *types.Message) types.Message {
	n := h.listed()
	r := types.Message{Kind: types.Refused, Reason: types.IsRetired, From: h.ID, Incarnation: h.incarnation, Group: h.view.Group,
		Number: h.view.Number, To: m.From, For: m.Incarnation, Request: m.Request, Term: h.promised, Addr: m.Addr}
	if h.view.Retired(m.From) {
		return r
	}
	r.Reason, r.Lines, r.Digest = types.Differs, n, h.listing.digests[n-1]
	if m.Group != (types.Group{}) && m.Full > n {
		h.listing.outside = h.now.Run
	}
	return r
}

// shutOut reports whether a member of a group has refused this peer because their hosts files differ, and not answered
// since, or the file contradicts a group that this peer was in, or lacks members of one, or this host is retired: then it
// founds no group.
func (h *Handler) shutOut() bool {
	return h.listing.wrong != 0 || h.isAway(h.ID) || h.since(h.listing.outside) < h.scaled(silentRest) || slices.ContainsFunc(h.hosts, func(p host) bool { return p.refuses })
}

// knowsHosts reports whether this peer knows the hosts of the view in m. If it does not, it asks the sender for them; the
// view will be shown again.
func (h *Handler) knowsHosts(m *types.Message) bool {
	n, first := len(m.View.Last), 0
	switch l := &h.listing; {
	case l.has(n, m.View.Digest):
		l.fetched = 0
		return true
	case l.fetched > len(h.view.Last) && l.fetched < n:
		first = l.fetched // there were more than one message holds
	case h.joined():
		first = len(h.view.Last)
	case n > len(l.hosts) && l.asked == 0:
		first = len(l.hosts) // else what this peer has is wrong, too
	}
	h.requests++
	q := h.answer(m, types.Hosts)
	q.Request, q.First = h.requests, types.ID(first+1)
	h.listing.asked = q.Request
	return false
}

// onHosts answers m with hosts of the view, as many as one message holds; or takes those that this peer has asked for.
func (h *Handler) onHosts(m *types.Message) {
	if len(m.Listed) > 0 {
		if m.Request == h.listing.asked && m.Request != 0 {
			h.takeHosts(m)
		}
		return
	}
	if !h.joined() || m.First < 1 || int(m.First) > len(h.view.Last) {
		return
	}
	a := h.answer(m, types.Hosts)
	a.First, a.Listed = m.First, h.listing.upToMaxListed(int(m.First)-1)
}

// takeHosts takes the hosts in m, and asks for the view again. A peer without a view whose file has other names does not:
// it is not to be a member of that group.
func (h *Handler) takeHosts(m *types.Message) {
	l, from := &h.listing, int(m.First)-1
	fixed := len(h.view.Last)
	if from > len(l.hosts) || from < fixed {
		return
	}
	before := *l
	l.put(from, m.Listed) // which makes new slices
	if n := from + len(m.Listed); !h.joined() && l.shared(n) < min(n, len(l.file)) {
		*l = before
		h.hosts[m.From-1].refuses = true
		h.tellOfHost(m.From, FilesDiffer)
		return
	}
	for i := from; i < min(len(l.file), len(l.hosts)); i++ {
		if types.NameKey(l.hosts[i].Name) == types.NameKey(l.file[i].Name) {
			l.hosts[i].Name, l.hosts[i].Addr = l.file[i].Name, l.file[i].Addr
		}
	}
	l.asked, l.fetched = 0, from+len(m.Listed)
	h.grow()
	if h.role == roleFresh {
		h.join(m.From)
	} else {
		h.probe(m.From, false)
	}
}

// grow makes room for the hosts that were added to the list.
func (h *Handler) grow() {
	n := len(h.listing.hosts)
	h.detector.grow(n)
	if h.leading != nil {
		h.leading.extent.grow(n)
	}
}

// noteGrowth lists the host that c adds, if it adds one: c makes the next view.
func (h *Handler) noteGrowth(c types.Change) {
	if c.Operation != types.Grow {
		return
	}
	l, i, host := &h.listing, int(c.Member.ID)-1, c.Host()
	if i < len(l.file) && types.NameKey(l.file[i].Name) == types.NameKey(c.Name) {
		host = l.file[i]
	}
	host.Retired = false
	l.put(i, []types.Host{host})
	h.grow()
}

// agree notes that the group has agreed on the hosts of the view, after those of before.
func (h *Handler) agree(before *types.View) {
	l, v := &h.listing, &h.view
	changed := len(before.Last) != len(v.Last) || l.marks == 0
	for i, past := range v.Last {
		if retired := past.Cause == types.Retired; l.hosts[i].Retired != retired {
			l.hosts[i].Retired, l.stale, changed = retired, true, true
		}
	}
	contradicted := l.wrong != 0
	l.agreed = len(v.Last)
	if l.compare(); l.wrong == 0 && (contradicted || l.later) { // if contradicted, this is another group, and the file suits it
		h.takeFile()
		h.grow()
	}
	if !changed {
		return
	}
	l.marks = types.FileDigest(l.hosts[:l.agreed])
	h.storeHosts()
}

// storeHosts chooses the hosts that are stored with the view.
func (h *Handler) storeHosts() {
	if l := &h.listing; h.stores() && l.agreed > 0 {
		l.stored.First, l.stored.Listed = l.toStore()
	}
}

// compare notes where the file contradicts what the group has agreed on.
func (l *listing) compare() {
	l.wrong = 0
	if n := min(l.agreed, len(l.file)); l.shared(l.agreed) < n {
		l.wrong = types.ID(l.shared(l.agreed) + 1)
	}
}

// toStore returns the agreed hosts that are to be stored: all or, if these are too many, those that the file lacks, as far as
// there is room for them.
func (l *listing) toStore() (first types.ID, hosts []types.Host) {
	hosts = l.upToMaxListed(0)
	from := 0
	if len(hosts) < l.agreed {
		from = l.shared(l.agreed)
		hosts = l.upToMaxListed(from)
	}
	if len(hosts) == 0 {
		return 0, nil
	}
	return types.ID(from + 1), hosts
}

// upToMaxListed returns agreed hosts from place i on, as many as go into one HOSTS. Their addresses have no zones, which mean
// nothing on another machine.
func (l *listing) upToMaxListed(i int) (hosts []types.Host) {
	size := 0
	for _, host := range l.hosts[i:l.agreed] {
		if size += host.Size(); size > types.MaxListed {
			break
		}
		host.Addr = host.Addr.WithZone("")
		hosts = append(hosts, host)
	}
	return hosts
}

// Reread is the step in which the hosts file was read again. It has at least this peer's own line. The peer
// keeps hosts, which is never modified.
func (h *Handler) Reread(now Instant, hosts []types.Host) *Output {
	h.begin(now)
	if !h.exited {
		h.reread(hosts)
	}
	return h.end()
}

func (h *Handler) reread(hosts []types.Host) {
	l := &h.listing
	l.file, l.vote = hosts, types.FileDigest(hosts)
	l.since, l.notedAt, l.outside = never, never, never
	for i := range h.hosts {
		h.hosts[i].lines, h.hosts[i].refuses = 0, false
	}
	if l.compare(); l.wrong == 0 {
		h.takeFile()
		h.grow()
	}
	h.storeHosts()
	if h.isBound() {
		h.storing.founding.bid = nil // what it asks for was to be made with the file before
	}
	if h.joined() {
		h.sendHeartbeat() // which has its vote
		h.progress()
	}
}

// takeFile takes what the file has: the addresses of the agreed hosts, and what it adds to them. A member that this peer
// reaches keeps its address as long as it is one, so that a mistake in one file harms nobody; so does this host.
func (h *Handler) takeFile() {
	l, file := &h.listing, h.listing.file
	if !h.joined() {
		file = unmarked(file)
	}
	l.hosts, l.later = slices.Clone(l.hosts), false
	for i, host := range l.file[:min(l.agreed, len(l.file))] {
		host.Retired = l.hosts[i].Retired
		if id := types.ID(i + 1); (id == h.ID || h.reaches(id)) && host.Addr != l.hosts[i].Addr {
			host.Addr, l.later = l.hosts[i].Addr, true
		}
		l.hosts[i] = host
	}
	if len(l.file) > l.agreed {
		l.put(l.agreed, file[l.agreed:])
	}
	for i := max(l.agreed, len(l.file)); i < len(l.hosts); i++ {
		l.hosts[i].Retired = true // the file had it for a while, and no group has it
	}
	l.stale = true
}

// hostChanges returns what the caller does not know yet of the hosts.
func (l *listing) hostChanges() (changes []HostChange) {
	if !l.stale {
		return nil
	}
	for i, host := range l.hosts {
		if i >= len(l.told) || l.told[i] != host {
			changes = append(changes, HostChange{types.ID(i + 1), host})
		}
	}
	l.told, l.stale = slices.Clone(l.hosts), false
	return changes
}

// noteFile notes what m, a HEARTBEAT or STATE of a member, says of its sender's hosts file: it may be the vote that was
// missing.
func (h *Handler) noteFile(m *types.Message) {
	if p := &h.hosts[m.From-1]; h.view.Holds(sender(m)) && p.file != m.File {
		p.file = m.File
		h.progress()
	}
}

// nextHost returns the change of hosts that is to be proposed: what this leader's file has more than the view, once the
// files of all reachable members are the same. So nothing is proposed that a member could not agree to.
func (h *Handler) nextHost() types.Change {
	l, n := &h.listing, len(h.view.Last)
	if l.vote == l.marks || l.wrong != 0 || slices.ContainsFunc(h.view.Members, h.votesOtherwise) {
		return types.Change{}
	}
	for i, host := range l.file[:min(n, len(l.file))] {
		if c := (types.Change{Operation: types.Retire, Member: types.Member{ID: types.ID(i + 1)}}); host.Retired && h.view.Admits(c) {
			return c
		}
	}
	if n >= len(l.file) || h.runsAs(types.NameKey(l.file[n].Name)) {
		return types.Change{}
	}
	c := types.Change{Operation: types.Grow, Member: types.Member{ID: types.ID(n + 1)}, Name: l.file[n].Name, Addr: l.file[n].Addr.WithZone("")}
	if !h.view.Admits(c) {
		return types.Change{}
	}
	return c
}

// runsAs reports whether a member that the file retires has the name with this key. It has to leave before the name can be
// listed again: two hosts with one name could not be told apart.
func (h *Handler) runsAs(key string) bool {
	file := h.listing.file
	return slices.ContainsFunc(h.view.Members, func(id types.ID) bool {
		return int(id) <= len(file) && file[id-1].Retired && types.NameKey(file[id-1].Name) == key
	})
}

// votesOtherwise reports whether a member is reachable and has not said that its file is the same as this peer's.
func (h *Handler) votesOtherwise(id types.ID) bool {
	return id != h.ID && h.reaches(id) && h.hosts[id-1].file != h.listing.vote
}

// saysOtherwise reports whether a member is reachable and has said that its file is not the same as this peer's.
func (h *Handler) saysOtherwise(id types.ID) bool {
	return h.hosts[id-1].file != 0 && h.votesOtherwise(id)
}

// listingStatus returns what there is to say of the hosts and the file.
func (h *Handler) listingStatus() Listing {
	l := &h.listing
	s := Listing{Wrong: l.wrong, Bound: h.isBound()}
	if !h.joined() {
		return s
	}
	n := len(h.view.Last)
	s.Agreed = n
	for i := range max(n, len(l.file)) {
		id := types.ID(i + 1)
		switch marked := i < len(l.file) && l.file[i].Retired; {
		case i >= len(l.file) || i < n && h.view.Retired(id) && !marked:
			s.Behind = append(s.Behind, id)
		case i >= n || marked && !h.view.Retired(id):
			s.Ahead = append(s.Ahead, id)
			if h.view.Has(id) {
				s.Running = append(s.Running, id)
			}
		}
	}
	for _, id := range h.view.Members {
		if h.saysOtherwise(id) {
			s.Differ = append(s.Differ, id)
		}
	}
	slices.Sort(s.Differ)
	return s
}

// noteListing tells what there is to say of the hosts file, once it has been so for a monitor interval, and again every
// noticeAgain.
func (h *Handler) noteListing() {
	l := &h.listing
	if l.vote != l.marks || !l.noted.settled() || slices.ContainsFunc(h.view.Members, h.saysOtherwise) {
		h.tellListing()
	}
}

func (h *Handler) tellListing() {
	l, s := &h.listing, h.listingStatus()
	if !s.same(&l.noted) {
		l.noted, l.since, l.notedAt = s, h.now.Run, never
	}
	if s.settled() || h.since(l.since) < h.Monitor || h.since(l.notedAt) < noticeAgain {
		return
	}
	l.notedAt = h.now.Run
	s.Hosts = slices.Clone(l.hosts)
	h.note(HostsFile).Listing = &s
}
