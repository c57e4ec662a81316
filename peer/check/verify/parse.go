package verify

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"memberly/peer/types"
)

const (
	opening       = "{peer_id:"
	byteOrderMark = "\ufeff"
)

// The messages by which a peer announces the end of its membership.
const (
	leaving  = "leaving"
	crashing = "crashing"
	removed  = "removed from the group"
)

// record is a parsed record.
type record struct {
	types.Record
	failed types.ID // the peer that it reports unreachable, or 0
}

// find returns the part of a line that is, or begins like, a record: all from the first `{peer_id:`.
// A prefix before it must end in a blank, a tab, a colon or a byte order mark, colours aside, as do
// those of docker-compose (`one_1  | `), times, system logs and grep. After any other prefix the
// line is not a record, but doubtful.
func find(line []byte) (text []byte, ok, doubtful bool) {
	at := bytes.Index(line, []byte(opening))
	if at < 0 {
		return nil, false, false
	}
	before := line[:at]
	for bytes.HasSuffix(before, []byte("m")) {
		start := bytes.LastIndexByte(before, '\x1b')
		if start < 0 || len(bytes.Trim(before[start+1:len(before)-1], "[0123456789;")) > 0 {
			break
		}
		before = before[:start] // a colour
	}
	if len(before) > 0 && !bytes.ContainsAny(before[len(before)-1:], " \t:") && !bytes.HasSuffix(before, []byte(byteOrderMark)) {
		return nil, false, true
	}
	return bytes.TrimSuffix(line[at:], []byte("\r")), true, false
}

// parser parses records exactly as types.Record writes them. The Members that it returns are valid
// until the next call of parse.
type parser struct {
	text    string
	at      int
	err     error
	members []types.ID
	seen    [types.MaxHosts/64 + 1]uint64
}

// parse parses text. The error says what is wrong and at which byte.
func (p *parser) parse(text []byte) (record, error) {
	p.text, p.at, p.err, p.members = string(text), 0, nil, p.members[:0]
	var r record
	p.expect(opening)
	r.Peer = p.id(1)
	p.expect(", view_id: ")
	r.View = p.number(0, math.MaxInt64)
	p.expect(", leader: ")
	r.Leader = p.id(0)
	if strings.HasPrefix(p.text[p.at:], `, message:"`) {
		p.message(&r)
	} else {
		p.membership(&r)
	}
	if p.err == nil && p.at < len(p.text) {
		p.fail("want the end of the line")
	}
	return r, p.err
}

// membership parses the rest of a view's record.
func (p *parser) membership(r *record) {
	p.expect(", memb_list: [<")
	clear(p.seen[:])
	for {
		start := p.at
		id := p.id(1)
		if bit := uint64(1) << (id % 64); p.seen[id/64]&bit == 0 {
			p.seen[id/64] |= bit
		} else if p.err == nil {
			p.at = start
			p.fail("peer %d is listed twice", id)
		}
		p.members = append(p.members, id)
		if p.err != nil || !strings.HasPrefix(p.text[p.at:], ",") {
			break
		}
		p.at++
	}
	p.expect(">]}")
	switch r.Members = p.members; {
	case p.err == nil && r.View == 0:
		p.err = errors.New("there is no view 0")
	case p.err == nil && r.Leader == 0:
		p.err = errors.New("a view needs a leader, not 0")
	}
}

// message parses the rest of a message's record.
func (p *parser) message(r *record) {
	p.expect(`, message:"`)
	start := p.at
	for _, known := range []string{leaving, crashing, removed} {
		if strings.HasPrefix(p.text[p.at:], known+`"`) {
			p.at += len(known)
		}
	}
	if p.at == start {
		p.expect("peer ")
		r.failed = p.id(1)
		if !strings.HasPrefix(p.text[p.at:], " unreachable") {
			p.expect(" (leader)")
		}
		p.expect(" unreachable")
	}
	r.Message = strings.Clone(p.text[start:p.at])
	p.expect(`"}`)
	if p.err == nil && r.View == 0 && r.Message != crashing {
		p.err = fmt.Errorf("only %q may come without a view", crashing)
	}
}

// expect consumes text, which must come next.
func (p *parser) expect(text string) {
	if !strings.HasPrefix(p.text[p.at:], text) {
		p.fail("want %s", text)
		return
	}
	p.at += len(text)
}

func (p *parser) id(least int64) types.ID { return types.ID(p.number(least, types.MaxHosts)) }

// number parses a decimal number without leading zeros, from least to most. It returns 0 on failure.
func (p *parser) number(least, most int64) int64 {
	start, n := p.at, int64(0)
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		digit := int64(p.text[p.at] - '0')
		if n > (most-digit)/10 || p.at > start && n == 0 {
			break
		}
		n = 10*n + digit
		p.at++
	}
	another := p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9'
	if p.at == start || another || n < least {
		p.at = start
		p.fail("want a number from %d to %d", least, most)
		return 0
	}
	return n
}

// fail records the first fault.
func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("at byte %d: "+format, slices.Insert(args, 0, any(p.at+1))...)
	}
}
