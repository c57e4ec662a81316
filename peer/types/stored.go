package types

import (
	"fmt"
	"slices"
	"time"
)

// Stored is what a peer must remember over a crash (docs/protocol.md, rule 9). The zero Stored is that of a host that
// has never run.
type Stored struct {
	Incarnation Incarnation   // the highest that it has used
	Lives       uint64        // how many processes have used this Stored; at most MaxLives
	Clock       time.Duration // above every moment of the steady clocks of these
	View        View          // that it holds as a member; zero for none
	First       ID            // the first of Listed; 0 for none
	Listed      []Host        // the hosts from First on that View counts, as the group has agreed on them
	Group       Group         // the last one that it was a member of, or knows to be made; zero for none
	Highest     int64         // the highest view number that it was told
	Counter     uint64        // the highest of the terms that it has seen
	File        uint64        // the FileDigest of the hosts file with which this host may help to make a group: that of its first process; 0 once Group is known
	Promised    Term          // in Group or, while that is none, in the founding
	Accepted    Accepted      // for the view after View or, while Group is none, the member whose group is to be made
}

// MaxLives is the highest number of lives: the numbers of a life's requests begin at that times 2^40.
const MaxLives = 1<<23 - 1

// AppendStored appends s to b. It does not modify s. If s is invalid, it returns b unchanged and an error that names
// the fault.
func AppendStored(b []byte, s *Stored) ([]byte, error) {
	c := codec{bytes: b}
	c.stored(s)
	if c.err != nil {
		return b, fmt.Errorf("what is to be stored: %w", c.err)
	}
	return c.bytes, nil
}

// DecodeStored decodes b into s. Bytes after the fields that it knows, which a later release may add, are skipped. For
// what AppendStored cannot have made, it returns an error that names the fault, and sets s to zero.
func DecodeStored(b []byte, s *Stored) error {
	*s = Stored{}
	c := codec{bytes: b, decoding: true}
	c.stored(s)
	if c.err != nil {
		*s = Stored{}
		return fmt.Errorf("what is stored: %w", c.err)
	}
	return nil
}

// stored is the format of a Stored. Its integers are those of a message.
func (c *codec) stored(s *Stored) {
	c.incarnation(&s.Incarnation, 0)
	code64(c, &s.Lives)
	if s.Lives > MaxLives {
		c.fail("there are %d lives, more than %d", s.Lives, MaxLives)
	}
	c.duration(&s.Clock)
	c.group(&s.Group)
	c.number(&s.Highest)
	code64(c, &s.Counter)
	code64(c, &s.File)
	c.term(&s.Promised)
	c.term(&s.Accepted.Term)
	enum(c, &s.Accepted.Change.Operation, Nothing, Retire, "operation")
	if s.Accepted.Change.Operation == Pending {
		c.fail("%v is accepted", s.Accepted.Change.Operation)
	}
	c.details(&s.Accepted.Change)
	m := Message{Group: s.View.Group, Number: s.View.Number, Chosen: s.View.Term}
	if !c.decoding && s.View.Number > 0 {
		m.View = &s.View
	}
	c.group(&m.Group)
	c.number(&m.Number)
	c.term(&m.Chosen)
	c.view(&m)
	if m.View == nil && (m.Group != (Group{}) || m.Number != 0 || m.Chosen != (Term{})) {
		c.fail("there is no view, but it is view %d of %v, chosen in %v", m.Number, m.Group, m.Chosen)
	}
	if c.decoding && m.View != nil {
		s.View = *m.View
	}
	c.id(&s.First, 0)
	c.listed(s.First, &s.Listed)
	if (s.First == 0) != (len(s.Listed) == 0) {
		c.fail("%d hosts from %d on are neither a list nor none", len(s.Listed), s.First)
	}
	if s.View.Number > 0 && s.View.Group != s.Group {
		c.fail("view %d is of group %v, not %v", s.View.Number, s.View.Group, s.Group)
	}
}

// Hosts returns the hosts of the stored view: those of the hosts file as far as it has them, as they are written there,
// then those that are stored. Which of them are retired is as the view has it. It returns none without a view. The error
// says how the file contradicts what is stored, and what to do.
func (s *Stored) Hosts(file []Host) ([]Host, error) {
	if s.View.Number == 0 {
		return nil, nil
	}
	n := len(s.View.Last)
	hosts, from := slices.Clone(file[:min(n, len(file))]), n // the first from hosts are in the file alone
	if s.First > 0 {
		from = min(n, int(s.First)-1)
		for i, h := range s.Listed {
			switch at := from + i; {
			case at == len(hosts) && at < n:
				hosts = append(hosts, h)
			case at < len(hosts) && NameKey(hosts[at].Name) != NameKey(h.Name):
				return nil, fmt.Errorf("host %d of the hosts file is %q, but the group has agreed on %q: write that again; "+
					"to replace a host, write ! before its name, and the new one at the end", at+1, hosts[at].Name, h.Name)
			}
		}
	}
	switch {
	case len(hosts) < n:
		return nil, fmt.Errorf("of the %d hosts that the group has agreed on the hosts file has only %d, and not all the others are stored: "+
			"write them all into it", n, len(file))
	case Digest(hosts) != s.View.Digest:
		return nil, fmt.Errorf("the first %d hosts of the hosts file are not those that the group has agreed on: use it as it was", from)
	}
	for i := range hosts {
		hosts[i].Retired = s.View.Retired(ID(i + 1))
	}
	return hosts, nil
}
