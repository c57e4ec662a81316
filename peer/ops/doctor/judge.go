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

// longStall is the shortest stall of this process that is a fault; the protocol too ignores
// shorter ones.
const longStall = 500 * time.Millisecond

// slowAfter is how long a look-up takes that deserves a warning; a peer reports it too.
const slowAfter = 2 * time.Second

// cell is the result of one check.
type cell struct {
	mark   mark
	remedy string // of a red cell or a warning: what is wrong and what to do
}

type mark string

const (
	good    mark = "ok"
	red     mark = "RED"
	slow    mark = "slow"   // works, but slowly: a warning
	behind  mark = "behind" // the other's list of hosts lacks some of the file here: a warning
	ahead   mark = "ahead"  // the file here lacks some of its hosts: a warning
	unknown mark = "?"      // has no result, because of something red elsewhere or for lack of time
	unused  mark = "-"      // does not matter here
)

// warns reports whether a mark is a warning.
func (m mark) warns() bool { return m == slow || m == behind || m == ahead }

func check(well bool, format string, args ...any) cell {
	if well {
		return cell{mark: good}
	}
	return cell{red, fmt.Sprintf(format, args...)}
}

// row is the result for one host.
type row struct {
	host  string
	cells []cell
	runs  string // what answered there
	state string // of this host: what is stored
}

// report is the result of an examination.
type report struct {
	here   row
	others []row
}

// The columns of the two tables.
var (
	hereColumns  = []string{"this host", "address", "TCP 8080", "UDP 8081", "clock", "state"} // the last one with -state
	otherColumns = []string{"host", "name", "file", "TCP to", "TCP from", "UDP to", "UDP from", "broadcast to", "broadcast from"}
)

// judge turns findings into a report. It does no I/O.
func judge(f *findings) report {
	r := report{here: f.here()}
	misplaced := f.ownAddress().mark == red
	for id, e := range f.other {
		j := judged{f, e, f.config.Hosts[id-1].Name, misplaced}
		r.others = append(r.others, j.row(id))
	}
	return r
}

// row judges a host. If its address is wrong, the other checks say nothing about it.
func (j judged) row(id types.ID) row {
	r := row{host: j.name, runs: j.runs(), cells: []cell{j.resolves(id), j.file(), j.tcpTo(), j.tcpFrom(),
		j.udpTo(unicast), j.udpFrom(unicast), j.udpTo(broadcast), j.udpFrom(broadcast)}}
	if r.cells[0].mark == red && len(j.addrs) > 0 {
		for i := range r.cells[1:] {
			r.cells[i+1] = cell{mark: unknown}
		}
		r.runs = string(unknown)
	}
	return r
}

// runs names what answered on the host.
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
	case j.kind == aPeer && j.speaks != 0 && j.speaks != types.Version:
		return fmt.Sprintf("peer, view %d, wire version %d", j.view, j.speaks)
	case j.kind == aPeer:
		return fmt.Sprintf("peer, view %d", j.view)
	case j.kind == aDoctor:
		return "doctor"
	case j.seen:
		return "peer or doctor"
	}
	return "no answer"
}

// well reports whether no check is red or unknown.
func (r report) well() bool { return !r.has(red) && !r.has(unknown) }

func (r report) has(m mark) bool {
	return r.here.has(m) || slices.ContainsFunc(r.others, func(other row) bool { return other.has(m) })
}

func (r row) has(m mark) bool {
	return slices.ContainsFunc(r.cells, func(c cell) bool { return c.mark == m })
}

// warnings says what is not as it should be, though it works; "" for nothing.
func (r report) warnings() string {
	var parts []string
	if slices.ContainsFunc(r.others, func(other row) bool { return other.has(slow) }) {
		parts = append(parts, "the name service is slow")
	}
	if r.here.has(slow) {
		parts = append(parts, "the disk is slow")
	}
	if r.has(behind) || r.has(ahead) {
		parts = append(parts, "some hosts files are not up to date")
	}
	return strings.Join(parts, ", and ")
}

// here judges this machine.
func (f *findings) here() row {
	name := f.config.Name
	r := row{host: name, state: f.state.words(), cells: []cell{f.ownAddress(), port("TCP", config.TCPPort, f.tcp), port("UDP", config.UDPPort, f.udp),
		check(f.stall < longStall, "This process did not run for %v: give the machine more CPU time, "+
			"and do not suspend it. The group removes a peer that stalls for 2.2 s", f.stall.Round(10*time.Millisecond))}}
	if f.state != nil {
		r.cells = append(r.cells, f.state.cell(errors.Is(f.tcp, syscall.EADDRINUSE)))
	}
	return r
}

// ownAddress checks that the others will look for this host at its own address.
func (f *findings) ownAddress() cell {
	e, name := &f.hosts[f.config.ID-1], f.config.Name
	if f.retired(f.config.ID) {
		return check(false, "%s is retired in the hosts file, as host %d, whose id is never used again: "+
			"add a new line for it at the end of the file, on every host", name, f.config.ID)
	}
	if len(e.addrs) == 0 {
		return cell{mark: unused} // only the others need to resolve it
	}
	here := slices.ContainsFunc(e.addrs, func(a netip.Addr) bool { return a.IsLoopback() || utils.IsOwn(bare(a), f.attached) })
	return check(here, "The name service or the hosts file says that %s is at %s, which is no address of this machine: "+
		"the others would look for it there. Correct the name service or the file", name, list(e.addrs))
}

func port(protocol string, number int, err error) cell {
	switch {
	case err == nil:
		return cell{mark: good}
	case errors.Is(err, syscall.EADDRINUSE):
		return check(false, "%s %d is in use here: stop the peer that already runs on this machine, or the other program that uses the port", protocol, number)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return check(false, "This machine does not have the address that the hosts file gives it: correct the file (%v)", err)
	}
	return check(false, "%s %d cannot be opened here: %v", protocol, number, err)
}

// judged is a host that is being judged.
type judged struct {
	*findings
	*evidence
	name      string
	misplaced bool // the others look for this host elsewhere, and drop what it sends
}

func (j judged) resolves(id types.ID) cell {
	switch {
	case utils.NoSuchName(j.lookup):
		return check(false, "The name service does not know %s: start it if it is a container or a pod; otherwise add it there, "+
			"or write its address after its name in the hosts file", j.name)
	case len(j.addrs) == 0 && j.lookup == nil:
		return cell{mark: unknown} // there was no time to look it up
	case len(j.addrs) == 0:
		return check(false, "The name service did not answer for %s (%v): repair it, or write the address after the name in the hosts file", j.name, j.lookup)
	}
	own := j.hosts[j.config.ID-1].addrs
	for _, addr := range j.addrs {
		if utils.IsOwn(bare(addr), j.attached) || addr.IsLoopback() && !slices.ContainsFunc(own, netip.Addr.IsLoopback) {
			return check(false, "%s is at %v, which is this machine: correct the name service, /etc/hosts or the hosts file", j.name, addr)
		}
	}
	for other, e := range j.hosts {
		if types.ID(other+1) != id && slices.ContainsFunc(e.addrs, func(a netip.Addr) bool { return slices.Contains(j.addrs, a) }) {
			return check(false, "%s and %s are both at %s: give each host an address of its own",
				j.name, j.config.Hosts[other].Name, list(j.addrs))
		}
	}
	if j.slowest >= slowAfter {
		return cell{slow, fmt.Sprintf("The name service took %v to find %s, and a peer waits as long when it starts: check the name servers "+
			"of this machine (/etc/resolv.conf), of which one may not answer, or write the address after the name in the hosts file",
			j.slowest.Round(100*time.Millisecond), j.name)}
	}
	return cell{mark: good}
}

func list(addrs []netip.Addr) string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

// file compares the list of hosts of another host, which is that of its group or of its hosts file, with the file here. One
// may have more lines than the other, at the end.
func (j judged) file() cell {
	here := len(j.config.Hosts)
	switch {
	case j.lines == 0:
		return cell{mark: unknown}
	case j.differs:
		return check(false, "%s has another hosts file: use the same names in the same order everywhere", j.name)
	case j.lines < here:
		return cell{behind, fmt.Sprintf("%s lists %d hosts, the first of the %d in the hosts file here: bring the file there up to date", j.name, j.lines, here)}
	case j.lines > here && j.shares == here:
		return cell{ahead, fmt.Sprintf("%s lists %d hosts, of which the hosts file here has the first %d: write the other lines here too", j.name, j.lines, here)}
	case j.lines > here:
		return cell{ahead, fmt.Sprintf("%s lists %d hosts, and the hosts file here has %d, which must be the first of them: write the other lines here too", j.name, j.lines, here)}
	}
	return cell{mark: good}
}

// otherKeys gives, for each error about keys, what the host runs and the remedy.
var otherKeys = map[error]struct{ runs, remedy string }{
	types.ErrSealed: {"with a key", "%s has a key, and this doctor has none: give it -key FILE too, with the same keys"},
	seal.ErrUnsealed: {"without a key", "%s has no key, and this doctor has: start all with -key FILE and the same keys, " +
		"or all without"},
	seal.ErrUnopened: {"another key", "%s has another key than this doctor, or none: copy the same key file to both hosts, " +
		"and if the file changed while the peer runs, send the peer a SIGHUP"},
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
		return check(false, "%s accepts connections to TCP 8080, but does not answer: what listens there is not a peer, is stopped, "+
			"or runs another release%s; or the hosts file there has another address for this host, or lacks it", j.name, keyless)
	case errors.Is(j.dialled, syscall.ECONNREFUSED):
		return check(false, "Nothing listens on TCP 8080 of %s: start `memberly doctor` there too, or the peer", j.name)
	case j.isForeign():
		return cell{mark: unknown} // it runs at another address, which tcpFrom reports
	}
	start := "start the host, and "
	if j.seen {
		start = ""
	}
	return check(false, "No connection to TCP 8080 of %s at %s (%v): %slet TCP 8080 through to it "+
		"(its firewall, security groups, routes)", j.name, list(j.addrs), j.dialled, start)
}

// isForeign reports whether the host sent from an address that is not its own. Until its name is
// looked up, that is unknown.
func (j judged) isForeign() bool {
	return j.foreign.IsValid() && len(j.addrs) > 0 &&
		!slices.ContainsFunc(j.addrs, func(a netip.Addr) bool { return bare(a) == j.foreign })
}

// tcpFrom relies on connections that a doctor opens by itself, and a peer after an ECHO over TCP.
func (j judged) tcpFrom() cell {
	switch {
	case j.called:
		return cell{mark: good}
	case j.isForeign():
		return check(false, "%s sends from %v, but here its address is %s: peers drop what it sends. Correct its address in the name service or the "+
			"hosts file, or remove the address translation in between", j.name, j.foreign, list(j.addrs))
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
		return cell{mark: unknown} // its answer would not have arrived
	case l == unicast && (j.received[unicast] || j.heartbeat && j.uses(j.evidence) == unicast):
		return check(false, "Datagrams reach this host from %s, but not the other way: let UDP 8081 through to %s", j.name, j.name)
	case l == unicast:
		return check(false, "Datagrams to %s, or its answers, are lost: let UDP 8081 through to %s, and to this machine", j.name, j.name)
	case !j.answered[unicast] && !j.received[unicast]:
		return cell{mark: unknown} // nor would its answer to a broadcast
	}
	without := ""
	if j.answered[unicast] {
		without = ". If the network has no broadcast, see docs/deploy.md: the group works without it, by asking over TCP"
	}
	return check(false, "Broadcasts to %v do not reach %s: let UDP 8081 to that address through%s", target, j.name, without)
}

// udpUnknown reports whether the findings say nothing about datagrams: nothing is known to send or
// answer them.
func (j judged) udpUnknown() bool {
	return j.kind == unidentified || j.udp != nil || j.misplaced || (j.version != nil || j.keys != nil) && !j.echoed
}

// udpFrom relies on what a doctor sends by itself on both routes, and a peer on the one that it uses.
func (j judged) udpFrom(l route) cell {
	_, usable := j.broadcastTo(j.evidence)
	used := j.uses(j.evidence) == l
	switch {
	case l == broadcast && !usable:
		return cell{mark: unused}
	case j.received[l] || used && j.heartbeat:
		return cell{mark: good}
	case j.kind == aPeer && !used:
		return cell{mark: unused} // a peer sends nothing on this route
	case j.udpUnknown():
		return cell{mark: unknown}
	case j.kind == aPeer && j.view == 0:
		return cell{mark: unused} // it sends nothing yet
	case l == broadcast:
		return check(false, "Broadcasts of %s do not arrive here: let UDP 8081 from %s through to this machine's broadcast address", j.name, list(j.addrs))
	}
	return check(false, "Datagrams of %s do not arrive here: let UDP 8081 from %s through to this machine", j.name, list(j.addrs))
}
