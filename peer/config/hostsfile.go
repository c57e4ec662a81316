package config

import (
	"crypto/sha256"
	"encoding/binary"
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
	maxName = 253     // bytes of a host name: what the name service allows
)

// Host is a host of the hosts file.
type Host struct {
	Name string     // as the file spells it
	Addr netip.Addr // the file's second column, or Name if that is an address; else invalid
}

// readHosts returns the hosts of the file at path, which may be a pipe.
func readHosts(path string) ([]Host, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unreadable(err)
	}
	if len(content) > maxFile {
		return nil, errors.New("it is larger than 1 MiB: name a text file, one host per line, after -h")
	}
	return parseHosts(string(content))
}

// unreadable adds the remedy to an error from reading the hosts file, and removes its path, which Parse
// adds.
func unreadable(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err
	}
	return fmt.Errorf("cannot read it: %w: name a readable text file, one host per line, after -h", err)
}

// parseHosts returns the hosts, at least one, in the content of a hosts file.
func parseHosts(content string) ([]Host, error) {
	content = strings.TrimPrefix(content, "\ufeff") // a byte order mark
	l := listing{names: make(map[string]int), addrs: make(map[netip.Addr]int)}
	for line := range strings.SplitSeq(content, "\n") {
		l.line++
		if err := l.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", l.line, err)
		}
	}
	if len(l.hosts) == 0 {
		return nil, errors.New("it lists no host: write one host name per line, first the one that founds the group")
	}
	return l.hosts, nil
}

// listing is a partly read hosts file.
type listing struct {
	hosts []Host
	line  int                // the number of the last line read
	names map[string]int     // line numbers, by nameKey
	addrs map[netip.Addr]int // line numbers
}

// add parses the next line.
func (l *listing) add(line string) error {
	if !utf8.ValidString(line) || strings.ContainsFunc(line, isBinary) {
		return errors.New("not plain text: name a text file in UTF-8, one host per line, after -h")
	}
	line, _, _ = strings.Cut(line, "#")
	columns := strings.Fields(line)
	switch {
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
	return l.claim(host)
}

// claim appends host, unless an earlier one has the same name or address.
func (l *listing) claim(host Host) error {
	key := nameKey(host.Name)
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
func parseHost(columns []string) (Host, error) {
	name, last := columns[0], columns[len(columns)-1]
	if !isHostName(name) && !isAddr(name) {
		return Host{}, fmt.Errorf("%.80q is not a host name: use letters, digits, '-', '_' and '.', or an IP address", name)
	}
	if len(columns) == 1 && isHostName(name) {
		return Host{Name: name}, nil
	}
	addr, ok := parseAddr(last)
	if _, err := strconv.Atoi(addr.Zone()); err == nil {
		return Host{}, fmt.Errorf("the zone of %.80q is a number: write the name of the interface, as in fe80::1%%eth0", last)
	}
	if !ok || !isHostAddr(addr) {
		return Host{}, fmt.Errorf("%.80q is not the IP address of a host: write the name, then its address or nothing", last)
	}
	return Host{Name: name, Addr: addr}, nil
}

// isBinary reports whether r cannot be in a line of text.
func isBinary(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\r' }

// parseAddr parses an IP address, and returns an IPv4-mapped one as IPv4.
func parseAddr(s string) (netip.Addr, bool) {
	if len(s) > maxName {
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

// isHostName reports whether s is a valid DNS name. IP addresses are not.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if len(s) > maxName || strings.Contains(s, ".") && strings.Trim(s, "0123456789.") == "" {
		return false // too long, or a malformed address
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label || strings.ContainsFunc(label, isForeign) {
			return false
		}
	}
	return true
}

// isForeign reports whether r cannot be in a label of a host name.
func isForeign(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// nameKey returns the canonical form of a name: two names are the same if their keys are equal.
func nameKey(name string) string {
	if addr, ok := parseAddr(name); ok {
		return addr.String()
	}
	return strings.TrimSuffix(strings.ToLower(name), ".")
}

// digest returns the first 8 bytes of SHA-256 over the keys of the names, one per line.
func digest(hosts []Host) uint64 {
	h := sha256.New()
	for _, host := range hosts {
		io.WriteString(h, nameKey(host.Name)+"\n")
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}
