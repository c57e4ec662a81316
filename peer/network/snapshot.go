package network

import (
	"crypto/rand"
	"encoding/binary"
	"os"
	"slices"
	"sync"
	"time"

	"memberly/peer/network/rawio"
)

// A machine that is restored from a snapshot, or cloned while it runs, continues with the keys and counters of the
// snapshot. What it seals with them may have been sealed before, with other content: that reveals both, and lets
// an attacker forge messages. So with keys a peer looks for signs that this happened before it seals anything.

const (
	// clockJump is by how much the wall clock may move against the time since boot between two looks.
	clockJump = 5 * time.Second
	// bootIDFile has a random number for each boot of a Linux system.
	bootIDFile = "/proc/sys/kernel/random/boot_id"
	bootIDSize = 36
)

// snapshots notices that this process may have been restored from a snapshot: the boot id is another (a process
// that was moved), or the wall clock was set by more than clockJump (what a restored machine does, sooner or
// later). Any goroutine may use it.
type snapshots struct {
	bootID func(buf []byte) int         // reads it; 0 if the system has none
	wall   func() (time.Duration, bool) // how far the wall clock is ahead of the time since boot

	mu     sync.Mutex
	id     [bootIDSize]byte
	read   [bootIDSize]byte
	offset time.Duration
	found  uint64 // how often it noticed that
}

// newSnapshots returns the snapshots of this machine.
func newSnapshots() *snapshots {
	s := &snapshots{bootID: func([]byte) int { return 0 }, wall: wallOffset}
	if file, err := os.Open(bootIDFile); err == nil { // it stays open, so that a look takes no memory
		s.bootID = func(buf []byte) int {
			n, _ := file.ReadAt(buf, 0)
			return n
		}
	}
	s.restored() // what is found now is how it is
	return s
}

func wallOffset() (time.Duration, bool) {
	since, ok := rawio.Boottime()
	return time.Duration(time.Now().UnixNano()) - since, ok
}

// look returns how often such a sign was found. If there is one now, it calls renew before it returns, to any
// goroutine, with random bytes that differ on every machine and at every moment, even if the random numbers of the
// system are those of the snapshot too.
func (s *snapshots) look(renew func(seed []byte)) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.restored() {
		s.found++
		seed := make([]byte, 32)
		rand.Read(seed) // never fails
		seed = binary.BigEndian.AppendUint64(seed, uint64(time.Now().UnixNano()))
		renew(slices.Concat(seed, s.id[:]))
	}
	return s.found
}

// restored reports whether there is a sign that was not there at the last look.
func (s *snapshots) restored() (restored bool) {
	if n := s.bootID(s.read[:]); n > 0 {
		restored = s.read != s.id
		s.id = s.read
	}
	if offset, ok := s.wall(); ok {
		restored = restored || (offset-s.offset).Abs() > clockJump
		s.offset = offset
	}
	return restored
}
