package simulation

import (
	"flag"
	"testing"
)

var size = flag.Int("size", 50, "of how many hosts TestGrowth's group is")

// A group forms, loses a member, loses many at one stroke, is cut in two and heals. A view
// change costs each member two messages and two answers, all of bounded size, and nobody but
// the leader sends anything to more than one.
func TestGrowth(t *testing.T) {
	ofThisVersion(t)
	t.Parallel()
	g, err := Grow(*size, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", g)
	if g.Formed.Views != *size || g.Removed.Views != 1 {
		t.Errorf("%d views to form, %d to remove one, want %d and 1", g.Formed.Views, g.Removed.Views, *size)
	}
	changes, members := *size-1, *size*(*size-1)/2 // how many views, and how often a member saw one
	if got, most := g.Formed.All.Messages, 4*members+10*changes; got > most {
		t.Errorf("%d messages to form, want %d at most", got, most)
	}
	// On top of what is sent to every member, a newcomer gets the whole view once.
	whole := changes * (200 + 11**size)
	if got, most := g.Formed.All.Bytes, 4*90*members+10*90*changes+whole; got > most {
		t.Errorf("%d bytes to form, want %d at most", got, most)
	}
	if idle := g.Idle.All.Messages; idle > 0 {
		t.Errorf("%d messages over TCP when nothing happens, want none", idle)
	}
}
