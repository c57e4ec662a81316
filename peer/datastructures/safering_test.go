package datastructures

import (
	"slices"
	"sync"
	"testing"
)

func TestSafeRing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		appended int
		after    uint64
		want     []int
	}{
		{0, 0, nil},
		{2, 0, []int{1, 2}},
		{2, 1, []int{2}},
		{3, 0, []int{1, 2, 3}},
		{4, 0, []int{2, 3, 4}},
		{8, 6, []int{7, 8}},
		{8, 2, []int{6, 7, 8}},
		{8, 8, nil},
		{8, 99, nil},
	} {
		r := SafeRing[int]{Max: 3}
		for i := range c.appended {
			r.Append(i + 1)
		}
		got, last, _ := r.After(c.after)
		if !slices.Equal(got, c.want) || last != uint64(c.appended) {
			t.Errorf("%d appended, after %d: %v, the last is %d, want %v", c.appended, c.after, got, last, c.want)
		}
	}
}

// Append wakes readers that wait, and they miss nothing if the ring is long enough.
func TestSafeRingWakes(t *testing.T) {
	t.Parallel()
	const items = 1000
	r := SafeRing[int]{Max: items}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			seen := uint64(0)
			for seen < items {
				got, last, more := r.After(seen)
				for i, item := range got {
					if want := int(seen) + i + 1; item != want {
						t.Errorf("%d came, want %d", item, want)
						return
					}
				}
				if seen = last; seen < items {
					<-more
				}
			}
		})
	}
	for i := range items {
		r.Append(i + 1)
	}
	readers.Wait()
}
