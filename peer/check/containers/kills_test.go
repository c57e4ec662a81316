package containers_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/ledger"
)

var (
	kills    = flag.Int("kills", 100, "how many processes TestKills kills at least")
	killSeed = flag.Uint64("kill-seed", 0, "the seed of TestKills; 0 for a new one")
)

// agreeLimit is how long five containers with state may take to start and to agree.
const agreeLimit = 30 * time.Second

// storing is five hosts in containers, each with a state file on a volume of its own. Their processes are killed, and
// what they tell goes into the ledger.
type storing struct {
	*testing.T
	*ledger.Ledger
	name  string // of its network; the names of its containers begin with it
	rng   *rand.Rand
	hosts []*stored // by id-1
	began time.Time

	readers sync.WaitGroup
	mu      sync.Mutex
	said    []string // all that they wrote, and what was done to them
	records []string

	killed  []time.Time // when each process was
	cuts    int         // how often all that ran were killed at once
	rounds  int
	longest time.Duration // until all agreed
}

// stored is a host with a state file.
type stored struct {
	id              int
	name, container string
	life            *ledger.Life  // the last; nil if it was never started
	runs            chan struct{} // closed when the process runs, or has ended
	process         *os.Process   // set before runs is closed; nil if it never ran
	at              string        // where it serves; likewise
}

// TestKills kills containers a hundred times with SIGKILL, most of them while views change: hosts join and leave, leaders
// are killed, and all at once, as by a power cut. What their processes tell is held against what others and earlier ones
// have told.
func TestKills(t *testing.T) {
	needContainers(t) // not parallel: it would disturb those who measure time
	seed := cmp.Or(*killSeed, uint64(time.Now().UnixNano()))
	t.Logf("-kill-seed %d", seed)
	s := &storing{T: t, Ledger: ledger.New(t), name: image + "-kills", rng: rand.New(rand.NewPCG(seed, 1)), began: time.Now()}
	t.Cleanup(s.remove)
	s.create()
	s.start(s.some(5)...) // the first are killed while they make the group
	s.pause(time.Second)
	for len(s.killed) < *kills && !t.Failed() {
		s.round()
	}
	s.start(s.down()...)
	end := s.agree()
	took, killed := time.Since(s.began), slices.Clone(s.killed)
	s.signal(syscall.SIGKILL, s.hosts...)
	s.await(s.hosts...)
	s.readers.Wait()
	s.Judge(&end)
	s.verify()
	t.Logf("%d processes killed in %d rounds, %d within 50 ms of the first word of a view, %d times all at once, in %.1f s",
		len(killed), s.rounds, s.Near(killed, 50*time.Millisecond), s.cuts, took.Seconds())
	t.Logf("%v; in the end all agree on %v, fence %d; they did within %.1f s", s.Ledger, &end, end.Fence, s.longest.Seconds())
}

// create makes the network and the containers.
func (s *storing) create() {
	s.Helper()
	if _, err := docker(s.Context(), "network", "create", s.name); err != nil {
		s.Fatal(err)
	}
	for i, name := range hosts {
		h := &stored{id: i + 1, name: name, container: s.name + "-" + name}
		dir := filepath.Join(s.TempDir(), name)
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			err = os.Chown(dir, 65532, 65532) // the user of the image
		}
		if err != nil {
			s.Fatal(err)
		}
		// The heartbeats are quick, so that little time is waiting for silence.
		if _, err := docker(s.Context(), "create", "--name", h.container, "--hostname", name, "--network", s.name, "--network-alias", name,
			"-v", dir+":/state", image, "-h", "hostsfile.txt", "-n", name, "-state", "/state/state", "-http", "0.0.0.0:8082",
			"-heartbeat", "250ms", "-monitor", "500ms"); err != nil {
			s.Fatal(err)
		}
		s.hosts = append(s.hosts, h)
	}
}

// remove removes all that create made.
func (s *storing) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if len(s.hosts) > 0 {
		rm := []string{"rm", "-f"}
		for _, h := range s.hosts {
			rm = append(rm, h.container)
		}
		if _, err := docker(ctx, rm...); err != nil {
			s.Error(err)
		}
	}
	s.readers.Wait()
	if _, err := docker(ctx, "network", "rm", s.name); err != nil {
		s.Error(err)
	}
	if s.Failed() {
		s.Log(strings.Join(s.said, "\n"))
	}
}

// log adds a line to what is shown of a failure.
func (s *storing) log(who, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.said = append(s.said, fmt.Sprintf("%s %8.3f  %-5s %s", now.UTC().Format("15:04:05.000"), now.Sub(s.began).Seconds(), who, fmt.Sprintf(format, args...)))
}

// some returns n hosts.
func (s *storing) some(n int) (some []*stored) {
	for _, i := range s.rng.Perm(len(s.hosts))[:n] {
		some = append(some, s.hosts[i])
	}
	return some
}

// down returns the hosts that do not run, and running the others, both in any order.
func (s *storing) down() []*stored {
	return slices.DeleteFunc(s.some(len(s.hosts)), func(h *stored) bool { return h.life != nil && !h.life.HasEnded() })
}

func (s *storing) running() []*stored {
	return slices.DeleteFunc(s.some(len(s.hosts)), func(h *stored) bool { return h.life == nil || h.life.HasEnded() })
}

// start starts the processes of hosts that do not run. It does not wait until they run.
func (s *storing) start(all ...*stored) {
	for _, h := range all {
		if h.runs != nil {
			<-h.runs // nobody looks for the process before it any more
		}
		life, runs := s.Begin(h.id), make(chan struct{})
		h.life, h.runs, h.process = life, runs, nil
		s.log(h.name, "-- is started")
		s.readers.Go(func() { s.live(h, life) })
		s.readers.Go(func() {
			at := s.locate(h, life)
			if close(runs); at != "" {
				s.readers.Go(func() { life.Watch(at) })
				life.Follow(at)
			}
		})
	}
}

// live runs a process, and notes what it writes.
func (s *storing) live(h *stored, life *ledger.Life) {
	run := exec.CommandContext(s.Context(), "docker", "start", "-a", h.container)
	err := follow(run, func(from stream, text string) {
		s.log(h.name, "%s", text)
		if from == stdout {
			life.Notice(text)
			return
		}
		life.Record(text)
		s.mu.Lock()
		s.records = append(s.records, text)
		s.mu.Unlock()
	})
	s.log(h.name, "-- has ended: %v", err)
	life.End()
}

// locate waits until the container runs, and finds its process and where it serves: "" if it has ended.
func (s *storing) locate(h *stored, life *ledger.Life) string {
	form := fmt.Sprintf("{{.State.Pid}} {{(index .NetworkSettings.Networks %q).IPAddress}}", s.name)
	for !life.HasEnded() {
		out, _ := docker(s.Context(), "inspect", "-f", form, h.container)
		number, addr, _ := strings.Cut(out, " ")
		if pid, err := strconv.Atoi(number); err == nil && pid > 0 && addr != "" {
			if p, err := os.FindProcess(pid); err == nil && p.Signal(syscall.Signal(0)) == nil {
				h.process, h.at = p, addr+":8082"
				return h.at
			}
		}
		select {
		case <-life.Ended():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return ""
}

// signal sends a signal to processes, to all in one moment, once they all run.
func (s *storing) signal(what os.Signal, all ...*stored) {
	for _, h := range all {
		select {
		case <-h.runs:
		case <-time.After(agreeLimit):
			s.Fatalf("%s did not run within %v", h.name, agreeLimit)
		}
	}
	for _, h := range all {
		if h.process == nil || h.process.Signal(what) != nil {
			continue // it has ended already
		}
		if what == syscall.SIGKILL {
			s.killed = append(s.killed, time.Now())
		}
		s.log(h.name, "-- %v", what)
	}
}

// await waits until processes have ended.
func (s *storing) await(all ...*stored) {
	s.Helper()
	for _, h := range all {
		select {
		case <-h.life.Ended():
		case <-time.After(agreeLimit):
			s.Fatalf("%s did not end within %v", h.name, agreeLimit)
		}
	}
}

// pause lets up to so much time pass: a random moment, no condition.
func (s *storing) pause(most time.Duration) {
	<-time.After(time.Duration(s.rng.Int64N(int64(most))))
}

// round makes a view change, and kills hosts meanwhile. Then most of them are started again.
func (s *storing) round() {
	s.rounds++
	running, more := s.running(), s.More()
	if leader := s.leader(); s.rng.IntN(3) == 0 && leader != nil { // it goes first
		running = append([]*stored{leader}, slices.DeleteFunc(running, func(h *stored) bool { return h == leader })...)
	}
	leaves, victims := running[:1], running
	switch down := s.down(); {
	case len(down) > 0 && s.rng.IntN(2) == 0: // one joins
		leaves = nil
		s.start(down[0])
	case s.rng.IntN(2) == 0: // one leaves, and may be killed before it has
		s.signal(syscall.SIGTERM, leaves...)
	default: // one is lost, and the others remove it
		s.signal(syscall.SIGKILL, leaves...)
		victims = running[1:]
	}
	switch s.rng.IntN(4) {
	case 0:
		s.pause(40 * time.Millisecond)
	case 1:
		s.pause(time.Second)
	default: // the moment in which somebody tells of the next view, and the others do not know it or have not stored it yet
		select {
		case <-more:
			s.pause(10 * time.Millisecond)
		case <-time.After(2 * time.Second):
		}
	}
	n := min([]int{1, 2, 3, 5, 5, 5}[s.rng.IntN(6)], len(victims))
	if n == len(victims) {
		s.cuts++
	}
	s.signal(syscall.SIGKILL, victims[:n]...)
	s.await(victims[:n]...)
	s.await(leaves...)
	down := s.down()
	keep := 0
	if len(down) > 1 && s.rng.IntN(2) == 0 { // another is missing than before, who may be one of the last view
		keep = 1
	}
	s.start(down[keep:]...)
	if keep > 0 || s.rng.IntN(3) > 0 {
		s.pause(1500 * time.Millisecond)
		return
	}
	s.agree()
}

// leader returns the host that says that it leads; nil if none does.
func (s *storing) leader() *stored {
	for _, h := range s.running() {
		select {
		case <-h.runs:
			if status, ok := ledger.Ask(h.at); ok && status.Leads {
				return h
			}
		default:
		}
	}
	return nil
}

// agree waits until all five are in one view, and returns what its leader says.
func (s *storing) agree() ledger.Status {
	s.Helper()
	began, tick := time.Now(), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	at := make(map[int]string)
	for _, h := range s.hosts {
		select {
		case <-h.runs:
			at[h.id] = h.at
		case <-time.After(agreeLimit):
			s.Fatalf("%s did not run within %v", h.name, agreeLimit)
		}
	}
	for time.Since(began) < agreeLimit {
		if end, ok := ledger.Agreed(at); ok {
			s.longest = max(s.longest, time.Since(began))
			s.log("all", "-- agree on %v", &end)
			return end
		}
		<-tick.C
	}
	s.Fatalf("no view of all within %v", agreeLimit)
	panic("unreachable")
}

// verify runs the image's own verify on all records.
func (s *storing) verify() {
	verify := exec.CommandContext(s.Context(), "docker", "run", "--rm", "-i", "--network", "none", image, "verify", "-state")
	verify.Stdin = strings.NewReader(strings.Join(s.records, "\n") + "\n")
	if out, err := verify.CombinedOutput(); err != nil || !strings.Contains(string(out), "The records agree") {
		s.Errorf("memberly verify -state: %v\n%s", err, out)
	}
}
