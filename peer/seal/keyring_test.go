package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// line returns the line of the key whose 32 bytes are all b.
func line(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, keySize))
}

// ring returns a keyring of keys whose 32 bytes are all the same.
func ring(t testing.TB, keys ...byte) Keyring {
	t.Helper()
	var content strings.Builder
	for _, k := range keys {
		fmt.Fprintln(&content, line(k))
	}
	if len(keys) == 0 {
		return Keyring{}
	}
	r, err := Parse(content.String())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// dice returns reproducible randomness.
func dice(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func TestParse(t *testing.T) {
	t.Parallel()
	cases := []struct {
		what, content string
		want          []byte // of the keys, their first bytes
	}{
		{"one key", line(1), []byte{1}},
		{"two, with an end of line", line(1) + "\n" + line(2) + "\n", []byte{1, 2}},
		{"in the file's order", line(2) + "\n" + line(1), []byte{2, 1}},
		{"blank lines and space", "\n \t\n  " + line(1) + " \t\n\n", []byte{1}},
		{"CRLF and byte order mark", "\ufeff" + line(1) + "\r\n" + line(2) + "\r\n", []byte{1, 2}},
		{"comments", "# " + line(3) + "\n  #\n" + line(1) + "\n#" + line(1), []byte{1}},
		{"all bits", "/////////////////////////////////////////v8=", []byte{255}},
		{"16 keys", keys(16), []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r, err := Parse(c.content)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for _, k := range r.keys {
				got = append(got, k[0])
			}
			if !bytes.Equal(got, c.want) || r.Len() != len(c.want) {
				t.Errorf("got keys %v, want %v", got, c.want)
			}
		})
	}
}

// keys returns a key file of n keys.
func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, line(byte(i+1)))
	}
	return b.String()
}

func TestBadKeyFile(t *testing.T) {
	t.Parallel()
	cases := []struct{ what, content, want string }{
		{"empty", "", "it holds no key: write one per line"},
		{"comments alone", "\ufeff# " + line(1) + "\n\n", "it holds no key"},
		{"short", line(1)[1:], "line 1: not a key: write 44 characters of base64"},
		{"long", "# a\n\n" + line(1) + "A", "line 3: not a key"},
		{"31 bytes", strings.Repeat("A", 42) + "==", "line 1: not a key"},
		{"33 bytes", strings.Repeat("A", 44), "line 1: not a key"},
		{"another spelling of the last bits", strings.Repeat("A", 42) + "B=", "line 1: not a key"},
		{"base64 for URLs", strings.Repeat("-", 43) + "=", "line 1: not a key"},
		{"hexadecimal", strings.Repeat("0a", 32), "line 1: not a key"},
		{"a comment behind", line(1) + "\n" + line(2) + " # new", "line 2: not a key"},
		{"two on a line", line(1) + " " + line(2), "line 1: not a key"},
		{"an end of line within", line(1)[:20] + "\r" + line(1)[20:43], "line 1: not a key"},
		{"binary", "\x00\xff\x00\n", "line 1: not a key"},
		{"UTF-16", "\xff\xfeA\x00", "line 1: not a key"},
		{"twice", line(1) + "\n\n" + line(2) + "\n " + line(1), "line 4: this key is on line 1 already: remove"},
		{"too many", keys(17), "line 17: more than 16 keys: remove"},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			path := write(t, c.content, 0o600)
			r, err := Read(path)
			wants(t, err, fmt.Sprintf("key file %q: ", path), c.want)
			if r.Len() != 0 {
				t.Errorf("got %d keys with an error", r.Len())
			}
			for l := range strings.FieldsSeq(c.content) {
				if len(l) > 20 && strings.Contains(err.Error(), l[:20]) {
					t.Errorf("the error reveals key material: %v", err)
				}
			}
		})
	}
}

// write returns the path of a new file.
func write(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "group.key")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

// wants checks that err contains all of the words, on one line.
func wants(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") || len(err.Error()) > 500 {
		t.Errorf("error is no line for a person: %q", err)
	}
}

func TestReadModes(t *testing.T) {
	t.Parallel()
	for mode := range os.FileMode(0o1000) {
		path := write(t, line(1), mode|0o400)
		r, err := Read(path)
		if mode&0o077 != 0 {
			wants(t, err, fmt.Sprintf("mode is %04o", mode|0o400), "run chmod 600 "+path)
		} else if err != nil || r.Len() != 1 {
			t.Errorf("mode %o: %d keys, %v", mode, r.Len(), err)
		}
		os.Remove(path)
	}
}

// The mode of the file counts, not that of a link to it.
func TestReadLink(t *testing.T) {
	t.Parallel()
	for mode, open := range map[os.FileMode]bool{0o600: true, 0o604: false} {
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(write(t, line(1), mode), link); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(link); (err == nil) != open {
			t.Errorf("a link to a file of mode %o: %v", mode, err)
		}
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	cases := []struct{ what, path, want string }{
		{"missing", filepath.Join(folder, "nosuch"), "cannot read it: no such file or directory: name a text file"},
		{"directory", folder, "it is a directory: name a text file"},
		{"everybody's directory", os.TempDir(), "it is a directory: name a text file"},
		{"large", write(t, strings.Repeat("\n", maxFile+1), 0o600), "it is larger than 64 KiB: name a text file"},
		{"not just large", write(t, strings.Repeat("\n", maxFile), 0o600), "it holds no key"},
		{"a device", "/dev/zero", "others than its owner can read"},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			_, err := Read(c.path)
			wants(t, err, fmt.Sprintf("key file %q: ", c.path), c.want)
		})
	}
}

// A key may come through a pipe, which other users cannot read.
func TestReadPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fmt.Fprintln(w, line(1))
	w.Close()
	if ring, err := Read(fmt.Sprintf("/dev/fd/%d", r.Fd())); err != nil || ring.Len() != 1 {
		t.Errorf("%d keys, %v", ring.Len(), err)
	}
}

func TestRingIsNotPrinted(t *testing.T) {
	t.Parallel()
	r := struct{ Keys Keyring }{ring(t, 77, 78)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		got := fmt.Sprintf(verb, r)
		if !strings.Contains(got, "[2 keys]") || strings.Contains(got, "77") || strings.Contains(got, "4d4d") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func TestNewKey(t *testing.T) {
	t.Parallel()
	random := dice(1)
	first, err := NewKey(random)
	if err != nil {
		t.Fatal(err)
	}
	second, _ := NewKey(random)
	if r, err := Parse(first + "\n" + second); err != nil || r.Len() != 2 {
		t.Errorf("%d keys, %v", r.Len(), err)
	}
	failed := errors.New("no more dice")
	if _, err := NewKey(iotest.ErrReader(failed)); !errors.Is(err, failed) {
		t.Errorf("error is %v", err)
	}
}

// FuzzParse checks that a valid key file has as many different keys as Parse returns, each in canonical
// form.
func FuzzParse(f *testing.F) {
	f.Add(keys(3))
	f.Add("\ufeff# comment\r\n\r\n" + line(9) + "\r\n")
	f.Add(strings.Repeat("A", 42) + "B=\n" + line(0))
	f.Fuzz(func(t *testing.T, content string) {
		r, err := Parse(content)
		if err != nil {
			if r.Len() != 0 {
				t.Errorf("%d keys with %v", r.Len(), err)
			}
			return
		}
		for i, k := range r.keys {
			if spelt := base64.StdEncoding.EncodeToString(k[:]); !strings.Contains(content, spelt) {
				t.Errorf("key %d is not in %q", i, content)
			}
		}
		if r.Len() < 1 || r.Len() > maxKeys {
			t.Errorf("%d keys", r.Len())
		}
	})
}
