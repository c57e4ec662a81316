package datastructures

import "sync"

// SafeValue is a value behind a mutex. Any goroutine may call its methods. Facts that must agree belong
// in one SafeValue, because a reader can see an old value in one and a new value in another. What the
// value points to is not protected, so it must never be modified after Store, like a types.View.
type SafeValue[T any] struct {
	mu    sync.Mutex
	value T
}

// Load returns the value, or the zero T if none was stored yet.
func (v *SafeValue[T]) Load() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.value
}

// Store makes value the value.
func (v *SafeValue[T]) Store(value T) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.value = value
}
