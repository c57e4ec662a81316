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
// 0.1 ms. What must happen in each is in must, as the trace has it: else the plan misses its moment (TestDirectedMoments).
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
	{"shown", "A view raises the promise to the term in which it was chosen, also where it comes from one that does not\n" +
		"lead. One, which leads <1,2,3,4,5,6>, hears nobody and steps down. Two and Three stand, and are cut off from\n" +
		"each other: Two with 4 and 6, Three with 1 and 5, which is a quorum. Three leads, in a higher term than Two\n" +
		"has asked for, and lets 5 leave. One shows that view to 2, and 2 shows it to 4 and 6: a quorum of it, and none\n" +
		"of them has heard of the term of Three. Two must stand above that: in its old term it would win as well, and\n" +
		"leave, by the answers of 4 and 6, and after its death 6 would help Three, which prepares nothing, to make\n" +
		"another view of the same number, without 1.",
		Plan{Hosts: 6, Starts: seconds(0, 0.1, 0.2, 0.3, 0.4, 0.5), Quiet: 9 * time.Second, Backoff: milliseconds(200), Faults: []fault{
			apart(4000, 2, 3, 5000), // so that neither gives way to the other
			{At: 5 * time.Second, Kind: deaf, Side: 0b1, For: milliseconds(1657)},
			{At: milliseconds(6656.75), Kind: cutHosts, Side: 0b101010, For: milliseconds(800)}, // each has its pre-vote
			{At: milliseconds(7000), Kind: Leave, A: 5},
			apart(7456, 1, 4, 1500), // 1 and 2 meet
			apart(7456, 1, 6, 1500),
			apart(7456, 3, 4, 1500),
			apart(7456, 3, 6, 300),
			apart(7500.85, 1, 2, 1500), // before 1 refuses
			{At: milliseconds(7550), Kind: Leave, A: 2},
			apart(7701.25, 2, 6, 0.3),
			apart(7701.35, 4, 6, 1200),
			{At: milliseconds(7701.4), Kind: Crash, A: 2},
			{At: milliseconds(7701.6), Kind: snap, A: 2, B: 6},
			{At: milliseconds(7750), Kind: Leave, A: 1},
		}},
		[]string{" 2  1: NEWVIEW v7", " 4  2: NEWVIEW v7", " 6  2: NEWVIEW v7", " 3: REQ v7 t2.3 DEL 1 left", "3: REFUSED v7 t3.2 promised"}},
}

// playDirected plays a plan made by hand until it is quiet. It returns what the judge found, and the trace.
func playDirected(p Plan) (failure, told string) {
	p.Seed, p.MinDelay, p.MaxDelay = 1, 100*time.Microsecond, 100*time.Microsecond
	var out bytes.Buffer
	w := newWorld(p, &trace{out: &out, terse: true})
	w.runUntil(p.Quiet)
	return w.judge.failure, out.String()
}

// TestDirected plays the plans made by hand.
func TestDirected(t *testing.T) {
	for _, d := range directed {
		t.Run(d.name, func(t *testing.T) {
			if failure, _ := playDirected(d.plan); failure != "" {
				t.Errorf("directed plan %s fails: %s\n%s", d.name, failure, d.prose)
			}
		})
	}
}

// TestDirectedMoments shows that each plan made by hand meets the moment for which it is made. It is apart from
// TestDirected, as a mutant that only misses the moment is not found by that.
func TestDirectedMoments(t *testing.T) {
	for _, d := range directed {
		t.Run(d.name, func(t *testing.T) {
			_, told := playDirected(d.plan)
			for _, must := range d.must {
				if !strings.Contains(told, must) {
					t.Errorf("it misses its moment, %q, and goes so:\n%s", must, told)
				}
			}
		})
	}
}
