package seal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

const (
	keySize  = 32
	mostKeys = 16
	maxFile  = 64 << 10 // bytes of a key file
)

type key [keySize]byte

// Keyring is the keys of a group: the first seals, all open. The zero Keyring holds none, and with
// it nothing is sealed. A Keyring never changes. However it is printed, its keys are not.
type Keyring struct{ keys []key }

// Len returns how many keys r holds.
func (r Keyring) Len() int { return len(r.keys) }

func (r Keyring) has(k key) bool { return slices.Contains(r.keys, k) }

// Format writes how many keys r holds, whatever the verb.
func (r Keyring) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "[%d keys]", len(r.keys)) }

// Read returns the keys of the file at path, which may be a pipe: see Parse. A file that
// anybody but its owner can read or write is refused. The error names the file, and says what
// to do.
func Read(path string) (Keyring, error) {
	ring, err := read(path)
	if err != nil {
		return Keyring{}, fmt.Errorf("key file %q: %w", path, err)
	}
	return ring, nil
}

func read(path string) (Keyring, error) {
	f, err := os.Open(path)
	if err != nil {
		return Keyring{}, unreadable(err)
	}
	defer f.Close()
	about, err := f.Stat() // of what was opened: the path may lead elsewhere by now
	switch {
	case err != nil:
		return Keyring{}, unreadable(err)
	case about.IsDir():
		return Keyring{}, errors.New("it is a directory: " + remedy)
	case about.Mode()&0o077 != 0:
		return Keyring{}, fmt.Errorf("others than its owner can read or write it (its mode is %04o): run chmod 600 %s, "+
			"and make a new key if somebody may have read this one", about.Mode().Perm(), path)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Keyring{}, unreadable(err)
	}
	if len(content) > maxFile {
		return Keyring{}, fmt.Errorf("it is larger than %d KiB: %s", maxFile>>10, remedy)
	}
	return Parse(string(content))
}

const remedy = "name a text file, one key a line, after -key; memberly keygen FILE makes one"

// unreadable adds what to do to an error of reading the key file, and leaves out its path.
func unreadable(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err
	}
	return fmt.Errorf("cannot read it: %w: %s", err, remedy)
}

// Parse returns the keys that a key file of this content lists: from 1 to 16, all different,
// each the base64 of 32 bytes on a line of its own. Blank lines, surrounding space and lines
// that begin with # are ignored. The error names the line, and never what is on it.
func Parse(content string) (Keyring, error) {
	content = strings.TrimPrefix(content, "\ufeff") // a byte order mark
	var ring Keyring
	var lines []int // that each key is on
	number := 0
	for line := range strings.SplitSeq(content, "\n") {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, ok := parseKey(line)
		switch i := slices.Index(ring.keys, k); {
		case !ok:
			return Keyring{}, fmt.Errorf("line %d: not a key: write 44 characters of base64, as memberly keygen prints them, or # before a comment", number)
		case i >= 0:
			return Keyring{}, fmt.Errorf("line %d: this key is on line %d already: remove one of the two", number, lines[i])
		case len(ring.keys) == mostKeys:
			return Keyring{}, fmt.Errorf("line %d: more than %d keys: remove those that nobody seals with any more", number, mostKeys)
		}
		ring.keys, lines = append(ring.keys, k), append(lines, number)
	}
	if len(ring.keys) == 0 {
		return Keyring{}, errors.New("it holds no key: write one a line, as memberly keygen prints them, first the one that seals")
	}
	return ring, nil
}

// parseKey returns the key that s spells. There is one way to spell it.
func parseKey(s string) (k key, ok bool) {
	if len(s) != base64.StdEncoding.EncodedLen(keySize) {
		return key{}, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != keySize {
		return key{}, false
	}
	return key(b), true
}

// NewKey returns the line of a key file that holds a new key, without its end. The error is
// that of reading random.
func NewKey(random io.Reader) (string, error) {
	var k key
	if _, err := io.ReadFull(random, k[:]); err != nil {
		return "", fmt.Errorf("drawing a key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(k[:]), nil
}
