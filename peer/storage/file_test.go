package storage

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"memberly/peer/types"
)

// file returns a path in a folder of the test.
func file(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state")
}

// refused checks that a path cannot be opened, and what is said of it.
func refused(t *testing.T, path, want string) {
	t.Helper()
	f, err := Open(path, owner(), hosts)
	if err == nil || !strings.HasPrefix(err.Error(), "state file "+path+": ") || !strings.Contains(err.Error(), want) || f != nil {
		t.Errorf("%v, %v; want %q", f, err, want)
	}
}

// A file of the system, over several openings.
func TestFile(t *testing.T) {
	t.Parallel()
	path := file(t)
	for n := range 4 {
		f, err := Open(path, owner(), hosts)
		if err != nil {
			t.Fatal(err)
		}
		stores(t, f, n)
		undamaged(t, f)
		if err := f.Write(value(n + 1)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Write(value(9)); err == nil || err.Error() != "writing state file "+path+": file already closed" {
			t.Errorf("after Close: %v", err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(content[:slotSize], written(t, 4)[:slotSize]) {
		t.Errorf("it has other bytes than the disk of the other tests: %v", err)
	}
	s, err := os.Stat(path)
	if err != nil || s.Mode() != 0o600 || s.Size() != fileSize {
		t.Errorf("mode %v, %d bytes, %v; want 0600, %d", s.Mode(), s.Size(), err, fileSize)
	}
}

// An empty file, and a link to a file that is made, are as good as none.
func TestEmptyFile(t *testing.T) {
	t.Parallel()
	empty, link := file(t), file(t)
	if err := os.WriteFile(empty, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file(t), link); err != nil {
		t.Skip("this system lets no user make a symbolic link:", err)
	}
	for _, path := range []string{empty, link} {
		f, err := Open(path, owner(), hosts)
		if err != nil {
			t.Fatal(err)
		}
		stores(t, f, 0)
		f.Close()
	}
}

// What is no file is refused, and nobody waits for it.
func TestNoFile(t *testing.T) {
	t.Parallel()
	refused(t, t.TempDir(), "it is a folder: name a file")
	refused(t, os.DevNull, "it is a device: name a file")
	refused(t, filepath.Join(file(t), "state"), "cannot access it: no such file or directory: name a file on a local disk with room for 256 KiB, which this user may read and write")
	socket := filepath.Join(t.TempDir(), "s")
	if l, err := net.Listen("unix", socket); err == nil {
		defer l.Close()
		refused(t, socket, "it is a socket")
	}
	text := file(t)
	if err := os.WriteFile(text, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, text, "it is cut short: it has 4 bytes")
	if content, err := os.ReadFile(text); string(content) != "one\n" {
		t.Errorf("it has become %q, %v", content, err)
	}
}

// A file of many gigabytes takes neither memory nor time.
func TestHugeFile(t *testing.T) {
	t.Parallel()
	path := file(t)
	if err := os.WriteFile(path, []byte("memberly"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<36); err != nil {
		t.Skip("this file system has no files with holes:", err)
	}
	refused(t, path, "it has 68719476736 bytes, a state file has 262144: name another file")
}

// BenchmarkWrite writes to a file in the folder for temporary files: the view of five hosts, and that of the largest
// group.
func BenchmarkWrite(b *testing.B) {
	small := &types.Stored{Incarnation: 1, Lives: 1, Counter: 1, Group: types.Group{Made: 1, Maker: 1}}
	small.View = types.View{Group: small.Group, Number: 5, Leader: 1, Members: []types.ID{1, 2, 3, 4, 5}}
	for id := range types.Incarnation(5) {
		small.View.Last = append(small.View.Last, types.Past{Incarnation: id + 1})
	}
	for _, s := range []*types.Stored{small, largest()} {
		b.Run(fmt.Sprintf("hosts=%d", len(s.View.Last)), func(b *testing.B) {
			f, err := Open(file(b), Owner{ID: 1, Name: "one"}, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			b.ReportAllocs()
			for b.Loop() {
				if err := f.Write(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
