//go:build linux

// Bench measures the daemon on this machine, and prints a table of medians, minima and maxima. It runs
// real processes on loopback addresses, and needs Linux, Go and some minutes.
//
//	go run ./peer/check/bench                 everything, from the project's folder
//	go run ./peer/check/bench -only idle      only figures whose names begin with idle
//	go run ./peer/check/bench -growth docs    simulated groups of 5 to 1000 hosts: the table, and plots in docs
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		roles[os.Args[1]](os.Args[2:])
		return
	}
	runs := flag.Int("runs", 10, "how often to measure each figure")
	only := flag.String("only", "", "measure only figures whose names begin with this")
	many := flag.Int("many", 200, "how many processes start at once")
	program := flag.String("program", "", "the daemon to measure (default: build it)")
	key := flag.String("key", "", "the key file of all real peers; generated members have none")
	growth := flag.String("growth", "", "simulate growing groups instead, and write plots to this folder")
	most := flag.Int("most", 1000, "hosts in the largest simulated group; 1000 take four minutes")
	flag.Parse()
	var err error
	if *growth != "" {
		err = grow(*growth, *most)
	} else {
		err = run(*program, *key, *only, *runs, *many)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures all figures whose names begin with only.
func run(program, key, only string, runs, many int) error {
	if program == "" {
		dir, err := os.MkdirTemp("", "memberly-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "memberly")
		build := exec.Command("go", "build", "-o", program, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // one static file, as users have it
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building the daemon, from the project's folder: %w\n%s", err, out)
		}
	}
	m := newMeter(program, key)
	for _, e := range m.experiments(runs, many) {
		if !strings.HasPrefix(e.name, only) {
			continue
		}
		for range e.runs {
			if err := e.take(e.name); err != nil {
				fmt.Fprintf(os.Stderr, "bench: %s: %v\n", e.name, err)
			}
		}
	}
	m.print(os.Stdout)
	return nil
}

// experiment measures one or more figures once per call of take.
type experiment struct {
	name string
	runs int
	take func(name string) error
}

func (m *meter) experiments(runs, many int) []experiment {
	signalled := func(id int, s syscall.Signal) func(string) error {
		return func(name string) error { return m.signalled(name, id, s) }
	}
	idle := func(n int) func(string) error {
		return func(name string) error { return m.idle(name, n, 10*time.Second) }
	}
	idleLeader := func(n int) func(string) error {
		return func(name string) error { return m.idleLeader(name, n, 10*time.Second) }
	}
	flooded := func(kind string, stranger bool) func(string) error {
		return func(name string) error { return m.flooded(name, kind, stranger) }
	}
	few := min(runs, 3)
	return []experiment{
		{"bare: four TCP messages in a row between two processes", runs, m.bare},
		{"join: from the call of the fifth peer's code to all five agreeing", runs, func(n string) error { return m.join(n, "peer") }},
		{"start: from the start of the fifth process to all five agreeing", runs, func(n string) error { return m.join(n) }},
		{"kill: SIGKILL of a member to the last survivor's view", runs, signalled(5, syscall.SIGKILL)},
		{"kill leader: SIGKILL of the leader to the last survivor's view", runs, signalled(1, syscall.SIGKILL)},
		{"leave: SIGTERM of a member to the last survivor's view", runs, signalled(5, syscall.SIGTERM)},
		{"leave leader: SIGTERM of the leader to the last survivor's view", runs, signalled(1, syscall.SIGTERM)},
		{"stop: SIGSTOP of a member to the last survivor's view", runs, signalled(5, syscall.SIGSTOP)},
		{"stop leader: SIGSTOP of the leader to the last survivor's view", runs, signalled(1, syscall.SIGSTOP)},
		{"thaw: SIGCONT of two that were removed to one view of five", runs, m.resume},
		{"silence: of a generated member, from its last heartbeat to the peer's record", runs, func(n string) error { return m.silence(n, 5) }},
		{"silence: the same in a group of 1000", few, func(n string) error { return m.silence(n, 1000) }},
		{"idle: a peer of 5", few, idle(5)},
		{"idle: a peer of 100", few, idle(100)},
		{"idle: a peer of 1000", few, idle(1000)},
		{"idle leader: of 5", few, idleLeader(5)},
		{"idle leader: of 100", few, idleLeader(100)},
		{"idle leader: of 1000", few, idleLeader(1000)},
		{"five: one of five real peers, idle, CPU", few, func(n string) error { return m.five(n, 10*time.Second) }},
		{"flood: none", few, flooded("", false)},
		{"flood: silent connections, a stranger's", few, flooded("connections", true)},
		{"flood: silent connections, a host's", few, flooded("connections", false)},
		{"flood: garbage on connections, a host's", few, flooded("garbage", false)},
		{"flood: a byte a second on connections, a host's", few, flooded("drip", false)},
		{"flood: PROBEs, a host's", few, flooded("probes", false)},
		{"flood: JOINs of new lives, a host's", few, flooded("joins", false)},
		{"flood: STATEs that nobody asked for, a host's", few, flooded("states", false)},
		{"flood: datagrams, a stranger's", few, flooded("noise", true)},
		{"flood: datagrams, a host's", few, flooded("noise", false)},
		{"flood: heartbeats, a host's", few, flooded("heartbeats", false)},
		{"many: processes that start at once", few, func(string) error { return m.many(many) }},
	}
}
