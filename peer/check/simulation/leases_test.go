package simulation

import (
	"strings"
	"testing"
)

// TestLeasesNeedSteadyClocks shows that the judge of leases sees two leaders where clocks differ by more than rule 8
// allows, and none where they differ by as much as it allows.
func TestLeasesNeedSteadyClocks(t *testing.T) {
	for _, c := range []struct {
		drift float64
		seeds uint64
		two   bool
	}{
		{0.01, 1000, false}, // two clocks differ by 2 % at most
		{0.025, 1000, true}, // by 5 % at most
	} {
		two := false
		for seed := range c.seeds {
			p := NewPlan(seed)
			p.Drift = c.drift
			r := Run(p, nil)
			if two = strings.Contains(r.Failure, "leads under fence"); two {
				break
			}
			if r.Failure != "" && !c.two {
				t.Errorf("clocks within %v, seed %d: %s", c.drift, seed, r.Failure)
			}
		}
		if two != c.two {
			t.Errorf("clocks within %v: two leaders at once: %v, want %v", c.drift, two, c.two)
		}
	}
}
