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
	if got := v.Swap("b"); got != "a" {
		t.Errorf("Swap returned %q, want a", got)
	}
	if got := v.Update(func(s string) string { return s + "c" }); got != "bc" {
		t.Errorf("Update returned %q, want bc", got)
	}
	if got := v.Load(); got != "bc" {
		t.Errorf("Load returned %q, want bc", got)
	}
}

// A panic inside Update must not leave the value locked for ever.
func TestSafeValueOutlivesPanic(t *testing.T) {
	t.Parallel()
	var v SafeValue[int]
	func() {
		defer func() { recover() }()
		v.Update(func(int) int { panic("no") })
	}()
	v.Store(1)
	if got := v.Load(); got != 1 {
		t.Errorf("Load returned %d, want 1", got)
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
			for range rounds {
				v.Update(func(p pair) pair { return pair{p.a + 1, p.b + 1} })
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
	if got, want := v.Load(), (pair{2 * rounds, 2 * rounds}); got != want {
		t.Errorf("after %d updates: %v, want %v", 2*rounds, got, want)
	}
}
