package datastructures

import "sync"

// SafeQueue is a queue from which one goroutine takes what others put. A put never waits. All methods may be
// called from any goroutine; the zero value is an empty queue without a bound.
type SafeQueue[T any] struct {
	Max int // how many items wait at most, the oldest going beyond that; 0 for no bound; never changed after first use

	mu      sync.Mutex
	filled  sync.Cond // there is an item, or the queue is closed
	items   []T
	dropped int // since the last item was taken
	closed  bool
}

// Put adds item to the end, unless the queue is closed.
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

// Take waits for the first item and removes it. It also returns how many items before it were dropped. It
// returns false once the queue is closed and empty.
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

// Close ends the queue: what is in it can still be taken.
func (q *SafeQueue[T]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
}
