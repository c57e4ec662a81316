package network

import (
	"bufio"
	"crypto/rand"
	"io"
	"sync/atomic"
	"time"

	"memberly/peer/config"
	"memberly/peer/seal"
	"memberly/peer/types"
)

// keys seal everything that goes out, and open everything that comes in, if there are keys (package seal). The
// protocol does not know. Any goroutine may use them, but open belongs to the reader of datagrams.
type keys struct {
	ring  atomic.Pointer[seal.Keyring] // the current ones
	lane  *seal.Datagrams
	self  types.ID
	start time.Time
	snaps *snapshots
}

// newKeys returns the keys that c gives the peer, or nil for none.
func newKeys(c config.Config, start time.Time) (*keys, error) {
	if c.Keys.Len() == 0 {
		return nil, nil
	}
	lane, err := seal.NewDatagrams(c.Keys, c.ID, rand.Reader)
	if err != nil {
		return nil, err
	}
	k := &keys{lane: lane, self: c.ID, start: start, snaps: newSnapshots()}
	k.ring.Store(&c.Keys)
	return k, nil
}

// use makes a ring the current keys.
func (k *keys) use(ring seal.Keyring) {
	k.ring.Store(&ring)
	k.lane.Rekey(ring)
}

// stale reports whether a connection is to be closed because it was made with other keys than the current
// ones.
func (k *keys) stale(sealed *seal.Conn) bool { return sealed.Stale(*k.ring.Load()) }

// handshake agrees with the other end of a connection on how to seal. dialled says that this end dialled.
func (k *keys) handshake(in *bufio.Reader, out io.Writer, dialled bool) (*seal.Conn, error) {
	// The id that the other end claims does not matter: its messages carry one, and its hosts file
	// may differ.
	sealed, _, err := seal.Handshake(in, out, rand.Reader, *k.ring.Load(), k.self, dialled)
	return sealed, err
}

// life returns the number of the present life of this process: if it was restored from a snapshot, it begins
// another, in which nothing is sealed with what was used before. What is about to seal calls it first.
func (k *keys) life() uint64 {
	return k.snaps.look(k.lane.Renew)
}

func (k *keys) now() time.Duration { return time.Since(k.start) }

// seal returns the datagram with a message: the message itself without keys.
func (k *keys) seal(message []byte) []byte {
	if k == nil {
		return message
	}
	k.life()
	return k.lane.Seal(nil, message)
}

// open returns the message in a datagram of a host, or nil, and the datagram to reply with, if one is needed.
// onlyKnown has it try only the key of the session that the host is known to have.
func (k *keys) open(host types.ID, datagram []byte, onlyKnown bool) (message, reply []byte, err error) {
	k.life() // it may seal a reply
	if onlyKnown {
		return k.lane.OpenKnown(host, datagram, k.now())
	}
	return k.lane.Open(host, datagram, k.now())
}

// sealHeartbeat appends to b the datagram with a heartbeat.
func (k *keys) sealHeartbeat(b, message []byte) []byte {
	k.life()
	return k.lane.SealHeartbeat(b, message, k.now())
}
