package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"memberly/peer/check/loopback"
)

// TestExitCodes runs what ends before a peer starts.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	file := loopback.NewSubnet(t).HostsFile(t, "one", "two", "three", "four")
	empty := filepath.Join(t.TempDir(), "empty.txt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		args   string
		code   int
		stdout string // begins with it
		stderr string // contains it
	}{
		{"no arguments", "", 2, "", "-h FILE"},
		{"no hosts file", "-d 2", 2, "", "-h FILE"},
		{"unknown flag", "-h " + file + " -x", 2, "", "-x"},
		{"negative delay", "-h " + file + " -n one -d -1", 2, "", "-d"},
		{"drill on another host", "-h " + file + " -n two -t", 2, "", "first host"},
		{"missing hosts file", "-h " + file + ".none -n one", 1, "", "no such file"},
		{"empty hosts file", "-h " + empty + " -n one", 1, "", "lists no host"},
		{"not listed", "-h " + file + " -n six", 1, "", `"six"`},
		{"unknown command", "verfiy " + file, 2, "", "verify, simulate"},
		{"a file for a command", file, 2, "", "unknown command"},
		{"help", "--help", 0, usage(), ""},
		{"version", "-version", 0, "memberly ", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr strings.Builder
			if code := run(t.Context(), strings.Fields(c.args), nil, &stdout, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if c.stdout == "" && stdout.Len() > 0 || !strings.HasPrefix(stdout.String(), c.stdout) {
				t.Errorf("stdout is %q, want %q", stdout.String(), c.stdout)
			}
			if !strings.Contains(stderr.String(), c.stderr) || c.code == 0 && stderr.Len() > 0 {
				t.Errorf("stderr is %q, want %q in it", stderr.String(), c.stderr)
			}
			if usage := strings.HasSuffix(stderr.String(), usage()); usage != (c.code == 2) {
				t.Errorf("stderr is %q: is the usage text in its place?", stderr.String())
			}
			if c.code == 1 && strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("stderr is %q, want one line", stderr.String())
			}
		})
	}
}

// For a port that is in use, the peer prints the reference's words and one line that says what to do.
func TestPortsTaken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ network, port, want string }{
		{"tcp", "8080", "Error starting TCP listener: listen tcp "},
		{"udp", "8081", "Error starting UDP listener: listen udp "},
	} {
		t.Run(c.network, func(t *testing.T) {
			t.Parallel()
			s := loopback.NewSubnet(t)
			loopback.Occupy(t, c.network, net.JoinHostPort(s.Host(1).String(), c.port))
			var stdout, stderr strings.Builder
			code := run(t.Context(), []string{"-h", s.HostsFile(t, "one"), "-n", "one"}, nil, &stdout, &stderr)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if got := stdout.String(); !strings.HasPrefix(got, c.want) || !strings.HasSuffix(got, "address already in use\n") {
				t.Errorf("stdout is %q, want %q … address already in use", got, c.want)
			}
			if got := stderr.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "port "+c.port) {
				t.Errorf("stderr is %q, want one line about port %s", got, c.port)
			}
		})
	}
}

// While -d lasts, a signal ends the process at once.
func TestSignalDuringDelay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr strings.Builder
	code := run(ctx, []string{"-h", loopback.NewSubnet(t).HostsFile(t, "one"), "-n", "one", "-d", "3600"}, nil, &stdout, &stderr)
	if code != 0 || stdout.Len()+stderr.Len() > 0 {
		t.Errorf("exit code %d, wrote %q and %q, want 0 and nothing", code, stdout.String(), stderr.String())
	}
}
