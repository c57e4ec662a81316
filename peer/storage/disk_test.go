package storage

import (
	"bytes"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"memberly/peer/types"
)

// sectorSize is what a disk writes as a whole or not at all, in bytes.
const sectorSize = 512

// fakeDisk is a disk with what a real one may do at a crash or an error, and no kinder.
type fakeDisk struct {
	rng     *rand.Rand
	cache   []byte            // what ReadAt sees
	size    int               // of the file, as the disk has it
	sectors map[int64]*sector // those of which the disk may have something else than cache
	mutex   sync.Mutex        // of the others, as a test may use them while a Writer does
	fail    func(op string) error
	calls   []string
}

// sector is what the disk may have in place of what cache has.
type sector struct {
	held  []byte   // what it had when it was last synced
	later [][]byte // what was written since
	clean bool     // a Sync that failed has dropped what was written: no other Sync writes it
}

func newDisk(seed uint64, content []byte) *fakeDisk {
	return &fakeDisk{rng: rand.New(rand.NewPCG(seed, 1)), cache: content, size: len(content), sectors: make(map[int64]*sector)}
}

// failure returns the error that a call shall have.
func (d *fakeDisk) failure(op string) error {
	d.mutex.Lock()
	d.calls = append(d.calls, op)
	fail := d.fail
	d.mutex.Unlock()
	if fail == nil {
		return nil
	}
	return fail(op)
}

func (d *fakeDisk) ReadAt(b []byte, at int64) (int, error) {
	if err := d.failure("read"); err != nil {
		return 0, err
	}
	return bytes.NewReader(d.cache).ReadAt(b, at)
}

// WriteAt writes a part if it fails.
func (d *fakeDisk) WriteAt(b []byte, at int64) (int, error) {
	err := d.failure("write")
	if err != nil {
		b = b[:d.rng.IntN(len(b))]
	}
	first, end := at/sectorSize, (at+int64(len(b))+sectorSize-1)/sectorSize
	for i := first; i < end; i++ {
		if d.sectors[i] == nil {
			d.sectors[i] = &sector{held: d.content(i)}
		}
	}
	if end := int(at) + len(b); end > len(d.cache) {
		d.cache = append(d.cache, make([]byte, end-len(d.cache))...)
	}
	copy(d.cache[at:], b)
	for i := first; i < end; i++ {
		s := d.sectors[i]
		s.later, s.clean = append(s.later, d.content(i)), false
	}
	return len(b), err
}

// content returns a copy of what cache has of a sector.
func (d *fakeDisk) content(i int64) []byte {
	from := min(int(i*sectorSize), len(d.cache))
	return slices.Clone(d.cache[from:min(from+sectorSize, len(d.cache))])
}

// Sync drops part of what was written if it fails.
func (d *fakeDisk) Sync() error {
	err := d.failure("sync")
	for i, s := range d.all() {
		switch {
		case err != nil:
			s.held, s.later, s.clean = d.outcome(s), nil, true
		case !s.clean:
			delete(d.sectors, i)
		}
	}
	if err == nil {
		d.size = len(d.cache)
	}
	return err
}

// all returns the sectors in their order, so that a seed gives the same run.
func (d *fakeDisk) all() func(func(int64, *sector) bool) {
	return func(yield func(int64, *sector) bool) {
		for _, i := range slices.Sorted(maps.Keys(d.sectors)) {
			if !yield(i, d.sectors[i]) {
				return
			}
		}
	}
}

// outcome draws what the disk has of a sector.
func (d *fakeDisk) outcome(s *sector) []byte {
	if i := d.rng.IntN(len(s.later) + 1); i > 0 {
		return s.later[i-1]
	}
	return s.held
}

// crash is one of the machine: only what the disk has is left. A file that grew has what was written up to its new
// end.
func (d *fakeDisk) crash() {
	end := d.size
	if more := len(d.cache) - d.size; more > 0 {
		end += min(more, d.rng.IntN(more/sectorSize+2)*sectorSize)
	}
	for i, s := range d.all() {
		if at := int(i) * sectorSize; at < d.size {
			copy(d.cache[at:], d.outcome(s))
		}
	}
	d.cache, d.size, d.fail = d.cache[:end], end, nil
	clear(d.sectors)
}

func (d *fakeDisk) Size() (int64, error) { return int64(len(d.cache)), d.failure("size") }

func (d *fakeDisk) Truncate(size int64) error {
	if err := d.failure("truncate"); err != nil {
		return err
	}
	d.cache, d.size = d.cache[:size], min(d.size, int(size))
	clear(d.sectors)
	return nil
}

func (d *fakeDisk) Close() error { return d.failure("close") }

var _ io.ReaderAt = (*fakeDisk)(nil)

// hosts is the hosts file of these tests. A record of that many takes up to three sectors.
var hosts, digest = func() ([]types.Host, uint64) {
	list := types.Numbered(100)
	list[1].Name = "two"
	return list, types.Digest(list)
}()

func owner() Owner { return Owner{ID: 2, Name: "two"} }

// value returns something to store, which is known by its counter. Each third has no view, so it is short.
func value(n int) *types.Stored {
	s := &types.Stored{Incarnation: types.Incarnation(n + 1), Lives: 1, Counter: uint64(n), Group: types.Group{Made: 1, Maker: 1}}
	if n%3 == 0 {
		return s
	}
	s.View = types.View{Group: s.Group, Number: int64(n), Leader: 1, Last: make([]types.Past, len(hosts)), Digest: digest}
	for id := range types.ID(1 + n*7%len(hosts)) {
		s.View.Members = append(s.View.Members, id+1)
		s.View.Last[id].Incarnation = types.Incarnation(n)
	}
	return s
}

// opened opens a disk that must be in order.
func opened(t testing.TB, d disk) *File {
	t.Helper()
	f, err := open("x", d, owner(), hosts)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// written writes values 1 to n to a new disk, and returns what it has.
func written(t testing.TB, n int) []byte {
	t.Helper()
	d := newDisk(1, nil)
	f := opened(t, d)
	for i := 1; i <= n; i++ {
		if err := f.Write(value(i)); err != nil {
			t.Fatal(err)
		}
	}
	return d.cache
}
