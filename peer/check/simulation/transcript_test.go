package simulation

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

var update = flag.Bool("update", false, "write the transcripts anew")

// moment is one of the protocol's great moments: a plan, and the time that its transcript shows.
type moment struct {
	name, prose string
	plan        Plan
	from, until time.Duration
}

func seconds(s ...float64) []time.Duration {
	ds := make([]time.Duration, len(s))
	for i := range s {
		ds[i] = time.Duration(s[i] * float64(time.Second))
	}
	return ds
}

func at(s float64, kind Kind, host types.ID) fault {
	return fault{At: time.Duration(s * float64(time.Second)), Kind: kind, A: host}
}

func cut(s float64, side uint32, length float64) fault {
	return fault{At: time.Duration(s * float64(time.Second)), Kind: cutHosts, Side: side, For: time.Duration(length * float64(time.Second))}
}

var moments = []moment{
	{"founding", "Three hosts start, the first last. It finds that nobody holds a view, makes the group\n" +
		"alone, and its first heartbeat draws the others in.",
		Plan{Hosts: 3, Starts: seconds(0.5, 0, 0)}, 500 * time.Millisecond, 510 * time.Millisecond},
	{"join", "A fourth peer asks to be let into a group of three.",
		Plan{Hosts: 4, Starts: seconds(0, 0.1, 0.2, 5)}, 5 * time.Second, 5010 * time.Millisecond},
	{"removal", "A member's process dies; its host refuses connections. The leader needs nobody's word for it\n" +
		"but a quorum's for the removal.",
		Plan{Hosts: 3, Starts: seconds(0, 0.1, 0.2), Faults: []fault{at(5, Crash, 3)}}, 5 * time.Second, 5010 * time.Millisecond},
	{"pending", "The leader asks three, not two, to expel four, and dies (the drill). Two leads, learns of the\n" +
		"pending operation from three, finishes it, then removes the old leader. Four is told, and stays out.",
		Plan{Hosts: 4, Starts: seconds(0, 0.1, 0.2, 5), Drill: true}, 5 * time.Second, 5010 * time.Millisecond},
	{"expelled", "Four was expelled by the drill and stays out, though it runs and hears the group. Started again,\n" +
		"it is a new peer, and is let in.",
		Plan{Hosts: 4, Starts: seconds(0, 0.1, 0.2, 5), Drill: true, Faults: []fault{at(8, Crash, 4), at(8.1, start, 4)}},
		7 * time.Second, 8200 * time.Millisecond},
	{"partition", "Three is cut off from one and two, which remove it when it has been silent for 2.2 s. It waits.\n" +
		"When the cut heals, a heartbeat of its is answered with the view that it is not in, and it joins again.",
		Plan{Hosts: 3, Starts: seconds(0, 0.1, 0.2), Faults: []fault{cut(5, 0b100, 5)}}, 6500 * time.Millisecond, 11500 * time.Millisecond},
	{"reforming", "Two of three die at once, the leader among them. Three, which is no quorum of the view, gathers\n" +
		"the evidence of rule 7 twice, 1 s apart, and makes a new group.",
		Plan{Hosts: 3, Starts: seconds(0, 0.1, 0.2), Faults: []fault{at(5, Crash, 1), at(5, Crash, 2)}}, 5 * time.Second, 10 * time.Second},
	{"twins", "One founds while two and three do not run yet, and is cut off before they start. They hear only\n" +
		"silence from it, and after 20 s two founds by more than half: a twin (rule 7). When the cut heals, the\n" +
		"members of the group that was made later join the earlier one (rule 6).",
		Plan{Hosts: 3, Starts: seconds(0, 3, 3), Faults: []fault{cut(2, 0b001, 23)}}, 22900 * time.Millisecond, 27 * time.Second},
}

// TestTranscripts holds the protocol's great moments against testdata, where they can be read
// as plays. After a change that was meant, run it with -update, and read them.
func TestTranscripts(t *testing.T) {
	ofThisVersion(t)
	for _, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			got := []byte("# " + strings.ReplaceAll(m.prose, "\n", "\n# ") + "\n\n" + m.play(t))
			file := filepath.Join("testdata", m.name+".txt")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the play is not that of %s any more; it goes\n%s", file, got)
			}
		})
	}
}

// play returns the events of the moment, those left out that are but heartbeats.
func (m moment) play(t *testing.T) string {
	t.Helper()
	p := m.plan
	p.Seed, p.Quiet = 1, m.until
	p.MinDelay, p.MaxDelay = 100*time.Microsecond, 100*time.Microsecond
	var out bytes.Buffer
	w := newWorld(p, nil)
	w.runUntil(m.from - 1)
	w.trace = &trace{out: &out, terse: true}
	w.runUntil(m.until)
	if w.judge.failure != "" {
		t.Fatal(w.judge.failure)
	}
	return out.String()
}
