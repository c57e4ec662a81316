package types

import (
	"slices"
	"strconv"
)

// Record is a line on stderr: a view that the peer installed, or a message. Programs read these lines, so
// their form must not change (docs/reference-records.md).
type Record struct {
	Peer    ID
	View    int64
	Leader  ID     // the peer whose lead the writer follows at that moment
	Members []ID   // of the view, in the order of joining; unused if Message is set
	Message string // "peer 5 unreachable", "crashing", "leaving", …; empty for a view
}

// Append appends the record to b, without a newline.
func (r Record) Append(b []byte) []byte {
	b = slices.Grow(b, 80+len(r.Message)+5*len(r.Members)) // room for all but huge numbers
	b = append(b, "{peer_id:"...)
	b = strconv.AppendInt(b, int64(r.Peer), 10)
	b = append(b, ", view_id: "...)
	b = strconv.AppendInt(b, r.View, 10)
	b = append(b, ", leader: "...)
	b = strconv.AppendInt(b, int64(r.Leader), 10)
	if r.Message != "" {
		b = append(b, `, message:"`...)
		b = append(b, r.Message...)
		return append(b, `"}`...)
	}
	b = append(b, ", memb_list: [<"...)
	for i, id := range r.Members {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	return append(b, ">]}"...)
}

// String returns the record as Append writes it.
func (r Record) String() string { return string(r.Append(nil)) }
