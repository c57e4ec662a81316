package handlers

import "memberly/peer/types"

// order keeps the other members in the order in which they were last heard: so a peer of a
// thousand, too, knows at once when the next of them will have been silent for too long.
type order struct {
	places []place // by ID; the ends of the list, which is a ring, are at 0
}

// place is where a member stands; both are zero for one who is in no list.
type place struct{ before, after types.ID }

func newOrder(hosts int) order { return order{make([]place, hosts+1)} }

// grow makes room for so many hosts.
func (o *order) grow(hosts int) {
	if n := hosts + 1 - len(o.places); n > 0 {
		o.places = append(o.places, make([]place, n)...)
	}
}

// first returns the member that was not heard for longest; 0 if there is none.
func (o *order) first() types.ID { return o.places[0].after }

// last makes id the one who was heard last.
func (o *order) last(id types.ID) {
	o.drop(id)
	end := o.places[0].before
	o.places[id] = place{before: end}
	o.places[end].after, o.places[0].before = id, id
}

// drop takes id out, if it is in.
func (o *order) drop(id types.ID) {
	p := &o.places[id]
	if o.places[p.before].after != id {
		return
	}
	o.places[p.before].after, o.places[p.after].before = p.after, p.before
	*p = place{}
}
