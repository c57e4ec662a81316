package datastructures

import "sync"

// SafeValue is a value behind a mutex. Facts that must agree belong into one SafeValue: those
// in two can be seen half-changed. What the value points to is not protected; publish only
// what is never modified again, as types.View. All methods may be called from any goroutine.
type SafeValue[T any] struct {
	mu    sync.Mutex
	value T
}

// Load returns the value; the zero T if none was stored yet.
func (v *SafeValue[T]) Load() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.value
}

// Store makes value the value.
func (v *SafeValue[T]) Store(value T) { v.Swap(value) }

// Swap makes value the value, and returns the one before.
func (v *SafeValue[T]) Swap(value T) T {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.value
	v.value = value
	return before
}

// Update makes change(value) the value, and returns it. Nobody else reads or writes in
// between, so change must be quick and must not use v itself.
func (v *SafeValue[T]) Update(change func(T) T) T {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.value = change(v.value)
	return v.value
}
