package simulation

import (
	"flag"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	first    = flag.Uint64("seed", 0, "run this one seed, and print its trace if it fails")
	seeds    = flag.Int("seeds", 3000, "how many seeds to run")
	from     = flag.Uint64("from", 1, "the first of them")
	brief    = flag.Bool("brief", false, "neither shrink nor trace what fails")
	longest  = flag.Duration("longest", 0, "stop after so long")
	duration = flag.Duration("seeds-for", 0, "run fresh seeds for so long instead")
)

func TestSeeds(t *testing.T) {
	if *first != 0 {
		judgeSeed(t, *first)
		return
	}
	start, n := *from, uint64(*seeds)
	end := time.Time{}
	if *duration > 0 {
		start, n = uint64(time.Now().UnixNano()), 1<<62
		end = time.Now().Add(*duration)
	}
	if *longest > 0 {
		end = time.Now().Add(*longest)
	}
	var next, twins, steps, slow atomic.Uint64
	var simulated atomic.Int64
	var failed atomic.Uint64
	began := time.Now()
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for failed.Load() == 0 {
				i := next.Add(1) - 1
				if i >= n || !end.IsZero() && time.Now().After(end) {
					return
				}
				r := Run(NewPlan(start+i), nil)
				twins.Add(uint64(r.Twins))
				steps.Add(uint64(r.Steps))
				simulated.Add(int64(r.Simulated))
				if r.Converged > 10*time.Second {
					slow.Add(1)
				}
				if r.Failure != "" {
					failed.CompareAndSwap(0, start+i)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	ran := min(next.Load(), n)
	t.Logf("seeds %d to %d: %.0f seeds/s, %.0f simulated s/s, %.0f steps/s, %d twins, %d took over 10 s", start, start+ran-1,
		float64(ran)/took.Seconds(), time.Duration(simulated.Load()).Seconds()/took.Seconds(), float64(steps.Load())/took.Seconds(), twins.Load(), slow.Load())
	if seed := failed.Load(); seed != 0 {
		judgeSeed(t, seed)
	}
}

// judgeSeed runs one seed and explains its failure.
func judgeSeed(t *testing.T, seed uint64) {
	r := Run(NewPlan(seed), nil)
	if r.Failure == "" {
		t.Logf("seed %d: no failure, %v", seed, r.Converged)
		return
	}
	if *brief {
		t.Fatalf("seed %d fails: %s", seed, r.Failure)
	}
	p := Shrink(r.Plan)
	t.Errorf("seed %d fails: %s\nrepeat: go test ./peer/simulation -run Seeds -seed %d\nshrunk, it fails so: %s", seed, r.Failure, seed, p)
	name := os.TempDir() + "/trace.txt"
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Logf("failure of the shrunk plan: %s; its trace is in %s", Run(p, f).Failure, name)
}
