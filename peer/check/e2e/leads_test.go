package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
)

// sayings asks peers all the time whether they lead, and fails if one says so after another has said so with a larger
// fence, or if what a peer says contradicts itself.
type sayings struct {
	*testing.T
	mu      sync.Mutex
	largest uint64 // fence with which a peer has said that it leads
	count   map[int]int
}

// ask asks the peer of this id until ctx ends.
func (s *sayings) ask(ctx context.Context, id int, at string) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{}}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		s.mu.Lock()
		before := s.largest
		s.mu.Unlock()
		var said struct {
			Leads, Ready bool
			Fence        uint64
			LeaseMS      int64 `json:"lease_ms"`
		}
		if a, err := client.Get("http://" + at + "/status"); err == nil {
			err = json.NewDecoder(a.Body).Decode(&said)
			a.Body.Close()
			if err != nil {
				continue
			}
		}
		if said.Leads != (said.Fence != 0) || said.LeaseMS != 0 && !said.Leads || said.LeaseMS > 2200 {
			s.Errorf("peer %d says %+v", id, said)
		}
		if said.Leads && said.Fence < before {
			s.Errorf("peer %d says that it leads with fence %d, after another has said so with %d", id, said.Fence, before)
		}
		if said.Leads {
			s.mu.Lock()
			s.largest = max(s.largest, said.Fence)
			s.count[id]++
			s.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// all returns how often each peer has said that it leads.
func (s *sayings) all() map[int]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.count)
}

// Whatever was frozen, killed or left, no peer says that it leads once another one has said so after it.
func TestOneSaysThatItLeads(t *testing.T) {
	t.Parallel()
	s, said := loopback.NewSubnet(t), &sayings{T: t, count: make(map[int]int)}
	file := s.HostsFile(t, "one", "two", "three", "four")
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	var peers []*daemon
	for i, name := range []string{"one", "two", "three", "four"} {
		peers = append(peers, start(t, file, name, "-http", "8082"))
		asking.Go(func() { said.ask(ctx, i+1, fmt.Sprint(s.Host(i+1), ":8082")) })
	}
	awaitView(peers, 4)
	// next waits until one says that it leads that is none of those, and returns its id. On a busy machine it may be any.
	next := func(but ...int) (leader int) {
		t.Helper()
		before := said.all()
		within(t, fmt.Sprint("one that is none of ", but, " says that it leads"), func() bool {
			for id, n := range said.all() {
				if n > before[id] && !slices.Contains(but, id) {
					leader = id
				}
			}
			return leader != 0
		})
		return leader
	}
	first := next()
	peers[first-1].signal(syscall.SIGSTOP)
	second := next(first)
	peers[second-1].awaitRecord("view_id: 5, ") // without the first
	peers[first-1].signal(syscall.SIGCONT)
	peers[first-1].awaitRecord("removed from the group")
	peers[first-1].awaitRecord("view_id: 6, ")
	leader := next()
	peers[leader-1].signal(syscall.SIGTERM)
	if code := peers[leader-1].awaitExit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	last := next(leader)
	peers[last-1].signal(syscall.SIGKILL)
	next(leader, last)
}
