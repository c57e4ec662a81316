package e2e

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/ledger"
)

var (
	kills    = flag.Int("kills", 24, "how many rounds TestKills has, in all its groups")
	killSeed = flag.Uint64("kill-seed", 0, "the seed of TestKills; 0 for a new one")
)

// A test of kills needs no long silences: what waits for a monitor interval takes a quarter of the usual time.
var killArgs = []string{"-heartbeat", "250ms", "-monitor", "500ms"}

// living is one process of a host, and what it has told.
type living struct {
	*ledger.Life
	*daemon
}

// killer does what goes wrong in TestKills.
type killer struct {
	*storing
	*ledger.Ledger
	all       []living
	rng       *rand.Rand
	following sync.WaitGroup
	down      []int
	longest   time.Duration // until all agreed
}

// begin starts a host, and follows what it tells.
func (k *killer) begin(id int) {
	life := k.Begin(id)
	k.start(id)
	d, at := k.runs[id-1], fmt.Sprint(k.Host(id), ":8082")
	k.all = append(k.all, living{life, d})
	go func() {
		<-d.exited
		life.End()
	}()
	k.following.Go(func() { life.Follow(at) })
	k.following.Go(func() { life.Watch(at) })
}

// some returns n hosts.
func (k *killer) some(n int) []int {
	ids := k.rng.Perm(5)[:n]
	for i := range ids {
		ids[i]++
	}
	return ids
}

// up starts hosts one after the other, at random moments.
func (k *killer) up(ids ...int) {
	for _, id := range ids {
		k.pause(20 * time.Millisecond)
		k.begin(id)
	}
}

// pause lets up to so much time pass: a random moment, no condition.
func (k *killer) pause(most time.Duration) {
	<-time.After(time.Duration(k.rng.Int64N(int64(most))))
}

// round has a host end and often start again, each of which makes a view, and kills hosts meanwhile: most often all,
// after which another one is missing than before.
func (k *killer) round() {
	running := slices.DeleteFunc(k.some(5), func(id int) bool { return slices.Contains(k.down, id) })
	one := running[0]
	k.runs[one-1].signal([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[k.rng.IntN(2)])
	k.runs[one-1].awaitExit(patience)
	if k.rng.IntN(2) == 0 {
		k.up(one)
	} else {
		running, k.down = running[1:], append(k.down, one)
	}
	k.pause([]time.Duration{5 * time.Millisecond, 15 * time.Millisecond, 40 * time.Millisecond, time.Second}[k.rng.IntN(4)])
	n := []int{1, 2, 3, 5, 5, 5}[k.rng.IntN(6)]
	victims := running[:min(n, len(running))]
	k.kill(victims...)
	k.down = append(k.down, victims...)
	k.rng.Shuffle(len(k.down), func(i, j int) { k.down[i], k.down[j] = k.down[j], k.down[i] })
	keep := min(k.rng.IntN(2), len(k.down)-1) // one stays down for a round
	k.up(k.down[keep:]...)
	k.down = k.down[:keep]
	if k.rng.IntN(2) == 0 || len(k.down) > 0 { // who is down may be one of the two of the last view
		k.pause(time.Second)
		return
	}
	_, took := k.agree(1, 2, 3, 4, 5)
	k.longest = max(k.longest, took)
}

// powerCut is the part of the storage that a real power cut needs and SIGKILL lacks: what was written, and not synced
// yet, is mostly lost with the process. A sync takes up to 40 ms.
const powerCut = `package storage

import (
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

type unsynced struct {
	b  []byte
	at int64
}

var (
	mutex  sync.Mutex
	writes []unsynced
)

func (d osDisk) WriteAt(b []byte, at int64) (int, error) {
	mutex.Lock()
	defer mutex.Unlock()
	writes = append(writes, unsynced{append([]byte(nil), b...), at})
	if rand.IntN(3) == 0 {
		return d.File.WriteAt(b, at) // early, before others
	}
	return len(b), nil
}

func datasync(f *os.File) error {
	time.Sleep(rand.N(40 * time.Millisecond))
	mutex.Lock()
	defer mutex.Unlock()
	for _, w := range writes {
		if _, err := f.WriteAt(w.b, w.at); err != nil {
			return err
		}
	}
	writes = nil
	return nil
}
`

// losing builds a daemon that loses what is not synced when it is killed.
func losing(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	disk, err := filepath.Abs("../../storage/disk_linux.go")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {disk: filepath.Join(dir, "disk.go")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"disk.go": powerCut, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	built := filepath.Join(dir, "memberly")
	if out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", built, root).CombinedOutput(); err != nil {
		t.Fatalf("building it: %v\n%s", err, out)
	}
	return built
}

// However hosts are killed while views change, and start again: no number of a view is told with two memberships, no
// fence by two, there is one group, and in the end all agree. Half of the groups lose what they have not synced.
func TestKills(t *testing.T) {
	t.Parallel()
	seed := cmp.Or(*killSeed, uint64(time.Now().UnixNano()))
	const groups = 4
	program := []string{program, losing(t)}
	t.Run("groups", func(t *testing.T) {
		for n := range groups {
			t.Run(fmt.Sprint(n+1), func(t *testing.T) {
				t.Parallel()
				t.Logf("-kill-seed %d, %d rounds", seed, *kills/groups)
				k := &killer{storing: newStoring(t, killArgs...), rng: rand.New(rand.NewPCG(seed, uint64(n))),
					Ledger: ledger.New(t)}
				k.program = program[n%2]
				k.run(*kills / groups)
			})
		}
	})
}

// run kills hosts for some rounds, and judges what all processes have told.
func (k *killer) run(rounds int) {
	t := k.storing.T
	k.up(k.some(5)...) // the first kills hit the founding
	began := time.Now()
	for range rounds {
		k.round()
	}
	k.up(k.down...)
	last, took := k.agree(1, 2, 3, 4, 5)
	if k.longest = max(k.longest, took); k.longest > 15*time.Second {
		t.Errorf("it took them up to %v to agree", k.longest)
	}
	k.kill(1, 2, 3, 4, 5)
	k.following.Wait()
	for _, d := range k.all { // of each host in their order
		for _, line := range d.stderr.Lines() {
			d.Record(line)
		}
		for _, line := range d.stdout.Lines() {
			d.Notice(line)
		}
	}
	k.Judge(&last)
	t.Logf("%v, in %v; in the end all agree on %v; they did within %v", k.Ledger, time.Since(began), &last, k.longest)
}
