package datastructures

import (
	"sync"
	"testing"
)

// Elements are there, whole, as soon as the length says so, and stay where they are.
func TestSafeTable(t *testing.T) {
	t.Parallel()
	const most = 200
	var table SafeTable[[2]int]
	if table.Len() != 0 {
		t.Errorf("an empty table has %d elements", table.Len())
	}
	next := 0
	fill := func(e *[2]int) { *e = [2]int{next, next}; next++ }
	table.Grow(2, fill)
	first := table.At(1)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for n := 0; n < most; {
				n = table.Len()
				if e := table.At(n - 1); *e != [2]int{n - 1, n - 1} {
					t.Errorf("element %d is %v", n-1, *e)
				}
			}
		})
	}
	for n := range most + 1 {
		table.Grow(n, fill) // what it is longer than already changes nothing
	}
	readers.Wait()
	if table.Len() != most || table.At(1) != first || next != most {
		t.Errorf("%d elements, %d made; the second is at %p, was at %p", table.Len(), next, table.At(1), first)
	}
}
