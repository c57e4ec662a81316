package datastructures

import "sync"

// SafeQueue is a queue from which one goroutine takes what others put. Any goroutine may call its
// methods, and Put never waits. The zero value is an empty queue without a bound.
type SafeQueue[T any] struct {
	Max int // how many items to keep at most; 0 for no bound; must not change after first use

	mu      sync.Mutex
	filled  sync.Cond // there is an item, or the queue is closed
	items   []T
	dropped int // since the last Take
	closed  bool
}

// Put adds item to the end, unless the queue is closed. If the queue is full, it drops the oldest item.
func (q *SafeQueue[T]) Put(item T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if q.Max > 0 && len(q.items) == q.Max {
		q.items = q.items[1:]
		q.dropped++
	}
	q.items = append(q.items, item)
	q.filled.Signal()
}

// Take waits for the first item and removes it. It also returns how many items were dropped before it
// since the last call. ok is false once the queue is closed and empty.
func (q *SafeQueue[T]) Take() (item T, dropped int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.filled.L = &q.mu
	for len(q.items) == 0 {
		if q.closed {
			return item, 0, false
		}
		q.filled.Wait()
	}
	item, dropped = q.items[0], q.dropped
	q.items, q.dropped = q.items[1:], 0
	return item, dropped, true
}

// Close closes the queue. Take still returns what is in it.
func (q *SafeQueue[T]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
}
