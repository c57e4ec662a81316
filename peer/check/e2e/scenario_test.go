package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/check/scenario"
)

// TestScenarios runs the scenarios of the compose files as processes on loopback, in real time, without
// and with a key. Every peer must write exactly the records of its table.
func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, s := range scenario.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			runScenario(t, s)
		})
		t.Run(s.Name+", sealed", func(t *testing.T) {
			t.Parallel()
			runScenario(t, s, "-key", keyFile(t, newKeys(t, 1)...))
		})
	}
}

func runScenario(t *testing.T, s scenario.Scenario, more ...string) {
	var names []string
	for _, p := range s.Peers {
		names = append(names, p.Name)
	}
	file := loopback.NewSubnet(t).HostsFile(t, names...)
	var daemons []*daemon
	for _, p := range s.Peers {
		daemons = append(daemons, start(t, file, p.Name, slices.Concat(p.Args[2:], more)...))
	}
	for i, p := range s.Peers {
		daemons[i].awaitRecords(len(p.Records))
	}
	for i, p := range slices.Backward(s.Peers) { // one by one, as two that leave at once can run out of time
		code := 0
		if p.Crashes() {
			code = 1
		} else {
			daemons[i].signal(syscall.SIGTERM)
		}
		if got := daemons[i].awaitExit(patience); got != code {
			t.Errorf("%s: exit code %d, want %d", p.Name, got, code)
		}
	}
	for i, p := range s.Peers {
		daemons[i].compare(p.Records)
	}
}

// scenarioTime is longer than the longest scenario.
const scenarioTime = 60 * time.Second

// awaitRecords waits until n records are written.
func (d *daemon) awaitRecords(n int) {
	d.t.Helper()
	if !d.stderr.Await(scenarioTime, nil, func() bool { return len(d.stderr.Lines()) >= n }) {
		d.t.Errorf("%s wrote %d records, want %d", d.name, len(d.stderr.Lines()), n)
	}
}

// compare compares the records with want. Later ones may only come from the end of the test, when all
// peers leave.
func (d *daemon) compare(want []string) {
	d.t.Helper()
	got := d.stderr.Lines()
	n := min(len(want), len(got))
	if !slices.Equal(got[:n], want) {
		d.t.Errorf("%s wrote\n%s\nwant\n%s", d.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, extra := range got[n:] {
		if !strings.Contains(extra, "leaving") && !strings.Contains(extra, "memb_list") {
			d.t.Errorf("%s wrote %s besides", d.name, extra)
		}
	}
}
