package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"memberly/peer/types"
)

// stores checks that f found value n.
func stores(t testing.TB, f *File, n int) {
	t.Helper()
	want := types.Stored{}
	if n > 0 {
		want = *value(n)
	}
	if got := f.Stored(); !same(got, want) {
		t.Fatalf("it has value %d, %+v; want %d", got.Counter, got, n)
	}
	if f.New() != (n == 0) {
		t.Errorf("with value %d it is new: %v", n, f.New())
	}
}

// same reports whether a and b are equal. It is quicker than DeepEqual alone.
func same(a, b types.Stored) bool {
	equal := a.View.Same(&b.View) && a.View.Term == b.View.Term
	a.View, b.View = types.View{}, types.View{}
	return equal && reflect.DeepEqual(a, b)
}

// undamaged checks that f found no damage.
func undamaged(t testing.TB, f *File) {
	t.Helper()
	if damage, lost := f.Damage(); damage != nil || lost {
		t.Errorf("damage: %v, lost: %v", damage, lost)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	for n := range 8 {
		d := newDisk(1, written(t, n))
		for range 2 { // the first Open changes nothing for the second
			f := opened(t, d)
			stores(t, f, n)
			undamaged(t, f)
			if len(d.cache) != fileSize {
				t.Errorf("with %d values the file has %d bytes", n, len(d.cache))
			}
		}
		if err := opened(t, d).Write(value(n + 1)); err != nil {
			t.Fatal(err)
		}
		d.crash()
		stores(t, opened(t, d), n+1)
	}
}

// The bytes, so that no change of the format goes unnoticed.
func TestFormat(t *testing.T) {
	t.Parallel()
	b := written(t, 1)
	payload, err := types.AppendStored(nil, value(1))
	if err != nil {
		t.Fatal(err)
	}
	body := append([]byte("\x00\x00\x00\x02\x03two"), payload...)
	head := binary.BigEndian.AppendUint32([]byte("memberly\x00\x00\x00\x01"), uint32(len(body)))
	head = append(head, 0, 0, 0, 0, 0, 0, 0, 2)
	want := slices.Concat(head, sum(head, body), make([]byte, 16), body)
	if got := b[slotSize:]; !bytes.Equal(got[:len(want)], want) || !bytes.Equal(got[len(want):], make([]byte, slotSize-len(want))) {
		t.Errorf("the second slot has %x, want %x", got[:len(want)], want)
	}
	note := []byte{0, 0, 0, 0, 0, 0, 0, 2, 255, 255, 255, 255, 255, 255, 255, 253}
	if string(b[:24]) != "memberly\x00\x00\x00\x01"+string(b[12:16])+"\x00\x00\x00\x00\x00\x00\x00\x01" || !bytes.Equal(b[56:72], note) {
		t.Errorf("the first slot begins with %x", b[:80])
	}
}

// maxNames is what a peer stores at most of the names and addresses of hosts, in bytes: that of package handlers, which
// this one may not import.
const maxNames = 60_000

// longNames are the most hosts that can be, with the longest names.
var longNames = sync.OnceValue(func() []types.Host {
	list := make([]types.Host, types.MaxHosts)
	for i := range list {
		list[i] = types.Host{Name: fmt.Sprintf("%061d%s", i+1, strings.Repeat("."+strings.Repeat("n", 63), 3)), Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}
	}
	return list
})

// largest has as many bytes as any can have that a peer stores: the view of all of longNames and, of these, as many as
// maxNames allows.
func largest() *types.Stored {
	s := &types.Stored{Incarnation: 1 << 62, Lives: types.MaxLives, Highest: 1 << 62, Counter: 1 << 62, Group: types.Group{Made: 1 << 62, Maker: types.MaxHosts}}
	s.Promised = types.Term{Counter: 1 << 62, Peer: types.MaxHosts}
	list := longNames()
	last := list[types.MaxHosts-1]
	s.Accepted = types.Accepted{Term: s.Promised, Change: types.Change{Operation: types.Grow, Name: last.Name, Addr: last.Addr,
		Member: types.Member{ID: types.MaxHosts}}}
	s.View = types.View{Group: s.Group, Number: 1 << 62, Leader: 1, Term: s.Promised, Digest: types.Digest(list)}
	for id := types.ID(1); id <= types.MaxHosts; id++ {
		s.View.Members = append(s.View.Members, id)
		s.View.Last = append(s.View.Last, types.Past{Incarnation: 1 << 62})
	}
	n := maxNames / (types.MaxName + 18)
	s.First, s.Listed = types.ID(types.MaxHosts-n+1), list[types.MaxHosts-n:]
	return s
}

// What a peer of the largest group stores fits a slot, and goes with a hosts file that lacks what is stored.
func TestLargest(t *testing.T) {
	t.Parallel()
	o, s := Owner{ID: types.MaxHosts, Name: strings.Repeat("n", 255)}, largest()
	d := newDisk(1, nil)
	f, err := open("x", d, o, longNames())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(s); err != nil || len(longNames()[0].Name) != types.MaxName {
		t.Fatalf("%d bytes, %v; want at most %d", len(f.newest), err, slotSize)
	}
	t.Logf("%d of %d bytes", len(f.newest), slotSize)
	for _, list := range [][]types.Host{longNames(), longNames()[:s.First-1]} {
		if f, err = open("x", d, o, list); err != nil || !reflect.DeepEqual(f.Stored(), *s) {
			t.Errorf("with %d hosts it is not what was stored: %v", len(list), err)
		}
	}
	if _, err := open("x", d, o, longNames()[:s.First-2]); err == nil || !strings.Contains(err.Error(), "it is for another hosts file: ") {
		t.Errorf("with a host less: %v", err)
	}
	b, err := appendRecord(nil, 1, o, &types.Stored{})
	if err != nil || len(b) > sectorSize {
		t.Errorf("the first copy has %d bytes, %v: it must fit a sector, so that the disk has it or not", len(b), err)
	}
}

// What does not fit a slot is not written: it would replace the beginning of the other copy.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	d := newDisk(1, written(t, 2))
	f, before := opened(t, d), bytes.Clone(d.cache)
	s := largest()
	s.First, s.Listed = 1, longNames()
	err := f.Write(s)
	if err == nil || !strings.Contains(err.Error(), "writing state file x: what is to be stored makes a copy of ") ||
		!strings.Contains(err.Error(), "at most 131072") || !bytes.Equal(d.cache, before) {
		t.Errorf("%v; changed: %v", err, !bytes.Equal(d.cache, before))
	}
	if err := f.Write(value(3)); err != nil {
		t.Fatal(err)
	}
	stores(t, opened(t, d), 3)
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	d := newDisk(1, written(t, 2))
	f := opened(t, d)
	before := bytes.Clone(d.cache)
	s := value(3)
	s.Lives = types.MaxLives + 1
	if err := f.Write(s); err == nil || !strings.Contains(err.Error(), "writing state file x: what is to be stored: there are") || !bytes.Equal(d.cache, before) {
		t.Errorf("an invalid value is written: %v", err)
	}
	o := owner()
	o.Name = strings.Repeat("n", 256)
	if _, err := open("x", newDisk(1, nil), o, hosts); err == nil || !strings.Contains(err.Error(), "at most 255") {
		t.Errorf("a name of 256 bytes: %v", err)
	}
}

// A Write of which any part has reached the disk, from the front or from the back, leaves the value before or the new
// one.
func TestTorn(t *testing.T) {
	t.Parallel()
	for n := 2; n <= 3; n++ { // a short record over a long one, and a long one over a long one
		mixed, after := written(t, n), written(t, n+1)
		from := int(place(uint64(n + 2))) // that of value n+1
		length := atOwner + int(binary.BigEndian.Uint32(after[from+atLength:]))
		part, before, after := mixed[from:][:length], bytes.Clone(mixed[from:][:length]), after[from:][:length]
		for cut := range length + 1 {
			for _, back := range []bool{false, true} {
				if copy(part, before); back {
					copy(part[length-cut:], after[length-cut:])
				} else {
					copy(part, after[:cut])
				}
				f := opened(t, newDisk(1, mixed))
				if bytes.Equal(part, after) {
					stores(t, f, n+1)
				} else {
					stores(t, f, n)
				}
				if cut%sectorSize == 0 && !back || (length-cut)%sectorSize == 0 && back {
					undamaged(t, f)
				}
			}
		}
	}
}

// Any bit that changes in the newest copy makes it count as damaged, and what was stored last is known to be lost. In
// the copy before it, no bit matters.
func TestFlipped(t *testing.T) {
	t.Parallel()
	const last = 3
	b := written(t, last)
	for slot := range 2 {
		length := atOwner + int(binary.BigEndian.Uint32(b[slot*slotSize+atLength:]))
		for bit := range 8 * length {
			if bit/8 > 200 && bit%8 != bit/8%8 {
				continue // one bit of each byte is enough there
			}
			flipped := &b[slot*slotSize+bit/8]
			*flipped ^= 1 << (bit % 8)
			f := opened(t, newDisk(1, b))
			damage, lost := f.Damage()
			switch note := bit/8 >= atSuccessor && bit/8 < atOwner; {
			case note || slot != last%2:
				stores(t, f, last)
				if lost || damage != nil && note {
					t.Errorf("slot %d, bit %d: lost: %v, %v", slot, bit, lost, damage)
				}
			default:
				stores(t, f, last-1)
				if !lost || !strings.Contains(fmt.Sprint(damage), "state file x: the newest of its two copies") {
					t.Errorf("slot %d, bit %d: lost: %v, %v", slot, bit, lost, damage)
				}
			}
			*flipped ^= 1 << (bit % 8)
		}
	}
}

// What is certainly a loss, what may be one, and what is none.
func TestDamage(t *testing.T) {
	t.Parallel()
	zeros := func(b []byte) { clear(b[slotSize:]) }
	for name, c := range map[string]struct {
		values int
		change func(b []byte)
		stored int
		want   string
		lost   bool
	}{
		"the newest is wiped":                 {3, zeros, 2, "the newest of its two copies is all zeros", true},
		"the newest is put back":              {3, func(b []byte) { copy(b[slotSize:], written(t, 1)[slotSize:]) }, 2, "the newest of its two copies is missing", true},
		"the newest lost, without the note":   {3, func(b []byte) { zeros(b); clear(b[atSuccessor:atOwner]) }, 2, "one of its two copies is all zeros", false},
		"the other is wiped":                  {2, zeros, 2, "one of its two copies is all zeros", false},
		"the other has a foreign beginning":   {2, func(b []byte) { b[slotSize] = 'M' }, 2, "one of its two copies does not begin as a copy does", false},
		"the other has a foreign number":      {2, func(b []byte) { b[slotSize+atSequence] = 1 }, 2, "one of its two copies has a wrong checksum", false},
		"the other has an impossible length":  {2, func(b []byte) { b[slotSize+atLength] = 1 }, 2, "", false},
		"the other is in the other's place":   {2, func(b []byte) { copy(b[slotSize:], written(t, 4)) }, 2, "one of its two copies is not where it belongs", false},
		"a crash before the first Write":      {0, func([]byte) {}, 0, "", false},
		"the first Write has stopped early":   {0, func(b []byte) { copy(b[slotSize:], "mem") }, 0, "", false},
		"the first Write damaged, perhaps":    {0, func(b []byte) { b[slotSize] = 'M' }, 0, "one of its two copies does not begin as a copy does", false},
		"an interrupted Write":                {3, func(b []byte) { b[slotSize+80]++; clear(b[atSuccessor:atOwner]) }, 2, "", false},
		"an interrupted Write that has begun": {2, func(b []byte) { b[slotSize+atSequence+7] += 2 }, 2, "", false},
	} {
		b := written(t, c.values)
		c.change(b)
		d := newDisk(1, b)
		for range 2 { // the first Open leaves the traces
			f := opened(t, d)
			stores(t, f, c.stored)
			damage, lost := f.Damage()
			if (damage == nil) != (c.want == "") || damage != nil && !strings.Contains(damage.Error(), c.want) || lost != c.lost {
				t.Errorf("%s: %v, lost: %v; want %q, %v", name, damage, lost, c.want, c.lost)
			}
		}
		f := opened(t, d)
		if err := f.Write(value(c.values + 1)); err != nil {
			t.Fatal(err)
		}
		f = opened(t, d)
		stores(t, f, c.values+1)
		undamaged(t, f)
	}
}

// signed makes the record in a slot whole after a change.
func signed(b []byte, slot int) {
	b = b[slot*slotSize:]
	b = b[:atOwner+int(binary.BigEndian.Uint32(b[atLength:]))]
	copy(b[atSum:], sum(b[:atSum], b[atOwner:]))
}

// Files that must not be used, and what is said of them. None is changed.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		owner  func(*Owner)
		want   string
	}{
		"both damaged": {func(b []byte) []byte { b[80]++; b[slotSize+80]++; return b }, nil,
			"neither of its two copies can be used (the first has a wrong checksum; the second has a wrong checksum): to let this host begin anew, remove the file"},
		"zeros":           {func(b []byte) []byte { clear(b); return b }, nil, "(the first is all zeros; the second is all zeros)"},
		"few zeros":       {func([]byte) []byte { return make([]byte, 100) }, nil, "it is cut short: it has 100 bytes, not 262144"},
		"text":            {func([]byte) []byte { return []byte("one\ntwo\n") }, nil, "it is cut short"},
		"too long":        {func(b []byte) []byte { return append(b, 0) }, nil, "it has 262145 bytes, a state file has 262144: name another file"},
		"too long, zeros": {func(b []byte) []byte { return make([]byte, 1<<20) }, nil, "it has 1048576 bytes, a state file has"},
		"another host":    {nil, func(o *Owner) { o.ID, o.Name = 3, "three" }, "it is of host 2 (\"two\"), this is host 3 (\"three\"): name a file of this host's own"},
		"another line": {nil, func(o *Owner) { o.ID = 3 }, "it is for another hosts file: \"two\" was host 2 when the file was made, and is host 3 now: " +
			"use the hosts file as it was, and write new hosts at its end"},
		"another name": {nil, func(o *Owner) { o.Name = "zwei" }, "it is of host 2 (\"two\"), this is host 2 (\"zwei\")"},
		"a later version": {func(b []byte) []byte { b[atVersion+3]++; signed(b, 0); return b }, nil,
			"it has version 2 of the format, this program knows version 1: run the release that wrote it"},
		"a later version, longer": {func(b []byte) []byte { b[atVersion+3]++; signed(b, 0); return append(b, b...) }, nil, "it has version 2"},
		"not valid":               {func(b []byte) []byte { b[slotSize+atOwner+8] = 255; signed(b, 1); return b }, nil, "its contents are whole, but not valid: what is stored"},
		"no room for a name": {func(b []byte) []byte { b[80]++; b[slotSize+atOwner+4] = 255; signed(b, 1); return b }, nil,
			"the second is not where it belongs"},
	} {
		b := written(t, 3)
		if c.change != nil {
			b = c.change(b)
		}
		o := owner()
		if c.owner != nil {
			c.owner(&o)
		}
		d := newDisk(1, b)
		f, err := open("x", d, o, hosts)
		if err == nil || !strings.Contains(err.Error(), c.want) || slices.Contains(d.calls, "write") {
			t.Errorf("%s: %v, %v, %v; want %q", name, f, err, d.calls, c.want)
		}
	}
	for _, name := range []string{"TWO", "two."} { // which are the same in a hosts file
		if _, err := open("x", newDisk(1, written(t, 3)), Owner{ID: 2, Name: name}, hosts); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
}

// However a file is cut, it is not taken for a new one, unless nothing was ever stored in it or nothing is left.
func TestCut(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		whole := written(t, n)
		for length := 1; length < fileSize; length += max(1, length/8) {
			f, err := open("x", newDisk(1, bytes.Clone(whole[:length])), owner(), hosts)
			switch {
			case err == nil && n == 0:
				stores(t, f, 0)
			case err == nil || !strings.Contains(err.Error(), "it is cut short"):
				t.Errorf("with %d values, cut to %d bytes: %v", n, length, err)
			}
		}
	}
}

// failAt returns a function that fails call number n, from 0.
func failAt(n int, err error) func(string) error {
	return func(string) error {
		if n--; n == -1 {
			return err
		}
		return nil
	}
}

// Any call that fails while a file is made or opened is an error, after which all is as before.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	for _, crash := range []bool{false, true} {
		for n := range 3 {
			for i := 0; ; i++ {
				d := newDisk(uint64(i), nil)
				if n > 0 {
					d = newDisk(uint64(i), written(t, n))
				}
				d.fail = failAt(i, syscall.EIO)
				_, err := open("x", d, owner(), hosts)
				if err == nil {
					if i < 4 {
						t.Errorf("only %d calls can fail", i)
					}
					break
				}
				if !errors.Is(err, syscall.EIO) || strings.Count(err.Error(), ": ") < 2 {
					t.Errorf("call %d: %v; want an error and what to do", i, err)
				}
				if d.fail = nil; crash {
					d.crash()
				}
				stores(t, opened(t, d), n)
			}
		}
	}
}

// When the file cannot be emptied either, the next Open says so.
func TestMakeFails(t *testing.T) {
	t.Parallel()
	d := newDisk(3, nil)
	d.fail = func(op string) error {
		if op == "write" || op == "truncate" {
			return syscall.ENOSPC
		}
		return nil
	}
	_, err := open("x", d, owner(), hosts)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "name a file on a local disk with room for 256 KiB") {
		t.Error(err)
	}
	d.fail = nil
	if _, err := open("x", d, owner(), hosts); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("a part of a first copy, %d bytes: %v", len(d.cache), err)
	}
}

// A Write that fails is repeated in the same place, and never touches the copy that is whole.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	for i := range 20 {
		for _, op := range []string{"write", "sync"} {
			d := newDisk(uint64(i), written(t, 3))
			f := opened(t, d)
			d.fail = func(o string) error {
				if o == op {
					return syscall.ENOSPC
				}
				return nil
			}
			whole := bytes.Clone(d.cache[slotSize:]) // value 3 is in slot 1
			for n := 4; n < 7; n++ {
				if err := f.Write(value(n)); !errors.Is(err, syscall.ENOSPC) || err.Error() != "writing state file x: no space left on device" {
					t.Errorf("%s: %v", op, err)
				}
				if !bytes.Equal(d.cache[slotSize:], whole) {
					t.Fatalf("%s: a Write after one that failed replaces the only whole copy", op)
				}
			}
			if d.fail = nil; i%2 == 0 {
				if err := f.Write(value(7)); err != nil {
					t.Fatal(err)
				}
				d.crash()
				stores(t, opened(t, d), 7)
				continue
			}
			d.crash()
			if n := int(opened(t, d).Stored().Counter); n < 3 || n > 6 {
				t.Errorf("%s: it has value %d", op, n)
			}
		}
	}
}

// world is a history of Writes and crashes, and what may be found after each.
type world struct {
	t         *testing.T
	rng       *rand.Rand
	disk      *fakeDisk
	file      *File
	attempted int
	confirmed int // the last value of which the peer may have told others
}

// faulty makes a third of the calls of some steps fail.
func (w *world) faulty() {
	if w.disk.fail = nil; w.rng.IntN(3) == 0 {
		w.disk.fail = func(string) error {
			if w.rng.IntN(3) == 0 {
				return syscall.EIO
			}
			return nil
		}
	}
}

func (w *world) reopen() {
	w.t.Helper()
	f, err := open("x", w.disk, owner(), hosts)
	for ; err != nil; f, err = open("x", w.disk, owner(), hosts) {
		switch {
		case w.disk.fail != nil:
		case w.attempted == 0 && strings.Contains(err.Error(), "cut short"):
			w.disk = newDisk(w.rng.Uint64(), nil) // its making has failed, and it could not be emptied: the operator removes it
		default:
			w.t.Fatal(err)
		}
		if w.disk.fail = nil; w.rng.IntN(2) == 0 {
			w.disk.crash()
		}
	}
	n := int(f.Stored().Counter)
	if n < w.confirmed || n > w.attempted {
		w.t.Fatalf("it has value %d, but %d was confirmed, and %d tried last", n, w.confirmed, w.attempted)
	}
	stores(w.t, f, n)
	undamaged(w.t, f)
	w.file, w.confirmed = f, n
}

func (w *world) step() {
	w.faulty()
	switch w.rng.IntN(6) {
	case 0:
		w.reopen() // a crash of the process
	case 1:
		w.disk.crash()
		w.faulty()
		w.reopen()
	default:
		w.attempted++
		if w.file.Write(value(w.attempted)) == nil {
			w.confirmed = w.attempted
		}
	}
}

var histories = flag.Uint64("histories", 60, "how many of TestHistories to run")

// After any history, what was confirmed last is found, or something later that was tried: never anything older, and
// never a mixture.
func TestHistories(t *testing.T) {
	t.Parallel()
	for seed := range *histories {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 2)), disk: newDisk(seed, nil)}
			w.faulty()
			for w.reopen(); w.attempted < 40; w.step() {
			}
		})
		if !ok {
			t.Fatalf("repeat it with -run 'TestHistories/^%d$' -args -histories %d", seed, seed+1)
		}
	}
}

// FuzzOpen opens files with any content. What can be opened can be written and opened again.
func FuzzOpen(f *testing.F) {
	whole := written(f, 3)
	f.Add([]byte{}, []byte{})
	f.Add(whole[:3000], whole[slotSize:][:3000])
	f.Add(whole[:3000], []byte("memberly"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		b := make([]byte, fileSize)
		copy(b, first)
		copy(b[slotSize:], second)
		for i := range 2 { // so that not all is lost on the checksum
			if length := binary.BigEndian.Uint32(b[i*slotSize+atLength:]); length <= slotSize-atOwner {
				signed(b, i)
			}
		}
		for _, content := range [][]byte{b, first} {
			d := newDisk(1, bytes.Clone(content))
			file, err := open("x", d, owner(), hosts)
			if err != nil {
				continue
			}
			s := file.Stored()
			if err := file.Write(&s); err != nil {
				t.Fatalf("%+v was read, but cannot be written: %v", s, err)
			}
			if again := opened(t, d).Stored(); !reflect.DeepEqual(again, s) {
				t.Fatalf("%+v was written, %+v read", s, again)
			}
		}
	})
}

// sum is SHA-256 over parts.
func sum(parts ...[]byte) []byte {
	s := sha256.Sum256(bytes.Join(parts, nil))
	return s[:]
}
