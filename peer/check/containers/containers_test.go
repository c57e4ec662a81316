// Package containers_test starts the compose files in real containers and compares the records of
// each peer with the tables of package scenario. It also injects real faults into groups and compares
// what the peers write with the truth (judge_test.go), has doctors find faults (doctor_test.go), and kills peers with state
// files a hundred times (kills_test.go).
//
// It needs Docker and Compose, and for the faults root, nsenter, setpriv, nft and ip, so it starts
// containers only if MEMBERLY_CONTAINERS is set; then a missing tool is a failure. MEMBERLY_REPEAT is
// how often to run each scenario, GO_IMAGE names the image to build with (see the Dockerfile), MEMBERLY_COMPOSE the program of
// Compose (default: docker-compose, else docker compose), and
// MEMBERLY_IMAGES is the prefix of the names of all images and projects made here.
package containers_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"memberly/peer/check/scenario"
)

// scenarioLimit ends a scenario that hangs. The longest one takes half a minute.
const scenarioLimit = 3 * time.Minute

// image is the image to run; empty if no containers are to be started.
var image string

func TestMain(m *testing.M) {
	if kind := os.Getenv(impostorKey); kind != "" {
		fmt.Println(impersonate(kind))
		os.Exit(1)
	}
	os.Exit(withImage(m.Run))
}

// withImage runs the tests with an image built for them under its own name, so that they neither test
// a stale prj3 nor replace the user's. It returns the exit code.
func withImage(tests func() int) int {
	if os.Getenv("MEMBERLY_CONTAINERS") == "" {
		return tests()
	}
	ctx := context.Background()
	image = cmp.Or(os.Getenv("MEMBERLY_IMAGES"), fmt.Sprintf("memberly-test-%d", os.Getpid()))
	defer docker(ctx, "image", "rm", image)
	if err := buildImage(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return tests()
}

// TestScenarios runs the four scenarios at the same time, the repetitions of each one after the other.
func TestScenarios(t *testing.T) {
	t.Parallel()
	needContainers(t)
	repeat, err := strconv.Atoi(cmp.Or(os.Getenv("MEMBERLY_REPEAT"), "1"))
	if err != nil || repeat < 1 {
		t.Fatalf("MEMBERLY_REPEAT is %q, want a number of repetitions", os.Getenv("MEMBERLY_REPEAT"))
	}
	for _, s := range scenario.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			for i := range repeat {
				t.Run(strconv.Itoa(i+1), func(t *testing.T) { runScenario(t, s, i+1) })
			}
		})
	}
}

// runScenario runs a scenario from `up` to the last container's exit.
func runScenario(t *testing.T, s scenario.Scenario, repetition int) {
	ctx, cancel := context.WithTimeout(t.Context(), scenarioLimit)
	defer cancel()
	p := newProject(t, s.Name, fmt.Sprintf("%s-%s-%d", image, s.Name, repetition), image)
	began := p.up(ctx, t)
	started := time.Since(began)
	w := p.follow(ctx, t, s)
	if err := w.untilQuiet(ctx); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", s.Name, err, w.sideBySide(), p.logs())
	}
	finished := time.Since(began)
	w.checkCrashes(ctx, t)
	stopping := w.stop(ctx, t)
	p.verify(ctx, t)
	t.Logf("containers up after %.1fs; quiet, with the records of the table, after %.1fs; stopped in %.1fs",
		started.Seconds(), finished.Seconds(), stopping.Seconds())
	if t.Failed() {
		t.Log(p.logs())
	}
}

func needContainers(t *testing.T) {
	t.Helper()
	if image == "" {
		t.Skip("starts containers: set MEMBERLY_CONTAINERS=1 to run it, as .ci/run does")
	}
}
