package network

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"memberly/peer/config"
	"memberly/peer/types"
)

// lookEvery is how often a peer looks at most whether its hosts file has changed. It reads a file that it has found
// the same twice, so that it reads none that is half written.
const lookEvery = 3 * time.Second

// hostsFile reads the hosts file of a peer again, when it is told to, and when the file has changed. nil stands for none.
type hostsFile struct {
	path string
	id   types.ID // this host's
	name string
	once bool // path is that of an open file, and means another one by now
	say  func(format string, args ...any)
	hand func(hosts []types.Host) // hands hosts that are new to the loop

	next    time.Duration // before which the loop does not have the file looked at
	looking atomic.Bool   // it is being looked at, which may take any time: a file system may hang

	mu     sync.Mutex
	hosts  []types.Host // that were read last
	read   fs.FileInfo  // of the file when it was read last; nil for that of the start
	seen   fs.FileInfo  // of another one that was found since
	failed string       // why what was read last is not in use; "" if it is
	missed int          // how often in a row there was no file
}

func newHostsFile(c config.Config, say func(string, ...any), hand func([]types.Host)) *hostsFile {
	if c.HostsFile == "" {
		return nil
	}
	f := &hostsFile{path: c.HostsFile, id: c.ID, name: c.Name, hosts: c.Hosts, say: say, hand: hand, next: lookEvery}
	f.once = strings.HasPrefix(f.path, "/dev/fd/")
	return f
}

// stepped has the file looked at, if that is due. It never waits. Only the loop calls it, at its steps, so that looking
// takes no wake-up; now is an Instant.Run.
func (f *hostsFile) stepped(now time.Duration) {
	if f == nil || now < f.next || f.once || !f.looking.CompareAndSwap(false, true) {
		return
	}
	f.next = now + lookEvery
	go func() { // which the end of the peer does not wait for
		defer f.looking.Store(false)
		f.look()
	}()
}

// look reads the file if it is not the one that was read last, and the same as at the last look.
func (f *hostsFile) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, err := os.Stat(f.path)
	switch {
	case err != nil:
		f.seen = nil
		if f.missed++; f.missed == 2 {
			f.fails(config.Unreadable(err))
		}
		return
	case isStream(found):
		return
	}
	f.missed = 0
	switch {
	case same(found, f.read) && f.failed == "":
		f.seen = nil
	case same(found, f.seen):
		f.take(found, false)
	default:
		f.seen = found
	}
}

// reload reads the file, and says what came of it, as does the error if it is not in use. It may wait for the file.
func (f *hostsFile) reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found fs.FileInfo
	var err error
	was := f.failed
	f.failed = "" // what is wrong is said again
	if !f.once {
		found, err = os.Stat(f.path)
	}
	switch {
	case err != nil:
		f.missed = 2 // so that looking does not say it again
		return f.fails(config.Unreadable(err))
	case found == nil || isStream(found):
		err := fmt.Errorf("the hosts file %q is not a regular file, and was read once: restart the peer to change its hosts", f.path)
		f.say("The%s", strings.TrimPrefix(err.Error(), "the"))
		f.failed = was
		return err
	}
	return f.take(found, true)
}

// take reads the file, which was found just before: if it has changed since, it differs from that at the next look. It
// hands on what is new. asked has it say that nothing is. The caller holds mu.
func (f *hostsFile) take(found fs.FileInfo, asked bool) error {
	f.missed = 0
	hosts, err := config.RereadHosts(f.path, f.id, f.name)
	if err != nil {
		return f.fails(err) // and it is read again at the next look
	}
	failed := f.failed != ""
	f.read, f.seen, f.failed = found, nil, ""
	if slices.Equal(hosts, f.hosts) {
		if asked || failed {
			f.say("Read %s from %q: no change", counted(hosts), f.path)
		}
		return nil
	}
	f.say("Read %s from %q: %s", counted(hosts), f.path, differences(f.hosts, hosts))
	f.hosts = hosts
	f.hand(hosts)
	return nil
}

// fails says why the file is not in use, unless it has said that already, and returns it. The caller holds mu.
func (f *hostsFile) fails(err error) error {
	if f.failed != err.Error() {
		f.say("Error reading hosts file: %q: %v; the hosts in use stay", f.path, err)
	}
	f.failed = err.Error()
	return fmt.Errorf("hosts file %q: %w", f.path, err)
}

// isStream reports whether a file can be read but once, as a pipe.
func isStream(about fs.FileInfo) bool { return !about.Mode().IsRegular() && !about.IsDir() }

// same reports whether a file is the same at two moments, as far as its attributes tell.
func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// counted counts the hosts that are not retired.
func counted(hosts []types.Host) string {
	n := types.Serving(hosts)
	if n == 1 {
		return "1 host"
	}
	return fmt.Sprintf("%d hosts", n)
}

// differences says in what a list of hosts differs from the one before.
func differences(before, after []types.Host) string {
	both := min(len(before), len(after))
	var retired, returned, renamed, moved int
	for i := range both {
		old, h := before[i], after[i]
		switch {
		case h.Retired != old.Retired && h.Retired:
			retired++
		case h.Retired != old.Retired:
			returned++
		case h.Name != old.Name:
			renamed++
		case h.Addr != old.Addr:
			moved++
		}
	}
	for _, h := range after[both:] {
		if h.Retired {
			retired++
		}
	}
	var words []string
	for _, d := range []struct {
		n    int
		what string
	}{{len(after) - both, "more"}, {len(before) - both, "fewer"}, {retired, "retired"}, {returned, "retired no more"},
		{renamed, "renamed"}, {moved, "at another address"}} {
		if d.n > 0 {
			words = append(words, fmt.Sprintf("%d %s", d.n, d.what))
		}
	}
	return strings.Join(words, ", ")
}

// Reload reads the hosts file again, and says so. The protocol is told if its hosts are others than before. If the file
// is invalid, or has not this host where it was, Reload reports and returns that, and the hosts stay. Any goroutine may call
// it; it may wait for the file.
func (p *Peer) Reload() error {
	if p.file == nil {
		return nil
	}
	return p.file.reload()
}
