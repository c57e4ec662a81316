//go:build memberly_next

// This file stands for the next wire version, and takes the place of version.go in a build with the tag
// memberly_next. It exists for the tests of upgrades alone (TestUpgrade in peer/check/e2e): it adds a field to
// HEARTBEAT, and a kind. No release is built with it, and version 3 may become something else.

package types

// Version is the wire version of this program. In all versions a message begins with the version in one
// byte, the kind in one, and the sender's id in two.
const Version = 3

// Greet is the kind that version 3 adds: a member sends it to its leader with each heartbeat, and nothing answers it.
const Greet = Hosts + 1

// LastKind is the last kind of this version.
const LastKind = Greet

// laterName names a kind that version 2 does not have.
func laterName(k Kind) string {
	if k == Greet {
		return "GREET"
	}
	return "?"
}

// added has what versions after 2 add: to kinds of version 2 after their other fields, and to kinds of their own.
func (c *codec) added(m *Message) {
	if c.spoken < 3 {
		return
	}
	switch m.Kind {
	case Heartbeat:
		code64(c, &m.Digest)
	case Greet:
		c.addressed(m)
	}
}
