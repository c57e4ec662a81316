package seal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestKeygen(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "group.key")
	taken := write(t, line(1), 0o600)
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string // contains it, and is empty if this is
	}{
		{"", 0, "=\n", ""},
		{file, 0, "", ""},
		{file, 1, "", "exists already, and may hold keys in use: name a new file"},
		{taken, 1, "", "exists already"},
		{folder, 1, "", "exists already"},
		{filepath.Join(folder, "no", "such"), 1, "", "cannot make the key file: open "},
		{"-help", 0, KeygenPage.Text(), ""},
		{"a b", 2, "", `unexpected argument "b": name one file, or none` + "\n" + KeygenPage.Usage()},
		{"-key a", 2, "", KeygenPage.Usage()},
	} {
		var stdout, stderr strings.Builder
		code := RunKeygen(t.Context(), strings.Fields(c.args), nil, &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) ||
			c.stdout == "" && stdout.Len() > 0 || c.stderr == "" && stderr.Len() > 0 {
			t.Errorf("keygen %s: exit code %d, stdout %q, stderr %q", c.args, code, &stdout, &stderr)
		}
		if c.args == "" {
			if r, err := Parse(stdout.String()); err != nil || r.Len() != 1 {
				t.Errorf("printed %d keys, %v", r.Len(), err)
			}
		}
	}
	about, err := os.Stat(file)
	if err != nil || about.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", about.Mode(), err)
	}
	if r, err := Read(file); err != nil || r.Len() != 1 {
		t.Errorf("the file holds %d keys, %v", r.Len(), err)
	}
	if content, _ := os.ReadFile(taken); string(content) != line(1) {
		t.Error("a file that was there has changed")
	}
}

// A key that cannot be written, for instance to a full disk, is an error.
func TestKeygenFails(t *testing.T) {
	t.Parallel()
	var stderr strings.Builder
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if code := RunKeygen(t.Context(), nil, nil, full, &stderr); code != 1 || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("exit code %d, stderr %q", code, &stderr)
	}
	if err := keygen([]string{filepath.Join(t.TempDir(), "x")}, iotest.ErrReader(errors.New("no")), &stderr); err == nil {
		t.Error("no error without randomness")
	}
}
