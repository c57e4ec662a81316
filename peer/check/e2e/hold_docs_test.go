package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"memberly/peer/check/loopback"
)

// examples writes the scripts of docs/hold.md to a new folder, and returns it.
func examples(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/hold.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, script := range regexp.MustCompile("(?s)```sh\n(#!/bin/sh\n# ([a-z]+\\.sh): .*?)```").FindAllSubmatch(text, -1) {
		if err := os.WriteFile(filepath.Join(dir, string(script[2])), script[1], 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The job is begun again by the next leader when the first dies in the middle, is completed once, and is not done again.
func TestHoldExampleJob(t *testing.T) {
	t.Parallel()
	dir, s := examples(t), loopback.NewSubnet(t)
	file := s.HostsFile(t, "one", "two", "three")
	log, marker := filepath.Join(dir, "log"), filepath.Join(dir, "marker")
	job := fmt.Sprintf(`echo begin >>%[1]s; while [ $MEMBERLY_PEER = 1 ]; do sleep 0.1; done; echo complete >>%[1]s`, log)
	var peers, holds []*daemon
	for i, name := range []string{"one", "two", "three"} {
		peers = append(peers, start(t, file, name, "-http", "8082"))
		holds = append(holds, hold(t, "-once", fmt.Sprint(s.Host(i+1), ":8082"), "--", filepath.Join(dir, "job.sh"), marker, "sh", "-c", job))
	}
	awaitView(peers, 3)
	logged := func(want string) {
		t.Helper()
		within(t, "the log is "+want, func() bool {
			b, _ := os.ReadFile(log)
			return strings.Join(strings.Fields(string(b)), " ") == want
		})
	}
	logged("begin")
	peers[0].signal(syscall.SIGKILL)
	logged("begin begin complete")
	for i := 1; i <= 2; i++ {
		if code := holds[i].awaitExit(patience); code != 0 {
			t.Errorf("exit code %d at %d, want 0", code, i+1)
		}
		peers[i].signal(syscall.SIGTERM)
	}
	logged("begin begin complete")
}

// A frozen leader that resumes can write nothing more, and fences in the store never decrease.
func TestHoldExampleStore(t *testing.T) {
	t.Parallel()
	dir := examples(t)
	file := loopback.NewSubnet(t).HostsFile(t, "one", "two", "three")
	store, value := filepath.Join(dir, "store.sh"), filepath.Join(dir, "value")
	command := fmt.Sprintf("echo $$ >>%s.pids; exec %s/writer.sh %s %s", value, dir, store, value)
	var peers []*daemon
	for _, name := range []string{"one", "two", "three"} {
		peers = append(peers, start(t, file, name, "-hold", command))
	}
	awaitView(peers, 3)
	words := func(path string) []string {
		b, _ := os.ReadFile(path)
		return strings.Fields(string(b))
	}
	writes := func(name string) {
		t.Helper()
		within(t, name+" writes", func() bool { w := words(value); return len(w) > 0 && w[0] == name })
	}
	writes("one")
	old := words(value + ".fence")[0]
	pid, err := strconv.Atoi(words(value + ".pids")[0])
	if err != nil {
		t.Fatal(err)
	}
	supervisor := parent(t, pid)
	// The whole host is frozen: the peer, the command, and what supervises it.
	peers[0].signal(syscall.SIGSTOP)
	syscall.Kill(supervisor, syscall.SIGSTOP)
	syscall.Kill(-pid, syscall.SIGSTOP)
	t.Cleanup(func() { syscall.Kill(-pid, syscall.SIGKILL); syscall.Kill(supervisor, syscall.SIGKILL) })
	writes("two")
	syscall.Kill(-pid, syscall.SIGCONT) // it resumes first, and writes if it can
	within(t, "the end of the writer, which is refused", func() bool { return !alive(pid) })
	writes("two")
	out, err := exec.Command(store, value, old, "late").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is older than") {
		t.Errorf("a write with fence %s: %s, %v; want it refused", old, out, err)
	}
	syscall.Kill(supervisor, syscall.SIGCONT)
	peers[0].signal(syscall.SIGCONT)
	awaitGone(t, supervisor)
	writes("two")
}

// parent returns the parent of a process.
func parent(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.Atoi(strings.Fields(string(status[strings.LastIndexByte(string(status), ')')+1:]))[1])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// towns are network namespaces on one network: three with a peer each, and one with the switch and a client.
type towns struct {
	*testing.T
	client int
	peers  [3]int
}

const townsScript = `set -e
for i in 1 2 3; do
	eval "pid=\$$i"
	ip link add town$i type veth peer name eth0 netns $pid
done
ip link add switch type bridge
ip link set lo up
for i in 1 2 3; do ip link set town$i master switch up; done
ip addr add 10.77.0.200/24 dev switch
ip link set switch up`

func newTowns(t *testing.T) *towns {
	t.Helper()
	for _, tool := range []string{"unshare", "nsenter", "ip"} {
		if _, err := exec.LookPath(tool); err != nil || os.Getuid() != 0 {
			t.Skip("it needs root, unshare, nsenter and ip")
		}
	}
	n := &towns{T: t}
	for i := range 4 {
		d := launch(t, "namespace", exec.Command("unshare", "-n", "sh", "-c", "echo ready; exec sleep 3600"))
		d.awaitNotice("ready")
		if i == 3 {
			n.client = d.cmd.Process.Pid
		} else {
			n.peers[i] = d.cmd.Process.Pid
		}
	}
	n.in(n.client, "sh", "-c", townsScript, "sh", strconv.Itoa(n.peers[0]), strconv.Itoa(n.peers[1]), strconv.Itoa(n.peers[2]))
	for i, pid := range n.peers {
		n.in(pid, "sh", "-c", fmt.Sprintf("ip link set lo up && ip addr add 10.77.0.%d/24 dev eth0 && ip link set eth0 up", i+1))
	}
	return n
}

// enter returns a command that runs in a namespace.
func enter(pid int, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(pid), "-n"}, args...)...)
}

func (n *towns) in(pid int, args ...string) string {
	n.Helper()
	out, err := enter(pid, args...).CombinedOutput()
	if err != nil {
		n.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

// has returns which peers have the address, by number from 1.
func (n *towns) has() (all []int) {
	n.Helper()
	for i, pid := range n.peers {
		if strings.Contains(n.in(pid, "ip", "-o", "addr", "show", "dev", "eth0"), " 10.77.0.100/24 ") {
			all = append(all, i+1)
		}
	}
	if len(all) > 1 {
		n.Errorf("the address is at %v at once", all)
	}
	return all
}

// reached returns the id of the peer that a client reaches at the address; 0 if it reaches none.
func (n *towns) reached() int {
	out, err := enter(n.client, "timeout", "0.5", program, "status", "-json", "10.77.0.100:8082").Output()
	var s struct{ Peer struct{ ID int } }
	if err != nil || json.Unmarshal(out, &s) != nil {
		return 0
	}
	return s.Peer.ID
}

// The address is at the leader, also when the leader's peer is killed with its command, and when it leaves; never at two.
func TestHoldExampleAddress(t *testing.T) {
	t.Parallel()
	n, dir := newTowns(t), examples(t)
	file := loopback.WriteHostsFile(t, "one 10.77.0.1", "two 10.77.0.2", "three 10.77.0.3")
	var peers []*daemon
	for i, name := range []string{"one", "two", "three"} {
		peers = append(peers, launch(t, name, enter(n.peers[i], program, "-h", file, "-n", name, "-http", "0.0.0.0:8082",
			"-hold", dir+"/address.sh 10.77.0.100/24 eth0")))
	}
	awaitView(peers, 3)
	moves := func(to int) {
		t.Helper()
		began := time.Now()
		within(t, fmt.Sprint("a client reaches ", to), func() bool { return len(n.has()) <= 1 && n.reached() == to })
		t.Logf("a client that asks all the time reaches %d after %v", to, time.Since(began).Round(time.Millisecond))
	}
	moves(1)
	peers[0].signal(syscall.SIGKILL)
	moves(2)
	peers[1].signal(syscall.SIGTERM)
	if code := peers[1].awaitExit(3 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	moves(3)
}
