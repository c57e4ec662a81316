// Package scenario is test support: the four scenarios of the compose files, and
// the records that each of their peers must write. The loopback tests and the
// container tests hold the daemon to the same tables.
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

// Scenario is one table: some peers that are started together.
type Scenario struct {
	Name  string // "testcase-1": its compose file is docker-compose-testcase-1.yml
	Peers []Peer // in the order of the hosts file
}

// Peer is what one host of a scenario is started with, and what must come of it.
type Peer struct {
	Name    string   // of the host
	Args    []string // of the daemon
	Records []string // all that it writes on stderr, line by line, without ends of line
}

// Crashes reports whether the peer's last record announces its end, with exit code 1.
func (p Peer) Crashes() bool {
	return len(p.Records) > 0 && strings.HasSuffix(p.Records[len(p.Records)-1], `message:"crashing"}`)
}

// Scenarios returns the four scenarios in their order. The caller owns them. It panics if
// the tables that were compiled in are malformed, which this package's test rules out.
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

// Parse reads the table of the scenario called name. `[host] arguments` opens a peer, its
// records follow, one a line; empty lines and lines that begin with # say nothing. An error
// names the scenario and the line.
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

// parsePeer reads `[host] arguments`.
func parsePeer(line string) (Peer, error) {
	name, args, ok := strings.Cut(line[1:], "]")
	if !ok || name == "" {
		return Peer{}, fmt.Errorf("%q does not name its peer as [name]", line)
	}
	return Peer{Name: name, Args: strings.Fields(args)}, nil
}
