package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"memberly/peer/types"
)

const (
	maxFile = 1 << 20 // bytes of a hosts file
)

// retiredMark begins the line of a host that is retired.
const retiredMark = "!"

// ReadHosts returns the hosts of the hosts file at path, at least one of them not retired. The path may be one of a
// pipe. The error says what is wrong with the file, and what to do, but does not have the path.
func ReadHosts(path string) ([]types.Host, error) {
	content, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parseHosts(content)
}

// RereadHosts is ReadHosts for a host that runs: host id, called name. It is an error too if the file has another host
// in its place, or has it as retired.
func RereadHosts(path string, id types.ID, name string) ([]types.Host, error) {
	content, err := readFile(path)
	if err != nil {
		return nil, err
	}
	l, err := parse(content)
	if err != nil {
		return nil, err
	}
	return l.hosts, l.keeps(id, name)
}

// readFile returns the content of the hosts file at path.
func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", Unreadable(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", Unreadable(err)
	}
	if len(content) > maxFile {
		return "", errors.New("it is larger than 1 MiB: name a text file, one host per line, after -h")
	}
	return string(content), nil
}

// Unreadable adds the remedy to an error from reading the hosts file, and removes its path, which the caller
// adds.
func Unreadable(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err
	}
	return fmt.Errorf("cannot read it: %w: name a readable text file, one host per line, after -h", err)
}

// parseHosts returns the hosts, at least one, in the content of a hosts file.
func parseHosts(content string) ([]types.Host, error) {
	l, err := parse(content)
	if err != nil {
		return nil, err
	}
	return l.hosts, nil
}

// parse parses the content of a hosts file.
func parse(content string) (*listing, error) {
	content = strings.TrimPrefix(content, "\ufeff") // a byte order mark
	l := &listing{names: make(map[string]int), addrs: make(map[netip.Addr]int)}
	for line := range strings.SplitSeq(content, "\n") {
		l.line++
		if err := l.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", l.line, err)
		}
	}
	if types.Serving(l.hosts) == 0 {
		return nil, errors.New("it lists no host: write one host name per line, first the one that founds the group")
	}
	return l, nil
}

// listing is a partly read hosts file.
type listing struct {
	hosts []types.Host
	lines []int              // their line numbers
	line  int                // the number of the last line read
	names map[string]int     // line numbers, by types.NameKey, of hosts that are not retired
	addrs map[netip.Addr]int // line numbers, of the same
}

// add parses the next line.
func (l *listing) add(line string) error {
	if !utf8.ValidString(line) || strings.ContainsFunc(line, isBinary) {
		return errors.New("not plain text: name a text file in UTF-8, one host per line, after -h")
	}
	line, _, _ = strings.Cut(line, "#")
	line, retired := strings.CutPrefix(strings.TrimSpace(line), retiredMark)
	columns := strings.Fields(line)
	switch {
	case len(columns) == 0 && retired:
		return fmt.Errorf("%q alone: write it before the name of the host that is retired, as in %sthree", retiredMark, retiredMark)
	case len(columns) == 0:
		return nil
	case len(columns) > 2:
		return fmt.Errorf("%d columns: write a host name and, if wanted, its address", len(columns))
	case len(l.hosts) == types.MaxHosts:
		return fmt.Errorf("more than %d hosts: list at most that many", types.MaxHosts)
	}
	host, err := parseHost(columns)
	if err != nil {
		return err
	}
	host.Retired = retired
	l.lines = append(l.lines, l.line)
	return l.claim(host)
}

// keeps checks that host id is still called name, and is not retired.
func (l *listing) keeps(id types.ID, name string) error {
	if int(id) > len(l.hosts) {
		return fmt.Errorf("it lists %d hosts, and this host, %q, was host %d: keep the line of every host, as %sNAME if it is retired",
			len(l.hosts), name, id, retiredMark)
	}
	h, line := l.hosts[id-1], l.lines[id-1]
	switch {
	case types.NameKey(h.Name) != types.NameKey(name):
		return fmt.Errorf("line %d: %q is where this host, %q, was: keep the order of the lines, add hosts at the end, and write %s before a host that is retired",
			line, h.Name, name, retiredMark)
	case h.Retired:
		return fmt.Errorf("line %d: this host, %q, is retired: end its peer, or remove the %s", line, name, retiredMark)
	}
	return nil
}

// claim appends host, unless an earlier one has the same name or address. What a retired host had, another may have.
func (l *listing) claim(host types.Host) error {
	if host.Retired {
		l.hosts = append(l.hosts, host)
		return nil
	}
	key := types.NameKey(host.Name)
	if line := l.names[key]; line > 0 {
		return fmt.Errorf("host %q is on line %d already: remove one of the two", host.Name, line)
	}
	if line := l.addrs[host.Addr]; line > 0 {
		return fmt.Errorf("address %v is on line %d already: give each host its own", host.Addr, line)
	}
	l.names[key] = l.line
	if host.Addr.IsValid() {
		l.addrs[host.Addr] = l.line
	}
	l.hosts = append(l.hosts, host)
	return nil
}

// parseHost returns the host of a line with these one or two columns.
func parseHost(columns []string) (types.Host, error) {
	name, last := columns[0], columns[len(columns)-1]
	if !types.IsName(name) {
		return types.Host{}, fmt.Errorf("%.80q is not a host name: use letters, digits, '-', '_' and '.', or an IP address", name)
	}
	if len(columns) == 1 && !isAddr(name) {
		return types.Host{Name: name}, nil
	}
	addr, ok := parseAddr(last)
	if _, err := strconv.Atoi(addr.Zone()); err == nil {
		return types.Host{}, fmt.Errorf("the zone of %.80q is a number: write the name of the interface, as in fe80::1%%eth0", last)
	}
	if !ok || !isHostAddr(addr) {
		return types.Host{}, fmt.Errorf("%.80q is not the IP address of a host: write the name, then its address or nothing", last)
	}
	return types.Host{Name: name, Addr: addr}, nil
}

// isBinary reports whether r cannot be in a line of text.
func isBinary(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\r' }

// parseAddr parses an IP address, and returns an IPv4-mapped one as IPv4.
func parseAddr(s string) (netip.Addr, bool) {
	if len(s) > types.MaxName {
		return netip.Addr{}, false // its zone is too long
	}
	addr, err := netip.ParseAddr(s)
	return addr.Unmap(), err == nil
}

// isAddr reports whether s is an IP address.
func isAddr(s string) bool {
	_, ok := parseAddr(s)
	return ok
}

// isHostAddr reports whether addr can be the address of a single host.
func isHostAddr(addr netip.Addr) bool {
	return !addr.IsUnspecified() && !addr.IsMulticast() && addr != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
