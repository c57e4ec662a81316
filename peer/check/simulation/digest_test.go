package simulation

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"hash"
	"strings"
	"sync"
	"testing"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

var wholeDigest = flag.Bool("digest", false, "TestDigest: hash all 3000 seeds, not only the first hundred")

// digests are the hashes of all that peers do under the first seeds. A change that is to change no
// behaviour leaves them as they are. After one that is meant to, take the new ones from what fails: go test
// ./peer/check/simulation -run Digest -v -args -digest.
var digests = map[int]string{
	1:  "634461e6e7dfa947",
	30: "ad34433b33553d50",
}

// ofThisVersion skips a test that pins what peers send, where the build stands for the next wire version (tag
// memberly_next).
func ofThisVersion(t *testing.T) {
	t.Helper()
	if types.LastKind > types.Hosts {
		t.Skip("the next wire version sends more")
	}
}

// TestDigest hashes every output and view of the seeds from 1 on, a hundred at a time.
func TestDigest(t *testing.T) {
	ofThisVersion(t)
	const hundreds = 30
	sums := make([][sha256.Size]byte, hundreds)
	n := 1
	if *wholeDigest {
		n = hundreds
	}
	var workers sync.WaitGroup
	for i := range n {
		workers.Go(func() { sums[i] = digest(uint64(100*i+1), 100) })
		if i%2 == 1 {
			workers.Wait()
		}
	}
	workers.Wait()
	all := sha256.New()
	for i := range n {
		all.Write(sums[i][:])
		sum := fmt.Sprintf("%x", all.Sum(nil)[:8])
		if want, ok := digests[i+1]; ok && sum != want {
			t.Errorf("the digest of seeds 1 to %d is %s, want %s: peers do something else than before", 100*(i+1), sum, want)
		}
	}
}

// digest hashes what peers do under so many seeds.
func digest(from, seeds uint64) (sum [sha256.Size]byte) {
	all := sha256.New()
	for seed := from; seed < from+seeds; seed++ {
		w := newWorld(NewPlan(seed), nil)
		w.observed = func(p *process, out *handlers.Output) { write(all, w, p, out) }
		w.run()
	}
	all.Sum(sum[:0])
	return sum
}

// write writes one step, whole.
func write(h hash.Hash, w *world, p *process, out *handlers.Output) {
	fmt.Fprintln(h, w.now, p.id, p.life, out.Exit, out.Code, out.Wake, out.Misled, out.Late, out.Redial, out.RedialAt, p.handler.View())
	for _, e := range out.Events {
		r, _ := e.Record(p.id)
		fmt.Fprintln(h, r, e)
	}
	for i := range out.Messages {
		writeMessage(h, out.Messages[i])
	}
	if out.Heartbeat != nil {
		writeMessage(h, *out.Heartbeat)
	}
}

// writeMessage writes m, and its view by value. It leaves out Stale, the last field: only a received message has it.
func writeMessage(h hash.Hash, m types.Message) {
	if m.View != nil {
		fmt.Fprint(h, *m.View)
		m.View = nil
	}
	text, found := strings.CutSuffix(fmt.Sprint(m), " false}")
	if !found {
		text += " is stale"
	}
	fmt.Fprintln(h, text+"}")
}
