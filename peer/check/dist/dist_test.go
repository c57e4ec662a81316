package main

import (
	"debug/elf"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

const root = "../../.."

func TestDebianVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ version, want string }{
		{"v1.2.0", "1.2.0"},
		{"1.2.0", "1.2.0"},
		{"v1.2.0-rc.1", "1.2.0~rc.1"},
		{"v1.2.0-5-g0a1b2c3", "1.2.0+5.g0a1b2c3"},
		{"v1.2.0-rc.1-5-g0a1b2c3+dirty", "1.2.0~rc.1+5.g0a1b2c3+dirty"},
		{"v0.0.0-20261127063320-54de3e5abcde+dirty", "0.0.0~20261127063320.54de3e5abcde+dirty"},
	} {
		if err := checkVersion(c.version); err != nil {
			t.Error(err)
		}
		if got := debianVersion(c.version); got != c.want {
			t.Errorf("%s is %s for Debian, want %s", c.version, got, c.want)
		}
	}
	for _, bad := range []string{"", "v", "release", "v1.2/3", "v1 -X main.x=y", "v1'", "-1"} {
		if checkVersion(bad) == nil {
			t.Errorf("%q is taken for a version", bad)
		}
	}
}

// The package has the unit of the documentation, with a user of its own.
func TestUnit(t *testing.T) {
	t.Parallel()
	deployed, err := os.ReadFile(filepath.Join(root, "docs/deploy/memberly.service"))
	if err != nil {
		t.Fatal(err)
	}
	unit, err := packagedUnit(string(deployed))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"[Unit]", "[Service]", "[Install]", "ExecStart=/usr/bin/memberly -h /etc/memberly/hosts.txt -http 8082",
		"User=memberly", "WantedBy=multi-user.target"} {
		if !strings.Contains(unit, line+"\n") {
			t.Errorf("the unit lacks %s:\n%s", line, unit)
		}
	}
	if strings.Contains(unit, "DynamicUser") || strings.Contains(unit, "/usr/local") {
		t.Errorf("the unit is not that of the package:\n%s", unit)
	}
	for _, deployed := range []string{"", "[Unit]\nDescription=Memberly\n"} {
		if _, err := packagedUnit(deployed); err == nil {
			t.Errorf("%q gave a unit", deployed)
		}
	}
}

// A release takes the place of another one, and of nothing else.
func TestClear(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, beside string
		ok           bool
	}{
		{"a release", "", true},
		{"a built program", "memberly", false},
		{"a file of the user", "notes", false},
		{"a folder", "memberly-1/", false},
	} {
		r := release{out: t.TempDir()}
		files := []string{"SHA256SUMS", "memberly-1-linux-amd64", "memberly_1_amd64.deb"}
		for _, name := range append(files, c.beside) {
			path := filepath.Join(r.out, name)
			switch {
			case name == "":
			case strings.HasSuffix(name, "/"):
				if err := os.Mkdir(path, 0o700); err != nil {
					t.Fatal(err)
				}
			default:
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		err := r.clear()
		left, _ := os.ReadDir(r.out)
		if ok := err == nil; ok != c.ok || ok != (len(left) == 0) || !ok && len(left) != 4 {
			t.Errorf("%s: %v, %d files are left", c.what, err, len(left))
		}
	}
}

// The table of the documentation has exactly the platforms that are built.
func TestPlatformsDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join(root, "docs/platforms.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]bool)
	for line := range strings.Lines(string(doc)) {
		if name, ok := strings.CutPrefix(line, "| `"); ok && strings.Contains(line, "` | yes |") {
			name, _, _ = strings.Cut(name, "`")
			rows[name] = true
		}
	}
	for _, p := range platforms {
		if !rows[p.name()] {
			t.Errorf("docs/platforms.md lacks %s", p.name())
		}
		delete(rows, p.name())
	}
	for name := range rows {
		t.Errorf("docs/platforms.md has %s, which is not built", name)
	}
}

func TestBill(t *testing.T) {
	t.Parallel()
	r := release{version: "v1.2.0", made: time.Unix(0, 0).UTC()}
	info := func(main, version string, deps ...*debug.Module) *debug.BuildInfo {
		return &debug.BuildInfo{GoVersion: version, Main: debug.Module{Path: main}, Deps: deps,
			Settings: []debug.BuildSetting{{Key: "GOOS", Value: "linux"}}}
	}
	other := &debug.Module{Path: "example.org/a_b/c", Version: "v0.1.0"}
	d, err := r.document([]built{{"a", []byte("A"), info("memberly", "go1.26.8", other)}, {"b", []byte("B"), info("memberly", "go1.26.8", other)}}, "Copyright")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ids := map[string]bool{d.ID: true}
	for _, p := range d.Packages {
		names = append(names, p.Name+" "+p.Version)
		ids[p.ID] = true
	}
	if got, want := strings.Join(names, ", "), "memberly v1.2.0, std 1.26.8, example.org/a_b/c v0.1.0"; got != want {
		t.Errorf("the packages are %s, want %s", got, want)
	}
	for _, f := range d.Files {
		ids[f.ID] = true
		if !strings.Contains(f.Comment, "GOOS=linux") {
			t.Errorf("%s does not say how it was built: %q", f.Name, f.Comment)
		}
	}
	if len(ids) != 1+3+2 {
		t.Errorf("ids are not unique: %v", ids)
	}
	for _, r := range d.Relationships {
		if !ids[r.From] || !ids[r.To] {
			t.Errorf("%v names what is not there", r)
		}
	}
	if got := d.Files[0].Checksums[0].Value; got != "6dcd4ce23d88e2ee9568ba546c007c63d9131c1b" {
		t.Errorf("SHA1 of A is %s", got)
	}
	for _, wrong := range [][]built{
		{{"a", nil, info("other", "go1.26.8")}},
		{{"a", nil, info("memberly", "go1.26.8")}, {"b", nil, info("memberly", "go1.26.9")}},
	} {
		if _, err := r.document(wrong, ""); err == nil {
			t.Errorf("no error for %v", wrong)
		}
	}
}

func TestCheckStatic(t *testing.T) {
	t.Parallel()
	shell := "/bin/sh"
	if f, err := elf.Open(shell); err != nil {
		t.Skip("there is no dynamic program to look at")
	} else {
		f.Close()
	}
	if checkStatic(shell) == nil {
		t.Error(shell + " is taken for a static program")
	}
}
