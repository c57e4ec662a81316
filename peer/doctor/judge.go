package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"memberly/peer/network"
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
	for id, e := range f.other {
		runs := "no answer"
		switch {
		case e.peer && e.view > 0:
			runs = fmt.Sprintf("peer, view %d", e.view)
		case e.peer:
			runs = "peer, in no view"
		case e.everSeen:
			runs = "doctor"
		}
		j := judged{f, e, f.config.Hosts[id-1].Name}
		r.others = append(r.others, row{j.name, []cell{j.resolves(id), j.file(), j.tcpTo(), j.tcpFrom(),
			j.udpTo(single), j.udpFrom(single), j.udpTo(broadcast), j.udpFrom(broadcast)}, runs})
	}
	return r
}

// well tells whether nothing is red, nor unknown.
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
	return row{host: name, cells: []cell{f.ownAddress(), port("TCP", network.TCPPort, f.tcp), port("UDP", network.UDPPort, f.udp),
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
	name string
}

func (j judged) resolves(id types.ID) cell {
	switch {
	case utils.NoSuchName(j.lookup):
		return check(false, "The name service does not know %s: add it there, or write its address behind its name in the hosts file", j.name)
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

func (j judged) tcpTo() cell {
	switch {
	case j.echoed:
		return cell{mark: good}
	case len(j.addrs) == 0:
		return cell{mark: unknown}
	case j.version != nil:
		return check(false, "%s runs another release: %v", j.name, j.version)
	case j.reached:
		return check(false, "%s lets a connection to TCP 8080 be opened, and does not answer: what listens there is no peer, or of "+
			"another release; or the hosts file there has this host at another address, or not at all", j.name)
	case errors.Is(j.dialled, syscall.ECONNREFUSED):
		return check(false, "Nothing listens on TCP 8080 of %s: start `memberly doctor` there too, or the peer", j.name)
	}
	return check(false, "No connection to TCP 8080 of %s at %s (%v): start the host, and let TCP 8080 through to it "+
		"(its firewall, security groups, routes)", j.name, list(j.addrs), j.dialled)
}

func (j judged) tcpFrom() cell {
	switch {
	case j.called:
		return cell{mark: good}
	case j.stray.IsValid():
		return check(false, "%s came from %v, but here it is at %s: peers drop that. Correct its address in the name service or the "+
			"hosts file, or take the address translation between the two away", j.name, j.stray, list(j.addrs))
	case !j.everSeen || j.tcp != nil:
		return cell{mark: unknown}
	}
	return check(false, "%s does not reach TCP 8080 here: let TCP 8080 through to this machine, from %s", j.name, list(j.addrs))
}

func (j judged) udpTo(l lane) cell {
	target, usable := j.broadcastTo(j.evidence)
	switch {
	case l == broadcast && !usable:
		return cell{mark: unused}
	case j.sent[l]:
		return cell{mark: good}
	case !j.everSeen || j.udp != nil:
		return cell{mark: unknown}
	case !j.peer && !j.came[single]:
		return cell{mark: unknown} // its answer would not have come
	case l == broadcast:
		return check(false, "Broadcasts to %v do not reach %s: let UDP 8081 to that address through. Where the network has no broadcast, "+
			"see docs/deploy.md: the group works without, by asking over TCP", target, j.name)
	case j.came[single]:
		return check(false, "Datagrams reach this host from %s, but not the other way: let UDP 8081 through to %s", j.name, j.name)
	}
	return check(false, "Datagrams to %s, or its answers, are lost: let UDP 8081 through to %s, and to this machine", j.name, j.name)
}

// udpFrom goes by what a doctor sends unasked on both lanes, and a peer on the one that it uses.
func (j judged) udpFrom(l lane) cell {
	_, usable := j.broadcastTo(j.evidence)
	used := j.uses(j.evidence) == l
	switch {
	case l == broadcast && !usable:
		return cell{mark: unused}
	case j.came[l] || used && j.beats:
		return cell{mark: good}
	case !j.everSeen || j.udp != nil:
		return cell{mark: unknown}
	case j.peer && (!used || j.view == 0):
		return cell{mark: unused} // it sends nothing there
	case l == broadcast:
		return check(false, "Broadcasts of %s do not come here: let UDP 8081 from %s through to this machine's broadcast address", j.name, list(j.addrs))
	}
	return check(false, "Datagrams of %s do not come here: let UDP 8081 from %s through to this machine", j.name, list(j.addrs))
}
