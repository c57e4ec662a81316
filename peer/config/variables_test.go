package config

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The table has the flags that there are, and each but -version has a variable of its own.
func TestPage(t *testing.T) {
	t.Parallel()
	var listed, parsed, variables []string
	for _, o := range Page.Options() {
		listed = append(listed, o.Name)
		if o.Variable != "" {
			variables = append(variables, o.Variable)
		}
	}
	new(Config).flags().VisitAll(func(f *flag.Flag) { parsed = append(parsed, f.Name) })
	slices.Sort(listed)
	slices.Sort(parsed)
	if !slices.Equal(listed, parsed) {
		t.Errorf("the table has %q, the parser %q", listed, parsed)
	}
	if len(variables) != len(listed)-1 {
		t.Errorf("%d flags, %d variables", len(listed), len(variables))
	}
	// What -exec and -hold set, and tests use. Kubernetes makes names from that of a service.
	taken := strings.Fields("VERSION EVENT PEER PEER_NAME GROUP VIEW LEADER LEADER_NAME LEADS FENCE LEASE_MS MEMBERS MEMBER_NAMES " +
		"CONTAINERS IMAGES REPEAT CHROMIUM PICTURES IMPOSTOR PORT")
	seen := make(map[string]bool)
	for _, v := range variables {
		name, ok := strings.CutPrefix(v, "MEMBERLY_")
		if !ok || seen[v] || slices.Contains(taken, name) || strings.HasSuffix(v, "_PORT") || strings.HasSuffix(v, "_SERVICE_HOST") {
			t.Errorf("%s is no good name, or not free", v)
		}
		seen[v] = true
		if !strings.Contains(Usage(), v) {
			t.Errorf("the usage text lacks %s", v)
		}
	}
}

// env returns the Lookup of an environment, as NAME=VALUE words.
func env(words ...string) Lookup {
	return func(name string) (string, bool) {
		for _, w := range words {
			if value, ok := strings.CutPrefix(w, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}

// A variable does what its flag does, unless the command line has the flag.
func TestVariables(t *testing.T) {
	t.Parallel()
	path := write(t, five)
	for _, c := range []struct{ env, args, same string }{
		{"HOSTS_FILE=F", "", "-h F"},
		{"HOSTS_FILE=/nowhere", "-h F", "-h F"},
		{"HOSTS_FILE=F NAME=two DELAY=3 CRASH=4 HEARTBEAT=1s MONITOR=5s", "", "-h F -n two -d 3 -c 4 -heartbeat 1s -monitor 5s"},
		{"NAME=two DELAY=x", "-h F -d 2", "-h F -n two -d 2"},
		{"EXEC=true HOLD=false HOLD_ONCE=1 JOIN_ONLY=1 STATE=/s HTTP=8082 TIMES=true", "-h F", "-h F -exec true -hold false -hold-once -join-only -state /s -http 8082 -times"},
		{"DRILL=true REFORM=true LOCAL=true", "-h F", "-h F -t -reform -local"},
		{"DRILL=false LOCAL=0", "-h F", "-h F"},
		{"DRILL=true", "-h F -n two -t=false", "-h F -n two"},
		{"VERSION=1 PEER=4 VIEW=7 PEER_NAME=four", "-h F", "-h F"},
	} {
		t.Run(c.env, func(t *testing.T) {
			t.Parallel()
			words := strings.Fields(strings.ReplaceAll(c.env, "=F", "="+path))
			for i := range words {
				words[i] = "MEMBERLY_" + words[i]
			}
			file := func(args string) []string { return strings.Fields(strings.ReplaceAll(args, "F", path)) }
			got, err := ParseWith(file(c.args), env(words...), on("one"))
			want, wrong := Parse(file(c.same), on("one"))
			if err != nil || wrong != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("got  %+v, %v\nwant %+v, %v", got, err, want, wrong)
			}
		})
	}
}

// A variable that cannot be, or does not fit the rest, is named.
func TestWrongVariables(t *testing.T) {
	t.Parallel()
	path := write(t, five)
	for _, c := range []struct{ env, args, want string }{
		{"MEMBERLY_DELAY=soon", "", `MEMBERLY_DELAY="soon": give whole seconds`},
		{"MEMBERLY_KEY=", "", `MEMBERLY_KEY="": give the path of the key file, or unset it`},
		{"MEMBERLY_DRILL=", "", `MEMBERLY_DRILL="": give true or false`},
		{"MEMBERLY_HTTP=localhost", "", `MEMBERLY_HTTP="localhost": give a port`},
		{"MEMBERLY_NAME=one", "-local", "leave one of the two out (from the environment: MEMBERLY_NAME)"},
		{"MEMBERLY_HEARTBEAT=2s", "", "less than twice"},
	} {
		_, err := ParseWith(append([]string{"-h", path}, strings.Fields(c.args)...), env(c.env), on("one"))
		wants(t, err, c.want, strings.Split(c.env, "=")[0])
		if _, ok := errors.AsType[UsageError](err); !ok {
			t.Errorf("%T is no UsageError", err)
		}
		if _, err := ParseWith([]string{"-version"}, env(c.env), on("one")); err != nil {
			t.Errorf("-version: %v", err)
		}
	}
}

func TestLookupFor(t *testing.T) {
	t.Parallel()
	some := env("MEMBERLY_NAME=two", "MEMBERLY_LOCAL=true").For("h", "n")
	if name, ok := some("MEMBERLY_NAME"); !ok || name != "two" {
		t.Errorf("MEMBERLY_NAME is %q, %t", name, ok)
	}
	if _, ok := some("MEMBERLY_LOCAL"); ok {
		t.Error("MEMBERLY_LOCAL is found")
	}
}

// Commands ask the peer that the argument names, or the environment, or the usual one.
func TestPeerAt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ addr, env, want, err, serving string }{
		{"", "", "http://127.0.0.1:8082", "", "start the peer with -http 8082, if it runs without"},
		{"", "MEMBERLY_HTTP=9000", "http://127.0.0.1:9000", "", "start the peer with -http 9000, if it runs without"},
		{"10.0.0.1:8083", "MEMBERLY_HTTP=9000", "http://10.0.0.1:8083", "", "start the peer with -http 10.0.0.1:8083, if it runs without"},
		{"", "MEMBERLY_HTTP=here", "", `MEMBERLY_HTTP="here": give a port`, ""},
		{"here", "", "", `"here": give a port`, ""},
		{"http://127.0.0.3:8082/", "", "http://127.0.0.3:8082", "", "start the peer with -http 127.0.0.3:8082, if it runs without"},
		{"rack-1.example:8082", "", "http://rack-1.example:8082", "", "start the peer there with -http ADDRESS:8082, if it runs without"},
		{"one:0", "", "", "give a port", ""},
		{"one:80:82", "", "", "give a port", ""},
		{"a/b:8082", "", "", "give a port", ""},
		{":8082", "", "http://127.0.0.1:8082", "", "start the peer with -http 8082, if it runs without"},
	} {
		got, err := PeerAt(c.addr, env(c.env))
		if got != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q with %s: %q, %v", c.addr, c.env, got, err)
		}
		if err == nil && Serving(got) != c.serving {
			t.Errorf("%q: %s", got, Serving(got))
		}
	}
}
