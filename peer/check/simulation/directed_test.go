package simulation

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// milliseconds makes a moment, or a length of time, of a directed plan.
func milliseconds(t float64) time.Duration { return time.Duration(t * float64(time.Millisecond)) }

// apart cuts the ways between two hosts, at a moment and for a time in milliseconds.
func apart(at float64, a, b types.ID, length float64) fault {
	return fault{At: milliseconds(at), Kind: linkBoth, A: a, B: b, For: milliseconds(length)}
}

// directed are plans made by hand: moments so rare that seeds do not meet them. Each packet takes
// 0.1 ms. What must happen in each is in must, as the trace has it: else the plan misses its moment.
var directed = []struct {
	name, prose string
	plan        Plan
	must        []string
}{
	{"unprepared", "Quorums of neighbouring views need not meet. Two leads <1,2,3,4> and lets in 5, by the answers of 3 and 4,\n" +
		"then 6, by those of 4 and 5; 1 and 3 have heard of the first only what 3 accepted, and 4 not that 6 is in.\n" +
		"Two dies. One leads, by 3, and finishes the ADD of 5. Of the ADD of 6 it learns only as it asks a quorum of\n" +
		"the next view before it proposes anything in it.",
		Plan{Hosts: 6, Starts: seconds(0, 0.1, 0.2, 0.3, 20, 20.0015), Quiet: 25 * time.Second, Faults: []fault{
			{At: 5 * time.Second, Kind: deaf, Side: 0b1, For: 3 * time.Second}, // so that 2 leads, not 1
			apart(20000.75, 1, 2, 1.9),
			apart(20000.95, 2, 3, 1.7),
			apart(20002.45, 2, 4, 0.2),
			{At: milliseconds(20002.6), Kind: Crash, A: 2},
			{At: milliseconds(20002.7), Kind: snap, A: 1, B: 2},
			{At: milliseconds(20002.7), Kind: snap, A: 2, B: 3},
			{At: milliseconds(20002.7), Kind: snap, A: 2, B: 4},
			{At: milliseconds(20002.7), Kind: slow, A: 4, B: 1, Delay: milliseconds(0.6), For: milliseconds(2)},
			{At: milliseconds(20002.7), Kind: slow, A: 5, B: 1, Delay: milliseconds(5), For: milliseconds(4)},
		}},
		[]string{"4: OK v5 t3.1 ADD 6", "memb_list: [<1,3,4,5,6>]"}},
}

// TestDirected plays the plans made by hand.
func TestDirected(t *testing.T) {
	for _, d := range directed {
		t.Run(d.name, func(t *testing.T) {
			p := d.plan
			p.Seed, p.MinDelay, p.MaxDelay = 1, 100*time.Microsecond, 100*time.Microsecond
			var out bytes.Buffer
			w := newWorld(p, &trace{out: &out, terse: true})
			w.runUntil(p.Quiet)
			for _, must := range d.must {
				if w.judge.failure == "" && !strings.Contains(out.String(), must) {
					t.Errorf("it misses its moment, %q, and goes so:\n%s", must, out.String())
				}
			}
			if w.judge.failure != "" {
				t.Errorf("directed plan %s fails: %s\n%s", d.name, w.judge.failure, d.prose)
			}
		})
	}
}
