package network

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// A host with the same hosts file that sends from an address that is not listed is told so, and so is stdout, once.
// Whoever else comes from there is a stranger.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	other := probe(2, 1, 7)
	other.Digest = 5
	without := probe(2, 1, 7)
	without.Digest = types.Digest([]types.Host{{Name: "one"}})
	beat := heartbeat(2)
	const byFile = "two is at %[1]v by the hosts file here, but its messages arrive from %[2]v: use the same hosts file everywhere. " +
		"If that is right, start two on the machine that has %[1]v; if it runs there, an address translation (NAT) on the way changes " +
		"the address: remove that, or write %[2]v after the name in all hosts files\n"
	for _, c := range []struct {
		what   string
		says   types.Message
		lookup string // the address of two by the name service; "" for the one in the file
		line   string // "" for a stranger
	}{
		{"it asks", probe(2, 1, 7), "", byFile},
		{"it joins", types.Message{Kind: types.Join, From: 2, Request: 7, Lines: 2, Full: 2, Digest: digest}, "", byFile},
		{"by the name service", probe(2, 1, 7), "2", "two is at %[1]v by the name service here, but its messages arrive from %[2]v: correct the name service. "},
		{"another hosts file", other, "", ""},
		{"a hosts file without it", without, "", ""},
		{"this host's own id", probe(1, 1, 7), "", ""},
		{"an id of no host, and no question", heartbeat(3), "", ""},
		{"no question", beat, "", ""},
		{"the name service knows no address", probe(2, 1, 7), "none", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			n := newSubnet(t)
			g := n.config()
			service := &names{addrs: map[string]string{"two": n.Host(2).String()}}
			if c.lookup != "" {
				g.Hosts[1] = types.Host{Name: "two"}
			}
			if c.lookup == "none" {
				service.set("one", "127.0.0.1")
			}
			s := newStage(t, g, service.lookup)
			s.answer(handlers.Output{})
			for range 2 {
				o := n.dial(t, 9)
				o.says(c.says)
				if c.line != "" {
					if m := o.hears(); m.Kind != types.Refused || m.Reason != types.Elsewhere || m.Request != 7 ||
						m.Lives != [2]netip.Addr{n.Host(2), n.Host(9)} {
						t.Errorf("it hears %+v", m)
					}
				}
				o.closed()
			}
			line, reason := fmt.Sprintf(c.line, n.Host(2), n.Host(9)), dropElsewhere
			if c.line == "" {
				line, reason = "Error getting hostname from address: ", dropStranger
			}
			s.stdout.await(t, line)
			if got := s.stdout.String(); strings.Count(got, "\n") != 1 {
				t.Errorf("said %q", got)
			}
			if got := s.peer.drops.all()[reason]; got != 2 {
				t.Errorf("counted %d, want 2: %v", got, s.peer.drops.all())
			}
		})
	}
}

// A host that is not listed here is told so, by what the protocol says, and reads nothing else; once too many have asked,
// the next are strangers.
func TestStranger(t *testing.T) {
	t.Parallel()
	for _, kind := range []types.Kind{types.Join, types.Probe} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			n := newSubnet(t)
			s := newStage(t, n.config(), nil)
			s.answer(handlers.Output{})
			asks := probe(3, 1, 7)
			asks.Kind, asks.Lines, asks.Full = kind, 3, 3
			o := n.dial(t, 9)
			o.says(asks)
			if m := o.hears(); m.Kind != types.Refused || m.Reason != types.Differs || m.Request != 7 || m.Lines != 1 {
				t.Errorf("it hears %+v", m)
			}
			o.closed()
			for range 3 * correctionRate {
				o := n.dial(t, 9)
				o.says(asks)
				io.Copy(io.Discard, o.socket)
			}
			if got := s.peer.drops.all(); got[dropElsewhere] > 2*correctionRate || got[dropStranger] == 0 {
				t.Errorf("counted %v", got)
			}
		})
	}
}

// Who claims again and again to be a host from elsewhere is soon dropped as a stranger, unread.
func TestElsewhereIsBounded(t *testing.T) {
	t.Parallel()
	n := newSubnet(t)
	s := newStage(t, n.config(), nil)
	s.answer(handlers.Output{})
	for range 3 * correctionRate {
		o := n.dial(t, 9)
		o.says(probe(2, 1, 7))
		io.Copy(io.Discard, o.socket) // until it is counted and closed
	}
	if got := s.peer.drops.all(); got[dropElsewhere] < correctionRate || got[dropElsewhere] > 2*correctionRate || got[dropStranger] == 0 {
		t.Errorf("counted %v", got)
	}
}

// A peer that is told that another host has it elsewhere says so, with the remedy, and the protocol learns nothing of it.
func TestCorrected(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what         string
		named        bool // this host has no address in its file
		listed, from int
		want         string // of this host's address, 1, and of 7
	}{
		{"the file here differs", false, 7, 1, "two has this host, one, at %[2]v, but its messages arrive there from %[1]v: " +
			"the hosts file here has %[1]v, so use the same hosts file everywhere\n"},
		{"the file here is the same", false, 1, 7, "two has this host, one, at %[1]v, but its messages arrive there from %[2]v: " +
			"start one on the machine that has %[1]v; if it runs there, an address translation (NAT) on the way changes "},
		{"the name service there is wrong", true, 7, 1, "two has this host, one, at %[2]v, but its messages arrive there from %[1]v: " +
			"correct the name service there, "},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			n := newSubnet(t)
			two := n.listen(t, 2)
			s := newStage(t, n.config(), nil)
			if c.named {
				s.peer.addresses.hosts[0].fixed = netip.Addr{}
			}
			s.answer(send(probe(1, 2, 1)))
			o := accept(t, two)
			o.hears()
			for range 2 {
				o.says(types.Message{Kind: types.Refused, From: 2, Reason: types.Elsewhere, Lives: [2]netip.Addr{n.Host(c.listed), n.Host(c.from)}})
			}
			o.says(probe(2, 1, 9))
			if st := s.expect("message"); st.message.Kind != types.Probe {
				t.Errorf("the protocol is told of %v", st.message.Kind)
			}
			s.answer(handlers.Output{})
			s.stdout.await(t, fmt.Sprintf(c.want, n.Host(1), n.Host(7)))
			if got := s.stdout.String(); strings.Count(got, "\n") != 1 {
				t.Errorf("said %q", got)
			}
		})
	}
}
