package main

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// platform is an operating system and a processor that the program is built for.
type platform struct {
	system, processor string   // by Go's names
	variant           []string // the environment that chooses a variant of the processor
	suffix            string   // of the processor, in the file's name
	debian            string   // the architecture of the Debian package; "" for none
}

// platforms are all that are built. docs/platforms.md lists them, and says what is tested.
var platforms = []platform{
	{system: "linux", processor: "amd64", variant: []string{"GOAMD64=v1"}, debian: "amd64"},
	{system: "linux", processor: "arm64", variant: []string{"GOARM64=v8.0"}, debian: "arm64"},
	{system: "linux", processor: "arm", variant: []string{"GOARM=7"}, suffix: "v7", debian: "armhf"},
	{system: "linux", processor: "riscv64", variant: []string{"GORISCV64=rva20u64"}, debian: "riscv64"},
	{system: "darwin", processor: "amd64", variant: []string{"GOAMD64=v1"}},
	{system: "darwin", processor: "arm64", variant: []string{"GOARM64=v8.0"}},
	{system: "freebsd", processor: "amd64", variant: []string{"GOAMD64=v1"}},
	{system: "windows", processor: "amd64", variant: []string{"GOAMD64=v1"}},
}

// name is the platform in a file's name, such as linux-armv7.
func (p platform) name() string { return p.system + "-" + p.processor + p.suffix }

// binary returns the name of the file for a platform.
func (r *release) binary(p platform) string {
	name := fmt.Sprintf("memberly-%s-%s", r.version, p.name())
	if p.system == "windows" {
		name += ".exe"
	}
	return name
}

// binaries builds all platforms, two at a time, and returns the names of the files.
func (r *release) binaries() (names []string, err error) {
	errs := make([]error, len(platforms))
	var all sync.WaitGroup
	turns := make(chan struct{}, 2) // more do not help: each uses all processors
	for i, p := range platforms {
		names = append(names, r.binary(p))
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if errs[i] = r.compile(p); errs[i] != nil {
				errs[i] = fmt.Errorf("building for %s: %w", p.name(), errs[i])
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// compile builds the program for a platform. No path, time or setting of this machine gets into the file: the flags take
// none in, and the environment loses what would change the code.
func (r *release) compile(p platform) error {
	path := filepath.Join(r.out, r.binary(p))
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -X main.release="+r.version, "-o", path, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off", "GODEBUG=",
		"GOOS="+p.system, "GOARCH="+p.processor)
	c.Env = append(c.Env, p.variant...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(string(out)))
	}
	if err := os.Chmod(path, 0o755); err != nil {
		return err
	}
	if p.system == "linux" || p.system == "freebsd" {
		return checkStatic(path)
	}
	return nil
}

// checkStatic returns an error if a program needs a library or a loader of the machine.
func checkStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return fmt.Errorf("%s is not static: it has a segment %v", path, p.Type)
		}
	}
	return nil
}
