package containers_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// keyCommand finds the command of the init container.
var keyCommand = regexp.MustCompile(`command: \["sh", "-c", "(.*)"\]`)

// allThree is a record of a view of three members, in the order in which they came.
var allThree = regexp.MustCompile(`memb_list: \[<\d,\d,\d>\]`)

// TestConfined runs three hosts as docs/deploy/kubernetes.yaml has them: as user 65532, without capabilities, with a
// root that is read-only, with state and keys. The volumes have the owners and modes that the kubelet gives them with
// fsGroup: 65532.
func TestConfined(t *testing.T) {
	needContainers(t)
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name := image + "-confined"
	var made []string
	t.Cleanup(func() {
		ctx := context.Background()
		docker(ctx, append([]string{"rm", "-fv"}, made...)...)
		docker(ctx, "volume", "rm", name+"-secret", name+"-1", name+"-2", name+"-3")
		docker(ctx, "network", "rm", name)
		docker(ctx, "image", "rm", name)
	})
	do := func(args ...string) string {
		t.Helper()
		out, err := docker(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	load := exec.CommandContext(ctx, "docker", "import", "-", name) // has this machine's shell
	load.Stdin = bytes.NewReader(rootOfMachine(t))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	do("network", "create", name)
	hosts := t.TempDir() + "/hosts.txt"
	if err := os.WriteFile(hosts, []byte("one\ntwo\nthree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	shell := func(user, script string, args ...string) {
		t.Helper()
		args = append([]string{"run", "--rm", "--user", user, "-v", "/usr:/usr:ro", "-v", name + "-secret:/secret"}, args...)
		do(append(args, name, "sh", "-c", script)...)
	}
	confined := []string{"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65532:65532"}

	// A Secret with fsGroup is of root and its group, with mode 0440 at least; without, of root alone.
	key := do("run", "--rm", image, "keygen")
	for mode, want := range map[string]string{
		"chmod 0440 /secret/group.key":                               "others than its owner can read or write it",
		"chmod 0400 /secret/group.key; chgrp root /secret/group.key": "permission denied",
	} {
		shell("0", fmt.Sprintf("rm -f /secret/group.key; echo %s >/secret/group.key; chgrp 65532 /secret/group.key; %s", key, mode))
		args := append([]string{"run", "--rm", "--hostname", "one", "--name", name + "-refused", "-v", name + "-secret:/secret:ro"}, confined...)
		out, err := docker(ctx, append(args, image, "-h", "/hostsfile.txt", "-key", "/secret/group.key")...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\n%s", mode, err, out)
		}
	}
	shell("0", "chgrp 65532 /secret/group.key; chmod 0440 /secret/group.key")

	found := keyCommand.FindStringSubmatch(readFile(t, "docs/deploy/kubernetes-keys.yaml"))
	if found == nil {
		t.Fatal("docs/deploy/kubernetes-keys.yaml has no command that copies the keys")
	}
	for i, host := range []string{"one", "two", "three"} {
		volume := fmt.Sprintf("%s-%d", name, i+1)
		shell("0", "mkdir -m 2777 /v/key && mkdir -m 2775 /v/state && chgrp 65532 /v/key /v/state; chmod 2777 /v/key; chmod 2775 /v/state", "-v", volume+":/v")
		shell("65532:65532", strings.ReplaceAll(found[1], " /key/", " /v/key/"), append([]string{"-v", volume + ":/v"}, confined[:5]...)...)
		made = append(made, volume)
		do(append(append([]string{"run", "-d", "--name", volume, "--hostname", host, "--network", name, "--network-alias", host,
			"-v", volume + ":/v", "-v", hosts + ":/etc/memberly/hosts.txt:ro", "-e", "MEMBERLY_KEY=/v/key/group.key"}, confined...),
			image, "-h", "/etc/memberly/hosts.txt", "-http", "8082", "-state", "/v/state/state")...)
	}
	for _, container := range made {
		for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			out := do("logs", container)
			if allThree.MatchString(out) && strings.Contains(out, "Read 1 key from") {
				break
			}
			if time.Since(began) > 15*time.Second {
				t.Fatalf("%s is not in a sealed group of three:\n%s", container, out)
			}
		}
		do("exec", container, "/memberly", "ready")
	}
	began := time.Now()
	do(append([]string{"stop"}, made...)...)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("they stopped after %s", took)
	}
	for _, container := range made {
		if code := do("inspect", "-f", "{{.State.ExitCode}}", container); code != "0" {
			t.Errorf("%s ended with %s:\n%s", container, code, do("logs", container))
		}
	}
}
