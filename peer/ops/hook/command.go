package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"memberly/peer/ops/process"
	"memberly/peer/types"
)

// jsonVersion is the version of the JSON and of the variables. It does not change when names are added.
const jsonVersion = 1

const (
	// linger bounds the wait, after the command has ended, for processes that it left with its output open.
	linger = 500 * time.Millisecond
	// maxNames is how long the list of names may be as a variable, in bytes; the system refuses a variable of
	// more than 128 KiB.
	maxNames = 100_000
)

// document is the JSON on the command's standard input, one line.
type document struct {
	Version int      `json:"version"`
	Event   event    `json:"event"`
	Peer    member   `json:"peer"`
	Group   string   `json:"group"` // its maker's incarnation and id
	View    int64    `json:"view"`
	Cause   string   `json:"cause,omitempty"` // of a view: as in /events
	Host    *member  `json:"host,omitempty"`  // that was added, removed or retired with the view
	Leader  member   `json:"leader"`          // that the peer followed
	Leads   bool     `json:"leads"`           // the leader is this peer, and its lease lasts
	Fence   uint64   `json:"fence"`           // of that lease; of the one that has ended
	LeaseMS int64    `json:"lease_ms"`
	Members []member `json:"members"`
}

// member is a host of the file.
type member struct {
	ID   types.ID `json:"id"`
	Name string   `json:"name"`
}

// document returns what the command is told of n at this moment.
func (h *Hook) document(n notification) document {
	d := document{Version: jsonVersion, Event: n.event, Peer: h.member(h.Self), View: n.number,
		Group:  fmt.Sprintf("%d-%d", n.group.Made, n.group.Maker),
		Leader: h.member(n.leader), Fence: n.fence, Cause: n.cause}
	if n.host.ID != 0 {
		d.Host = &n.host
	}
	l, now := h.lease.Load(), h.Now()
	if l.Valid(now) && (n.event == leads && n.fence == l.Fence || n.event == installed && n.leader == h.Self) {
		d.Leads, d.Fence, d.LeaseMS = true, l.Fence, (l.Until - now).Milliseconds()
	}
	for _, id := range n.members {
		d.Members = append(d.Members, h.member(id))
	}
	return d
}

func (h *Hook) member(id types.ID) member { return member{id, h.Names.Name(id)} }

// variables is d for the command's environment.
func (d document) variables() []string {
	var ids, names []string
	for _, m := range d.Members {
		ids, names = append(ids, strconv.Itoa(int(m.ID))), append(names, m.Name)
	}
	var host, hostName string
	if d.Host != nil {
		host, hostName = strconv.Itoa(int(d.Host.ID)), d.Host.Name
	}
	vars := []string{
		"MEMBERLY_VERSION=" + strconv.Itoa(d.Version),
		"MEMBERLY_EVENT=" + string(d.Event),
		"MEMBERLY_PEER=" + strconv.Itoa(int(d.Peer.ID)),
		"MEMBERLY_PEER_NAME=" + d.Peer.Name,
		"MEMBERLY_GROUP=" + d.Group,
		"MEMBERLY_VIEW=" + strconv.FormatInt(d.View, 10),
		"MEMBERLY_CAUSE=" + d.Cause,
		"MEMBERLY_HOST=" + host,
		"MEMBERLY_HOST_NAME=" + hostName,
		"MEMBERLY_LEADER=" + strconv.Itoa(int(d.Leader.ID)),
		"MEMBERLY_LEADER_NAME=" + d.Leader.Name,
		"MEMBERLY_LEADS=" + strconv.FormatBool(d.Leads),
		"MEMBERLY_FENCE=" + strconv.FormatUint(d.Fence, 10),
		"MEMBERLY_LEASE_MS=" + strconv.FormatInt(d.LeaseMS, 10),
		"MEMBERLY_MEMBERS=" + strings.Join(ids, ","),
	}
	if list := strings.Join(names, ","); len(list) < maxNames {
		vars = append(vars, "MEMBERLY_MEMBER_NAMES="+list)
	}
	return vars
}

// command returns the command for d, ready to be started, and the end of its output. ctx ends it.
func (h *Hook) command(ctx context.Context, d document) (*exec.Cmd, *process.Tail, error) {
	input, err := json.Marshal(d)
	if err != nil {
		return nil, nil, err
	}
	c := exec.CommandContext(ctx, shell, "-c", h.Command)
	c.Stdin = bytes.NewReader(append(input, '\n'))
	c.Env = append(os.Environ(), d.variables()...)
	out := &process.Tail{}
	c.Stdout, c.Stderr = out, out
	c.WaitDelay = linger
	return c, out, nil
}

// runs runs the command for n, and returns its error with the end of its output. If ctx ends, all of its process
// group is killed.
func (h *Hook) runs(ctx context.Context, n notification) (said string, err error) {
	c, out, err := h.command(ctx, h.document(n))
	if err != nil {
		return "", err
	}
	if err := process.Run(c); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return out.Quoted(), err
	}
	return "", nil
}
