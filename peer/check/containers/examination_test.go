package containers_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// examination is one test case of a cluster: a problem, and what each doctor must report.
type examination struct {
	name  string
	runs  string            // on each host: d doctor, p peer, b both, - nothing
	plans map[string]string // hosts files, by host, of those that have another one
	is    problem           // nil for none
	stops string            // this host's doctor is stopped before the others start, and resumed later
	until time.Duration     // when it is resumed; 0 for when the others have ended
	lasts time.Duration     // how long the peers are watched afterwards
	want  []verdict
}

// verdict is what a host's doctor must report. Its marks are a word for the host and one for each
// other host: + for ok, ! for RED, ? and -; then what runs there: d a doctor, p a peer in a view, q a
// peer, o another release, - nothing that answers. The word * matches any.
type verdict struct {
	host, marks string
	sentences   []string // "host: column: sentence"; without marks, a line of stderr
}

func says(host, marks string, sentences ...string) verdict { return verdict{host, marks, sentences} }

// problem breaks something in a cluster, until the function that it returns repairs it.
type problem func(*cluster) (repair func() error, err error)

// lost drops the packets into a host that match an nftables expression, in which @name is an address.
func lost(host, match string) problem {
	return func(w *cluster) (func() error, error) {
		p := w.host(host)
		return func() error { return restorePackets(w.group, p) }, dropPackets(w.group, p, "input", w.withAddrs(match))
	}
}

// gone disconnects a host, which takes its name away too.
func gone(host string) problem {
	return func(w *cluster) (func() error, error) {
		p := w.host(host)
		return func() error { return errors.Join(reconnect(w.group, p), w.locate()) }, disconnect(w.group, p)
	}
}

// windows are the doctors' times, tried in turn until the reports are right, because a busy machine
// may need more than the first.
var windows = []time.Duration{3 * time.Second, 6 * time.Second, 15 * time.Second}

// run runs the doctors and compares their reports with the table.
func (x *examination) run(t *testing.T, w *cluster) {
	if err := w.arrange(x.runs); err != nil {
		t.Fatalf("%v\n%s", err, w.transcript.String())
	}
	if x.is != nil {
		repair, err := x.is(w)
		defer func() {
			if repair == nil {
				return
			}
			if err := repair(); err != nil {
				t.Error(err)
			}
		}()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, window := range windows {
		wrong := x.examine(w, window)
		if err := w.checkQuiet(); err != nil {
			t.Fatalf("%v\n%s", err, w.transcript.String())
		}
		if wrong == nil {
			if err := w.watch(x.lasts, func(*peer) bool { return true }); err != nil {
				t.Errorf("%v\n%s", err, w.transcript.String())
			}
			return
		}
		t.Logf("in %v: %v", window, wrong)
	}
	t.Error("the reports are wrong")
}

// arrange starts the peers that should run.
func (c *cluster) arrange(runs string) error {
	var missing []*peer
	for i, p := range c.peers {
		if strings.ContainsRune("pb", rune(runs[i])) && !p.running {
			missing = append(missing, p)
		}
	}
	if missing == nil {
		return nil
	}
	return c.startPeers(missing...)
}

// examine runs the doctors once. The error says what is wrong with their reports.
func (x *examination) examine(w *cluster, window time.Duration) error {
	ctx, cancel := context.WithTimeout(w.ctx, window+startLimit)
	defer cancel()
	doctors := make(map[string]*doctor)
	send := func(host string) error {
		file, err := w.write("plan-of-"+host, cmp.Or(x.plans[host], x.plans["all"], w.plan))
		doctors[host] = startDoctor(w.memberly(ctx, host, "doctor", "-h", file, "-n", host, "-for", window.String()))
		return err
	}
	if x.stops != "" {
		if err := errors.Join(send(x.stops), doctors[x.stops].stop(w.addrs[x.stops])); err != nil {
			return err
		}
	}
	for i, p := range w.peers {
		if strings.ContainsRune("db", rune(x.runs[i])) && p.name != x.stops {
			if err := send(p.name); err != nil {
				return err
			}
		}
	}
	return errors.Join(x.resume(doctors), x.compare(w, doctors))
}

// resume resumes the doctor that was stopped.
func (x *examination) resume(doctors map[string]*doctor) error {
	if x.stops == "" {
		return nil
	}
	if x.until > 0 {
		<-time.After(x.until)
	} else {
		for host, d := range doctors {
			if host != x.stops {
				<-d.ended
			}
		}
	}
	return doctors[x.stops].c.Process.Signal(syscall.SIGCONT)
}

// compare returns what is wrong with the doctors' reports.
func (x *examination) compare(w *cluster, doctors map[string]*doctor) error {
	var wrong error
	for _, v := range x.want {
		d := doctors[v.host]
		<-d.ended
		if err := v.compare(w, d); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%s: %w\n%s", v.host, err, d.text))
		}
	}
	return wrong
}

// doctor is a doctor's process.
type doctor struct {
	c      *exec.Cmd
	begun  chan struct{} // closed at its first output
	ended  chan struct{} // closed when it has ended
	text   string        // all output, when it has ended
	errors string        // the part of it on stderr
}

func startDoctor(c *exec.Cmd) *doctor {
	d := &doctor{c: c, begun: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		follow(c, func(from stream, text string) { // compare checks its exit code
			if d.text == "" {
				close(d.begun)
			}
			d.text += text + "\n"
			if from == stderr {
				d.errors += text + "\n"
			}
		})
	}()
	return d
}

// stop stops a doctor as soon as it listens at addr. No other doctor may run yet.
func (d *doctor) stop(addr string) error {
	select {
	case <-d.begun:
	case <-d.ended:
	}
	for deadline := time.After(startLimit); ; {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, "8080"), slowStranger)
		if err == nil {
			c.Close()
			return d.c.Process.Signal(syscall.SIGSTOP)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-d.ended:
			return fmt.Errorf("it has ended: %s", d.text)
		case <-deadline:
			return fmt.Errorf("it does not listen: %w", err)
		}
	}
}

// compare returns what is wrong with d's report.
func (v verdict) compare(w *cluster, d *doctor) error {
	var err error
	said, code, end := read(w.withNames(d.text)), 0, "All is well."
	switch {
	case v.marks == "":
		said, code, end = reading{sentences: strings.Split(strings.TrimSpace(d.errors), "\n")}, 1, ""
	case strings.Contains(v.marks, "!"):
		code, end = 1, "Repair what is RED. It keeps the checks marked ? from a result."
	}
	if got := d.c.ProcessState.ExitCode(); got != code {
		err = errors.Join(err, fmt.Errorf("exit code %d, want %d", got, code))
	}
	if !alike(said.marks, v.marks) {
		err = errors.Join(err, fmt.Errorf("marks\n    %s, want\n    %s", said.marks, v.marks))
	}
	if !slices.Equal(said.of(v.marks), v.sentences) {
		err = errors.Join(err, fmt.Errorf("sentences\n    %s\nwant\n    %s", strings.Join(said.sentences, "\n    "), strings.Join(v.sentences, "\n    ")))
	}
	if said.end != end {
		err = errors.Join(err, fmt.Errorf("the end is %q, want %q", said.end, end))
	}
	return err
}

// alike reports whether marks match.
func alike(got, want string) bool {
	return slices.EqualFunc(strings.Fields(got), strings.Fields(want), func(g, w string) bool { return g == w || w == "*" })
}

// of returns the sentences, without those of hosts with the mark *.
func (r reading) of(marks string) []string {
	words := strings.Fields(marks)
	return slices.DeleteFunc(r.sentences, func(sentence string) bool {
		host, _, _ := strings.Cut(sentence, ": ")
		i := slices.Index(r.hosts, host)
		return i >= 0 && i < len(words) && words[i] == "*"
	})
}

// reading is a parsed report.
type reading struct {
	marks     string
	hosts     []string // by word of marks
	sentences []string
	end       string
}

var (
	letters = map[string]string{"ok": "+", "RED": "!", "?": "?", "-": "-",
		"doctor": "d", "peer, view N": "p", "peer": "q", "another release": "o", "no answer": "-"}
	// What differs between runs.
	viewNumber  = regexp.MustCompile(`peer, view \d+`)
	dialFailure = regexp.MustCompile(`\((dial tcp|lookup) [^)]*\)`)
	stallLength = regexp.MustCompile(`run for [\d.]+m?s`)
)

// read parses a report.
func read(text string) reading {
	var r reading
	host := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "Asking ") || strings.HasPrefix(line, "this host ") || strings.HasPrefix(line, "host "):
		case strings.HasPrefix(line, "  "):
			line = dialFailure.ReplaceAllString(line, "($1 …)")
			line = stallLength.ReplaceAllString(line, "run for …")
			r.sentences = append(r.sentences, host+": "+strings.TrimSpace(line))
		case strings.HasPrefix(line, "Repair ") || strings.HasPrefix(line, "The checks ") || line == "All is well.":
			r.end = line
		default:
			cells := strings.Fields(line)
			host = cells[0]
			r.hosts = append(r.hosts, host)
			word := ""
			for _, c := range cells[1:min(len(cells), 9)] {
				word += letters[c]
			}
			if len(cells) > 9 {
				word += letters[viewNumber.ReplaceAllString(strings.Join(cells[9:], " "), "peer, view N")]
			}
			r.marks += word + " "
		}
	}
	return r
}
