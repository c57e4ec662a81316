package network

import (
	"bufio"
	"os"
	"testing"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// Nobody reads stderr, a real pipe, and it is full: the peer takes step after step all the
// same. When somebody reads again, every record is there, in order.
func TestStuckReaderOfRecords(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	s := newStageOn(t, newSubnet(t).config(), nil, write)
	const many = 5000 // some 250 bytes each: far more than a pipe holds
	members := make([]types.ID, 100)
	for i := range members {
		members[i] = types.ID(i + 1)
	}
	for i := range int64(many) {
		s.answer(handlers.Output{Wake: 1, Events: []handlers.Event{{Kind: handlers.Installed, View: i, Leader: 1, Members: members}}})
		s.expect("tick")
	}
	s.answer(handlers.Output{})
	read.SetReadDeadline(time.Now().Add(patience))
	in := bufio.NewReader(read)
	for i := range many {
		line, err := in.ReadString('\n')
		want := types.Record{Peer: 1, View: int64(i), Leader: 1, Members: members}.String() + "\n"
		if err != nil || line != want {
			t.Fatalf("line %d is %q, %v, want %q", i, line, err, want)
		}
	}
}
