package simulation

import (
	"testing"
	"time"
)

// A leader lets a peer in and is cut off; it dies, and what it has said of the others reaches that
// peer, still fresh, when all of it is over. The peer records no failure of one that is fine.
func TestLateWordsOfADeadLeader(t *testing.T) {
	for seed := range uint64(500) {
		p := three()
		p.Seed, p.Hosts, p.Starts, p.Quiet = seed, 5, seconds(0, 0.1, 0.2, 0.3, 0.4), 30*time.Second
		p.MaxDelay = 1500 * time.Microsecond
		p.Faults = []fault{
			at(3, Crash, 2), at(3.5, start, 2), // it asks to be let in
			cut(3.5+float64(seed%40)/10000, 0b00001, 6.7), // as the leader has done so, or is about to
			at(5.704, Crash, 3),                           // now nobody else can let it in
			at(8.332, Crash, 1),
			cut(8.837, 0b01000, 2.737),
			at(13.388, Crash, 5),
		}
		if r := Run(p, nil); r.Failure != "" {
			t.Fatalf("seed %d: %s", seed, r.Failure)
		}
	}
}
