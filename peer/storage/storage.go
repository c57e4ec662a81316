// Package storage keeps what a peer must remember over a crash (types.Stored) in a file. The file has two places,
// called slots, each with room for one copy. Each Write replaces the older copy and then waits until the disk has the
// new one. So a crash during a Write leaves the copy before it, and the newest copy that is whole counts.
//
// What can be noticed when the file is opened, and what cannot:
//
//   - A copy of which any bit has changed, or of which only a part was written, has a wrong checksum. If
//     neither copy is whole, or the file has not the size that it was made with, Open returns an error: a peer that
//     began anew would break promises that it has forgotten. The same if a copy cannot be read at all: that may pass.
//   - A copy that is not whole may be a Write that a crash has interrupted, of which nobody was told: that is normal.
//     Or it may be one that had succeeded, and was damaged since: then the other copy is out of date. So after a
//     Write has succeeded, a note of that goes into the copy before it. Where Open finds the note but not the newer
//     copy, a Write that had succeeded is certainly lost (File.Damage). Nobody waits for the disk to have the note;
//     the system writes it within half a minute or so. So if the machine loses power right after a Write, and the
//     disk did not keep that Write though it said so, the loss looks like an interrupted Write.
//   - An interrupted Write leaves a mixture of the copies before and after, of which the beginning shows. If a copy
//     that is not whole begins with anything else, it was damaged, and may have been the newer one (File.Damage).
//   - A file that is empty is as good as none. So neither a file that was removed or emptied, nor an old one that was
//     put back, from a backup or with a snapshot of the machine, is noticed. Nor is a file that was made to deceive:
//     the checksum has no key.
//   - While one process has the file open, no other can open it (on Linux, macOS and the BSDs; elsewhere that is not
//     checked). If the file is removed or replaced meanwhile, the process goes on with the one that it has opened.
package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"

	"memberly/peer/types"
)

// Owner is the host that a file belongs to.
type Owner struct {
	ID   types.ID
	Name string // at most 255 bytes; compared as in a hosts file
}

// File is an open state file. One goroutine at a time may call Write; any may call the other methods at any time.
type File struct {
	path     string
	owner    Owner
	disk     disk
	sequence uint64       // of the newest copy
	stored   types.Stored // as Open found it
	isNew    bool
	damage   error
	lost     bool
	newest   []byte // the record that Open found, later that of the last Write
}

// begin is what to do when a file is of no more use.
const begin = "to let this host begin anew, remove the file while the other hosts have a leader"

// Open opens the file at path for owner o, whose hosts file has these hosts, or makes it, with mode 0600, where there is
// none or an empty one. No other process can open it until it is closed.
//
// What it has found is on the disk when it returns, even if the process before this one did not wait for that: so it
// writes that again, and fails if that fails.
//
// An error names the file, what is wrong with it, and what to do. It is an error if the file is used by another
// process, is of another host, contradicts the hosts file, is of another version of the format, damaged beyond use, or
// cannot be read and written. What is stored stays as it is in these cases.
func Open(path string, o Owner, hosts []types.Host) (*File, error) {
	d, err := openDisk(path)
	if err == nil {
		var f *File
		if f, err = open(path, d, o, hosts); err == nil {
			return f, nil
		}
		d.Close()
	}
	return nil, fmt.Errorf("state file %s: %w", path, err)
}

// open is Open with a disk. If it fails, the caller closes the disk.
func open(path string, d disk, o Owner, hosts []types.Host) (*File, error) {
	f := &File{path: path, owner: o, disk: d}
	size, err := d.Size()
	if err == nil && size == 0 {
		size, err = f.make()
	}
	if err != nil {
		return nil, inaccessible(err)
	}
	if err := f.load(size, hosts); err != nil {
		return nil, err
	}
	if err := f.secure(size); err != nil {
		return nil, inaccessible(err)
	}
	return f, nil
}

// make writes the first copy to an empty file, and returns the file's size. The rest of the file is written when that
// is on the disk: so a file that is shorter than it should be was cut, or has the first copy and no other.
func (f *File) make() (int64, error) {
	err := f.write(&types.Stored{})
	if err != nil {
		f.disk.Truncate(0) // if that fails too, the next Open finds what is there damaged
		return 0, err
	}
	return f.disk.Size()
}

// load finds the newest copy that is whole, in a file that is not empty, and checks that it is f's owner's, and goes with
// the hosts file.
func (f *File) load(size int64, hosts []types.Host) error {
	copies, err := readRecords(f.disk)
	if err != nil {
		return err
	}
	newest, other := &copies[0], &copies[1]
	if newest.fault != nil || other.fault == nil && other.sequence > newest.sequence {
		newest, other = other, newest
	}
	switch first := newest.sequence == 1 && newest.successor == 0; {
	case size > fileSize:
		return fmt.Errorf("it has %d bytes, a state file has %d: name another file", size, int64(fileSize))
	case size < fileSize && (newest.fault != nil || !first):
		return fmt.Errorf("it is cut short: it has %d bytes, not %d: %s", size, int64(fileSize), begin)
	case newest.fault != nil:
		return fmt.Errorf("neither of its two copies can be used (the first %w; the second %w): %s",
			copies[0].fault, copies[1].fault, begin)
	}
	if err := f.belongs(newest.owner, hosts); err != nil {
		return err
	}
	if err := types.DecodeStored(newest.payload, &f.stored); err != nil {
		return fmt.Errorf("its contents are whole, but not valid: %w: run the release that wrote it", err)
	}
	if _, err := f.stored.Hosts(hosts); err != nil {
		return fmt.Errorf("it is for another hosts file: %w", err)
	}
	f.sequence, f.newest = newest.sequence, newest.bytes
	f.isNew = reflect.DeepEqual(f.stored, types.Stored{})
	f.compare(newest, other)
	return nil
}

// readRecords reads both copies. One that is whole, but of another version, is an error.
func readRecords(d disk) (copies [2]record, err error) {
	for i := range copies {
		r := &copies[i]
		if *r, err = readRecord(d, i); err != nil {
			return copies, fmt.Errorf("cannot read it: %w: check the disk and start again; if the damage stays: %s",
				bare(err), begin)
		}
		if r.fault == nil && r.version != version {
			return copies, fmt.Errorf("it has version %d of the format, this program knows version %d: run the release that wrote it",
				r.version, version)
		}
	}
	return copies, nil
}

// secure waits until the disk has the newest copy, in a file of full size. The process before this one may have ended
// before its Sync, or after one that failed: then the disk may lack what ReadAt returns, and another Sync alone would
// not change that. If the disk has it, the same bytes once more in the same place cannot harm it.
func (f *File) secure(size int64) error {
	if size < fileSize {
		if _, err := f.disk.WriteAt(make([]byte, fileSize-size), size); err != nil {
			return err
		}
	}
	if _, err := f.disk.WriteAt(f.newest, place(f.sequence)); err != nil {
		return err
	}
	return f.disk.Sync()
}

// belongs returns an error if a file of owner o is not f's owner's, whose hosts file has these hosts.
func (f *File) belongs(o Owner, hosts []types.Host) error {
	switch {
	case types.NameKey(o.Name) != types.NameKey(f.owner.Name):
		return fmt.Errorf("it is of host %d (%q), this is host %d (%q): name a file of this host's own",
			o.ID, o.Name, f.owner.ID, f.owner.Name)
	case o.ID != f.owner.ID && o.ID >= 1 && int(o.ID) <= len(hosts) && hosts[o.ID-1].Retired:
		return fmt.Errorf("it is of host %d (%q), which is retired; this is host %d of the same name: %s",
			o.ID, o.Name, f.owner.ID, begin)
	case o.ID != f.owner.ID:
		return fmt.Errorf("it is for another hosts file: %q was host %d when the file was made, and is host %d now: "+
			"use the hosts file as it was, and write new hosts at its end", f.owner.Name, o.ID, f.owner.ID)
	}
	return nil
}

// compare sets f.damage and f.lost by what the other copy should be. The comment of the package says what can be
// known.
func (f *File) compare(newest, other *record) {
	what := "is missing"
	if other.fault != nil {
		what = other.fault.Error()
	}
	switch {
	case newest.successor == newest.sequence+1:
		f.lost = true
		f.damage = fmt.Errorf("state file %s: the newest of its two copies %s: what this host stored last is lost, "+
			"and it may break a promise that it has forgotten", f.path, what)
	case other.fault != nil && !other.interrupted(newest.sequence):
		f.damage = fmt.Errorf("state file %s: one of its two copies %s: if it was the newer one, "+
			"this host may break a promise that it has forgotten", f.path, what)
	}
}

// Stored returns what Open found: what was stored last, or a later value whose Write had begun.
func (f *File) Stored() types.Stored { return f.stored }

// New reports whether Open found that nothing was ever stored, or made the file.
func (f *File) New() bool { return f.isNew }

// Damage returns what Open found wrong with one of the two copies, in a sentence with the file's name, or nil. lost
// says that a Write that had succeeded is certainly lost; otherwise the damaged copy may have been the older one. An
// interrupted Write is no damage. Until the next Write, each Open finds the same.
func (f *File) Damage() (damage error, lost bool) { return f.damage, f.lost }

// Write stores s in place of the older copy, and returns once the disk has it. It does not keep or modify s. After an
// error the newest copy is still that of the last Write that succeeded, or s: the next Write replaces the same copy
// again, never the only one that is known to be whole. It writes everything again, because after a failed sync the
// system may have dropped what it could not write, and would report success for a second sync of the same.
func (f *File) Write(s *types.Stored) error {
	if err := f.write(s); err != nil {
		return fmt.Errorf("writing state file %s: %w", f.path, bare(err))
	}
	return nil
}

func (f *File) write(s *types.Stored) (err error) {
	next := f.sequence + 1
	if f.newest, err = appendRecord(f.newest[:0], next, f.owner, s); err != nil {
		return err
	}
	if _, err := f.disk.WriteAt(f.newest, place(next)); err != nil {
		return err
	}
	if err := f.disk.Sync(); err != nil {
		return err
	}
	if f.sequence > 0 {
		f.disk.WriteAt(successor(next), place(f.sequence)+atSuccessor) // if that fails, nothing but the note is missing
	}
	f.sequence = next
	return nil
}

// Close lets other processes open the file. It does not wait for a Write of another goroutine, which may fail.
func (f *File) Close() error { return f.disk.Close() }

// inaccessible is the error when the system refuses access.
func inaccessible(err error) error {
	return fmt.Errorf("cannot access it: %w: name a file on a local disk with room for %d KiB, "+
		"which this user may read and write", bare(err), fileSize>>10)
}

// bare removes the path from an error, for one that names the file already.
func bare(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err
	}
	return err
}
