package datastructures

import (
	"slices"
	"sync"
	"sync/atomic"
)

// SafeTable is a list that only grows, and whose elements stay where they are. Any goroutine may call its methods. At
// and Len take no lock. What an element holds is not protected.
type SafeTable[T any] struct {
	mu  sync.Mutex // held by Grow
	all atomic.Pointer[[]*T]
}

// Grow makes the table at least n long. It calls init with each new element before others see it.
func (t *SafeTable[T]) Grow(n int, init func(*T)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	more := n - t.Len()
	if more <= 0 {
		return
	}
	var all []*T
	if old := t.all.Load(); old != nil {
		all = *old
	}
	all = slices.Grow(all, more) // readers look at no place beyond the length that they have loaded
	added := make([]T, more)
	for i := range added {
		init(&added[i])
		all = append(all, &added[i])
	}
	t.all.Store(&all)
}

// At returns the element at i, which must be below a length that Len has returned.
func (t *SafeTable[T]) At(i int) *T { return (*t.all.Load())[i] }

// Len returns how many elements there are.
func (t *SafeTable[T]) Len() int {
	if all := t.all.Load(); all != nil {
		return len(*all)
	}
	return 0
}
