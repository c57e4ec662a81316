package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

var (
	hostsFor  = flag.Duration("hosts-for", 4*time.Second, "for how long TestHostsRandom changes hosts")
	hostsSeed = flag.Uint64("hosts-seed", 0, "the seed of TestHostsRandom; 0 for any")
)

// shuffle changes hosts and their files at random, as an operator in a hurry does. One host is down at most, besides those that
// are retired and those that were never started.
type shuffle struct {
	*hosted
	*rand.Rand
	up, retired []int
	down        int // 0 for none
	frozen      map[int]bool
}

// pick returns one of ids.
func (s *shuffle) pick(ids []int) int { return ids[s.IntN(len(ids))] }

// step does one thing.
func (s *shuffle) step() {
	switch n := len(s.lines); s.IntN(8) {
	case 0:
		if s.down == 0 && s.whole() {
			s.down = s.pick(s.up)
			s.up = slices.DeleteFunc(s.up, func(id int) bool { return id == s.down })
			d, sig := s.runs[s.down], []os.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGSTOP}[s.IntN(3)]
			d.signal(sig)
			if s.frozen[s.down] = sig == syscall.SIGSTOP; !s.frozen[s.down] {
				d.awaitExit(patience)
			}
		}
	case 1:
		if s.down != 0 {
			s.rise(s.down)
		}
	case 2:
		if n < 9 && s.IntN(2) == 0 {
			s.add()
		}
	case 3:
		if s.down != 0 && s.IntN(2) == 0 {
			s.retire(s.down)
			s.retired, s.down = append(s.retired, s.down), 0
		}
	case 4:
		if id := s.IntN(n) + 1; s.runs[id] == nil {
			s.edit(id)
			s.begin(id)
			s.up = append(s.up, id)
		}
	default:
		id := s.pick(s.up)
		s.edit(id)
		if s.IntN(3) > 0 {
			s.tell(id)
		}
	}
}

// whole reports whether all members of the group are up, and enough of them that it can lose one.
func (s *shuffle) whole() bool {
	now, ok := s.ask(s.up[0])
	return ok && now.Ready && len(now.View.Members) > 3 && !slices.ContainsFunc(now.View.Members, func(id int) bool {
		return !slices.Contains(s.up, id)
	})
}

// rise starts the host that is down with the file that it has, or lets it go on.
func (s *shuffle) rise(id int) {
	if s.frozen[id] {
		s.runs[id].signal(syscall.SIGCONT)
	} else {
		s.begin(id)
	}
	s.up, s.down = append(s.up, id), 0
}

// tell sends SIGHUP to hosts once they serve: before that it would end them.
func (s *shuffle) tell(ids ...int) {
	for _, id := range ids {
		within(s.T, fmt.Sprint("host ", id, " serves"), func() bool {
			_, ok := s.ask(id)
			return ok
		})
		s.hangup(id)
	}
}

// Whatever was done to hosts and their files, once all files are the same and all hosts run the group has just these, and the
// records of all do not contradict each other.
func TestHostsRandom(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what           string
		storing, keyed bool
	}{{"plain", false, false}, {"with keys", false, true}, {"with state", true, false}, {"with state and keys", true, true}} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var args []string
			if c.keyed {
				args = []string{"-key", keyFile(t, newKeys(t, 1)...)}
			}
			seed := *hostsSeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			t.Logf("-hosts-seed %d", seed)
			g := newHosted(t, 5, args...)
			g.storing = c.storing
			g.found(5)
			s := &shuffle{hosted: g, Rand: rand.New(rand.NewPCG(seed, 0)), up: []int{1, 2, 3, 4, 5}, frozen: make(map[int]bool)}
			for end := time.Now().Add(*hostsFor); time.Now().Before(end); <-time.After(time.Duration(s.IntN(100)) * time.Millisecond) {
				s.step()
			}
			if s.down != 0 {
				s.rise(s.down)
			}
			for id := range len(g.lines) {
				if id++; slices.Contains(s.retired, id) {
					continue
				}
				g.edit(id)
				if g.runs[id] == nil {
					g.begin(id)
					s.up = append(s.up, id)
				}
			}
			s.tell(s.up...)
			slices.Sort(s.up)
			slices.Sort(s.retired)
			g.agree(len(g.lines), s.retired, s.up...)
			for _, id := range s.retired {
				if s.frozen[id] {
					g.runs[id].signal(syscall.SIGCONT)
					if !contains("does not list this host yet")(g.runs[id].stdout.Lines()) { // else it says no more for a minute
						g.runs[id].awaitNotice("has retired this host")
					}
				}
			}
			g.agree(len(g.lines), s.retired, s.up...)
			g.verified()
		})
	}
}

// verified has memberly verify judge the records of all processes of each host.
func (g *hosted) verified() {
	g.Helper()
	records := make(map[string]string)
	for _, d := range g.all {
		records[d.name] += d.stderr.String()
	}
	args := []string{"verify"}
	if g.storing {
		args = append(args, "-state")
	}
	for name, text := range records {
		path := filepath.Join(g.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			g.Fatal(err)
		}
		args = append(args, path)
	}
	if code, out, errs := execute(g.T, "", args...); code != 0 {
		g.Errorf("verify: exit code %d, %s%s", code, out, errs)
	}
	for _, d := range g.all {
		if contains("panic")(d.stderr.Lines()) {
			g.Errorf("%s wrote %s", d.name, d.stderr.String())
		}
	}
}
