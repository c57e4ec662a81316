//go:build memberly_next

package types

import (
	"reflect"
	"testing"
)

// firstByte is what every message of this version begins with, in hexadecimal.
const firstByte = "03"

// addedBytes has, by kind, what this version adds to the bytes of a sample of version 2.
var addedBytes = map[Kind]string{Heartbeat: "0000000000000000"}

// What version 3 adds goes over the wire, and is left out of what a message of version 2 has.
func TestAdded(t *testing.T) {
	t.Parallel()
	checkRoundTrip(t, sample(Greet, 5))
	beat := sample(Heartbeat, 5)
	beat.Digest = 0xd1e5
	checkRoundTrip(t, beat)
	b := encoded(t, beat)
	b[0] = FirstVersion
	var got Message
	if err := DecodeMessage(b[:len(b)-8], &got); err != nil || !reflect.DeepEqual(&got, sample(Heartbeat, 5)) {
		t.Errorf("a heartbeat of version 2 came as\n%+v (%v)", got, err)
	}
}
