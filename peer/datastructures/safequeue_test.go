package datastructures

import (
	"slices"
	"testing"
)

// A queue keeps the order, drops the oldest beyond its bound and says so, and is emptied after its end.
func TestSafeQueue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		max     int
		want    []int
		dropped int
	}{{0, []int{1, 2, 3, 4}, 0}, {4, []int{1, 2, 3, 4}, 0}, {3, []int{2, 3, 4}, 1}, {1, []int{4}, 3}} {
		q := SafeQueue[int]{Max: c.max}
		for i := range 4 {
			q.Put(i + 1)
		}
		q.Close()
		q.Put(9)
		var got []int
		var lost int
		for {
			item, dropped, ok := q.Take()
			if !ok {
				break
			}
			got, lost = append(got, item), lost+dropped
		}
		if !slices.Equal(got, c.want) || lost != c.dropped {
			t.Errorf("bound %d: took %v, %d dropped, want %v, %d", c.max, got, lost, c.want, c.dropped)
		}
	}
}

// Take waits for an item, and for the end.
func TestSafeQueueWaits(t *testing.T) {
	t.Parallel()
	var q SafeQueue[int]
	took := make(chan bool)
	go func() {
		for range 2 {
			_, _, ok := q.Take()
			took <- ok
		}
	}()
	q.Put(1)
	if !<-took {
		t.Error("Take returned without the item")
	}
	q.Close()
	if <-took {
		t.Error("Take returned an item after the end")
	}
}
