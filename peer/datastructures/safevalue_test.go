package datastructures

import (
	"sync"
	"testing"
)

func TestSafeValue(t *testing.T) {
	t.Parallel()
	var v SafeValue[string]
	if got := v.Load(); got != "" {
		t.Errorf("an unused value is %q, want the zero value", got)
	}
	v.Store("a")
	if got := v.Load(); got != "a" {
		t.Errorf("Load returned %q, want a", got)
	}
}

func TestSafeValueIsNeverHalfChanged(t *testing.T) {
	t.Parallel()
	type pair struct{ a, b int }
	const rounds = 1000
	var v SafeValue[pair]
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for i := range rounds {
				v.Store(pair{i, i})
			}
		})
	}
	all.Go(func() {
		for range rounds {
			if p := v.Load(); p.a != p.b {
				t.Errorf("saw the torn value %v", p)
			}
		}
	})
	all.Wait()
}
