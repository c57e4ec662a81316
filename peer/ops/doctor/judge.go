package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"memberly/peer/config"
	"memberly/peer/seal"
	"memberly/peer/types"
	"memberly/peer/utils"
)

// longStall is how long a machine may not run a process that needs to; the protocol too takes
// less for nothing.
const longStall = 500 * time.Millisecond

// cell is one thing that was checked.
type cell struct {
	mark   mark
	remedy string // of a red one: what is wrong, and the sentence that mends it
}

type mark string

const (
	good    mark = "ok"
	red     mark = "RED"
	unknown mark = "?" // could not be found out, for what is red elsewhere
	unused  mark = "-" // does not matter here
)

func check(well bool, format string, args ...any) cell {
	if well {
		return cell{mark: good}
	}
	return cell{red, fmt.Sprintf(format, args...)}
}

// row is all of one host.
type row struct {
	host  string
	cells []cell
	runs  string // what answered there
}

// report is the outcome.
type report struct {
	here   row
	others []row
}

// The columns of the two tables.
var (
	hereColumns  = []string{"this host", "address", "TCP 8080", "UDP 8081", "clock"}
	otherColumns = []string{"host", "name", "file", "TCP to", "TCP from", "UDP to", "UDP from", "broadcast to", "broadcast from"}
)

// judge says what is well and what is not. It asks nobody.
func judge(f *findings) report {
	r := report{here: f.here()}
	misplaced := f.ownAddress().mark == red
	for id, e := range f.other {
		j := judged{f, e, f.config.Hosts[id-1].Name, misplaced}
		r.others = append(r.others, j.row(id))
	}
	return r
}

// row judges a host. Of one whose address is another's, nothing more is known.
func (j judged) row(id types.ID) row {
	r := row{j.name, []cell{j.resolves(id), j.file(), j.tcpTo(), j.tcpFrom(),
		j.udpTo(unicast), j.udpFrom(unicast), j.udpTo(broadcast), j.udpFrom(broadcast)}, j.runs()}
	if r.cells[0].mark == red && len(j.addrs) > 0 {
		for i := range r.cells[1:] {
			r.cells[i+1] = cell{mark: unknown}
		}
		r.runs = string(unknown)
	}
	return r
}

// runs tells what answers there.
func (j judged) runs() string {
	switch {
	case j.version != nil && !j.echoed:
		return "another release"
	case j.keys != nil && !j.echoed:
		return otherKeys[j.keys].runs
	case j.kind == aPeer && !j.echoed:
		return "peer"
	case j.kind == aPeer && j.view == 0:
		return "peer, in no view"
	case j.kind == aPeer:
		return fmt.Sprintf("peer, view %d", j.view)
	case j.kind == aDoctor:
		return "doctor"
	case j.seen:
		return "peer or doctor"
	}
	return "no answer"
}

// well reports whether nothing is red, nor unknown.
func (r report) well() bool {
	for _, row := range append(slices.Clone(r.others), r.here) {
		if slices.ContainsFunc(row.cells, func(c cell) bool { return c.mark == red || c.mark == unknown }) {
			return false
		}
	}
	return true
}

// here judges this machine.
func (f *findings) here() row {
	name := f.config.Name
	return row{host: name, cells: []cell{f.ownAddress(), port("TCP", config.TCPPort, f.tcp), port("UDP", config.UDPPort, f.udp),
		check(f.stall < longStall, "This process did not run for %v: give the machine more of a processor, "+
			"and do not let it be suspended. A peer that stalls for 2.2 s is removed", f.stall.Round(10*time.Millisecond))}}
}

// ownAddress judges where the others will look for this host.
func (f *findings) ownAddress() cell {
	e, name := &f.hosts[f.config.ID-1], f.config.Name
	if len(e.addrs) == 0 {
		return cell{mark: unused} // the others need its name; here it is not asked for
	}
	here := slices.ContainsFunc(e.addrs, func(a netip.Addr) bool { return a.IsLoopback() || f.isOwn(bare(a)) })
	return check(here, "By its name or the hosts file %s is at %s, which is no address of this machine: "+
		"the others would look for it there. Correct the name service, or the file", name, list(e.addrs))
}

func port(protocol string, number int, err error) cell {
	switch {
	case err == nil:
		return cell{mark: good}
	case errors.Is(err, syscall.EADDRINUSE):
		return check(false, "%s %d is in use here: end the peer that runs on this machine already, or whatever else uses the port", protocol, number)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return check(false, "This machine does not have the address that the hosts file gives it: correct the file (%v)", err)
	}
	return check(false, "%s %d cannot be opened here: %v", protocol, number, err)
}

// judged is a host, for its row.
type judged struct {
	*findings
	*evidence
	name      string
	misplaced bool // the others look for this host elsewhere, and take nothing from here
}

func (j judged) resolves(id types.ID) cell {
	switch {
	case utils.NoSuchName(j.lookup):
		return check(false, "The name service does not know %s: start it, if it is a container or a pod; else add it there, "+
			"or write its address behind its name in the hosts file", j.name)
	case len(j.addrs) == 0 && j.lookup == nil:
		return cell{mark: unknown} // there was no time to look
	case len(j.addrs) == 0:
		return check(false, "The name service did not answer for %s (%v): mend it, or write the address behind the name in the hosts file", j.name, j.lookup)
	}
	own := j.hosts[j.config.ID-1].addrs
	for _, addr := range j.addrs {
		if j.isOwn(bare(addr)) || addr.IsLoopback() && !slices.ContainsFunc(own, netip.Addr.IsLoopback) {
			return check(false, "%s is at %v, which is this machine: correct the name service, /etc/hosts or the hosts file", j.name, addr)
		}
	}
	for other, e := range j.hosts {
		if types.ID(other+1) != id && slices.ContainsFunc(e.addrs, func(a netip.Addr) bool { return slices.Contains(j.addrs, a) }) {
			return check(false, "%s and %s are both at %s: give each host an address of its own",
				j.name, j.config.Hosts[other].Name, list(j.addrs))
		}
	}
	return cell{mark: good}
}

func list(addrs []netip.Addr) string {
	var b strings.Builder
	for i, a := range addrs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	return b.String()
}

func (j judged) file() cell {
	if j.digest == 0 {
		return cell{mark: unknown}
	}
	return check(j.digest == j.config.Digest, "%s has another hosts file: use the same names in the same order everywhere", j.name)
}

// otherKeys says what a host runs that is not understood for its keys, and what mends that.
var otherKeys = map[error]struct{ runs, remedy string }{
	types.ErrSealed: {"with a key", "%s has a key, and this doctor has none: give it -key FILE too, with the same keys"},
	seal.ErrUnsealed: {"without a key", "%s has no key, and this doctor has: start all with -key FILE and the same keys, " +
		"or all without"},
	seal.ErrUnopened: {"another key", "%s has another key than this doctor, or none: bring the same key file to both hosts, " +
		"and where it was changed while the peer runs, send that a SIGHUP"},
}

func (j judged) tcpTo() cell {
	switch {
	case j.echoed:
		return cell{mark: good}
	case len(j.addrs) == 0:
		return cell{mark: unknown}
	case j.version != nil:
		return check(false, "%s runs another release: %v", j.name, j.version)
	case j.keys != nil:
		return check(false, otherKeys[j.keys].remedy, j.name)
	case j.sameID:
		return check(false, "%s says that it has this host's id: use the same names in the same order everywhere", j.name)
	case j.reached && j.misplaced:
		return cell{mark: unknown}
	case j.reached:
		keyless := ""
		if j.config.Keys.Len() > 0 {
			keyless = ", or has no key"
		}
		return check(false, "%s lets a connection to TCP 8080 be opened, and does not answer: what listens there is no peer, or stopped, "+
			"or of another release%s; or the hosts file there has this host at another address, or not at all", j.name, keyless)
	case errors.Is(j.dialled, syscall.ECONNREFUSED):
		return check(false, "Nothing listens on TCP 8080 of %s: start `memberly doctor` there too, or the peer", j.name)
	case j.isForeign():
		return cell{mark: unknown} // it is elsewhere
	}
	start := "start the host, and "
	if j.seen {
		start = ""
	}
	return check(false, "No connection to TCP 8080 of %s at %s (%v): %slet TCP 8080 through to it "+
		"(its firewall, security groups, routes)", j.name, list(j.addrs), j.dialled, start)
}

// isForeign reports whether it came from an address that is not its own. What came before its name was
// looked up shows nothing.
func (j judged) isForeign() bool {
	return j.foreign.IsValid() && len(j.addrs) > 0 &&
		!slices.ContainsFunc(j.addrs, func(a netip.Addr) bool { return bare(a) == j.foreign })
}

// tcpFrom goes by what a doctor does unasked, and a peer that was asked over TCP.
func (j judged) tcpFrom() cell {
	switch {
	case j.called:
		return cell{mark: good}
	case j.isForeign():
		return check(false, "%s came from %v, but here it is at %s: peers drop that. Correct its address in the name service or the "+
			"hosts file, or take the address translation between the two away", j.name, j.foreign, list(j.addrs))
	case j.tcp != nil || j.misplaced || j.kind != aDoctor && !j.echoed:
		return cell{mark: unknown}
	}
	return check(false, "%s does not reach TCP 8080 here: let TCP 8080 through to this machine, from %s", j.name, list(j.addrs))
}

func (j judged) udpTo(l route) cell {
	target, usable := j.broadcastTo(j.evidence)
	switch {
	case l == broadcast && !usable:
		return cell{mark: unused}
	case j.answered[l]:
		return cell{mark: good}
	case j.udpUnknown() || j.kind == aDoctor && !j.received[unicast]:
		return cell{mark: unknown} // its answer would not have come
	case l == unicast && (j.received[unicast] || j.heartbeat && j.uses(j.evidence) == unicast):
		return check(false, "Datagrams reach this host from %s, but not the other way: let UDP 8081 through to %s", j.name, j.name)
	case l == unicast:
		return check(false, "Datagrams to %s, or its answers, are lost: let UDP 8081 through to %s, and to this machine", j.name, j.name)
	case !j.answered[unicast] && !j.received[unicast]:
		return cell{mark: unknown} // the same for its answer to a broadcast
	}
	without := ""
	if j.answered[unicast] {
		without = ". Where the network has no broadcast, see docs/deploy.md: the group works without, by asking over TCP"
	}
	return check(false, "Broadcasts to %v do not reach %s: let UDP 8081 to that address through%s", target, j.name, without)
}

// udpUnknown reports whether nothing can be said of datagrams: by whom they would be sent, or answered.
func (j judged) udpUnknown() bool {
	return j.kind == unidentified || j.udp != nil || j.misplaced || (j.version != nil || j.keys != nil) && !j.echoed
}

// udpFrom goes by what a doctor sends unasked on both lanes, and a peer on the one that it uses.
func (j judged) udpFrom(l route) cell {
	_, usable := j.broadcastTo(j.evidence)
	used := j.uses(j.evidence) == l
	switch {
	case l == broadcast && !usable:
		return cell{mark: unused}
	case j.received[l] || used && j.heartbeat:
		return cell{mark: good}
	case j.kind == aPeer && !used:
		return cell{mark: unused} // it sends nothing there
	case j.udpUnknown():
		return cell{mark: unknown}
	case j.kind == aPeer && j.view == 0:
		return cell{mark: unused} // it sends nothing yet
	case l == broadcast:
		return check(false, "Broadcasts of %s do not come here: let UDP 8081 from %s through to this machine's broadcast address", j.name, list(j.addrs))
	}
	return check(false, "Datagrams of %s do not come here: let UDP 8081 from %s through to this machine", j.name, list(j.addrs))
}
