package types

import "testing"

// The records of docs/reference-records.md and of the golden transcripts, which programs read.
func TestRecordBytes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		record Record
		want   string
	}{
		{"view of five", Record{Peer: 1, View: 5, Leader: 1, Members: []ID{1, 2, 3, 4, 5}},
			`{peer_id:1, view_id: 5, leader: 1, memb_list: [<1,2,3,4,5>]}`},
		{"view of one", Record{Peer: 1, View: 1, Leader: 1, Members: []ID{1}},
			`{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}`},
		{"order of joining", Record{Peer: 3, View: 12, Leader: 10, Members: []ID{10, 3, 4096}},
			`{peer_id:3, view_id: 12, leader: 10, memb_list: [<10,3,4096>]}`},
		{"member unreachable", Record{Peer: 1, View: 5, Leader: 1, Message: "peer 5 unreachable"},
			`{peer_id:1, view_id: 5, leader: 1, message:"peer 5 unreachable"}`},
		{"leader unreachable", Record{Peer: 2, View: 5, Leader: 1, Message: "peer 1 (leader) unreachable"},
			`{peer_id:2, view_id: 5, leader: 1, message:"peer 1 (leader) unreachable"}`},
		{"crash", Record{Peer: 5, View: 5, Leader: 1, Message: "crashing"},
			`{peer_id:5, view_id: 5, leader: 1, message:"crashing"}`},
		{"leave", Record{Peer: 4, View: 7, Leader: 2, Message: "leaving"},
			`{peer_id:4, view_id: 7, leader: 2, message:"leaving"}`},
		{"expelled", Record{Peer: 5, View: 5, Leader: 2, Message: "removed from the group"},
			`{peer_id:5, view_id: 5, leader: 2, message:"removed from the group"}`},
		{"message, whatever the members", Record{Peer: 5, View: 5, Leader: 1, Members: []ID{1, 5}, Message: "crashing"},
			`{peer_id:5, view_id: 5, leader: 1, message:"crashing"}`},
		{"before any view", Record{Peer: 3, Message: "leaving"},
			`{peer_id:3, view_id: 0, leader: 0, message:"leaving"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.record.String(); got != tt.want {
				t.Errorf("record is\n%s, want\n%s", got, tt.want)
			}
			if got := string(tt.record.Append([]byte("before "))); got != "before "+tt.want {
				t.Errorf("appended:\n%s, want\nbefore %s", got, tt.want)
			}
		})
	}
}

func TestRecordAppendReusesMemory(t *testing.T) {
	r := Record{Peer: 1, View: 5, Leader: 1, Members: []ID{1, 2, 3, 4, 5}}
	b := make([]byte, 0, 128)
	if n := testing.AllocsPerRun(100, func() { b = r.Append(b[:0]) }); n != 0 {
		t.Errorf("appending into a buffer with room allocates %v times", n)
	}
}
