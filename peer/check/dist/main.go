// Dist builds what a release consists of: a static binary for each platform, Debian packages, a bill of materials and
// the checksums of all these. `make dist` runs it. The same sources, version and Go give the same bytes, in any folder.
//
// It is run in the project's top folder, and needs Go; dpkg-deb for the packages; git unless it is told the version and
// SOURCE_DATE_EPOCH is set.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// release is what is built, and where to.
type release struct {
	version string
	made    time.Time // of the commit; all times in what is built are this one
	out     string    // the folder
}

func main() {
	var r release
	flag.StringVar(&r.version, "version", "", "the `version`, such as v1.2.0 (default: by git)")
	flag.StringVar(&r.out, "out", "dist", "the `folder` to fill; what is in it is removed")
	unit := flag.Bool("unit", false, "only print the systemd unit of the packages")
	flag.Parse()
	do := r.build
	if *unit {
		do = printUnit
	}
	if err := do(); err != nil {
		fmt.Fprintf(os.Stderr, "dist: %v\n", err)
		os.Exit(1)
	}
}

func printUnit() error {
	unit, err := readUnit()
	fmt.Print(unit)
	return err
}

// build fills r.out.
func (r *release) build() (err error) {
	if r.version == "" {
		if r.version, err = versionByGit(); err != nil {
			return fmt.Errorf("finding the version: %w: give one, as in make dist VERSION=v1.2.0", err)
		}
	}
	if err := checkVersion(r.version); err != nil {
		return err
	}
	if r.made, err = sourceDate(); err != nil {
		return err
	}
	if err := r.clear(); err != nil {
		return err
	}
	binaries, err := r.binaries()
	if err != nil {
		return err
	}
	bill, err := r.bill(binaries)
	if err != nil {
		return err
	}
	if err := r.packages(bill); err != nil {
		return err
	}
	return r.sums()
}

// clear makes the folder, and empties it. It refuses a folder that has something else than a release.
func (r *release) clear() error {
	entries, err := os.ReadDir(r.out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || e.Name() != "SHA256SUMS" && !strings.HasPrefix(e.Name(), "memberly-") && !strings.HasPrefix(e.Name(), "memberly_") {
			return fmt.Errorf("%s has %s, which is of no release: name another folder", r.out, e.Name())
		}
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(r.out, e.Name())); err != nil {
			return err
		}
	}
	return os.MkdirAll(r.out, 0o755)
}

// sums writes SHA256SUMS, and prints it with the size of each file.
func (r *release) sums() error {
	entries, err := os.ReadDir(r.out) // sorted
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(r.out, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), e.Name())
		fmt.Printf("%9d  %s\n", len(content), e.Name())
	}
	return write(filepath.Join(r.out, "SHA256SUMS"), sums.Bytes(), 0o644)
}

// versionByGit returns the tag of this commit, or a name made of the newest tag and the commit. Without a tag it is the
// name that go build gives to a commit, so that versions are in the order of time.
func versionByGit() (string, error) {
	version, err := output("git", "describe", "--tags", "--match", "v[0-9]*")
	if err != nil {
		at, err := output("git", "show", "--no-patch", "--abbrev=12", "--date=format-local:%Y%m%d%H%M%S", "--format=%cd-%h")
		if err != nil {
			return "", err
		}
		version = "v0.0.0-" + at
	}
	changed, err := output("git", "status", "--porcelain")
	if changed != "" {
		version += "+dirty"
	}
	return version, err
}

// checkVersion returns an error for a version that could not be in a file's name, in a linker's flag and, but for its v,
// in a Debian version.
func checkVersion(version string) error {
	rest := strings.TrimPrefix(version, "v")
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if strings.Trim(rest, letters+"0123456789.-+~") != "" || strings.IndexAny(rest, "0123456789") != 0 {
		return fmt.Errorf("version %q: begin with a digit or with v and a digit, and use letters, digits and . - + ~", version)
	}
	return nil
}

// sourceDate returns SOURCE_DATE_EPOCH, or the time of the commit.
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		var err error
		if text, err = output("git", "show", "--no-patch", "--format=%ct"); err != nil {
			return time.Time{}, fmt.Errorf("finding the time of the commit: %w: set SOURCE_DATE_EPOCH", err)
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// output runs a command in the top folder, in UTC, and returns what it prints, without the end of the line.
func output(name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "TZ=UTC")
	out, err := c.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s %s: %w: %s", name, args[0], err, bytes.TrimSpace(failed.Stderr))
	}
	return strings.TrimSuffix(string(out), "\n"), err
}

// write writes a file with exactly this mode, whatever the umask, and makes its folder.
func write(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
