package seal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
)

const (
	keySize = 32
	maxKeys = 16
	maxFile = 64 << 10 // bytes of a key file
)

type key [keySize]byte

// Keyring holds the keys of a group: the first seals, all open. With the zero Keyring nothing is
// sealed. A Keyring is immutable, and no print verb reveals its keys.
type Keyring struct{ keys []key }

// Len returns how many keys r holds.
func (r Keyring) Len() int { return len(r.keys) }

func (r Keyring) has(k key) bool { return slices.Contains(r.keys, k) }

// Format writes the number of keys, whatever the verb, so that no key gets into output.
func (r Keyring) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "[%d keys]", len(r.keys)) }

// Read returns the keys of the file at path, which may be a pipe (see Parse). It refuses a file
// that others than its owner can read or write. The error names the file and the remedy.
func Read(path string) (Keyring, error) {
	ring, err := read(path)
	if err != nil {
		return Keyring{}, fmt.Errorf("key file %q: %w", path, err)
	}
	return ring, nil
}

// Reread is Read for a file that was read before. It refuses a pipe, which could block for ever.
func Reread(path string) (Keyring, error) {
	if about, err := os.Stat(path); err == nil && !about.Mode().IsRegular() {
		return Keyring{}, fmt.Errorf("key file %q: it is not a regular file, and was read once: restart the peer to change its keys", path)
	}
	return Read(path)
}

func read(path string) (Keyring, error) {
	f, err := os.Open(path)
	if err != nil {
		return Keyring{}, unreadable(err)
	}
	defer f.Close()
	about, err := f.Stat() // not os.Stat: the path may name another file by now
	switch {
	case err != nil:
		return Keyring{}, unreadable(err)
	case about.IsDir():
		return Keyring{}, errors.New("it is a directory: " + remedy)
	case about.Mode()&0o077 != 0 && runtime.GOOS == "windows":
		return Keyring{}, errors.New("this program cannot tell on Windows who may read it: use keys on other systems")
	case about.Mode()&0o077 != 0:
		return Keyring{}, fmt.Errorf("others than its owner can read or write it (its mode is %04o): run chmod 600 %s, "+
			"and make a new key if others may have read this one", about.Mode().Perm(), path)
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

const remedy = "name a text file, one key per line, after -key; memberly keygen FILE makes one"

// unreadable adds the remedy to an error from reading the key file, and removes its path, which
// Read adds.
func unreadable(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err
	}
	return fmt.Errorf("cannot read it: %w: %s", err, remedy)
}

// Parse returns the keys in the content of a key file: 1 to 16 different keys, each as the base64
// of 32 bytes on its own line. It ignores blank lines, surrounding space and lines that begin
// with #. The error names the line but never quotes it, because it may hold a key.
func Parse(content string) (Keyring, error) {
	content = strings.TrimPrefix(content, "\ufeff") // a byte order mark
	var ring Keyring
	var lines []int // by key
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
		case len(ring.keys) == maxKeys:
			return Keyring{}, fmt.Errorf("line %d: more than %d keys: remove those that no peer seals with any more", number, maxKeys)
		}
		ring.keys, lines = append(ring.keys, k), append(lines, number)
	}
	if len(ring.keys) == 0 {
		return Keyring{}, errors.New("it holds no key: write one per line, as memberly keygen prints them, first the one that seals")
	}
	return ring, nil
}

// parseKey returns the key that s encodes. It accepts only the canonical encoding, so that no two
// lines hold the same key.
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

// NewKey returns a new key as a line of a key file, without the newline. The error is that of
// reading random.
func NewKey(random io.Reader) (string, error) {
	var k key
	if _, err := io.ReadFull(random, k[:]); err != nil {
		return "", fmt.Errorf("drawing a key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(k[:]), nil
}
