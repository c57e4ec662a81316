package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"testing"

	"memberly/peer/check/loopback"
)

// named is a group whose hosts files have no addresses, but for that of the host itself.
type named struct {
	*hosted
	server     *loopback.NameServer
	resolvConf string
	place      map[int]int // the number of each host's address
}

func newNamed(t *testing.T, n int, args ...string) *named {
	t.Helper()
	g := &named{hosted: newHosted(t, 0, args...), place: make(map[int]int)}
	all, resolvConf := servers(t, g.Subnet, nil, loopback.Habit{})
	g.server, g.resolvConf = all[0], resolvConf
	for id := range n {
		g.lines = append(g.lines, hostName(id+1))
		g.place[id+1] = id + 1
	}
	return g
}

func (g *named) edit(ids ...int) {
	g.Helper()
	for _, id := range ids {
		lines := slices.Clone(g.lines)
		lines[id-1] += fmt.Sprint(" ", g.Host(g.place[id]))
		g.write(id, lines...)
	}
}

// begin starts hosts, whose names are known from now on.
func (g *named) begin(ids ...int) {
	g.Helper()
	for _, id := range ids {
		g.server.Set(g.lines[id-1], g.Host(g.place[id]))
		args := append([]string{"-m", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, g.resolvConf, program,
			"-h", g.file(id), "-n", g.lines[id-1], "-http", "8082"}, g.args...)
		g.runs[id] = launch(g.T, fmt.Sprint("host ", id), exec.Command("unshare", args...))
		g.all = append(g.all, g.runs[id])
	}
}

// Hosts without addresses in the files are added before their names are known, retired, and replaced by others of the same
// names at other addresses, or at the same.
func TestHostsByName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		place int // where the new host of the old name is
	}{{"at another address", 44}, {"at the same address", 4}} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			g := newNamed(t, 3)
			g.edit(1, 2, 3)
			g.begin(1, 2, 3)
			lead := g.agree(3, nil, 1, 2, 3)
			look := g.look(&lead, 1, 2, 3)
			g.lines = append(g.lines, "four")
			g.place[4] = 4
			g.edit(1, 2, 3, 4)
			g.hangup(1, 2, 3)
			g.agree(4, nil, 1, 2, 3)
			g.begin(4)
			g.agree(4, nil, 1, 2, 3, 4)
			g.stop(4)
			g.lines[3] = "!four"
			g.edit(1, 2, 3)
			g.hangup(1, 2, 3)
			g.agree(4, []int{4}, 1, 2, 3)
			g.lines = append(g.lines, "four")
			g.place[5] = c.place
			g.edit(1, 2, 3, 5)
			g.hangup(1, 2, 3)
			g.agree(5, []int{4}, 1, 2, 3)
			g.begin(5)
			for _, id := range []int{1, 2, 3, 5} {
				g.runs[id].awaitRecord(",5>]") // host 5 is not where its id says
			}
			look.end()
			g.viewsAgree()
		})
	}
}
