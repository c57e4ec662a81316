package network

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// Each address is told once for each reason, in the reference's words; every drop counts.
func TestDrops(t *testing.T) {
	t.Parallel()
	out := newOutput()
	notice := newLines(out, 0, nil)
	d := newDrops(notice)
	for range 3 {
		for _, addr := range []string{"10.0.0.1", "10.0.0.2"} {
			d.blame(netip.MustParseAddr(addr), &fault{dropMalformed, errors.New("unexpected EOF")})
		}
		d.blame(netip.MustParseAddr("10.0.0.1"), &fault{dropNoMember, errors.New("7")})
		d.blame(netip.MustParseAddr("10.0.0.1"), errors.New("nobody's fault"))
		d.failure("Error reading from UDP connection", errors.New("connection refused"))
	}
	notice.close(patience)
	want := "Error decoding byte array to integers: unexpected EOF (from 10.0.0.1)\n" +
		"Error decoding byte array to integers: unexpected EOF (from 10.0.0.2)\n" +
		"Error: member ID not found in peerIdToName map: 7 (from 10.0.0.1)\n" +
		"Error reading from UDP connection: connection refused\n"
	if got := out.String(); got != want {
		t.Errorf("said\n%s\nwant\n%s", got, want)
	}
	if all := d.all(); len(all) != 2 || all[dropMalformed] != 6 || all[dropNoMember] != 3 {
		t.Errorf("counted %v", all)
	}
}

// Strangers without end fill neither the memory nor stdout, and leave room to tell of hosts; those
// are bounded too.
func TestDropsBounded(t *testing.T) {
	t.Parallel()
	out := newOutput()
	notice := newLines(out, 0, nil)
	d := newDrops(notice)
	addr := netip.MustParseAddr("10.0.0.0")
	for range 10 * maxReports {
		addr = addr.Next()
		d.count(dropStranger)
		d.stranger(addr)
	}
	for range 10 * maxReports {
		addr = addr.Next()
		d.blame(addr, &fault{dropMalformed, errors.New("odd")})
	}
	notice.close(patience)
	if got := strings.Count(out.String(), "no host of"); got != maxUnknownReports {
		t.Errorf("%d lines of strangers, want %d", got, maxUnknownReports)
	}
	if got := strings.Count(out.String(), "\n"); got != maxUnknownReports+maxReports+2 {
		t.Errorf("%d lines, want %d", got, maxUnknownReports+maxReports+2)
	}
	if len(d.reported) > maxUnknownReports+maxReports || d.all()[dropStranger] != 10*maxReports {
		t.Errorf("%d remembered, %v counted", len(d.reported), d.all())
	}
}

// all returns how often each reason was counted, without those that never were.
func (d *drops) all() map[dropReason]uint64 {
	counted := make(map[dropReason]uint64)
	for reason := range reasons {
		if n := d.counts[reason].Load(); n > 0 {
			counted[reason] = n
		}
	}
	return counted
}
