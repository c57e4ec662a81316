package handlers

import (
	"math/rand/v2"
	"slices"
	"testing"

	"memberly/peer/types"
)

// The order is that of a list in which whoever is heard goes to the end, whatever happens.
func TestOrder(t *testing.T) {
	const hosts = 9
	random := rand.New(rand.NewPCG(1, 2))
	o := newOrder(hosts)
	var want []types.ID
	for step := range 10_000 {
		id := types.ID(1 + random.IntN(hosts))
		want = slices.DeleteFunc(want, func(w types.ID) bool { return w == id })
		if random.IntN(3) > 0 {
			o.last(id)
			want = append(want, id)
		} else {
			o.drop(id)
		}
		var got []types.ID
		for at := o.first(); at != 0; at = o.places[at].after {
			got = append(got, at)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: %v, want %v", step, got, want)
		}
	}
}
