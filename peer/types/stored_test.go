package types

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// storedOf has every field.
func storedOf(v *View) *Stored {
	return &Stored{Incarnation: 99, Lives: 3, Clock: 70, View: *v, Group: v.Group, Highest: v.Number + 1, Counter: 8, File: 0xf11e,
		First: 2, Listed: hostList(len(v.Last))[1:], Promised: Term{7, 2}, Accepted: Accepted{Term{6, 1}, del(2, 0x22, Unreachable)}}
}

func TestStored(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		v := randomView(rng, 5)
		v.Term = randomTerm(rng, 5)
		for what, s := range map[string]*Stored{
			"full": storedOf(&v), "new": {}, "a host that is no member": {Incarnation: 5, Lives: 1, Group: Group{4, 2}, Highest: 3},
			"a founding":            {Incarnation: 5, Lives: 1, Promised: Term{2, 1}, Accepted: Accepted{Term{1, 1}, add(1, 4)}},
			"a host to be appended": {Incarnation: 5, Lives: 1, Accepted: Accepted{Term{1, 1}, grow(6, "six", "10.0.0.6")}},
			"a host to be retired":  {Incarnation: 5, Lives: 1, Accepted: Accepted{Term{1, 1}, retire(6)}},
		} {
			b, err := AppendStored([]byte("before"), s)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			b = b[len("before"):]
			var got Stored
			if err := DecodeStored(append(bytes.Clone(b), "of a later release"...), &got); err != nil || !reflect.DeepEqual(&got, s) {
				t.Fatalf("%s: decoded %+v (%v), want %+v", what, got, err, s)
			}
			for n := range b {
				if err := DecodeStored(b[:n], &got); err == nil || !reflect.DeepEqual(got, Stored{}) {
					t.Fatalf("%s: %d of %d bytes decode as %+v (%v)", what, n, len(b), got, err)
				}
			}
		}
	}
}

func TestStoredErrors(t *testing.T) {
	t.Parallel()
	v := *sample(NewView, 5).View
	for want, change := range map[string]func(*Stored){
		"lives":                   func(s *Stored) { s.Lives = MaxLives + 1 },
		"is of group":             func(s *Stored) { s.Group.Made++ },
		"negative":                func(s *Stored) { s.Highest = -1 },
		"PENDING is accepted":     func(s *Stored) { s.Accepted.Change.Operation = Pending },
		"no operation 6":          func(s *Stored) { s.Accepted.Change.Operation = Retire + 1 },
		"is not a host's name":    func(s *Stored) { s.Listed[1].Name = "a host" },
		"fe80::1%eth0 is not a":   func(s *Stored) { s.Listed[1].Addr = netip.MustParseAddr("fe80::1%eth0") },
		"peer -1 is none":         func(s *Stored) { s.First = -1 },
		"4 hosts from 0 on":       func(s *Stored) { s.First, s.Listed = 0, s.Listed[:4] },
		"0 hosts from 2 on":       func(s *Stored) { s.Listed = nil },
		"there is no view":        func(s *Stored) { s.View = View{Group: s.Group} },
		"hosts 4094 to 4097":      func(s *Stored) { s.First, s.Listed = MaxHosts-2, s.Listed[:4] },
		"incarnation -1 is below": func(s *Stored) { s.Incarnation = -1 },
	} {
		s := storedOf(&v)
		change(s)
		if _, err := AppendStored(nil, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it is encoded: %v, want %q", err, want)
		}
	}
}

// A peer may have to store every host of the largest group, which no HOSTS could list.
func TestStoredOfAllHosts(t *testing.T) {
	t.Parallel()
	s := storedOf(sample(NewView, MaxHosts).View)
	s.First, s.Listed = 1, hostList(MaxHosts)
	b, err := AppendStored(nil, s)
	var got Stored
	if err == nil {
		err = DecodeStored(b, &got)
	}
	if err != nil || !reflect.DeepEqual(&got, s) {
		t.Errorf("it came as %+v (%v)", got, err)
	}
}

// FuzzStored decodes what a disk may return. What decodes must encode to the same bytes, but for those that a later
// release has added.
func FuzzStored(f *testing.F) {
	for _, s := range []*Stored{storedOf(sample(NewView, fuzzHosts).View), {}, {Accepted: Accepted{Term{1, 1}, grow(6, "six", "10.0.0.6")}}} {
		b, err := AppendStored(nil, s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Stored
		if err := DecodeStored(b, &s); err != nil {
			if !reflect.DeepEqual(s, Stored{}) {
				t.Errorf("after %v it is %+v", err, s)
			}
			return
		}
		if got, err := AppendStored(nil, &s); err != nil || !bytes.HasPrefix(b, got) {
			t.Errorf("%x decodes to\n%+v, which encodes to\n%x (%v)", b, s, got, err)
		}
	})
}
