package e2e

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var hostCosts = flag.Int("host-costs", 1, "how often TestHostsCost measures each figure")

// recorded waits until these hosts have recorded the view of this number, and returns when that was.
func (g *hosted) recorded(number int64, ids ...int) time.Time {
	g.Helper()
	for _, id := range ids {
		g.runs[id].await(&g.runs[id].stderr, fmt.Sprint("view ", number), func(lines []string) bool {
			return slices.ContainsFunc(lines, func(line string) bool {
				return strings.Contains(line, fmt.Sprintf("view_id: %d,", number)) && strings.Contains(line, "memb_list")
			})
		})
	}
	return time.Now()
}

// ofHosts adds a sixth host to a new group of five, retires it, and replaces the third one, and takes how long that is from
// when the last file has been changed, and its peer been told by tell, to the last record.
func (f figures) ofHosts(g *hosted, how string, tell func(g *hosted, ids ...int)) {
	g.Helper()
	number := g.found(5).View.Number
	change := func(what string, views int64, ids ...int) {
		g.Helper()
		g.edit(ids...)
		tell(g, ids[1:]...)
		began := time.Now()
		tell(g, ids[:1]...)
		number += views
		f.add(what+", ms, "+how, began, g.recorded(number, ids...))
	}
	g.add()
	change("a host is added", 1, 1, 2, 3, 4, 5)
	g.edit(6)
	began := time.Now()
	g.begin(6)
	number++
	f.add("its process starts, ms, "+how, began, g.recorded(number, 1, 2, 3, 4, 5, 6))
	g.stop(6)
	number++
	g.recorded(number, 1, 2, 3, 4, 5)
	g.retire(6)
	change("a host that was stopped is retired", 1, 1, 2, 3, 4, 5)
	g.stop(3)
	number++
	g.recorded(number, 1, 2, 4, 5)
	g.retire(3)
	g.add()
	change("a host that was stopped is replaced (two views)", 2, 1, 2, 4, 5)
	g.viewsAgree()
	for _, d := range g.all {
		d.cmd.Process.Kill()
	}
}

// TestHostsCost logs how long it takes to add, retire and replace a host.
func TestHostsCost(t *testing.T) {
	t.Parallel()
	f := make(figures)
	for range *hostCosts {
		f.ofHosts(newHosted(t, 5), "after SIGHUP to the last", (*hosted).hangup)
		g := newHosted(t, 5)
		g.storing = true
		f.ofHosts(g, "with -state, after SIGHUP to the last", (*hosted).hangup)
	}
	const atOnce = 5
	var mu sync.Mutex
	for rest := *hostCosts; rest > 0; rest -= atOnce {
		var running sync.WaitGroup
		for range min(rest, atOnce) {
			running.Go(func() {
				each := make(figures)
				each.ofHosts(newHosted(t, 5), "by watching alone", (*hosted).byWatching)
				mu.Lock()
				defer mu.Unlock()
				for name, v := range each {
					f[name] = append(f[name], v...)
				}
			})
		}
		running.Wait()
	}
	t.Log(f)
}
