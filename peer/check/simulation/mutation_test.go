package simulation

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	mutations = flag.Bool("mutations", false, "break the protocol in every way of the list, and see that each is found")
	part      = flag.Int("part", 1, "with -mutations: only every part-th way, each day others, so that all have been tried after so many days")
)

// mutation is one way to break the protocol.
type mutation struct {
	name  string
	edits []edit
	by    finder
}

// edit replaces a text that stands once in a file of package handlers, types or connections.
type edit struct{ file, old, new string }

// finder is what has to find a mutant: most are found by seeds within a minute. For the others that
// takes too rare a meeting of faults, or another rule stands in.
type finder uint8

const (
	bySeeds       finder = iota
	byHarshSeeds         // cuts of minutes, late ticks, faults at once
	byStoredSeeds        // with state files, and power cuts
	byEditsSeeds         // with hosts files that change
	byPlans              // made by hand: directed ones, faults that never end, networks that come up late
	byTables             // of package handlers
	byStorage            // the tests of package storage
)

var mutants = []mutation{
	{name: "half is a quorum without the leader", edits: []edit{{"types/types.go",
		"2*n == len(v.Members) && n > 0 && leader", "2*n == len(v.Members)"}}},
	{name: "an accepted change is forgotten by the next leader's election", edits: []edit{{"handlers/electing.go",
		"h.lead(r.message.Term, r.settle, r)", "h.lead(r.message.Term, types.Accepted{}, r)"}}},
	{name: "a member does not say what it has accepted", edits: []edit{{"handlers/following.go",
		"a.Change, a.Accepted = h.accepted.Change, h.accepted.Term", "if kind == types.OK {\n\t\ta.Change, a.Accepted = h.accepted.Change, h.accepted.Term\n\t}"}}},
	{name: "a restarted peer keeps its vote: any incarnation answers", edits: []edit{{"handlers/messagehandler.go",
		"	if !h.addressed(m) {\n		return false\n	}\n", ""}}},
	{name: "a promise is not kept", edits: []edit{{"handlers/following.go",
		"if !h.obeys(m.Term) || !h.view.Admits(m.Change)", "if !h.view.Admits(m.Change)"}}, by: byTables},
	{name: "NEWVIEW is never sent again", edits: []edit{{"handlers/leading.go",
		"		if h.since(r.began) >= h.paced(redialAfter) {\n", "		if r.message.Kind == types.NewView && h.since(r.began) > 0 {\n			continue\n		}\n		if h.since(r.began) >= h.paced(redialAfter) {\n"}}, by: byTables},
	{name: "a change is chosen without a quorum", edits: []edit{{"handlers/leading.go",
		"	if !r.done || r.message.Kind != types.Req", "	if !(r.done || r.message.Change.Operation == types.Del) || r.message.Kind != types.Req"}}},
	{name: "a removal without confirmation: one late heartbeat is enough", edits: []edit{{"handlers/monitoring.go",
		"case silence >= h.Monitor:", "case silence >= h.patience():"}}},
	{name: "a change that was taken over counts as the leader's own: it does not prepare the next view", edits: []edit{{"handlers/leading.go",
		"own := !h.leading.inherits", "own := true"}}, by: byPlans},
	{name: "a view does not raise the promise to its term", edits: []edit{{"handlers/following.go",
		"if h.promised.Below(next.Term) {", "if false {"}}, by: byTables}, // alone it breaks no promise: docs/protocol.md
	{name: "a view does not raise the promise to its term, and who shows it names no term that would", edits: []edit{
		{"handlers/following.go", "if h.promised.Below(next.Term) {", "if false {"},
		{"handlers/following.go", "	s.Term = h.followed\n", ""}}, by: byPlans},
	{name: "an old state file is taken for the newest one", edits: []edit{{"handlers/returning.go",
		"return i > st.found && i < max(st.first, st.lost+1) || i > st.used", "return i > st.used"}}, by: byTables},
	{name: "a lease lasts longer than the promises behind it", edits: []edit{{"handlers/lease.go",
		"leaseShare = 98", "leaseShare = 103"}}},
	{name: "a member that supports a leader answers others too", edits: []edit{{"handlers/lease.go",
		"return b.peer.ID == 0 ||", "return true ||"}}},
	{name: "a member that supports a leader stands all the same", edits: []edit{{"handlers/electing.go",
		"turn = max(turn, h.supported.at+h.Monitor)", "_ = h.supported"}}, by: byTables},
	{name: "a member that supports a leader accepts the REQ of another", edits: []edit{{"handlers/following.go",
		"	if !h.free(m.From) {", "	if false {"}}, by: byTables},
	{name: "a member that supports a leader answers the NEWVIEW of another", edits: []edit{{"handlers/following.go",
		"case obeyed && !h.free(m.From):", "case false:"}}, by: byTables},
	{name: "a lease counts from the answer, not from what was answered", edits: []edit{{"handlers/lease.go",
		"	if sent += h.stood; sent", "	if sent = h.elapsed(); sent"}}},
	{name: "answers to what was sent before a stall extend the lease", edits: []edit{{"handlers/monitoring.go",
		"		h.leading.extent.since = h.now.Run\n", ""}}, by: byTables},
	{name: "a lease stands still while the leader does", edits: []edit{{"handlers/clock.go",
		"func (c *clock) elapsed() time.Duration { return c.now.Run + c.stood }", "func (c *clock) elapsed() time.Duration { return c.now.Run }"}}},
	{name: "a leader acts before it has settled what an earlier one proposed", edits: []edit{{"handlers/lease.go",
		"if !h.leads() || !h.leading.ready || h.leading.inherits || h.leading.settle.Change.Operation != types.Nothing {", "if !h.leads() {"}}, by: byTables},
	{name: "any heartbeat of a candidate releases those who support it", edits: []edit{{"handlers/lease.go",
		"m.Ceased && t == m.Term", "!m.Leads && t == m.Term"}}, by: byTables},
	{name: "answers of members that are gone count in the next view", edits: []edit{{"handlers/following.go",
		"		h.forgetFormer(&before)\n		h.extend()\n", "		h.forgetFormer(&before)\n"}}, by: byTables},
	{name: "a leader stands again for a pre-vote", edits: []edit{{"handlers/electing.go",
		"if !m.PreVote {", "if true {"}}, by: byPlans},
	{name: "a member that is about to miss its leader refuses a candidate", edits: []edit{{"handlers/electing.go",
		"if h.since(max(h.supported.at, e.sign.at)) < h.Monitor-h.retry() {", "if true {"}}, by: byTables},
	{name: "refusals of the first moment end a candidacy", edits: []edit{{"handlers/electing.go",
		"		r.led.add(&h.view, m.From) // tick", "		if r.led.add(&h.view, m.From) {\n			h.declined()\n		}\n		// tick"}}, by: byTables},
	{name: "a candidate asks for a term without a pre-vote", edits: []edit{{"handlers/electing.go",
		"if h.leaderGone() {", "if true {"}}, by: byPlans},
	{name: "the answers to a pre-vote make a leader", edits: []edit{{"handlers/electing.go",
		"	case r.message.PreVote:\n", "	case false:\n"}}},
	{name: "a candidate that answers its leader stays one", edits: []edit{{"handlers/following.go",
		"case h.role == roleCandidate && m.From == m.Term.Peer:", "case false:"}, {"handlers/electing.go",
		"case r.message.PreVote && !h.free(h.ID):", "case false:"}}, by: byTables},
	{name: "a candidate of a small group is never declined", edits: []edit{{"handlers/electing.go",
		"	case h.isDeclined(r):\n", "	case r.led.done:\n"}}, by: byTables},
	{name: "who has just ceased to lead lets others lead at once", edits: []edit{{"handlers/lease.go",
		"if h.ceasing() && id != h.ID {", "if false {"}}, by: byTables},
	{name: "a refusal of before ends a member's support", edits: []edit{{"handlers/detector.go",
		"return p.dead && p.lost >= t", "return p.dead"}}, by: byTables},
	{name: "a leader moves on to a view in which it has no lease", edits: []edit{{"handlers/lease.go",
		"return !h.lease().Valid(h.elapsed()) || h.quorumAnswered(next)+h.leaseLength() > h.elapsed()", "return true"}}, by: byTables},
	{name: "a member supports whoever it hears leading, beside its leader", edits: []edit{{"handlers/electing.go",
		"if m.Term == h.promised && h.free(m.From) {", "if m.Term == h.promised {"}}, by: byTables},
	{name: "what a leader sent long ago shows that it leads", edits: []edit{{"handlers/electing.go",
		"h.obeys(m.Term) && !h.outrun(m) {", "h.obeys(m.Term) {"}}, by: byTables},
	{name: "an OK goes out before it is stored", edits: []edit{{"handlers/storing.go",
		"case types.OK, types.PendingResponse, types.Join:", "case types.PendingResponse, types.Join:"}}, by: byStoredSeeds},
	{name: "a promise goes out before it is stored", edits: []edit{{"handlers/storing.go",
		"case types.OK, types.PendingResponse, types.Join:", "case types.OK, types.Join:"}}, by: byStoredSeeds},
	{name: "a candidate asks before its term is stored", edits: []edit{{"handlers/storing.go",
		"return m.Kind == types.NewLeader && !m.PreVote", "return false"}}, by: byTables},
	{name: "a leader's own vote counts before it is stored", edits: []edit{{"handlers/leading.go",
		"bids && h.stores() && !h.isStored()", "false && bids"}}, by: byStoredSeeds},
	{name: "a returned peer does not know what it had accepted", edits: []edit{{"handlers/returning.go",
		"h.accepted, h.acceptedAt = s.Accepted, h.now.Run", "h.acceptedAt = h.now.Run"}}, by: byStoredSeeds},
	{name: "a returned peer does not know what it had promised", edits: []edit{{"handlers/returning.go",
		"	h.promise(s.Promised)\n", ""}}, by: byStoredSeeds},
	{name: "a returned peer votes at once", edits: []edit{{"handlers/returning.go",
		"quiet := max(h.fresh.since, h.fresh.hinted) + h.Monitor", "quiet := h.fresh.since"}}, by: byStoredSeeds},
	{name: "a returned peer leads under its old term", edits: []edit{{"handlers/returning.go",
		"	h.accepted, h.acceptedAt = s.Accepted, h.now.Run\n", "	h.accepted, h.acceptedAt = s.Accepted, h.now.Run\n	if h.promised.Peer == h.ID {\n		h.becomeCandidate(h.newRound(types.NewLeader, h.promised, &h.view))\n		h.lead(h.promised, s.Accepted, nil)\n	}\n"}}, by: byStoredSeeds},
	{name: "a founder does not ask what was accepted before", edits: []edit{{"handlers/bidding.go",
		"if c.Operation == types.Nothing {", "if true {"}}, by: byStoredSeeds},
	{name: "a host forgets whom it wanted to make the group", edits: []edit{{"handlers/returning.go",
		"st.founding.vote = acceptor{promised: s.Promised, accepted: s.Accepted}", "_ = s"}}, by: byStoredSeeds},
	{name: "a thawed peer blames the others for its own stall", edits: []edit{{"handlers/clock.go",
		"		c.stood += gap - 1 // so", "		// so"}}, by: byTables},
	{name: "nobody is drawn to an earlier group", edits: []edit{{"handlers/joining.go",
		"case m.Leads && (earlier ||", "case m.Leads && (false && earlier ||"}}},
	{name: "groups without leaders never meet", edits: []edit{{"handlers/joining.go",
		"!m.HasLeader && earlier && h.lasts(e.leaderless, mergeLeaderless)", "false"}}},
	{name: "a removed member does not become fresh", edits: []edit{{"handlers/following.go",
		"leader, group, term := h.following, h.view.Group, h.followed\n		h.becomeFresh()\n", "leader, group, term := h.following, h.view.Group, h.followed\n		h.position, h.view = position{role: roleOut}, types.View{}\n"}}},
	{name: "re-forming takes silence for evidence", edits: []edit{{"handlers/founding.go",
		"return h.ReformOnRefusal && e.outcome.Refused() && h.since(h.hosts[id-1].lastContact) >= h.Monitor", "return true"}}, by: byTables},
	{name: "re-forming does not ask who else has the view", edits: []edit{{"handlers/founding.go",
		"e.group == h.view.Group && !e.led && !h.outranks(id, e)", "e.group == h.view.Group"}}, by: byTables},
	{name: "a failure is recorded again and again", edits: []edit{{"handlers/monitoring.go",
		"	p.failing = true\n	if p.reported == h.view.Number {\n		return\n	}\n", ""}}},
	{name: "what a dead process left in a connection brings it back", edits: []edit{{"handlers/detector.go",
		"if (p.gone || p.failing) && !p.revivedBy(m) {", "if false {"}}},
	{name: "an incarnation is not made new", edits: []edit{{"handlers/joining.go",
		"	h.incarnation = types.Incarnation(h.now.Wall)\n	if h.incarnation <= before {\n		h.incarnation = before + 1 + types.Incarnation(h.Salt)\n	}\n", "	h.incarnation = max(before, 1_700_000_000_000_000_001)\n"}}},
	{name: "two lives told the same last incarnation take the same", edits: []edit{{"handlers/joining.go",
		"before + 1 + types.Incarnation(h.Salt)", "before + 1"}}, by: byTables},
	{name: "an earlier incarnation whose clock was set back is never told", edits: []edit{{"handlers/messagehandler.go",
		"		return h.role != roleDeparting || m.Kind == types.Probe\n", "		return (h.role != roleDeparting || m.Kind == types.Probe) && (!h.mine(m) || m.Incarnation >= h.view.Past(m.From).Incarnation)\n"}}, by: byTables},
	{name: "a view that is late is installed", edits: []edit{{"handlers/following.go",
		"	if m.Number < h.view.Number {\n		h.showView(m)\n		return\n	}\n	if m.Number > h.view.Number && !h.advance(m) {", "	if m.Number != h.view.Number && !h.advance(m) {"}}},
	{name: "the leader does not answer one that is no member", edits: []edit{{"handlers/monitoring.go",
		"	case h.leads() && m.Incarnation <= h.view.Past(m.From).Incarnation:\n		h.anew(m.From)\n		h.showView(m)\n", ""}}, by: byTables},
	{name: "lost datagrams alone remove a member: no PROBE", edits: []edit{{"handlers/monitoring.go",
		"	m := h.send(types.Probe, id)\n	m.Request,", "	m := new(types.Message)\n	m.Request,"}}},
	{name: "a JOIN is kept for ever", edits: []edit{{"handlers/leading.go",
		"return h.since(r.asked) >= h.Monitor || past.Incarnation >= r.member.Incarnation", "return past.Incarnation >= r.member.Incarnation"}}, by: byTables},
	{name: "a leader without quorum says that it leads", edits: []edit{{"handlers/leading.go",
		"return h.role == roleLeader && h.quorate && h.ruling() && (", "return h.role == roleLeader && h.ruling() && ("},
		{"handlers/electing.go", "if h.role == roleLeader && (!h.quorate || !h.ruling())", "if h.role == roleLeader && (!h.ruling())"}}, by: byTables},
	{name: "old news of failures is recorded as new", edits: []edit{{"handlers/following.go",
		"if m.Term == h.heeded.term && m.Request <= h.heeded.request || h.hosts[m.From-1].gone {", "if false {"}}, by: byTables},
	{name: "what is settled is forgotten as office is taken without a quorum", by: byPlans, edits: []edit{
		{"handlers/leading.go", "o.ready = o.ready || o.round.done", "o.ready, o.settle = o.round.done, types.Accepted{}"},
		{"handlers/electing.go", "	if !h.quorate {\n		h.becomeFollower() // grants", "	if false {\n		h.becomeFollower() // grants"},
		{"handlers/electing.go", "if h.role == roleLeader && (!h.quorate || !h.ruling()) {", "if false {"}}},
	{name: "a PROBE that went unanswered goes over the same connection again", edits: []edit{{"handlers/monitoring.go",
		"h.probe(id, p.gone || p.answered < p.probed)", "h.probe(id, false)"}}, by: byHarshSeeds},
	{name: "a founder does not wait anew when an earlier host first answers", edits: []edit{{"handlers/founding.go",
		"h.fresh.waits = h.now.Run // the network", "_ = 0 // the network"}}, by: byPlans},
	{name: "silence counts before more than half are accounted for", edits: []edit{{"handlers/founding.go",
		"h.since(max(h.hosts[id-1].lastContact, h.fresh.most)) < h.scaled(silentRest)", "h.since(max(h.hosts[id-1].lastContact, h.fresh.since)) < h.scaled(silentRest)"}}, by: byTables},
	{name: "who lost its quorum while leading stands first again", edits: []edit{{"handlers/electing.go",
		"return h.hosts[id-1].unfit || h.since(e.deposed) < 3*h.Monitor", "return false && e != nil"},
		{"handlers/electing.go", "return h.hosts[id-1].unfit || id == e.sign.peer && h.since(e.sign.at) < 3*h.Monitor", "return false"}}, by: byPlans},
	{name: "a leader removes whom it alone misses", edits: []edit{{"handlers/detector.go",
		"if p.dead || len(v.Members)-d.lacking <= 1 {", "if true {"}}},
	{name: "any member's word confirms a removal, be it of long ago", edits: []edit{{"handlers/detector.go",
		"	return p.missed > p.heard && d.reachable(v, p.witness) && slices.Contains(d.hosts[p.witness-1].notHearing, id)\n", "	return p.missed > 0\n"}}},
	{name: "a fresh peer believes anybody that its incarnation is too low", edits: []edit{{"handlers/joining.go",
		"case low && m.Leads && h.fresh.prefers(m.From, m.Group, m.Term):", "case low:"}}, by: byTables},
	{name: "a name service that knows nobody accounts for all hosts", edits: []edit{{"handlers/founding.go",
		"e.outcome == types.NoName && e.asked >= h.fresh.naming && h.namesFound()", "e.outcome == types.NoName"}}, by: byPlans},
	{name: "a copy of the state is accepted without its checksum", edits: []edit{{"storage/record.go",
		"if !bytes.Equal(b[atSum:atSuccessor], checksum(b)) {", "if false {"}}, by: byStorage},
	{name: "a redial waits for the dial in progress", edits: []edit{{"network/connections/connections.go",
		"case h.dials == maxDials:", "case h.dials > 0:"}}},
	{name: "a member that owes an answer counts as heard", edits: []edit{{"handlers/detector.go",
		"if p.owes != never {\n		return min(p.owes, p.heard)", "if false {\n		return min(p.owes, p.heard)"}}, by: byTables},
	{name: "a retired host is let in again", edits: []edit{
		{"types/types.go", "!v.Has(c.Member.ID) && past.Cause != Retired && c.Member.Incarnation", "!v.Has(c.Member.ID) && c.Member.Incarnation"},
		{"handlers/leading.go", "	if h.view.Retired(m.From) {\n", "	if false {\n"}}, by: byEditsSeeds},
	{name: "a member is retired", edits: []edit{{"types/types.go",
		"			!v.Has(c.Member.ID) && !v.Retired(c.Member.ID)\n", "			!v.Retired(c.Member.ID)\n"}}, by: byEditsSeeds},
	{name: "hosts are changed although a member's file differs", edits: []edit{{"handlers/hosts.go",
		"l.wrong != 0 || slices.ContainsFunc(h.view.Members, h.votesOtherwise)", "l.wrong != 0"}}, by: byEditsSeeds},
	{name: "who is refused for its hosts file makes a group all the same", edits: []edit{{"handlers/hosts.go",
		"slices.ContainsFunc(h.hosts, func(p host) bool { return p.refuses })", "false"}}, by: byTables},
	{name: "a host with state makes a group with a file that has changed", edits: []edit{{"handlers/bidding.go",
		"return h.stores() && h.storing.group == types.Group{} && h.storing.founding.file != h.listing.vote", "return false"}}, by: byEditsSeeds},
	{name: "a host whose file has changed while it asks for votes makes a group", edits: []edit{{"handlers/hosts.go",
		"		h.storing.founding.bid = nil // what", "		// what"}}, by: byTables},
	{name: "who compares fewer hosts than both list is let in", edits: []edit{{"handlers/hosts.go",
		"m.Lines == min(m.Full, h.listed()) && h.listing.has(m.Lines, m.Digest)", "h.listing.has(m.Lines, m.Digest)"}}, by: byTables},
	{name: "who compared few hosts with a short list is not asked for more", edits: []edit{{"handlers/hosts.go",
		"r.Lines = max(1, min(m.Full, h.listed()))", "r.Lines = h.listed()"}}, by: byTables},
	{name: "who is not listed is not told so", edits: []edit{{"handlers/hosts.go",
		"r.Reason, r.Lines, r.Digest = types.Differs,", "r.Reason, r.Lines, r.Digest = types.Unknown,"}}, by: byTables},
	{name: "who asks without being listed holds nobody back", edits: []edit{{"handlers/hosts.go",
		"		h.listing.outside = h.now.Run\n", ""}}, by: byTables},
	{name: "a refusal does not show that its sender is in a group", edits: []edit{{"handlers/hosts.go",
		"		h.recordEvidence(remote, evidence{", "		_ = (evidence{"}}, by: byTables},
	{name: "a member does not ask one that it does not know for its later view", edits: []edit{{"handlers/monitoring.go",
		"	if h.mine(m) && !h.view.Holds(sender(m)) {\n", "	if false {\n"}}, by: byTables},
	{name: "a founder has a say in the choice by whatever file it has now", edits: []edit{{"handlers/returning.go",
		"cmp.Or(s.File, h.listing.vote)", "cmp.Or(0, h.listing.vote)"}}, by: byTables},
	{name: "a member that came back with its state stays certainly gone", edits: []edit{{"handlers/monitoring.go",
		"			h.hosts[m.From-1].isBack(m)\n", ""}}, by: byTables},
	{name: "a group without a leader does not end for an earlier one that does not list its members", edits: []edit{{"handlers/hosts.go",
		"if what == Unlisted && h.joined()", "if false"}}, by: byTables},
	{name: "hosts that are only to join make a group", edits: []edit{{"handlers/bidding.go", "f.done || h.JoinOnly ||", "f.done ||"},
		{"handlers/bidding.go", "	case h.JoinOnly: // it has no say in the choice\n", ""}}, by: byEditsSeeds},
	{name: "a host that is only to join, and stores nothing, makes a group", edits: []edit{{"handlers/founding.go", "!h.JoinOnly && ", ""}}, by: byTables},
	{name: "a host that is only to join has a vote", edits: []edit{{"handlers/bidding.go",
		"	case h.JoinOnly: // it has no say in the choice\n", ""}}, by: byTables},
	{name: "hosts that take several messages are fetched from the first on again", edits: []edit{{"handlers/hosts.go",
		"l.asked, l.fetched = 0, from+len(m.Listed)", "l.asked, l.fetched = 0, 0"}}, by: byTables},
	{name: "a change that nobody can have accepted is settled", edits: []edit{{"handlers/leading.go",
		"return c.Operation == types.Nothing || h.view.Admits(c)", "return true"}}, by: byTables},
	{name: "late addresses are taken before the view that lets them", edits: []edit{{"handlers/hosts.go",
		"	contradicted := l.wrong != 0\n	l.agreed = len(v.Last)\n",
		"	contradicted := l.wrong != 0\n	if l.later && !contradicted {\n		h.takeFile()\n	}\n	l.agreed = len(v.Last)\n"}}, by: byTables},
	{name: "a host that its file retires makes a group", edits: []edit{{"handlers/hosts.go",
		"h.listing.wrong != 0 || h.isAway(h.ID) ||", "h.listing.wrong != 0 ||"}}, by: byTables},
}

// TestMutants proves that the checkers bite. Each mutant is the shipped code with some text
// replaced, built with an overlay, and must be found within a minute.
func TestMutants(t *testing.T) {
	day := int(time.Now().Unix() / (24 * 60 * 60))
	for i, m := range mutants {
		if *mutations && (i+day)%*part != 0 {
			continue
		}
		if !*mutations {
			if _, err := m.apply(); err != nil {
				t.Errorf("%s: %v", m.name, err) // every mutation can still be applied
			}
			continue
		}
		t.Run(m.name, func(t *testing.T) { m.find(t) })
	}
}

// find runs what is to find the mutant.
func (m mutation) find(t *testing.T) {
	began := time.Now()
	out, err := m.run(t)
	found := regexp.MustCompile(`seed (\d+).* fails(?: again)?: (.*)`).FindStringSubmatch(out)
	switch {
	case err == nil:
		t.Errorf("not found within a minute:\n%s", out)
	case m.by >= byPlans && strings.Contains(out, "--- FAIL"):
		t.Logf("found by %s", regexp.MustCompile(`--- FAIL: ([\w/-]+)`).FindStringSubmatch(out)[1])
	case found != nil:
		ran := "those that found bugs before"
		if runs := regexp.MustCompile(`: (\d+) runs`).FindStringSubmatch(out); runs != nil {
			ran = runs[1]
		}
		t.Logf("found after %s seeds, %.1f s: %s", ran, time.Since(began).Seconds(), found[2])
	case strings.Contains(out, "panic:") || strings.Contains(out, "test timed out"):
		t.Logf("found by a panic or endless loop")
	default:
		t.Errorf("not run: %v\n%s", err, out)
	}
}

// apply returns the mutated files: their texts by their absolute names.
func (m mutation) apply() (map[string]string, error) {
	mutated := map[string]string{}
	for _, e := range m.edits {
		name, err := filepath.Abs(filepath.Join("../..", e.file))
		if err != nil {
			return nil, err
		}
		text, ok := mutated[name]
		if !ok {
			b, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			text = string(b)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("%s holds %d times %q: mend the list", e.file, n, e.old)
		}
		mutated[name] = strings.Replace(text, e.old, e.new, 1)
	}
	return mutated, nil
}

// run runs against the mutant what has to find it.
func (m mutation) run(t *testing.T) (string, error) {
	t.Helper()
	mutated, err := m.apply()
	if err != nil {
		t.Fatal(err)
	}
	dir, replace := t.TempDir(), map[string]string{}
	for name, text := range mutated {
		mutant := filepath.Join(dir, filepath.Base(name))
		replace[name] = mutant
		if err := os.WriteFile(mutant, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	index, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, index, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"test", "-overlay", overlay, "-v", "-failfast", "-timeout", "65s"}
	seeds := []string{"-args", "-seeds", "1000000", "-at-most", "55s", "-brief"}
	switch m.by {
	case byTables:
		args = append(args, "../../handlers")
	case byStorage:
		args = append(args, "../../storage")
	case byPlans:
		args = append(args, "-run", "^(TestDirected|TestChosenSurvivesAWeakLeader|TestEndless|TestBoot|TestSuccession)$", ".")
	case byStoredSeeds:
		args = append(append(args, "-run", "^TestSeeds$", "."), append(seeds, "-stored")...)
	case byEditsSeeds:
		args = append(append(args, "-run", "^(TestFoundByEditsSeeds|TestSeeds)$", "."), append(seeds, "-edits")...)
	case byHarshSeeds:
		args = append(append(args, "-run", "^TestSeeds$", "."), append(seeds, "-harsh")...)
	default:
		args = append(append(args, "-run", "^(TestFoundBySeeds|TestSeeds)$", "."), seeds...)
	}
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	return string(out), err
}
