package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// This file is about hosts files that change while the group runs (docs/protocol.md, rule 10).

// firstFile returns the hosts file with which the hosts of p start.
func (p *Plan) firstFile() []types.Host {
	if p.Listed > 0 {
		return types.Numbered(p.Listed)
	}
	return types.Numbered(p.Hosts)
}

// lastFile returns the hosts file that all hosts have in the end.
func (p *Plan) lastFile() []types.Host {
	if len(p.Files) > 0 {
		return p.Files[len(p.Files)-1]
	}
	return p.firstFile()
}

// lists reports whether a hosts file has a host under its name, retired or not.
func lists(file []types.Host, id types.ID) bool {
	return int(id) <= len(file) && file[id-1].Name == types.Numbered(int(id))[id-1].Name
}

// serves reports whether a hosts file has a host under its name, and not retired.
func serves(file []types.Host, id types.ID) bool { return lists(file, id) && !file[id-1].Retired }

// mayStart reports whether the daemon would start on m with its hosts file, and with what is stored.
func (m *machine) mayStart() bool {
	_, err := m.stored.Hosts(m.file)
	return err == nil && serves(m.file, m.id)
}

// edit makes file the hosts file of m, whose process reads it after a time. Where hosts store, operators wait until there is
// a group: the hosts that choose who makes it must have one file.
func (w *world) edit(m *machine, file []types.Host, noticed time.Duration) {
	m.edits++
	w.editWhenDue(m, file, noticed, m.edits)
}

// editWhenDue is edit number n of a host: a later one takes its place. Where hosts do not store, none goes back to a file with
// fewer hosts: a host that has lost its group would not ask those that its file has lost.
func (w *world) editWhenDue(m *machine, file []types.Host, noticed time.Duration, n int) {
	if n != m.edits || w.plan.Sync == 0 && len(file) < len(m.file) {
		return
	}
	if w.plan.Sync > 0 && len(w.judge.latest) == 0 || w.plan.Sync == 0 && w.stopRetired(file) {
		w.after(500*time.Millisecond, func() { w.editWhenDue(m, file, noticed, n) })
		return
	}
	m.file = file
	if p := m.process; p != nil {
		w.after(noticed, func() { w.reread(p) })
	}
}

// reread has a process that runs read its hosts file again.
func (w *world) reread(p *process) {
	if m := p.machine; !p.ended && serves(m.file, m.id) {
		w.step(p, "reads its hosts file", func(now handlers.Instant) *handlers.Output {
			m.vote()
			return p.handler.Reread(now, m.file)
		})
	}
}

// cutFile has another process of m begin with the first n lines of its hosts file, and gives it the whole file d later, if it has
// none that is newer. Nobody does so once there is a group.
func (w *world) cutFile(m *machine, n int, d time.Duration) {
	whole := w.plan.firstFile()
	rest := whole[:min(n, len(whole))]
	if len(w.judge.latest) > 0 || !serves(rest, m.id) {
		return
	}
	if m.process != nil {
		w.end(m.process)
	}
	m.file = rest
	w.start(m)
	w.after(d, func() {
		if !slices.Equal(m.file, rest) {
			return
		}
		if m.file = whole; m.process != nil {
			w.reread(m.process)
		}
	})
}

// stopRetired has the processes end that file retires, and reports whether there were any. Operators do this first where hosts
// do not store: a fresh host does not ask those that its file retires whether they are in a group.
func (w *world) stopRetired(file []types.Host) (any bool) {
	for i, h := range file {
		switch p := w.hosts[i].process; {
		case !h.Retired || p == nil:
		case p.leaves:
			w.end(p)
		default:
			any, p.leaves = true, true
			w.step(p, "is told to leave", p.handler.Leave)
		}
	}
	return any
}

// isRetired reports whether the hosts file of some host retires m, or a group has: then operators do not start it.
func (w *world) isRetired(m *machine) bool {
	if w.plan.Sync > 0 {
		return false
	}
	for _, v := range w.judge.latest {
		if v.Retired(m.id) {
			return true // a file may have been written back since
		}
	}
	return slices.ContainsFunc(w.hosts, func(o *machine) bool {
		return int(m.id) <= len(o.file) && o.file[m.id-1].Retired
	})
}

// vote notes what the hosts file of m has now that a process reads it.
func (m *machine) vote() {
	if m.votes == nil {
		m.votes = map[string]bool{}
	}
	for i, h := range m.file {
		m.votes[ballot(types.ID(i+1), h.Name)] = true
		if h.Retired {
			m.votes[ballot(types.ID(i+1), "")] = true
		}
	}
}

// ballot is what a hosts file says of a line: its name or, with none, that it is retired.
func ballot(id types.ID, name string) string { return fmt.Sprint(id, " ", name) }

// learn notes what a process was told of the hosts.
func (w *world) learn(p *process, changes []handlers.HostChange) {
	p.lists = slices.Clone(p.lists)
	for _, c := range changes {
		switch n := types.ID(len(p.lists)); {
		case c.ID == n+1:
			p.lists = append(p.lists, c.Host)
		case c.ID > n:
			w.judge.fail("peer %d tells of host %d after %d", p.id, c.ID, n)
		default:
			p.lists[c.ID-1] = c.Host
		}
	}
}

// hears reports whether p takes messages of a host: those of addresses that belong to no host are dropped.
func (p *process) hears(id types.ID) bool { return int(id) <= len(p.lists) && !p.lists[id-1].Retired }

// grown judges a view that follows another by its hosts: what was added or retired, the members of a quorum had in their
// files; and who is retired stays so.
func (j *judge) grown(before, v *types.View) {
	had := func(what string) func(types.ID) bool {
		return func(id types.ID) bool { return j.w.host(id).votes[what] }
	}
	for i := range v.Last {
		id := types.ID(i + 1)
		switch {
		case i >= len(before.Last):
			name := ""
			for _, m := range j.w.hosts {
				for _, h := range m.process.knows() {
					if i < len(m.process.lists) && types.Extend(before.Digest, h.Name) == v.Digest {
						name = h.Name
					}
				}
			}
			if !before.Quorum(had(ballot(id, name))) {
				j.fail("view %d has host %d %q, which a quorum never had in its files", v.Number, id, name)
			}
		case before.Retired(id) && !v.Retired(id):
			j.fail("host %d was retired in view %d, and is not in view %d", id, before.Number, v.Number)
		case v.Retired(id) && !before.Retired(id) && !before.Quorum(had(ballot(id, ""))):
			j.fail("view %d retires host %d, which a quorum never did in its files", v.Number, id)
		}
	}
}

// turnAway answers what a process gets from a host that it does not list, as package network does.
func (w *world) turnAway(from, to *process, m types.Message) {
	if m.Kind == types.Join || m.Kind == types.Probe {
		w.whenAwake(to, func() {
			answer := to.handler.Stranger(&m)
			if int(from.id) <= len(to.lists) && answer.Reason != types.IsRetired {
				return
			}
			w.after(w.delay(), func() { // over the connection that m came over
				if !w.blocked(to.id, from.id) {
					w.receive(to, from, answer)
				}
			})
		})
	}
}

// knows returns the hosts that a process lists; none if there is no process.
func (p *process) knows() []types.Host {
	if p == nil {
		return nil
	}
	return p.lists
}

// hostsAgreed reports whether v has the hosts of the last file: else what is not so. Who should be retired and still runs as a
// member cannot be.
func (j *judge) hostsAgreed(v *types.View) string {
	file := j.w.plan.lastFile()
	if v.Digest != types.Digest(file) || len(v.Last) != len(file) {
		return fmt.Sprintf("view %d has %d hosts, not the %d of the file", v.Number, len(v.Last), len(file))
	}
	for i, h := range file {
		if id := types.ID(i + 1); v.Retired(id) != h.Retired && !v.Has(id) {
			return fmt.Sprintf("host %d is retired in view %d: %v, in the file: %v", id, v.Number, v.Retired(id), h.Retired)
		}
	}
	return ""
}

// changesTake returns how much longer agreement may take because hosts are added and retired, one after the other: a view each,
// by disks that are slow and stall.
func (p *Plan) changesTake() time.Duration {
	if len(p.Files) == 0 {
		return 0
	}
	return 15 * time.Second
}

// lacksHosts reports whether hosts that will not run any more, as the last file retires them or they are silent for ever, are
// missing for a quorum, or were the only ones that had the latest view: the group could not let them go before, and whoever they
// have removed or let in cannot know what it is to others.
func (j *judge) lacksHosts() bool {
	if len(j.w.plan.Files) == 0 && j.w.plan.Dark == 0 {
		return false
	}
	runs := func(id types.ID) bool { return j.w.host(id).process != nil }
	for group, latest := range j.latest {
		holds := func(m *machine) bool {
			return m.process != nil && m.stored.View.Group == group && m.stored.View.Number == latest.Number
		}
		if !latest.Quorum(runs) || !slices.ContainsFunc(j.w.hosts, holds) {
			return true
		}
	}
	return false
}

// newHostsPlan draws the plan of a seed in which hosts files change while the group runs.
func newHostsPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 8))
	p := NewPlan(seed)
	if r.IntN(2) == 0 {
		p = newStoredPlan(seed)
	}
	p.Drill = false
	p.Listed = p.Hosts
	p.Hosts += 1 + r.IntN(3)
	if p.Sync > 0 && p.Hosts > 2*p.Listed { // more new hosts than old ones could make a group of their own
		if p.JoinOnly = rand.New(rand.NewPCG(seed, 10)).IntN(4) > 0; !p.JoinOnly {
			p.Hosts = 2 * p.Listed
		}
	}
	if p.Quiet < 8*time.Second {
		p.Quiet += 8 * time.Second
	}
	file := p.firstFile()
	for range 1 + r.IntN(4) {
		at := upTo(r, p.Quiet)
		file = p.drawFile(r, file, at)
		p.drawEdits(r, len(p.Files)-1, at)
	}
	if p.Sync > 0 {
		p.drawCutFiles(rand.New(rand.NewPCG(seed, 9)))
	}
	p.Faults = append(p.Faults, fault{At: p.Quiet, Kind: restart})
	return p
}

// drawCutFiles has hosts begin with a hosts file that lacks its end, in one of four plans.
func (p *Plan) drawCutFiles(r *rand.Rand) {
	if r.IntN(4) > 0 {
		return
	}
	for range 1 + r.IntN(3) {
		id := 1 + r.IntN(p.Listed)
		p.Faults = append(p.Faults, fault{At: upTo(r, min(p.Quiet, 5*time.Second)), Kind: cutFile, A: types.ID(id),
			Side: uint32(id + r.IntN(p.Listed-id+1)), For: upTo(r, 3*time.Second)})
	}
}

// settleFiles gives all hosts the last hosts file, and ends the processes of hosts that are not in it.
func (w *world) settleFiles() {
	switch {
	case len(w.plan.Files) == 0:
		return
	case w.plan.Sync > 0 && len(w.judge.latest) == 0: // all hosts must be there to make the group
		w.after(500*time.Millisecond, w.settleFiles)
		return
	}
	for _, m := range w.hosts {
		if p := m.process; p != nil && !serves(w.plan.lastFile(), m.id) {
			w.end(p)
		}
		w.edit(m, w.plan.lastFile(), upTo(w.random, time.Second))
	}
}

// drawFile draws the next version of the hosts file: a host more, one retired, or one replaced. Whoever is retired is mostly
// told to leave at about that time.
func (p *Plan) drawFile(r *rand.Rand, file []types.Host, at time.Duration) []types.Host {
	file = slices.Clone(file)
	style := r.IntN(3)
	if style > 0 && types.Serving(file) > 1 {
		i := r.IntN(len(file))
		file[i].Retired = true
		if r.IntN(4) > 0 {
			p.Faults = append(p.Faults, fault{At: max(0, at-time.Second+upTo(r, 3*time.Second)), Kind: Leave, A: types.ID(i + 1)})
		}
	}
	if n := len(file); style != 1 && n < p.Hosts {
		file = append(file, types.Numbered(n + 1)[n])
	}
	p.Files = append(p.Files, file)
	return file
}

// drawEdits draws how version k of the hosts file comes to the hosts from a time on: most notice it, some are started again
// with it, some get it with a mistake or not at all.
func (p *Plan) drawEdits(r *rand.Rand, k int, at time.Duration) {
	file := p.Files[k]
	wrong := slices.Clone(file)
	wrong[len(wrong)-1].Name += "x"
	restarts := r.IntN(4) == 0
	for i := range p.Hosts {
		id, version := types.ID(i+1), k
		f := fault{At: min(at+upTo(r, 2*time.Second), p.Quiet), Kind: editFile, A: id, For: upTo(r, 2*time.Second)}
		switch r.IntN(8) {
		case 0:
			continue
		case 1:
			if id != types.ID(len(wrong)) {
				p.Files = slices.Insert(p.Files, 0, wrong)
				for j := range p.Faults {
					if p.Faults[j].Kind == editFile {
						p.Faults[j].Side++
					}
				}
				k++
				version = 0
			}
		}
		f.Side = uint32(version)
		p.Faults = append(p.Faults, f)
		if restarts || id > types.ID(p.Listed) {
			p.Faults = append(p.Faults, fault{At: min(f.At+upTo(r, time.Second), p.Quiet), Kind: Crash, A: id},
				fault{At: min(f.At+time.Second+upTo(r, 2*time.Second), p.Quiet), Kind: start, A: id})
		}
	}
}
