package network

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/config"
	"memberly/peer/handlers"
	"memberly/peer/types"
)

// edited is the hosts file of host one, and what a peer makes of it.
type edited struct {
	*testing.T
	path   string
	file   *hostsFile
	said   []string // lines, without the path
	handed []string // lists of hosts
}

// original is the content of an edited file at first.
const original = "one\ntwo\n"

func newEdited(t *testing.T, path string) *edited {
	t.Helper()
	e := &edited{T: t, path: path}
	if _, err := os.Lstat(path); err != nil {
		e.write(original)
	}
	c := config.Config{HostsFile: path, ID: 1, Name: "one", Hosts: []types.Host{{Name: "one"}, {Name: "two"}}}
	e.file = newHostsFile(c, func(format string, args ...any) {
		e.said = append(e.said, strings.ReplaceAll(fmt.Sprintf(format, args...), fmt.Sprintf("%q", path), "F"))
	}, func(hosts []types.Host) { e.handed = append(e.handed, listOf(hosts)) })
	return e
}

// listOf writes hosts as in a hosts file, on one line.
func listOf(hosts []types.Host) string {
	var all []string
	for _, h := range hosts {
		all = append(all, h.String())
	}
	return strings.Join(all, ",")
}

// ok ends the test if err is one.
func (e *edited) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *edited) write(content string) {
	e.Helper()
	e.ok(os.WriteFile(e.path, []byte(content), 0o600))
}

// replace puts another file in the place of the file, with the same time.
func (e *edited) replace(content string) {
	e.Helper()
	about, err := os.Stat(e.path)
	e.ok(err)
	e.ok(os.WriteFile(e.path+".new", []byte(content), 0o600))
	e.ok(os.Chtimes(e.path+".new", about.ModTime(), about.ModTime()))
	e.ok(os.Rename(e.path+".new", e.path))
}

// age has the file look written n seconds later.
func (e *edited) age(n int) {
	e.Helper()
	about, err := os.Stat(e.path)
	e.ok(err)
	at := about.ModTime().Add(time.Duration(n) * time.Second)
	e.ok(os.Chtimes(e.path, at, at))
}

// looks looks n times.
func (e *edited) looks(n int) {
	for range n {
		e.file.look()
	}
}

// wants compares what was said and handed since the last call. Of each line it compares how it begins.
func (e *edited) wants(handed string, said ...string) {
	e.Helper()
	if got := strings.Join(e.handed, "; "); got != handed {
		e.Errorf("handed %q, want %q", got, handed)
	}
	for i, line := range e.said {
		if len(e.said) != len(said) || !strings.HasPrefix(line, said[i]) {
			e.Fatalf("said %q, want %q", e.said, said)
		}
	}
	if len(e.said) != len(said) {
		e.Errorf("said nothing, want %q", said)
	}
	e.said, e.handed = nil, nil
}

// more is what is said of a third host.
const more = "Read 3 hosts from F: 1 more"

// plots are what may happen to a hosts file, and what a peer makes of that.
var plots = []struct {
	what string
	plot func(e *edited)
}{
	{"it stays", func(e *edited) {
		e.looks(5)
		e.wants("")
	}},
	{"a line is added", func(e *edited) {
		e.looks(3)
		e.write(original + "three 10.0.0.3\n")
		e.looks(1)
		e.wants("")
		e.looks(1)
		e.wants("one,two,three 10.0.0.3", more)
		e.looks(3)
		e.wants("")
	}},
	{"it had changed before the first look", func(e *edited) {
		e.write(original + "three\n")
		e.looks(2)
		e.wants("one,two,three", more)
	}},
	{"it is being written", func(e *edited) {
		for _, end := range []string{"t", "th", "thre"} {
			e.write(original + end)
			e.looks(1)
		}
		e.wants("")
		e.write(original + "three\n")
		e.looks(2)
		e.wants("one,two,three", more)
	}},
	{"another file of the same size and time", func(e *edited) {
		e.looks(2)
		e.replace("one\nzwo\n")
		e.looks(2)
		e.wants("one,zwo", "Read 2 hosts from F: 1 renamed")
	}},
	{"the same size, and another time", func(e *edited) {
		e.looks(2)
		e.write("one\ndos\n")
		e.age(1)
		e.looks(2)
		e.wants("one,dos", "Read 2 hosts from F: 1 renamed")
	}},
	{"another size, and the same time", func(e *edited) {
		e.looks(2)
		about, err := os.Stat(e.path)
		e.ok(err)
		e.write(original + "three\n")
		e.ok(os.Chtimes(e.path, about.ModTime(), about.ModTime()))
		e.looks(2)
		e.wants("one,two,three", more)
	}},
	{"nothing but comments", func(e *edited) {
		e.looks(2)
		e.write("# hosts\n" + original)
		e.looks(3)
		e.wants("")
	}},
	{"a host is replaced", func(e *edited) {
		e.write("one\n!two\nthree\n")
		e.looks(2)
		e.wants("one,!two,three", "Read 2 hosts from F: 1 more, 1 retired")
		e.write("one 10.0.0.1\ntwo\n")
		e.looks(2)
		e.wants("one 10.0.0.1,two", "Read 2 hosts from F: 1 fewer, 1 retired no more, 1 at another address")
	}},
	{"it vanishes for a moment", func(e *edited) {
		e.ok(os.Rename(e.path, e.path+".away"))
		e.looks(1)
		e.ok(os.Rename(e.path+".away", e.path))
		e.looks(1)
		e.ok(os.Rename(e.path, e.path+".away"))
		e.looks(1)
		e.wants("")
	}},
	{"it vanishes, and comes back", func(e *edited) {
		e.looks(2)
		e.ok(os.Remove(e.path))
		e.looks(9)
		e.wants("", "Error reading hosts file: F: cannot read it: no such file or directory: name a readable text file, one host per line, after -h; the hosts in use stay")
		e.write(original)
		e.age(1)
		e.looks(3)
		e.wants("", "Read 2 hosts from F: no change")
		e.ok(os.Remove(e.path))
		e.looks(3)
		e.wants("", "Error reading hosts file: F: cannot read it: ")
	}},
	{"this host's line changes", func(e *edited) {
		e.write("zero\none\ntwo\n")
		e.looks(5)
		e.wants("", `Error reading hosts file: F: line 1: "zero" is where this host, "one", was: keep the order`)
		e.write("!one\ntwo\n")
		e.looks(5)
		e.wants("", `Error reading hosts file: F: line 1: this host, "one", is retired: `)
		e.write(original)
		e.looks(5)
		e.wants("", "Read 2 hosts from F: no change")
	}},
	{"it is broken", func(e *edited) {
		e.write("one\ntwo\ntwo\n")
		e.looks(5)
		e.wants("", `Error reading hosts file: F: line 3: host "two" is on line 2 already: remove one of the two; the hosts in use stay`)
		e.write(original + "three\n")
		e.looks(5)
		e.wants("one,two,three", more)
	}},
	{"it becomes a pipe", func(e *edited) {
		e.looks(2)
		e.ok(os.Remove(e.path))
		e.ok(syscall.Mkfifo(e.path, 0o600))
		e.looks(3)
		e.wants("")
		e.file.reload()
		e.wants("", "The hosts file F is not a regular file, and was read once: restart the peer to change its hosts")
	}},
}

// A file that has changed is read once it is the same at two looks, and what is unsound changes nothing.
func TestWatchedFile(t *testing.T) {
	t.Parallel()
	for _, c := range plots {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			c.plot(newEdited(t, filepath.Join(t.TempDir(), "hosts")))
		})
	}
}

// The files of a ConfigMap are links to links: what changes is where the folder ..data leads.
func TestWatchedLink(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	e := &edited{T: t}
	at := time.Now()
	for name, content := range map[string]string{"first": original, "second": "one\nzwo\n"} {
		e.ok(os.Mkdir(in(name), 0o700))
		e.ok(os.WriteFile(in(name+"/hosts"), []byte(content), 0o600))
		e.ok(os.Chtimes(in(name+"/hosts"), at, at))
	}
	e.ok(os.Symlink("first", in("..data")))
	e.ok(os.Symlink("..data/hosts", in("hosts")))
	e = newEdited(t, in("hosts"))
	e.looks(3)
	e.wants("")
	e.ok(os.Symlink("second", in("..new")))
	e.ok(os.Rename(in("..new"), in("..data")))
	e.looks(2)
	e.wants("one,zwo", "Read 2 hosts from F: 1 renamed")
}

// On request the file is read at once, and each time it is said what came of it.
func TestReloadedFile(t *testing.T) {
	t.Parallel()
	e := newEdited(t, filepath.Join(t.TempDir(), "hosts"))
	e.file.reload()
	e.wants("", "Read 2 hosts from F: no change")
	e.write(original + "three\nfour\n!five\n")
	e.file.reload()
	e.wants("one,two,three,four,!five", "Read 4 hosts from F: 3 more, 1 retired")
	e.looks(3)
	e.wants("")
	e.write("one\na b c\n")
	for range 2 {
		e.file.reload()
		e.wants("", "Error reading hosts file: F: line 2: 3 columns: write a host name and, if wanted, its address; the hosts in use stay")
	}
	e.looks(3)
	e.wants("")
	e.ok(os.Remove(e.path))
	e.file.reload()
	e.wants("", "Error reading hosts file: F: cannot read it: no such file")
	e.ok(os.Mkdir(e.path, 0o700))
	e.file.reload()
	e.wants("", "Error reading hosts file: F: cannot read it: is a directory")
	one := newEdited(t, filepath.Join(t.TempDir(), "hosts"))
	one.write("one\n!two\n")
	one.file.reload()
	one.wants("one,!two", "Read 1 host from F: 1 retired")
	open, err := os.Open(one.path)
	e.ok(err)
	defer open.Close()
	given := newEdited(t, fmt.Sprint("/dev/fd/", open.Fd()))
	given.file.reload()
	given.wants("", "The hosts file F is not a regular file, and was read once")
}

// The loop has the file looked at every three seconds at most, and only once at a time, however long that takes.
func TestLooksInTurn(t *testing.T) {
	t.Parallel()
	e := newEdited(t, filepath.Join(t.TempDir(), "hosts"))
	looked := func(want int) {
		t.Helper()
		for e.file.looking.Load() {
			<-time.After(time.Millisecond)
		}
		e.file.mu.Lock()
		defer e.file.mu.Unlock()
		got := 0
		if e.file.seen != nil {
			got = 1
		}
		if e.file.read != nil { // as it was the same twice
			got = 2
		}
		if got != want {
			t.Errorf("looked %d times, want %d", got, want)
		}
	}
	e.file.stepped(lookEvery - 1)
	looked(0)
	e.file.mu.Lock() // as if the file system hung
	e.file.stepped(lookEvery)
	e.file.stepped(3 * lookEvery)
	e.file.mu.Unlock()
	looked(1)
	e.file.stepped(2*lookEvery - 1)
	looked(1)
	e.file.stepped(2 * lookEvery)
	looked(2)
	var none *hostsFile
	none.stepped(lookEvery)
	(&Peer{}).Reload()
}

// The protocol is told of the hosts in a file that was read again: on request, with keys too, and by itself within
// seconds, at steps that the loop takes anyway.
func TestReload(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		for _, asked := range []bool{false, true} {
			t.Run(fmt.Sprint("sealed ", sealed, ", asked ", asked), func(t *testing.T) {
				t.Parallel()
				n := newSubnet(t)
				c := n.config()
				if sealed {
					c = n.sealedConfig(newRing(t, ""))
				}
				c.HostsFile = n.HostsFile(t, "one", "two")
				s := newStage(t, c, nil)
				s.answer(handlers.Output{Wake: time.Millisecond})
				content, err := os.ReadFile(n.HostsFile(t, "one", "two", "three"))
				if err == nil {
					err = os.WriteFile(c.HostsFile, content, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				if asked {
					go s.peer.Reload()
				}
				st := s.ticksUntil("reread")
				if got, want := listOf(st.hosts), fmt.Sprintf("one %v,two %v,three %v", n.Host(1), n.Host(2), n.Host(3)); got != want {
					t.Errorf("the protocol is told of %s, want %s", got, want)
				}
				s.answer(handlers.Output{Hosts: []handlers.HostChange{{ID: 3, Host: st.hosts[2]}}})
				s.stdout.await(t, fmt.Sprintf("Read 3 hosts from %q: 1 more\n", c.HostsFile))
				s.within("host three has its address", func() bool { return len(s.peer.Addresses(3)) == 1 })
			})
		}
	}
}

// ticksUntil has the protocol take a Tick several times a second, as it does in a group, until the step that is awaited.
func (s *stage) ticksUntil(what string) step {
	s.Helper()
	for end := time.After(patience); ; {
		select {
		case st := <-s.steps:
			if st.what == what {
				return st
			}
			s.plays <- &handlers.Output{Wake: st.now.Run + 300*time.Millisecond}
		case <-end:
			s.Fatalf("no %s within %v", what, patience)
		}
	}
}
