// Package datastructures holds what one goroutine publishes to others: the one that owns the
// protocol writes, any other may read. All types are ready for use as zero values, and must
// not be copied after first use.
package datastructures

import (
	"slices"
	"sync"
)

// SafeList is a list behind a mutex. It is copied in and out whole, so that no caller ever
// shares its memory; what the elements point to is shared all the same. All methods may be
// called from any goroutine.
type SafeList[T any] struct {
	mu    sync.Mutex
	items []T
}

// Append adds items to the end of the list: all of them at once, to whoever reads it.
func (l *SafeList[T]) Append(items ...T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, items...)
}

// Replace makes the list a copy of items, which stays the caller's.
func (l *SafeList[T]) Replace(items []T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.items) // lets go of what the elements beyond the new end point to
	l.items = append(l.items[:0], items...)
}

// Copy returns the list as it is now, for the caller to keep. An empty list is nil.
func (l *SafeList[T]) Copy() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.items) == 0 {
		return nil
	}
	return slices.Clone(l.items)
}
