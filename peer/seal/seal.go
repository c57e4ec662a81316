// Package seal encrypts and authenticates traffic between peers that share a key ("seals" it).
// It uses no sockets and no clock; callers pass the time in.
//
// Conn seals the frames of a TCP connection, Datagrams the UDP datagrams of a process, both with
// AES-256-GCM. HKDF-SHA256 derives their keys from the group's, separately for each direction of
// each connection and for each process start (a "life"); into those of a connection they mix a secret that its
// ends agree on by X25519. A sealed payload begins as every payload
// does in all wire versions: version (types.Sealed), kind, and the sender's id.
//
// Guaranteed, as long as only peers have the key: a payload that opens was sealed by a process
// with the key. Over TCP it was sealed for this connection, arrives in order, and nothing before
// it is missing. Over UDP it was sealed by the sender's life that last answered a challenge, and
// it opens once. So no recording opens again: not later, not on another connection, not at its
// own sender, not in a later life of either end.
//
// Not guaranteed: that a payload arrives, or arrives soon. An attacker can withhold, delay and
// reorder datagrams and cut connections, and sees who sends how much to which address, and when.
// A holder of the key can speak for another peer by taking its address. A key that leaks decrypts
// earlier recordings of datagrams too; not those of connections that have ended, unless who has the key sat
// between their ends.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"memberly/peer/types"
)

// The reasons to drop a payload. A payload of another wire version is types.ErrVersion.
var (
	ErrUnsealed = errors.New("it is not sealed with a key, as all must be that comes here: start all with the same -key, or none")
	ErrUnopened = errors.New("no key here opens it: it was forged or changed, or its sender has other keys: give all the same -key")
	ErrReplayed = errors.New("it is sealed, but came before, or too late: the network repeats datagrams, or an attacker does")
	// ErrUnasked, which wraps ErrReplayed, is a late or repeated challenge to another life, or an
	// answer to no pending challenge. Do not blame the owner of its source address: an attacker may
	// be replaying that owner's datagrams.
	ErrUnasked  = fmt.Errorf("%w: it was not asked for", ErrReplayed)
	ErrImpostor = errors.New("it bears an id that is not its sender's")
)

const (
	tagSize   = 16 // what sealing adds to a frame: the longest message still fits types.MaxFrame
	nonceSize = 12
	numberLen = 8 // of counters, sessions and the numbers of challenges
)

// The kinds of sealed payloads, in their second byte.
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

// readHeader returns the sender's id that a payload of this kind claims.
func readHeader(b []byte, kind byte) (types.ID, error) {
	switch {
	case len(b) > 0 && b[0]&sealedBit == 0:
		return 0, ErrUnsealed
	case len(b) > 0 && b[0] != types.Sealed:
		return 0, fmt.Errorf("%w %d, sealed; this peer speaks %d: run the same release on all hosts",
			types.ErrVersion, b[0]&^sealedBit, types.SealedVersion)
	case len(b) < headerSize || b[1] != kind:
		return 0, ErrUnopened
	}
	return types.ID(binary.BigEndian.Uint16(b[2:])), nil
}

// sealedBit is set in the version byte of sealed payloads only.
const sealedBit = types.Sealed &^ types.SealedVersion

// sealer seals and opens with a key that is derived from one of the keyring's. The zero sealer
// has no aead.
type sealer struct {
	key  key
	aead cipher.AEAD
}

// newSealer derives a sealer from a key of the keyring and, for a connection, what its ends alone know. Each
// direction of each connection, and each life of each sender, has a salt and info of its own, so no two share a
// derived key.
func newSealer(k key, shared, salt []byte, info string) sealer {
	secret, err := hkdf.Key(sha256.New, slices.Concat(k[:], shared), salt, info, keySize)
	if err != nil {
		panic(err) // impossible: keySize is within HKDF's limit
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		panic(err) // impossible: keySize is a key size of AES
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // only where GODEBUG forbids GCM
	}
	return sealer{k, aead}
}

// nonce holds a counter as AES-GCM takes it. As a field, it saves an allocation for each use.
type nonce [nonceSize]byte

func (n *nonce) of(counter uint64) []byte {
	binary.BigEndian.PutUint64(n[nonceSize-numberLen:], counter)
	return n[:]
}
