package types

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// MaxHosts is the maximum number of hosts in a hosts file, the retired ones included. A NEWVIEW with that many fits a
// frame.
const MaxHosts = 4096

// MaxListed is the maximum length of the hosts that one HOSTS lists in bytes: the sum of their sizes. So they fit a
// frame, sealed too.
const MaxListed = 60_000

// MaxName is the maximum length of a host's name in bytes: what the name service allows.
const MaxName = 253

// Host is a host as a hosts file or the group lists it. Its id is its place in the list, from 1, for ever.
type Host struct {
	Name    string     // as the file spells it
	Addr    netip.Addr // its only address; invalid if its name is to be looked up
	Retired bool       // it is no host of the group any more, and never will be again
}

// Serving returns how many of these hosts are not retired.
func Serving(hosts []Host) (n int) {
	for _, h := range hosts {
		if !h.Retired {
			n++
		}
	}
	return n
}

// NameKey returns the canonical form of a host's name or address: two names are the same if their keys are equal.
func NameKey(name string) string {
	if len(name) <= MaxName {
		if addr, err := netip.ParseAddr(name); err == nil {
			return addr.Unmap().String()
		}
	}
	return strings.TrimSuffix(strings.ToLower(name), ".")
}

// IsName reports whether name can be the name of a host: a DNS name, which may end with a dot, or an IP address. The
// group must agree on no other, as no hosts file could list it.
func IsName(name string) bool {
	if name == "" || len(name) > MaxName || strings.ContainsFunc(name, isForeign) {
		return false
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	name = strings.TrimSuffix(name, ".")
	if strings.Contains(name, ".") && strings.Trim(name, "0123456789.") == "" {
		return false // a malformed address
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label || strings.ContainsFunc(label, isNoLetter) {
			return false
		}
	}
	return true
}

// isForeign reports whether r cannot be in a name, not even in the zone of an address.
func isForeign(r rune) bool { return r <= ' ' || r > '~' || r == '#' || r == '!' }

// isNoLetter reports whether r cannot be in a label of a DNS name.
func isNoLetter(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// Extend returns the digest of a list of hosts that ends with name, where before is the digest of the list without it.
// The digest of an empty list is 0. It counts neither addresses nor which hosts are retired.
func Extend(before uint64, name string) uint64 {
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, before), NameKey(name)...))
	return binary.BigEndian.Uint64(sum[:])
}

// Digest returns the digest of a list of hosts.
func Digest(hosts []Host) (d uint64) {
	for _, h := range hosts {
		d = Extend(d, h.Name)
	}
	return d
}

// FileDigest returns the digest of a hosts file: of its names, and of which of them are retired. It is never 0.
func FileDigest(hosts []Host) uint64 {
	d := uint64(1)
	for _, h := range hosts {
		if d = Extend(d, h.Name); h.Retired {
			d = Extend(d, "!")
		}
	}
	return max(d, 1)
}

// Size returns the length of h in a HOSTS in bytes.
func (h Host) Size() int { return leastHost - 1 + len(h.Name) }

// String returns h as a line of a hosts file.
func (h Host) String() string {
	line := h.Name
	if h.Retired {
		line = "!" + line
	}
	if h.Addr.IsValid() && h.Addr.String() != h.Name {
		line += " " + h.Addr.String()
	}
	return line
}

// Numbered returns n hosts that are named after their ids, for groups that are simulated and for tests.
func Numbered(n int) []Host {
	hosts := make([]Host, n)
	for i := range hosts {
		hosts[i].Name = "host" + strconv.Itoa(i+1)
	}
	return hosts
}
