package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"memberly/peer/check/loopback"
)

// TestKeyFiles runs keygen, and peers that refuse invalid key files.
func TestKeyFiles(t *testing.T) {
	t.Parallel()
	hosts, folder := loopback.NewSubnet(t).HostsFile(t, "one", "two"), t.TempDir()
	made, shared := filepath.Join(folder, "made.key"), filepath.Join(folder, "shared.key")
	if code, out, errs := execute(t, "", "keygen", made); code != 0 || out+errs != "" {
		t.Fatalf("keygen: exit code %d, wrote %q and %q", code, out, errs)
	}
	if about, err := os.Stat(made); err != nil || about.Mode() != 0o600 {
		t.Errorf("the key file is %v, %v", about, err)
	}
	content, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(shared, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o640); err != nil {
		t.Fatal(err)
	}
	twice := filepath.Join(folder, "twice.key")
	if err := os.WriteFile(twice, append(content, content...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, file, name, want string }{
		{"others can read it", shared, "one", "mode is 0640): run chmod 600 " + shared},
		{"not there", made + ".none", "one", "no such file or directory"},
		{"a directory", folder, "one", "it is a directory"},
		{"the hosts file", hosts, "one", "line 1: not a key"},
		{"a key twice", twice, "one", "line 2: this key is on line 1 already"},
		{"valid, so the next fault is reported", made, "six", `this host, "six"`},
	} {
		code, out, errs := execute(t, "", "-h", hosts, "-n", c.name, "-key", c.file)
		if code != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %q", c.what, code, out, errs, c.want)
		}
		if strings.Contains(errs, strings.TrimSpace(string(content))) {
			t.Errorf("%s: stderr shows the key", c.what)
		}
	}
}
