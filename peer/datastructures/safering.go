package datastructures

import (
	"slices"
	"sync"
)

// SafeRing is a log of the latest items, numbered from 1. Any goroutine may call its methods. Append
// never waits for readers: it drops the oldest item when the ring is full.
type SafeRing[T any] struct {
	mu      sync.Mutex
	items   []T           // the latest; a circular buffer once there are Max of them
	last    uint64        // the number of the newest item; 0 for none
	changed chan struct{} // closed at the next Append; nil while no reader waits
	Max     int           // how many items to keep, at least 1; must not change after first use
}

// Append adds item to the log, and wakes the readers that wait.
func (r *SafeRing[T]) Append(item T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.items) < r.Max {
		r.items = append(r.items, item)
	} else {
		r.items[r.last%uint64(r.Max)] = item
	}
	r.last++
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// After returns the kept items with higher numbers than this, oldest first; the number of the newest
// item; and a channel that the next Append closes. The first of items has the number
// last+1-len(items).
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
	oldest := r.last % max(kept, 1) // its index
	if kept < uint64(r.Max) {
		oldest = 0
	}
	all := slices.Concat(r.items[oldest:], r.items[:oldest])
	return all[kept-min(kept, r.last-number):], r.last, r.changed
}
