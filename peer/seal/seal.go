// Package seal makes all that peers send readable and forgeable by those alone who hold a key.
// It knows bytes, no sockets, and no clock: time comes in as a value.
//
// Over TCP a Conn seals frames, over UDP a Lane seals datagrams, both with AES-256-GCM under
// keys derived by HKDF-SHA256 from the group's, for one direction of one connection, or for
// one life of one process. What every payload begins with in all wire versions is kept:
// version (types.Sealed), kind, and the sender's id.
//
// Promised, as long as nobody else has a key: what a peer opens was sealed by a process with
// the key; over TCP on this very connection, in this order, with nothing left out before it;
// over UDP by the life of the sender's process that answered last when asked, and it opens
// once. So nothing that was recorded opens again: not later, not on another connection, not
// at its own sender, not in a later life of either end.
//
// Not promised: that what was sent arrives, or soon. Datagrams can be withheld, delayed and
// put into another order, and any connection can be cut. Who sends to whom, when and how much
// can be seen. All that hold the key are trusted: one can speak for another whose address it
// takes. Who gets the key later can read what was recorded before.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"memberly/peer/types"
)

// The errors for what is to be dropped, which these wrap, or are. Another wire version is
// types.ErrVersion.
var (
	ErrUnsealed = errors.New("it is not sealed with a key, as all must be that comes here: start all with the same -key, or none")
	ErrUnopened = errors.New("no key here opens it: somebody forged or changed it, or has other keys: give all the same -key")
	ErrReplayed = errors.New("it is sealed, but came before, or too late: the network or somebody repeats what was sent")
	// ErrUnasked is what nobody waits for, be it late or repeated: a challenge of another life, or an
	// answer to no challenge. It may be its address's owner who suffers from a repetition, so it is no
	// ground to blame that one. It wraps ErrReplayed.
	ErrUnasked  = fmt.Errorf("%w: it was not asked for", ErrReplayed)
	ErrImpostor = errors.New("it bears an id that is not its sender's")
)

// Overhead is how many bytes a frame grows by when it is sealed. The longest message has room
// for it below types.MaxFrame.
const Overhead = tagSize

// DatagramOverhead is how many bytes a datagram with a message grows by.
const DatagramOverhead = datagramHeader + 1 + tagSize

const (
	tagSize   = 16
	nonceSize = 12
	numberLen = 8 // of counters, sessions and the numbers of challenges
)

// What the second byte of a sealed payload says that it is.
const (
	kindHello    = 0 // the first frame of either end of a TCP connection
	kindDatagram = 1
)

const (
	headerSize     = 4                        // version, kind and sender
	datagramHeader = headerSize + 2*numberLen // and session and counter
)

func appendHeader(b []byte, kind byte, from types.ID) []byte {
	return binary.BigEndian.AppendUint16(append(b, types.Sealed, kind), uint16(from))
}

// readHeader returns who a payload of this kind says it is from.
func readHeader(b []byte, kind byte) (types.ID, error) {
	switch {
	case len(b) > 0 && b[0]&sealedBit == 0:
		return 0, ErrUnsealed
	case len(b) > 0 && b[0] != types.Sealed:
		return 0, fmt.Errorf("%w %d, sealed; this peer speaks %d: run the same release on all hosts",
			types.ErrVersion, b[0]&^sealedBit, types.Version)
	case len(b) < headerSize || b[1] != kind:
		return 0, ErrUnopened
	}
	return types.ID(binary.BigEndian.Uint16(b[2:])), nil
}

// sealedBit is what the versions of sealed payloads have in common, and no others.
const sealedBit = types.Sealed &^ types.Version

// sealer is a key of a ring, and what seals and opens with it in one place. No two places have
// the salt and info in common.
type sealer struct {
	key  key
	aead cipher.AEAD
}

// newSealer derives the sealer of a key for the place that salt and info name.
func newSealer(k key, salt []byte, info string) sealer {
	secret, err := hkdf.Key(sha256.New, k[:], salt, info, keySize)
	if err != nil {
		panic(err) // only for a longer key
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		panic(err) // only for a key of another size
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // only where this Go is told to do without it
	}
	return sealer{k, aead}
}

// nonce is memory for a counter as AES-GCM wants it: on the stack it would be taken anew for
// each use.
type nonce [nonceSize]byte

func (n *nonce) of(counter uint64) []byte {
	binary.BigEndian.PutUint64(n[nonceSize-numberLen:], counter)
	return n[:]
}
