// Package datastructures has the types by which the goroutine of the protocol publishes data to all
// others. All types are ready for use as zero values, and must not be copied after first use.
package datastructures

import (
	"slices"
	"sync"
)

// SafeList is a list behind a mutex. Any goroutine may call its methods. They copy the list in and out,
// so no caller shares its memory, except for what the elements point to.
type SafeList[T any] struct {
	mu    sync.Mutex
	items []T
}

// Append adds items to the end of the list. A reader sees all of them or none.
func (l *SafeList[T]) Append(items ...T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, items...)
}

// Replace makes the list a copy of items.
func (l *SafeList[T]) Replace(items []T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.items) // so that elements beyond the new end keep nothing alive
	l.items = append(l.items[:0], items...)
}

// Copy returns a copy of the list, nil if it is empty.
func (l *SafeList[T]) Copy() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.items) == 0 {
		return nil
	}
	return slices.Clone(l.items)
}
