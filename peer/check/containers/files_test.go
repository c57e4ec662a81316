package containers_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"memberly/peer/check/scenario"
)

var hosts = []string{"one", "two", "three", "four", "five"}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestHostsFile checks the hosts of the compose files, in their order.
func TestHostsFile(t *testing.T) {
	t.Parallel()
	if got, want := readFile(t, "hostsfile.txt"), strings.Join(hosts, "\n")+"\n"; got != want {
		t.Errorf("hostsfile.txt is %q, want %q", got, want)
	}
}

// TestComposeFiles compares the text of the compose files with the tables: services, host names and
// commands are those of the reference, and each host waits for the one before it.
func TestComposeFiles(t *testing.T) {
	t.Parallel()
	for _, s := range scenario.Scenarios() {
		text := readFile(t, composeFile(s.Name))
		if !strings.Contains(text, "\n  image: prj3\n") {
			t.Errorf("%s: no image prj3", s.Name)
		}
		_, services, _ := strings.Cut(text, "\nservices:\n")
		services, _, _ = strings.Cut(services, "\nnetworks:\n")
		if got, want := services, servicesOf(s); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s: services are\n%s\nwant\n%s", s.Name, got, want)
		}
	}
}

// buildKeys are in the first service only, or else `docker compose` would build the image five times.
const buildKeys = `    build: # when the image is missing; the first host builds it for all
      context: .
      args: [GO_IMAGE] # from the environment; see the Dockerfile
`

// servicesOf returns the services of a scenario as its compose file must have them.
func servicesOf(s scenario.Scenario) string {
	var b strings.Builder
	for i, p := range s.Peers {
		b.WriteString("  " + p.Name + ":\n    <<: *peer\n    hostname: " + p.Name + "\n")
		b.WriteString("    command: " + strings.Join(p.Args, " ") + "\n")
		if i == 0 {
			b.WriteString(buildKeys)
		} else {
			b.WriteString("    depends_on: [" + s.Peers[i-1].Name + "]\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestImage checks that the image holds only the program and the hosts file, and runs without a shell
// and without privileges.
func TestImage(t *testing.T) {
	needContainers(t)
	var got struct {
		Config struct {
			User       string
			Entrypoint []string
		}
		RootFS struct{ Layers []string }
	}
	inspect(t.Context(), t, image, &got)
	if user := got.Config.User; user != "65532:65532" {
		t.Errorf("it runs as %q", user)
	}
	if entry := got.Config.Entrypoint; !slices.Equal(entry, []string{"/memberly"}) {
		t.Errorf("its entry point is %q", entry)
	}
	if n := len(got.RootFS.Layers); n != 2 {
		t.Errorf("it has %d layers, want the program and the hosts file", n)
	}
}

// TestComposeBuildsImage checks that Compose builds the image when it is missing, with the
// base image that the environment names.
func TestComposeBuildsImage(t *testing.T) {
	needContainers(t)
	ctx := t.Context()
	missing := image + "-compose"
	p := newProject(t, "testcase-1", missing, missing)
	if _, err := p.run(ctx, "up", "--no-start"); err != nil {
		t.Fatal(err)
	}
	if _, err := docker(ctx, "image", "inspect", missing); err != nil {
		t.Errorf("Compose has not built the image: %v", err)
	}
	p.remove(t)
	if _, err := docker(ctx, "image", "rm", missing); err != nil {
		t.Error(err)
	}
}
