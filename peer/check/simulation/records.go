package simulation

import "memberly/peer/types"

// Records simulates a plan as Run does, and passes every record to recorded, in the order of
// writing. Its Members must not be changed.
func Records(p Plan, recorded func(types.Record)) Result {
	w := newWorld(p, nil)
	w.recorded = func(_ types.ID, r types.Record) { recorded(r) }
	return w.run()
}
