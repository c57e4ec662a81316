package handlers_test

import (
	"strings"
	"testing"

	"memberly/peer/types"
)

// Rules 1 and 2: a change that was chosen in an earlier term is what a new leader proposes, also
// where it takes office without a quorum that it reaches, and must ask again for the same view.
func TestSettledSurvivesAnnounce(t *testing.T) {
	t.Parallel()
	one := types.Term{Counter: 1, Peer: 1}
	p := member(t, conf{ID: 2}, viewOf(1, 1, 2, 3, 4, 5))
	want(t, "1, 2 and 4 of five choose ADD 6", p.hear(msg{Kind: types.Req, From: 1, Request: 2, Change: add(6)}), "OK ADD 6→1")
	p.undialed(5, types.Refusal)
	if did := p.undialed(1, types.Refusal); !strings.Contains(did, "NEWLEADER→3") {
		t.Fatalf("without its leader it does %q, want it to stand", did)
	}
	tells, grants := p.answer(4), p.answer(3)
	tells.Change, tells.Accepted = add(6), one
	want(t, "4 tells of it", p.hear(tells), "")
	p.undialed(4, types.Refusal)
	p.hear(grants) // before a Tick finds that it reaches no quorum any more
	p.term = types.Term{}
	p.at += 50 * ms
	p.hear(msg{Kind: types.State, From: 5, Standing: types.Joined}) // 5 is back
	p.pass(250*ms, 3)                                               // and is asked, too
	if did := p.reply(3, 5); !strings.Contains(did, "REQ ADD 6") || strings.Contains(did, "DEL") {
		t.Errorf("when 3 and 5, which know of nothing, have answered, it does %q; want REQ ADD 6 first", did)
	}
}
