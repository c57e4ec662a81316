package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"memberly/peer/types"
)

// The file, and where the fields of a record are, in bytes. Integers are big-endian. Every version of the format
// keeps the fields before the owner as they are, and the checksum over all but itself and the note of a successor: so
// each can tell a record of another version from a damaged one.
const (
	slotSize = 128 << 10
	fileSize = 2 * slotSize

	magic   = "memberly"
	version = 1

	atVersion   = 8
	atLength    = 12 // of what begins at atOwner
	atSequence  = 16 // odd in the first slot, even in the second
	atSum       = 24 // SHA-256
	atSuccessor = 56 // not under the checksum: the sequence number of a later record once that is on the disk, and its complement
	atOwner     = 72 // id, length of the name, name; then the payload

	beforeName = 4 + 1
)

// record is a copy of what is stored, as it was read. If fault is set, it is not whole, and only the fields of its
// beginning are valid that begun says.
type record struct {
	begun     bool // it begins as a record does: version and sequence are valid
	blank     bool // a first Write has not begun, or not come far
	version   uint32
	sequence  uint64
	fault     error // such as "is all zeros"; nil if it is whole
	successor uint64
	owner     Owner
	bytes     []byte // all of it
	payload   []byte
}

// interrupted reports whether r, which is not whole, can be what an interrupted Write has left, if the other copy has
// this sequence number.
func (r *record) interrupted(newest uint64) bool {
	return r.begun && (r.sequence == newest-1 || r.sequence == newest+1) || r.blank && newest == 1
}

// place returns where the record with a sequence number begins in the file.
func place(sequence uint64) int64 { return int64((sequence-1)%2) * slotSize }

// successor returns the note that the record with a sequence number is on the disk.
func successor(sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, sequence), ^sequence)
}

// appendRecord appends a record to b, which must be empty.
func appendRecord(b []byte, sequence uint64, o Owner, s *types.Stored) ([]byte, error) {
	if len(o.Name) > 255 {
		return b, fmt.Errorf("the host's name has %d bytes: at most 255 can be stored", len(o.Name))
	}
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, version)
	b = append(b, 0, 0, 0, 0) // the length
	b = binary.BigEndian.AppendUint64(b, sequence)
	b = append(b, make([]byte, atOwner-atSum)...)
	b = binary.BigEndian.AppendUint32(b, uint32(o.ID))
	b = append(append(b, byte(len(o.Name))), o.Name...)
	b, err := types.AppendStored(b, s)
	if err != nil {
		return b, err
	}
	if len(b) > slotSize {
		return b, fmt.Errorf("what is to be stored makes a copy of %d bytes: at most %d have room", len(b), slotSize)
	}
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-atOwner))
	copy(b[atSum:], checksum(b))
	return b, nil
}

// checksum returns that of a record.
func checksum(b []byte) []byte {
	h := sha256.New()
	h.Write(b[:atSum])
	h.Write(b[atOwner:])
	return h.Sum(nil)
}

// readRecord reads the record in slot i, 0 or 1. An error is one of reading.
func readRecord(d io.ReaderAt, i int) (r record, err error) {
	b := make([]byte, atOwner)
	if short, err := readAll(d, b, i, 0); err != nil || short {
		r.fault, r.blank = errors.New("is missing"), true
		return r, err
	}
	if r.begun = string(b[:len(magic)]) == magic; !r.begun {
		r.fault = errors.New("does not begin as a copy does")
		written := bytes.TrimRight(b, "\x00")
		if len(written) == 0 {
			r.fault = errors.New("is all zeros")
		}
		r.blank = strings.HasPrefix(magic, string(written))
		return r, nil
	}
	r.version, r.sequence = binary.BigEndian.Uint32(b[atVersion:]), binary.BigEndian.Uint64(b[atSequence:])
	if note := b[atSuccessor:atOwner]; bytes.Equal(note, successor(binary.BigEndian.Uint64(note))) {
		r.successor = binary.BigEndian.Uint64(note)
	}
	length := binary.BigEndian.Uint32(b[atLength:])
	if length < beforeName || length > slotSize-atOwner {
		r.fault = errors.New("has an impossible length")
		return r, nil
	}
	b = append(b, make([]byte, length)...)
	if short, err := readAll(d, b[atOwner:], i, atOwner); err != nil || short {
		r.fault = errors.New("is cut short")
		return r, err
	}
	r.check(b, i)
	return r, nil
}

// readAll fills b from a place in slot i. It reports whether the file ends before that.
func readAll(d io.ReaderAt, b []byte, i int, at int64) (short bool, err error) {
	_, err = d.ReadAt(b, int64(i)*slotSize+at)
	if err == io.EOF {
		return true, nil
	}
	return false, err
}

// check checks that b, of slot i, is whole, and sets the owner and the payload.
func (r *record) check(b []byte, i int) {
	if !bytes.Equal(b[atSum:atSuccessor], checksum(b)) {
		r.fault = errors.New("has a wrong checksum")
		return
	}
	if r.version != version {
		return
	}
	name := atOwner + beforeName
	end := name + int(b[name-1])
	if end > len(b) || r.sequence == 0 || place(r.sequence) != int64(i)*slotSize {
		r.fault = errors.New("is not where it belongs")
		return
	}
	r.owner = Owner{ID: types.ID(binary.BigEndian.Uint32(b[atOwner:])), Name: string(b[name:end])}
	r.bytes, r.payload = b, b[end:]
}
