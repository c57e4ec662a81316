package datastructures

import (
	"slices"
	"sync"
	"testing"
)

func TestSafeListCopies(t *testing.T) {
	t.Parallel()
	var list SafeList[int]
	if got := list.Copy(); got != nil {
		t.Errorf("an unused list is %v, want nil", got)
	}
	list.Append(1)
	list.Append(2, 3)
	given := []int{4, 5}
	first := list.Copy()
	list.Replace(given)
	second := list.Copy()
	given[0] = 9
	second[1] = 9
	for _, c := range []struct {
		what      string
		got, want []int
	}{
		{"copy taken before Replace", first, []int{1, 2, 3}},
		{"list after the given slice and a copy were changed", list.Copy(), []int{4, 5}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	list.Replace(nil)
	if got := list.Copy(); got != nil {
		t.Errorf("an emptied list is %v, want nil", got)
	}
}

// Every Append adds a pair and every Replace sets one; a reader must never see half of a pair.
// Run with -race, it also shows that no memory is shared.
func TestSafeListIsNeverHalfChanged(t *testing.T) {
	t.Parallel()
	const rounds = 500
	var list SafeList[int]
	var all sync.WaitGroup
	for writer := range 2 {
		all.Go(func() {
			for i := range rounds {
				list.Append(i, i)
				if i%10 == 0 {
					list.Replace([]int{writer, writer})
				}
			}
		})
	}
	all.Go(func() {
		for range rounds {
			for pair := range slices.Chunk(list.Copy(), 2) {
				if len(pair) != 2 || pair[0] != pair[1] {
					t.Errorf("saw the torn pair %v", pair)
				}
				pair[0]++ // ours to change
			}
		}
	})
	all.Wait()
}
