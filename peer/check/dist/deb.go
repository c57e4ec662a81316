package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/md5"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// debian has the scripts of the package, and its files that are not made of others.
//
//go:embed debian
var debian embed.FS

// maintainer is in each package: by DEBFULLNAME and DEBEMAIL, as for Debian's own tools. The project has no address.
var maintainer = fmt.Sprintf("%s <%s>", cmp.Or(os.Getenv("DEBFULLNAME"), "the Memberly authors"),
	cmp.Or(os.Getenv("DEBEMAIL"), "memberly@localhost"))

// packages makes a Debian package for each platform that has one.
func (r *release) packages(bill []byte) error {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		fmt.Println("no Debian packages: dpkg-deb is missing")
		return nil
	}
	common, err := r.common(bill)
	if err != nil {
		return err
	}
	for _, p := range platforms {
		if p.debian != "" {
			if err := r.pack(p, common); err != nil {
				return fmt.Errorf("making the Debian package for %s: %w", p.debian, err)
			}
		}
	}
	return nil
}

// file is a file of a package, or one of its scripts.
type file struct {
	path    string
	content []byte
	mode    fs.FileMode
}

// common returns the files that the packages of all platforms have.
func (r *release) common(bill []byte) ([]file, error) {
	unit, err := readUnit()
	if err != nil {
		return nil, err
	}
	const docs = "usr/share/doc/memberly/"
	files := []file{
		{"usr/lib/systemd/system/memberly.service", []byte(unit), 0o644},
		{docs + "memberly.spdx.json.gz", compressed(bill), 0o644},
		{docs + "changelog.Debian.gz", compressed([]byte(r.debianChangelog())), 0o644},
	}
	for _, f := range []struct {
		from, to string
		compress bool
	}{
		{"LICENSE", docs + "copyright", false},
		{"CHANGELOG.md", docs + "changelog.gz", true},
		{"README.md", docs + "README.md.gz", true},
		{"docs/deploy.md", docs + "deploy.md.gz", true},
	} {
		content, err := os.ReadFile(f.from)
		if err != nil {
			return nil, err
		}
		if f.compress {
			content = compressed(content)
		}
		files = append(files, file{f.to, content, 0o644})
	}
	err = fs.WalkDir(debian, "debian", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := debian.ReadFile(path)
		mode := fs.FileMode(0o644)
		if bytes.HasPrefix(content, []byte("#!")) {
			mode = 0o755
		}
		files = append(files, file{strings.TrimPrefix(path, "debian/"), content, mode})
		return err
	})
	if err != nil {
		return nil, err
	}
	made, err := r.printed()
	return append(files, made...), err
}

// printed returns the files that the program itself prints: its manual page and the completions of shells. It asks the binary for this machine.
func (r *release) printed() (files []file, err error) {
	here := slices.IndexFunc(platforms, func(p platform) bool { return p.system == runtime.GOOS && p.processor == runtime.GOARCH })
	if here < 0 {
		fmt.Println("packages without manual page and completions: none of the binaries runs on this machine")
		return nil, nil
	}
	program, err := filepath.Abs(filepath.Join(r.out, r.binary(platforms[here])))
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		args, path string
		compress   bool
	}{
		{"man", "usr/share/man/man8/memberly.8.gz", true},
		{"completion bash", "usr/share/bash-completion/completions/memberly", false},
		{"completion zsh", "usr/share/zsh/vendor-completions/_memberly", false},
		{"completion fish", "usr/share/fish/vendor_completions.d/memberly.fish", false},
	} {
		c := exec.Command(program, strings.Fields(f.args)...)
		c.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+fmt.Sprint(r.made.Unix()))
		content, err := c.Output()
		if err != nil {
			return nil, fmt.Errorf("memberly %s: %w", f.args, err)
		}
		if f.compress {
			content = compressed(content)
		}
		files = append(files, file{f.path, content, 0o644})
	}
	return files, nil
}

// pack makes the package for a platform.
func (r *release) pack(p platform, common []file) error {
	root, err := os.MkdirTemp("", "memberly-deb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	program, err := os.ReadFile(filepath.Join(r.out, r.binary(p)))
	if err != nil {
		return err
	}
	files := append([]file{{"usr/bin/memberly", program, 0o755}}, common...)
	var sums bytes.Buffer
	size := 0
	for _, f := range files {
		if strings.HasPrefix(f.path, "DEBIAN/") {
			continue
		}
		size += (len(f.content) + 1023) / 1024
		if !strings.HasPrefix(f.path, "etc/") {
			fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(f.content), f.path)
		}
	}
	files = append(files, file{"DEBIAN/md5sums", sums.Bytes(), 0o644},
		file{"DEBIAN/control", []byte(r.control(p, size)), 0o644})
	for _, f := range files {
		if err := write(filepath.Join(root, f.path), f.content, f.mode); err != nil {
			return err
		}
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		if err != nil {
			return err
		}
		return os.Chtimes(path, r.made, r.made)
	})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("memberly_%s_%s.deb", debianVersion(r.version), p.debian)
	c := exec.Command("dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz", "--build", root, filepath.Join(r.out, name))
	c.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.made.Unix()))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-deb: %w\n%s", err, out)
	}
	return os.Chmod(filepath.Join(r.out, name), 0o644)
}

// control returns what dpkg is to know of the package for a platform, which takes so many KiB.
func (r *release) control(p platform, size int) string {
	return fmt.Sprintf(`Package: memberly
Version: %s
Architecture: %s
Maintainer: %s
Installed-Size: %d
Depends: adduser, init-system-helpers (>= 1.52)
Section: net
Priority: optional
Description: keeps hosts in agreement on who is up and who leads
 Memberly runs on each host of a group. The hosts agree on which of them are up,
 and on one that leads, over numbered views and by majority.
 .
 List the group's hosts in /etc/memberly/hosts.txt, the same on all of them, and
 then run: systemctl enable --now memberly
`, debianVersion(r.version), p.debian, maintainer, size)
}

func (r *release) debianChangelog() string {
	return fmt.Sprintf("memberly (%s) unstable; urgency=medium\n\n  * Release %s: see changelog.gz.\n\n -- %s  %s\n",
		debianVersion(r.version), r.version, maintainer, r.made.Format(time.RFC1123Z))
}

// sinceTag is what git describe adds to a tag for the commits since.
var sinceTag = regexp.MustCompile(`-(\d+)-g([0-9a-f]+)`)

// debianVersion returns a version as Debian orders it: 1.2.0~rc.1, from v1.2.0-rc.1, is before 1.2.0, and
// 1.2.0+5.gabc, from v1.2.0-5-gabc, after it. It is that of a native package, so it has no hyphen.
func debianVersion(version string) string {
	version = sinceTag.ReplaceAllString(strings.TrimPrefix(version, "v"), "+$1.g$2")
	version = strings.Replace(version, "-", "~", 1)
	return strings.ReplaceAll(version, "-", ".")
}

// readUnit returns the unit of the packages.
func readUnit() (string, error) {
	deployed, err := os.ReadFile("docs/deploy/memberly.service")
	if err != nil {
		return "", err
	}
	return packagedUnit(string(deployed))
}

// packagedUnit returns docs/deploy/memberly.service for the program and the user of the package.
func packagedUnit(unit string) (string, error) {
	for _, c := range []struct{ is, becomes string }{
		{"ExecStart=/usr/local/bin/memberly -h /etc/memberly/hosts.txt ", "ExecStart=/usr/bin/memberly -h /etc/memberly/hosts.txt "},
		// A user of its own can own a key and a state file. The rest is what DynamicUser implies beside that.
		{"DynamicUser=yes\n", "User=memberly\nPrivateTmp=yes\nRemoveIPC=yes\nRestrictSUIDSGID=yes\n"},
		// The folders that postinst makes, which the unit may write to.
		{"append:/var/log/memberly.records\n", "append:/var/log/memberly/records\nLogsDirectory=memberly\nStateDirectory=memberly\nStateDirectoryMode=0700\n"},
		{"Description=Memberly\n", "Description=Memberly\nDocumentation=file:///usr/share/doc/memberly/README.md.gz\n"},
	} {
		if strings.Count(unit, c.is) != 1 {
			return "", fmt.Errorf("docs/deploy/memberly.service does not have %q once: change what the package makes of it", c.is)
		}
		unit = strings.Replace(unit, c.is, c.becomes, 1)
	}
	return unit, nil
}

// compressed returns content as gzip -9n has it.
func compressed(content []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // fails only for an unknown level
	w.Write(content)                                      // a Buffer takes it all
	w.Close()
	return b.Bytes()
}
