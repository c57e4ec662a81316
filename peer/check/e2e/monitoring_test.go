package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"memberly/peer/check/loopback"
)

// monitoring is the folder of the alerts and of the dashboard.
const monitoring = root + "/docs/monitoring"

// free are labels that may have any value.
var free = []string{"job", "group", "instance", "version"}

// served are the metrics of a running peer with everything on.
type served struct {
	text  string
	kinds map[string]string // by the name of the family
}

func metricsServed(t *testing.T) *served {
	t.Helper()
	s := loopback.NewSubnet(t)
	start(t, s.HostsFile(t, "one"), "one", "-http", "8082", "-state", filepath.Join(t.TempDir(), "state"))
	m := &served{kinds: make(map[string]string)}
	m.text = fetch(t, s.Host(1).String()+":8082", "/metrics", says(200, "memberly_leads 1\n"))
	for _, f := range regexp.MustCompile(`(?m)^# TYPE (\w+) (\w+)$`).FindAllStringSubmatch(m.text, -1) {
		m.kinds[f[1]] = f[2]
	}
	return m
}

// family returns the family of a series.
func (m *served) family(series string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if family, ok := strings.CutSuffix(series, suffix); ok && m.kinds[family] == "histogram" {
			return family
		}
	}
	return series
}

// used returns the families that a text names, and complains of those, and of values of labels, that no peer serves.
func (m *served) used(t *testing.T, where, text string) map[string]bool {
	t.Helper()
	used := make(map[string]bool)
	for _, u := range regexp.MustCompile(`\b(memberly_\w+)(\{[^}]*\})?`).FindAllStringSubmatch(text, -1) {
		family := m.family(u[1])
		used[family] = true
		if m.kinds[family] == "" {
			t.Errorf("%s uses %s, which no peer serves", where, u[1])
		}
		if m.kinds[family] == "histogram" && family == u[1] {
			t.Errorf("%s uses %s without _bucket, _sum or _count", where, u[1])
		}
		for _, l := range regexp.MustCompile(`(\w+)(?:=~|!~|!=|=)"([^"]*)"`).FindAllStringSubmatch(u[2], -1) {
			if slices.Contains(free, l[1]) {
				continue
			}
			for value := range strings.SplitSeq(l[2], "|") {
				if !strings.Contains(m.text, fmt.Sprintf("%s=%q", l[1], value)) {
					t.Errorf("%s uses %s with %s=%q, which no peer serves", where, u[1], l[1], value)
				}
			}
		}
	}
	return used
}

func readMonitoring(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(monitoring, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// dashboard is what these tests check of the dashboard.
type dashboard struct {
	Panels []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ X, Y, W, H int }
		Targets                  []struct{ RefID, Expr string }
	}
	Annotations struct{ List []struct{ Expr string } }
}

func readDashboard(t *testing.T) *dashboard {
	t.Helper()
	d := &dashboard{}
	if err := json.Unmarshal([]byte(readMonitoring(t, "dashboard.json")), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// expressions returns what the dashboard asks Prometheus.
func (d *dashboard) expressions() (all []string) {
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			all = append(all, q.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		all = append(all, a.Expr)
	}
	return all
}

// The alerts and the dashboard use metrics that a peer serves, and the dashboard shows every one.
func TestMonitoringNames(t *testing.T) {
	t.Parallel()
	m := metricsServed(t)
	if len(m.kinds) < 20 {
		t.Fatalf("a peer serves only %v", m.kinds)
	}
	m.used(t, "alerts.yml", readMonitoring(t, "alerts.yml"))
	m.used(t, "alerts_test.yml", readMonitoring(t, "alerts_test.yml"))
	shown := m.used(t, "dashboard.json", strings.Join(readDashboard(t).expressions(), "\n"))
	for _, family := range slices.Sorted(maps.Keys(m.kinds)) {
		if !shown[family] {
			t.Errorf("the dashboard does not show %s", family)
		}
	}
}

// Each alert says what to do, has a section of the docs, and is tested.
func TestAlertsAreExplained(t *testing.T) {
	t.Parallel()
	alerts, tests := readMonitoring(t, "alerts.yml"), readMonitoring(t, "alerts_test.yml")
	docs := readMonitoring(t, "README.md")
	rules := strings.Split(alerts, "- alert: ")[1:]
	if len(rules) < 10 {
		t.Fatalf("there are %d alerts", len(rules))
	}
	for _, rule := range rules {
		name, _, _ := strings.Cut(rule, "\n")
		for _, want := range []string{"\n        expr: ", "\n        labels: {severity: ", "\n          summary: ", "\n          description: >-\n",
			"\n          runbook: docs/monitoring/README.md#" + strings.ToLower(name) + "\n"} {
			if !strings.Contains(rule, want) {
				t.Errorf("%s has no %q", name, want)
			}
		}
		if !regexp.MustCompile(`(?m)^#+ ` + name + `$`).MatchString(docs) {
			t.Errorf("docs/monitoring/README.md has no heading %s", name)
		}
		if !strings.Contains(tests, `{labels: '{alertname="`+name+`"`) {
			t.Errorf("no test in alerts_test.yml has %s fire", name)
		}
	}
}

// Each panel of the dashboard has a place of its own, and says what it shows.
func TestDashboardLayout(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	for i, p := range d.Panels {
		if g := p.GridPos; g.W <= 0 || g.H <= 0 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%q has no place on the dashboard: %+v", p.Title, g)
		}
		if p.Title == "" || p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %d has no title, description or query", p.ID)
		}
		for _, q := range d.Panels[:i] {
			a, b := p.GridPos, q.GridPos
			if p.ID == q.ID || a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%q and %q have the same id, or overlap", p.Title, q.Title)
			}
		}
	}
}

// Prometheus's own tool accepts the alerts, what the dashboard asks, the configuration, and what a peer serves; and each
// alert fires when it should, and not else.
func TestPromtool(t *testing.T) {
	promtool := os.Getenv("MEMBERLY_PROMTOOL")
	if promtool == "" {
		t.Skip("set MEMBERLY_PROMTOOL to a promtool, as .ci/run does, to test the alerts")
	}
	t.Parallel()
	rules := &bytes.Buffer{}
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	variables := strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$group", ".*")
	for i, e := range readDashboard(t).expressions() {
		fmt.Fprintf(rules, "  - record: panel:%d\n    expr: %q\n", i, variables.Replace(e))
	}
	asked := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(asked, rules.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, args, stdin string
	}{
		{"rules", "check rules " + monitoring + "/alerts.yml", ""},
		{"tests", "test rules " + monitoring + "/alerts_test.yml", ""},
		{"configuration", "check config " + monitoring + "/prometheus.yml", ""},
		{"dashboard", "check rules " + asked, ""},
		{"metrics", "check metrics", metricsServed(t).text},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), promtool, strings.Fields(c.args)...)
			cmd.Stdin = strings.NewReader(c.stdin)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("promtool %s: %v\n%s", c.args, err, out)
			}
		})
	}
}
