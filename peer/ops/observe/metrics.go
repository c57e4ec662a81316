package observe

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// metrics serves the Prometheus text format.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	var m exposition
	m.family("memberly_build_info", "gauge", "The program; always 1.")
	m.sample("memberly_build_info", fmt.Sprintf(`version=%q,wire_version="%d"`, s.config.Build, types.Version), 1)
	st := s.peer.Status()
	if st != nil {
		s.gauges(&m, st)
		counters(&m, &st.Tally, s.peer.Views())
	}
	m.family("memberly_dropped_total", "counter", "Messages, datagrams and connections that were dropped, by reason.")
	dropped := s.peer.DropsByName()
	for _, reason := range slices.Sorted(maps.Keys(dropped)) {
		m.sample("memberly_dropped_total", fmt.Sprintf("reason=%q", strings.ReplaceAll(reason, " ", "_")), float64(dropped[reason]))
	}
	w.Write([]byte(m.String()))
}

// gauges writes the state of the peer.
func (s *Server) gauges(m *exposition, st *handlers.Status) {
	l, left := s.lease()
	ready, _ := s.isReady(st, left > 0)
	fence := l.Fence
	if left <= 0 {
		fence = 0
	}
	m.gauge("memberly_ready", "1 while the peer is in a view whose quorum is reachable and whose leader leads.", bit(ready))
	m.hosts(&st.Listing)
	m.gauge("memberly_view_number", "Number of the view that the peer holds; 0 for none.", float64(st.View.Number))
	m.gauge("memberly_members", "Members of the view that the peer holds.", float64(len(st.View.Members)))
	m.gauge("memberly_members_reachable", "Members that the peer reaches, itself included.", float64(st.Reachable))
	m.gauge("memberly_quorum_reachable", "1 while the members that the peer reaches form a quorum of the view.", bit(st.Quorate))
	m.gauge("memberly_wire_version", "Wire version that the group speaks: the lowest of its members; 0 for none.", float64(st.Wire))
	m.gauge("memberly_leads", "1 while the peer leads: its lease lasts.", bit(left > 0))
	m.gauge("memberly_fence", "Fence of the lease with which the peer leads; 0 while it does not lead.", float64(fence))
	m.gauge("memberly_lease_seconds", "What is left of the lease unless it is renewed; 0 while the peer does not lead.", left.Seconds())
	m.gauge("memberly_leader_id", "Id of the leader that the peer last followed; 0 for none.", float64(st.Follows))
	m.gauge("memberly_can_lose", "How many members, whichever they are, could fail now with the group still making progress.", float64(st.Spare.Any))
	if st.Stores {
		m.gauge("memberly_stored_view", "Number of the view that is stored; 0 for none.", float64(st.Stored))
		m.gauge("memberly_storing_seconds", "How long the disk has stored nothing of what waits for it; 0 if nothing does.", st.Storing.Seconds())
		m.histogram("memberly_store_seconds", "Time that a write to the state file takes.", &st.Tally.Stored)
	}
	m.gauge("memberly_step_age_seconds", "Age of the peer's last published step.", s.peer.Age(st).Seconds())
}

// counters writes what happened to the peer.
func counters(m *exposition, t *handlers.Tally, v viewCounts) {
	m.counter("memberly_heartbeats_sent_total", "Rounds of heartbeats that the peer sent, each to all hosts.", t.Sent)
	m.counter("memberly_heartbeats_received_total", "Heartbeats of other members that it received.", t.Heard)
	m.family("memberly_messages_received_total", "counter", "Messages of other peers that the protocol read, by kind; unknown are those of a later release, which it refused.")
	for kind, n := range t.Received {
		if k := types.Kind(kind); kind == 0 {
			m.sample("memberly_messages_received_total", `kind="unknown"`, float64(n))
		} else if k != types.Echo && k != types.Echoed {
			m.sample("memberly_messages_received_total", fmt.Sprintf("kind=%q", k), float64(n))
		}
	}
	m.counter("memberly_retransmissions_total", "Requests that the peer, as leader or candidate, sent again, per receiver.", t.Resent)
	m.family("memberly_views_total", "counter", "Views that the peer installed, by cause; added includes the first view, and a view after missed ones.")
	for cause, n := range v.ofMembers {
		name := types.Cause(cause).String()
		if types.Cause(cause) == types.Present {
			name = "added"
		}
		m.sample("memberly_views_total", fmt.Sprintf("cause=%q", name), float64(n))
	}
	m.sample("memberly_views_total", `cause="host_added"`, float64(v.hostsAdded))
	m.sample("memberly_views_total", `cause="host_retired"`, float64(v.hostsRetired))
	m.counter("memberly_leaderships_total", "How often the peer began to lead.", t.Led)
	m.counter("memberly_stalls_total", "How often the process of the peer did not run for half a second or more, with the usual -monitor: it had too little CPU time, or its machine stood still.", t.Stalls)
	m.family("memberly_stalled_seconds_total", "counter", "How long the stalls of the peer took, in all.")
	m.sample("memberly_stalled_seconds_total", "", t.Stood.Round(time.Microsecond).Seconds())
	m.histogram("memberly_view_change_seconds", "Time until a view is installed: at the leader since it was proposed, at a follower since it was accepted, at a joining host since it first asked.", &t.Took)
	m.histogram("memberly_failure_detection_seconds", "Time from the last message of a member until its failure is noticed.", &t.Silence)
}

// exposition is metrics as text.
type exposition struct{ strings.Builder }

func (m *exposition) family(name, kind, help string) {
	fmt.Fprintf(m, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (m *exposition) sample(name, labels string, value float64) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(m, "%s%s %v\n", name, labels, value)
}

func (m *exposition) gauge(name, help string, value float64) {
	m.family(name, "gauge", help)
	m.sample(name, "", value)
}

func (m *exposition) counter(name, help string, value uint64) {
	m.family(name, "counter", help)
	m.sample(name, "", float64(value))
}

// hosts writes how many hosts there are, and whether the hosts file has just what the group has agreed on.
func (m *exposition) hosts(l *handlers.Listing) {
	m.family("memberly_hosts", "gauge", "Hosts that the peer knows: agreed on by its group, retired, or proposed by the hosts file alone.")
	counts := make(map[hostStage]int)
	for i := range l.Hosts {
		counts[stageOf(l, types.ID(i+1))]++
	}
	for _, stage := range []hostStage{agreed, retired, proposed} {
		m.sample("memberly_hosts", fmt.Sprintf("state=%q", stage), float64(counts[stage]))
	}
	m.gauge("memberly_hosts_file_settled", "1 while the hosts file here, those of all members that the peer reaches, and what the group has agreed on are the same.", bit(isSettled(l)))
}

func (m *exposition) histogram(name, help string, g *handlers.Histogram) {
	m.family(name, "histogram", help)
	below := uint64(0)
	for i, bound := range handlers.Bounds {
		below += g.Counts[i]
		m.sample(name+"_bucket", fmt.Sprintf(`le="%v"`, bound.Seconds()), float64(below))
	}
	m.sample(name+"_bucket", `le="+Inf"`, float64(g.Count))
	m.sample(name+"_sum", "", g.Sum.Round(time.Microsecond).Seconds())
	m.sample(name+"_count", "", float64(g.Count))
}

func bit(f bool) float64 {
	if f {
		return 1
	}
	return 0
}
