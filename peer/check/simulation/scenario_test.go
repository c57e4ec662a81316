package simulation

import (
	"flag"
	"slices"
	"testing"
	"time"

	"memberly/peer/check/scenario"
	"memberly/peer/types"
)

// TestScenarios runs the four scenarios of the compose files, many times with other delays.
func TestScenarios(t *testing.T) {
	for _, s := range scenario.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			for seed := range uint64(50) {
				got := runScenario(t, s, seed)
				for i, p := range s.Peers {
					if !slices.Equal(got[i], p.Records) {
						t.Fatalf("seed %d: %s wrote\n%q\nand not\n%q", seed, p.Name, got[i], p.Records)
					}
				}
			}
		})
	}
}

// runScenario returns what each peer wrote.
func runScenario(t *testing.T, s scenario.Scenario, seed uint64) [][]string {
	t.Helper()
	p := Plan{Seed: seed, Hosts: len(s.Peers), Quiet: 40 * time.Second,
		Network: Network{MinDelay: 50 * time.Microsecond, MaxDelay: 500 * time.Microsecond, Names: seed%2 == 0}}
	for i, peer := range s.Peers {
		f := flag.NewFlagSet(peer.Name, flag.ContinueOnError)
		f.String("h", "", "")
		wait, crash, drill := f.Int("d", 0, ""), f.Int("c", 0, ""), f.Bool("t", false, "")
		if err := f.Parse(peer.Args); err != nil {
			t.Fatal(err)
		}
		start := time.Duration(*wait) * time.Second
		p.Starts = append(p.Starts, start)
		p.Drill = p.Drill || *drill
		if *crash > 0 {
			p.Faults = append(p.Faults, fault{At: start + time.Duration(*crash)*time.Second, Kind: Signal, A: types.ID(i + 1)})
		}
	}
	w := newWorld(p, nil)
	got := make([][]string, p.Hosts)
	w.recorded = func(id types.ID, r types.Record) { got[id-1] = append(got[id-1], r.String()) }
	w.runUntil(p.Quiet)
	if w.judge.failure != "" {
		t.Fatal(w.judge.failure)
	}
	return got
}
