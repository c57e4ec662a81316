package observe

import (
	"encoding/json"
	"io"
	"slices"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// jsonVersion is the version of the JSON that /status and /events serve. It changes when a field is removed or
// changes its meaning, not when a field is added.
const jsonVersion = 1

// statusJSON is what /status serves (docs/reference-http.md).
type statusJSON struct {
	Version int           `json:"version"`
	Time    time.Time     `json:"time"` // of the peer's last published step
	Summary string        `json:"summary"`
	Ready   bool          `json:"ready"`
	Reason  string        `json:"reason,omitempty"` // why it is not ready
	Peer    peerJSON      `json:"peer"`
	Group   *groupJSON    `json:"group"` // null while it holds no view, as is View
	View    *viewJSON     `json:"view"`
	Follows types.ID      `json:"follows"`  // the leader that it last followed; 0 for none
	Leads   bool          `json:"leads"`    // its lease lasts at this moment
	Fence   uint64        `json:"fence"`    // of the lease; 0 if it does not lead
	LeaseMS int64         `json:"lease_ms"` // left of the lease unless it is renewed; 0 if it does not lead
	Stopped *stopJSON     `json:"stopped"`  // null while the group can go on
	CanLose lossJSON      `json:"can_lose"`
	Missing []missingJSON `json:"missing"` // hosts that the group lists, and that are neither members nor retired
	File    fileJSON      `json:"hosts_file"`
	Hosts   []hostJSON    `json:"hosts"` // of the view and of the file
}

// fileJSON is the hosts file beside what the group has agreed on.
type fileJSON struct {
	Settled bool       `json:"settled"` // they are the same, and so are the files of all members that the peer reaches
	Words   string     `json:"words"`   // what is wrong, and what to do; "" for nothing
	Agreed  int        `json:"agreed"`  // hosts that the group has agreed on, the retired ones included; 0 without a view
	Ahead   []types.ID `json:"ahead"`   // hosts that the file adds or retires, and the group has not
	Behind  []types.ID `json:"behind"`  // hosts that the group has added or retired, and the file has not
	Wrong   types.ID   `json:"wrong"`   // the first host that the file has under another name; 0 for none
	Differ  []types.ID `json:"differ"`  // reachable members whose files are not the same
	Running []types.ID `json:"running"` // members that the file retires
	Bound   bool       `json:"bound"`   // the file has changed since the host first ran, and so it makes no group
}

// missingJSON is a host that the group lists, and that is neither a member of the view nor retired.
type missingJSON struct {
	ID    types.ID  `json:"id"`
	Name  string    `json:"name"`
	State string    `json:"state"` // as of the host
	Since time.Time `json:"since"` // as far as this peer has seen
}

// peerJSON is the peer itself.
type peerJSON struct {
	ID          types.ID          `json:"id"`
	Name        string            `json:"name"`
	Standing    string            `json:"standing"` // fresh, out, member, returned
	Incarnation types.Incarnation `json:"incarnation"`
	Stores      bool              `json:"stores"`      // with -state
	StoredView  int64             `json:"stored_view"` // the number of the view that is stored; 0 for none
	StoringMS   int64             `json:"storing_ms"`  // how long the disk has stored nothing of what waits for it; 0 if nothing does
}

// groupJSON names a group by its making.
type groupJSON struct {
	Made  types.Incarnation `json:"made"`
	Maker types.ID          `json:"maker"`
	Wire  uint8             `json:"wire_version"` // that it speaks: the lowest of its members
}

// viewJSON is the view that the peer holds.
type viewJSON struct {
	Number    int64      `json:"number"`
	Leader    types.ID   `json:"leader"`
	Members   []types.ID `json:"members"`   // in the order of joining
	Quorum    int        `json:"quorum"`    // members that form one; of an even number, half with the leader form one too
	Reachable int        `json:"reachable"` // for the peer, itself counted
	Quorate   bool       `json:"quorum_reachable"`
}

// stopJSON says why the group cannot go on.
type stopJSON struct {
	Why      string     `json:"why"`
	Words    string     `json:"words"`
	WaitsFor []types.ID `json:"waits_for"`
}

// lossJSON says how many reachable members could fail now, all at once, with the group still going on.
type lossJSON struct {
	Any           int        `json:"any"`            // whichever they are
	SparingLeader int        `json:"sparing_leader"` // if the view's leader is not one of them
	Single        []types.ID `json:"single"`         // each of these alone
	Words         string     `json:"words"`
}

// hostJSON is a host of the view or of the file.
type hostJSON struct {
	ID          types.ID   `json:"id"`
	Name        string     `json:"name"`
	Addresses   []string   `json:"addresses"`
	State       string     `json:"state"`
	Member      bool       `json:"member"`
	Heard       *float64   `json:"heard_seconds_ago"` // null for never, and for the peer itself
	DoesNotHear []types.ID `json:"does_not_hear"`     // members; null if the host has reported nothing
	Wire        uint8      `json:"wire_version"`      // that it speaks; 0 if it has not said
	Retired     bool       `json:"retired"`           // by the group or, without a view, by the file
	Agreed      bool       `json:"agreed"`            // the group lists it
	Ahead       bool       `json:"ahead"`             // as in fileJSON, and so is Behind
	Behind      bool       `json:"behind"`
}

// report returns what /status serves now.
func (s *Server) report() *statusJSON {
	st := s.peer.Status()
	if st == nil {
		return &statusJSON{Version: jsonVersion, Time: time.Now(), Summary: starting, Reason: starting,
			Peer: peerJSON{Standing: types.Fresh.String()}, CanLose: lossJSON{Single: []types.ID{}, Words: starting}, Missing: []missingJSON{},
			File: s.config.Names.file(&handlers.Listing{}), Hosts: []hostJSON{}}
	}
	r := &statusJSON{Version: jsonVersion, Time: time.Unix(0, st.At.Wall), Follows: st.Follows,
		Peer: peerJSON{st.ID, s.config.Names.name(st.ID), st.Standing.String(), st.Incarnation,
			st.Stores, st.Stored, st.Storing.Milliseconds()},
		CanLose: s.loss(st), Missing: []missingJSON{}, File: s.config.Names.file(&st.Listing)}
	if st.Standing == types.Joined {
		v := &st.View
		r.Group = &groupJSON{v.Group.Made, v.Group.Maker, st.Wire}
		r.View = &viewJSON{v.Number, v.Leader, v.Members, len(v.Members)/2 + 1, st.Reachable, st.Quorate}
	}
	if st.Halt != handlers.Going {
		r.Stopped = &stopJSON{st.Halt.String(), s.config.Names.halt(st.Halt, st.Awaited), list(st.Awaited)}
	}
	for i := range st.Hosts {
		h := s.host(st, types.ID(i+1))
		if r.Hosts = append(r.Hosts, h); st.Standing == types.Joined && !st.View.Has(h.ID) && h.belongs() {
			r.Missing = append(r.Missing, missingJSON{h.ID, h.Name, h.State, s.peer.Since(h.ID)})
		}
	}
	l, left := s.lease()
	if left > 0 {
		r.Leads, r.Fence, r.LeaseMS = true, l.Fence, left.Milliseconds()
	}
	r.Ready, r.Reason = s.isReady(st, r.Leads)
	r.Summary = s.summary(st, r.Leads, r.Missing)
	return r
}

// file returns what /status serves of the hosts file.
func (n Names) file(l *handlers.Listing) fileJSON {
	return fileJSON{Settled: isSettled(l), Words: n.hostsFile(l), Agreed: l.Agreed, Ahead: list(l.Ahead), Behind: list(l.Behind), Wrong: l.Wrong,
		Differ: list(l.Differ), Running: list(l.Running), Bound: l.Bound}
}

// belongs reports whether the group lists h, and h is not retired, nor to be.
func (h *hostJSON) belongs() bool { return h.Agreed && !h.Retired && !h.Ahead }

// beside says how the hosts file differs from the group about h; "" if it does not.
func (h *hostJSON) beside() string {
	switch {
	case h.Ahead && h.Agreed:
		return "retired in the hosts file only"
	case h.Ahead:
		return "in the hosts file only"
	case h.Behind && h.Retired:
		return "not retired in the hosts file"
	case h.Behind:
		return "not in the hosts file"
	}
	return ""
}

// lease returns the lease of the peer, and how much of it is left at this moment: none unless the peer leads. This,
// and not what the last step found, decides what is said of leading.
func (s *Server) lease() (handlers.Lease, time.Duration) {
	l := s.peer.Lease()
	if now := s.peer.Now(); l.Valid(now) {
		return l, l.Until - now
	}
	return l, 0
}

// isReady reports whether the peer, which leads now or does not, is ready, and if not, why.
func (s *Server) isReady(st *handlers.Status, leads bool) (bool, string) {
	age := s.peer.Age(st)
	switch {
	case age >= max(time.Second, s.config.Monitor):
		return false, "the peer has taken no step for " + seconds(age)
	case st.Halt != handlers.Going:
		return false, s.config.Names.halt(st.Halt, st.Awaited)
	case st.Leads && !leads && s.peer.Lease().Resigned:
		return false, "it has given up leading, because it is about to leave the group"
	case st.Leads && !leads:
		return false, "its lease as leader has ended, and too few members have answered since"
	}
	return true, ""
}

func (s *Server) host(st *handlers.Status, id types.ID) hostJSON {
	of := &st.Hosts[id-1]
	h := hostJSON{ID: id, Name: s.config.Names.name(id), Addresses: []string{}, Member: of.State != handlers.Apart && st.View.Has(id),
		State: state(st, id), Wire: of.Speaks}
	h.place(&st.Listing)
	for _, addr := range s.peer.Addresses(id) {
		h.Addresses = append(h.Addresses, addr.String())
	}
	if id != st.ID && of.Heard != handlers.Never {
		ago := of.Heard.Round(time.Millisecond).Seconds()
		h.Heard = &ago
	}
	if of.Reported && h.Member {
		h.DoesNotHear = list(of.NotHearing)
	}
	return h
}

// place fills in where h stands in the hosts file and for the group.
func (h *hostJSON) place(l *handlers.Listing) {
	h.Retired, h.Agreed = stageOf(l, h.ID) == retired, int(h.ID) <= l.Agreed
	_, h.Ahead = slices.BinarySearch(l.Ahead, h.ID)
	_, h.Behind = slices.BinarySearch(l.Behind, h.ID)
}

// state names the state of a host.
func state(st *handlers.Status, id types.ID) string {
	if of := st.Hosts[id-1]; of.State != handlers.Apart {
		return of.State.String()
	}
	past := st.View.Past(id)
	switch {
	case stageOf(&st.Listing, id) == retired:
		return string(retired)
	case st.View.Number == 0:
		return "unknown"
	case past.Cause == types.Left || past.Cause == types.Expelled:
		return past.Cause.String()
	case past.Incarnation > 0:
		return "removed"
	}
	return "absent"
}

func (s *Server) loss(st *handlers.Status) lossJSON {
	l := lossJSON{Any: st.Spare.Any, SparingLeader: st.Spare.ExceptLeader, Single: []types.ID{}, Words: s.lossWords(st)}
	for _, id := range st.View.Members {
		spared := st.Spare.Any > 0 || st.Spare.ExceptLeader > 0 && id != st.View.Leader
		switch st.Hosts[id-1].State {
		case handlers.Self, handlers.Present, handlers.Silent:
			if spared {
				l.Single = append(l.Single, id)
			}
		}
	}
	return l
}

// list returns ids, never nil, so that JSON has [] and not null.
func list(ids []types.ID) []types.ID { return append([]types.ID{}, ids...) }

// writeJSON writes v and the end of a line.
func writeJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// led reports whether the leader that the peer follows leads, as far as the peer knows.
func (r *statusJSON) led() bool {
	goesOn := r.Stopped == nil || r.Stopped.Why == handlers.LeavesView.String() || r.Stopped.Why == handlers.NotStoring.String()
	return r.View != nil && (r.Leads || r.Follows != r.Peer.ID && goesOn)
}

// hears reports whether a host hears a member, as the host itself reports; known is false if it reported nothing.
func (r *statusJSON) hears(host *hostJSON, member types.ID) (hears, known bool) {
	switch {
	case host.DoesNotHear == nil || host.State == handlers.Gone.String():
		return false, false
	case slices.Contains(host.DoesNotHear, member):
		return false, true
	}
	return true, host.State == handlers.Self.String() || len(host.DoesNotHear) < handlers.MaxNamed
}
