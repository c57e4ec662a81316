package datastructures

import (
	"slices"
	"sync"
)

// SafeRing is a log of the latest items, each with a number of its own, from 1. Who appends
// never waits for who reads: what nobody has read in time makes room. All methods may be
// called from any goroutine.
type SafeRing[T any] struct {
	mu      sync.Mutex
	items   []T           // the latest, in a circle once there are Most of them
	last    uint64        // the number of the newest; 0 for none
	changed chan struct{} // closed at the next Append; nil while nobody waits
	Most    int           // how many are kept, at least 1; never changed after first use
}

// Append adds item to the log, and wakes those who wait for it.
func (r *SafeRing[T]) Append(item T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.items) < r.Most {
		r.items = append(r.items, item)
	} else {
		r.items[r.last%uint64(r.Most)] = item
	}
	r.last++
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// After returns the items that came after the one numbered so, as far as they are kept, the
// oldest first; the number of the newest of all; and a channel that is closed when there is
// more. The first item returned has the number last+1-len(items).
func (r *SafeRing[T]) After(number uint64) (items []T, last uint64, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	kept := uint64(len(r.items))
	if number >= r.last {
		return nil, r.last, r.changed
	}
	oldest := r.last % max(kept, 1) // its place in the circle
	if kept < uint64(r.Most) {
		oldest = 0
	}
	all := slices.Concat(r.items[oldest:], r.items[:oldest])
	return all[kept-min(kept, r.last-number):], r.last, r.changed
}
