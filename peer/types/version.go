//go:build !memberly_next

package types

// Version is the wire version of this program. In all versions a message begins with the version in one
// byte, the kind in one, and the sender's id in two.
const Version = 2

// LastKind is the last kind of this version.
const LastKind = Hosts

// laterName names a kind that version 2 does not have.
func laterName(Kind) string { return "?" }

// added has what versions after 2 add: to kinds of version 2 after their other fields, and to kinds of their own.
func (c *codec) added(*Message) {}
