package e2e

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	costs    = flag.Int("costs", 2, "how often TestStateCost measures each figure")
	costIdle = flag.Duration("cost-idle", 0, "for how long it measures idle peers")
)

// settle waits until the last view that each of these hosts has recorded is of just them, and returns when that was.
func (g *storing) settle(ids ...int) time.Time {
	g.Helper()
	for _, id := range ids {
		d := g.runs[id-1]
		d.await(&d.stderr, fmt.Sprint("view of ", ids), func(lines []string) bool {
			for _, line := range slices.Backward(lines) {
				if _, members, ok := strings.Cut(line, "memb_list: [<"); ok {
					all := slices.Sorted(slices.Values(strings.Split(strings.TrimSuffix(members, ">]}"), ",")))
					return strings.Join(all, " ") == strings.Trim(fmt.Sprint(ids), "[]")
				}
			}
			return false
		})
	}
	return time.Now()
}

// figures are what TestStateCost measures, by name.
type figures map[string][]float64

func (f figures) add(name string, since, until time.Time) {
	f[name] = append(f[name], float64(until.Sub(since).Microseconds())/1000)
}

// String shows medians, with the least and the most.
func (f figures) String() string {
	var b strings.Builder
	for name, v := range f {
		slices.Sort(v)
		fmt.Fprintf(&b, "\n%-60s %.3g (%.3g to %.3g), %d runs", name, v[len(v)/2], v[0], v[len(v)-1], len(v))
	}
	lines := strings.Split(b.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// measure takes each figure once, with a group that has just formed.
func (f figures) measure(g *storing, how string) {
	g.Helper()
	all := []int{1, 2, 3, 4, 5}
	g.start(all...)
	g.settle(all...)
	began := time.Now()
	g.kill(5)
	f.add("SIGKILL of a member to the last survivor's view, ms, "+how, began, g.settle(1, 2, 3, 4))
	began = time.Now()
	g.start(5)
	f.add("start of a process to the view of all five, ms, "+how, began, g.settle(all...))
	lead, _ := g.agree(all...)
	leader := lead.View.Leader
	began = time.Now()
	g.kill(leader)
	f.add("SIGKILL of the leader to the last survivor's view, ms, "+how,
		began, g.settle(slices.DeleteFunc(all, func(id int) bool { return id == leader })...))
	g.start(leader)
	g.settle(1, 2, 3, 4, 5)
}

// TestStateCost logs what -state costs: the same figures with it and without, in turn.
func TestStateCost(t *testing.T) {
	f := make(figures)
	var last [2]*storing
	for range *costs {
		for i, how := range []string{"with", "without"} {
			if last[i] != nil {
				last[i].kill(1, 2, 3, 4, 5)
			}
			g := newStoring(t)
			if how == "without" {
				g.dir = ""
			}
			f.measure(g, how)
			last[i] = g
		}
	}
	var before [2]time.Duration
	used := func(g *storing) (sum time.Duration) {
		for _, d := range g.runs {
			sum += cpu(t, d)
		}
		return sum / time.Duration(len(g.runs))
	}
	for n := 0; n < 3 && *costIdle > 0; n++ {
		for i, g := range last {
			before[i] = used(g)
		}
		<-time.After(*costIdle)
		for i, how := range []string{"with", "without"} {
			name := "CPU of one of five idle peers, s a minute, " + how
			f[name] = append(f[name], (used(last[i])-before[i]).Seconds()/costIdle.Minutes())
		}
	}
	t.Log(f)
}
