package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
	"memberly/peer/config"
)

// fetch requests a path from a daemon until ok holds for the answer.
func fetch(t *testing.T, at, path string, ok func(status int, body string) bool) string {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	last := "no answer"
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		if a, err := client.Get("http://" + at + path); err == nil {
			b, _ := io.ReadAll(a.Body)
			a.Body.Close()
			if last = string(b); ok(a.StatusCode, last) {
				return last
			}
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("%s does not serve %s as it should within %v, but %s", at, path, patience, last)
		}
	}
}

func says(status int, texts ...string) func(int, string) bool {
	return func(got int, body string) bool {
		for _, text := range texts {
			if !strings.Contains(body, text) {
				return false
			}
		}
		return got == status
	}
}

// commandOf runs a command of the program, and returns its output and its exit code.
func commandOf(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, complaint strings.Builder
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.Run()
	return out.String(), complaint.String(), cmd.ProcessState.ExitCode()
}

// Each endpoint and command, while a group forms, loses its quorum, and regains it.
func TestSeeInside(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three")
	at := s.Host(1).String() + ":8082"
	one, two := start(t, file, "one", "-http", "8082"), start(t, file, "two")
	fetch(t, at, "/ready", func(status int, _ string) bool { return status == 200 })
	three := start(t, file, "three")
	awaitView([]*daemon{one, two, three}, 3)
	fetch(t, at, "/status", says(200, `"version":1`, `"number":3`, `"leads":true`, `"stopped":null`, `"any":1`))
	fetch(t, at, "/metrics", says(200, "memberly_view_number 3\n", `memberly_views_total{cause="added"} 3`+"\n"))
	fetch(t, at, "/live", says(200, "ok"))
	fetch(t, at, "/", says(200, "<title>one", "view 3 with 3 members"))
	if out, _, code := commandOf(t, "ready", at); code != 0 || out != "ok\n" {
		t.Errorf("ready: code %d, %q", code, out)
	}
	if out, _, code := commandOf(t, "status", at); code != 0 || !strings.Contains(out, "one leads view 3 with 3 members: ready") {
		t.Errorf("status: code %d, %q", code, out)
	}
	watch := launch(t, "status -watch", exec.Command(program, "status", "-watch", "-json", at))
	watch.awaitNotice(`"ready":true`)

	two.signal(syscall.SIGSTOP)
	three.signal(syscall.SIGSTOP)
	fetch(t, at, "/ready", says(503, "it waits for a quorum of the group; missing: "))
	fetch(t, at, "/status", says(200, `"ready":false`, `"why":"no quorum"`, `"state":"unreachable"`))
	watch.awaitNotice(`"why":"no quorum"`)
	if out, _, code := commandOf(t, "ready", at); code != 1 || !strings.Contains(out, "for a quorum") {
		t.Errorf("ready: code %d, %q, want 1", code, out)
	}
	two.signal(syscall.SIGCONT)
	three.signal(syscall.SIGCONT)
	fetch(t, at, "/ready", says(200, "ok"))
	fetch(t, at, "/metrics", says(200, "memberly_failure_detection_seconds_count "))
	follow(t, at, "made", "added", "added", "no quorum", "going")
	watch.signal(syscall.SIGTERM)
	if code := watch.awaitExit(patience); code != 0 {
		t.Errorf("status -watch: exit code %d, want 0", code)
	}
	one.signal(syscall.SIGTERM)
	if code := one.awaitExit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if _, stderr, code := commandOf(t, "ready", at); code != 1 || !strings.Contains(stderr, "-http") {
		t.Errorf("ready, without a peer: code %d, %q", code, stderr)
	}
}

// follow reads events until one of each cause, in this order, has come.
func follow(t *testing.T, at string, causes ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	for lines := bufio.NewScanner(a.Body); len(causes) > 0; {
		if !lines.Scan() {
			t.Fatalf("the events ended without %q: %v", causes, lines.Err())
		}
		line, ok := strings.CutPrefix(lines.Text(), "data: ")
		var e struct{ Cause, Why string }
		if ok && json.Unmarshal([]byte(line), &e) != nil {
			t.Fatalf("%q is no JSON", line)
		}
		if ok && (e.Cause == causes[0] || e.Why == causes[0]) {
			causes = causes[1:]
		}
	}
}

// HTTP clients cannot delay a peer: hundreds of them request and do not read, or send nothing, while a
// group forms.
func TestLookersOn(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three")
	at := netip.AddrPortFrom(s.Host(1), 8082)
	one := start(t, file, "one", "-http", "8082")
	two := start(t, file, "two")
	awaitView([]*daemon{one, two}, 2)
	fetch(t, at.String(), "/live", says(200, "ok"))
	for i := range 300 {
		c := dialFrom(t, s.Host(100), at)
		if i%2 == 0 {
			c.Write([]byte("GET /events HTTP/1.1\r\nHost: one\r\n\r\n"))
		}
	}
	began := time.Now()
	awaitView([]*daemon{one, two, start(t, file, "three")}, 3)
	two.signal(syscall.SIGKILL)
	one.awaitRecord("view_id: 4, leader: 1, memb_list: [<1,3>]")
	if took := time.Since(began); took > patience/4 {
		t.Errorf("with 300 lookers-on, a join and a removal took %v", took)
	}
	fetch(t, at.String(), "/ready", says(200, "ok")) // the silent ones were shown out
}

// With -local each host serves at its own address, and without -http none does.
func TestSeeInsideLocal(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two")
	startLocal(t, exec.Command(program, "-h", file, "-local", "-http", ":8082"), 2)
	for _, n := range []int{1, 2} {
		fetch(t, s.Host(n).String()+":8082", "/status", says(200, `"number":2`))
	}
	plain, daemons := startAll(t, "one")
	awaitView(daemons, 1)
	if c, err := net.Dial("tcp", plain.Host(1).String()+":8082"); err == nil {
		c.Close()
		t.Error("something is served without -http")
	}
}

// A peer that has left frees the address of -http for its successor, however long its -exec command
// takes.
func TestSuccessorServes(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one")
	at := s.Host(1).String() + ":8082"
	old := start(t, file, "one", "-http", "8082", "-exec", "sleep 8")
	fetch(t, at, "/ready", says(200, "ok"))
	old.signal(syscall.SIGTERM)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		heir, err := net.Listen("tcp", at)
		if err == nil {
			heir.Close()
		}
		select {
		case <-old.exited:
			t.Fatal("it made way only by its end")
		case <-tick.C:
		}
		if err == nil {
			return
		}
	}
}

// An invalid address, and one that cannot be served, is an error.
func TestHTTPRefused(t *testing.T) {
	t.Parallel()
	s := loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two")
	taken := net.JoinHostPort(s.Host(1).String(), "8082")
	loopback.Occupy(t, "tcp", taken)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"-http 8082", 1, "-http " + taken + " cannot be served: "},
		{"-http nowhere", 2, "give a port, such as 8082"},
		{"-http 0", 2, "give a port, such as 8082"},
		{"-local -http 127.0.0.1:8082", 2, "give the port alone"},
	} {
		args := append([]string{"-h", file}, strings.Fields(c.args)...)
		if !strings.Contains(c.args, "-local") {
			args = append(args, "-n", "one")
		}
		_, stderr, code := commandOf(t, args...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: code %d, %q, want %d, %q", c.args, code, stderr, c.code, c.want)
		}
	}
	if got, err := config.ParseHTTP("[::1]:8082"); err != nil || got.String() != "[::1]:8082" {
		t.Errorf("an address in full is %v: %v", got, err)
	}
}
