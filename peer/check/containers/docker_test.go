package containers_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"memberly/peer/check/scenario"
)

// root is where the Dockerfile and the compose files are.
const root = "../../.."

// command runs a program in the root folder and returns its output. If the program fails, the error
// quotes all output.
func command(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = root
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", c, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func docker(ctx context.Context, args ...string) (string, error) {
	return command(ctx, "docker", args...)
}

// stream is where a peer writes: records on stderr, everything else on stdout.
type stream string

const (
	stdout stream = "stdout"
	stderr stream = "stderr"
)

// follow runs c and calls said for each line that it writes, one at a time. It returns the error of
// exec.Cmd.Wait.
func follow(c *exec.Cmd, said func(from stream, text string)) error {
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	records, err := c.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	var one sync.Mutex
	read := func(r io.Reader, from stream) {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			one.Lock()
			said(from, lines.Text())
			one.Unlock()
		}
	}
	var readers sync.WaitGroup
	readers.Go(func() { read(out, stdout) })
	readers.Go(func() { read(records, stderr) })
	readers.Wait()
	return c.Wait()
}

// buildImage builds the image from the present sources.
func buildImage(ctx context.Context) error {
	_, err := docker(ctx, "build", "--build-arg", "GO_IMAGE="+os.Getenv("GO_IMAGE"), "-t", image, ".")
	return err
}

// inspect decodes the output of docker inspect for a container or image into v.
func inspect(ctx context.Context, t *testing.T, id string, v any) {
	t.Helper()
	out, err := docker(ctx, "inspect", "-f", "{{json .}}", id)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("reading docker inspect %s: %v", id, err)
	}
}

// project is one start of a compose file, under a name of its own.
type project struct {
	compose []string // the command up to Compose's verb
}

// newProject prepares to start a scenario's compose file as a project called name, with this image
// in place of prj3. The end of the test removes everything.
func newProject(t *testing.T, scenario, name, image string) project {
	t.Helper()
	override := filepath.Join(t.TempDir(), "override.yml")
	text := "services:\n"
	for _, host := range hosts {
		text += fmt.Sprintf("  %s: {image: %s}\n", host, image)
	}
	if err := os.WriteFile(override, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := project{append(composeProgram(), "-p", name, "-f", composeFile(scenario), "-f", override)}
	t.Cleanup(func() { p.remove(t) })
	return p
}

// composeProgram returns the command of Compose.
func composeProgram() []string {
	if program := os.Getenv("MEMBERLY_COMPOSE"); program != "" {
		return []string{program}
	}
	if _, err := exec.LookPath("docker-compose"); err != nil {
		return []string{"docker", "compose"}
	}
	return []string{"docker-compose"}
}

// remove removes the project's containers and its network.
func (p project) remove(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := p.run(ctx, "down", "--timeout", "1"); err != nil {
		t.Error(err)
	}
}

func composeFile(scenario string) string { return "docker-compose-" + scenario + ".yml" }

func (p project) run(ctx context.Context, args ...string) (string, error) {
	all := append(p.compose[1:len(p.compose):len(p.compose)], args...)
	return command(ctx, p.compose[0], all...)
}

// starting lets one project start at a time, because containers take seconds to start on a busy
// machine, and the tables expect peers that start seconds apart.
var starting sync.Mutex

// up starts all containers, and returns the time of its beginning when all run.
func (p project) up(ctx context.Context, t *testing.T) time.Time {
	t.Helper()
	starting.Lock()
	defer starting.Unlock()
	began := time.Now()
	if _, err := p.run(ctx, "up", "-d"); err != nil {
		t.Fatal(err)
	}
	return began
}

// container returns the id of a service's container.
func (p project) container(ctx context.Context, t *testing.T, service string) string {
	t.Helper()
	id, err := p.run(ctx, "ps", "-aq", service)
	if err != nil {
		t.Fatal(err)
	}
	if id == "" {
		t.Fatalf("%s has no container", service)
	}
	return id
}

// follow starts reading the records of every peer of the scenario, from the first one on.
func (p project) follow(ctx context.Context, t *testing.T, s scenario.Scenario) *watch {
	t.Helper()
	w := &watch{events: make(chan event)}
	for i, peer := range s.Peers {
		w.peers = append(w.peers, &watched{Peer: peer, container: p.container(ctx, t, peer.Name)})
		go w.read(ctx, i)
	}
	return w
}

// verify runs the image's own verify on the logs of Compose.
func (p project) verify(ctx context.Context, t *testing.T) {
	t.Helper()
	verify := exec.CommandContext(ctx, "docker", "run", "--rm", "-i", image, "verify")
	verify.Stdin = strings.NewReader(p.logs())
	out, err := verify.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "The records agree") {
		t.Errorf("memberly verify, of the logs: %v\n%s", err, out)
	}
}

// logs returns the stdout and stderr of all containers, each line with its time.
func (p project) logs() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := p.run(ctx, "logs", "--no-color", "--timestamps")
	if err != nil {
		return err.Error()
	}
	return out
}
