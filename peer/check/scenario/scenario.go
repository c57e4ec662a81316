// Package scenario has the four scenarios of the compose files for tests, with the records that each
// peer must write. The loopback tests and the container tests compare the daemon with these tables.
package scenario

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed testdata/testcase-*.txt
var tables embed.FS

// Scenario is one table: peers that are started together.
type Scenario struct {
	Name  string // "testcase-1": its compose file is docker-compose-testcase-1.yml
	Peers []Peer // in the order of the hosts file
}

// Peer is one host of a scenario: how to start it, and what it must write.
type Peer struct {
	Name    string   // of the host
	Args    []string // of the daemon
	Records []string // all lines that it writes on stderr
}

// Crashes reports whether the peer's last record announces a crash, which ends it with exit code 1.
func (p Peer) Crashes() bool {
	return len(p.Records) > 0 && strings.HasSuffix(p.Records[len(p.Records)-1], `message:"crashing"}`)
}

// Scenarios returns the four scenarios in their order. The caller may modify the result. It panics if an
// embedded table is malformed, which this package's test rules out.
func Scenarios() []Scenario {
	files, err := fs.Glob(tables, "testdata/*.txt")
	if err != nil {
		panic(err)
	}
	var all []Scenario
	for _, file := range files {
		text, err := tables.ReadFile(file)
		if err != nil {
			panic(err)
		}
		s, err := parse(strings.TrimSuffix(path.Base(file), ".txt"), string(text))
		if err != nil {
			panic(err)
		}
		all = append(all, s)
	}
	return all
}

// parse parses the table of the scenario called name. `[host] arguments` begins a peer, whose records
// follow, one per line; empty lines and lines that begin with # are ignored. An error names the scenario
// and the line.
func parse(name, text string) (Scenario, error) {
	s := Scenario{Name: name}
	for i, line := range strings.Split(text, "\n") {
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			p, err := parsePeer(line)
			if err != nil {
				return Scenario{}, fmt.Errorf("%s, line %d: %w", name, i+1, err)
			}
			s.Peers = append(s.Peers, p)
		case line[0] == '{' && len(s.Peers) > 0:
			p := &s.Peers[len(s.Peers)-1]
			p.Records = append(p.Records, line)
		default:
			return Scenario{}, fmt.Errorf("%s, line %d: %q is no peer, nor a peer's record", name, i+1, line)
		}
	}
	if len(s.Peers) == 0 {
		return Scenario{}, fmt.Errorf("%s: no peers", name)
	}
	return s, nil
}

// parsePeer parses `[host] arguments`.
func parsePeer(line string) (Peer, error) {
	name, args, ok := strings.Cut(line[1:], "]")
	if !ok || name == "" {
		return Peer{}, fmt.Errorf("%q does not name its peer as [name]", line)
	}
	return Peer{Name: name, Args: strings.Fields(args)}, nil
}
