package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"memberly/peer/check/loopback"
)

// lan is a network of hosts, each a network namespace with the address 10.99.0.ID on its eth0. The other ends of their
// links, p1 and so on, are ports of a bridge in a namespace of its own, where rules drop packets between hosts. All of
// it vanishes with the processes that hold the namespaces, which end at the latest when this test's process does.
type lan struct {
	*testing.T
	wire  string   // the process that holds the namespace of the bridge
	hosts []string // those that hold the namespaces of the hosts
	file  string   // the hosts file
}

// setns is the number of the system call, which package syscall lacks.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268, "riscv64": 268}[runtime.GOARCH]

func newLAN(t *testing.T, names ...string) *lan {
	t.Helper()
	for _, tool := range []string{"nsenter", "ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil || os.Getuid() != 0 || setns == 0 {
			t.Skip("it needs root, nsenter, ip and nft, on amd64, arm64 or riscv64")
		}
	}
	l := &lan{T: t, wire: holdNamespace(t)}
	var lines []string
	script := "ip link add br0 type bridge && ip link set br0 up"
	for i, name := range names {
		l.hosts = append(l.hosts, holdNamespace(t))
		lines = append(lines, fmt.Sprintf("%s 10.99.0.%d", name, i+1))
		script += fmt.Sprintf(` && ip link add p%d type veth peer name eth0 netns %s && ip link set p%[1]d master br0 up &&
			nsenter -t %[2]s -n sh -c 'ip link set lo up && ip addr add 10.99.0.%[1]d/24 brd + dev eth0 && ip link set eth0 up'`, i+1, l.hosts[i])
	}
	l.file = loopback.WriteHostsFile(t, lines...)
	l.on(l.wire, "sh", "-c", script)
	return l
}

// holdNamespace returns the process that holds a new network namespace until the test ends.
func holdNamespace(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return strconv.Itoa(launch(t, "a network namespace", cmd).cmd.Process.Pid)
}

// on runs a command in a namespace, and returns its output.
func (l *lan) on(namespace, name string, args ...string) string {
	l.Helper()
	out, err := exec.Command("nsenter", append([]string{"-t", namespace, "-n", name}, args...)...).CombinedOutput()
	if err != nil {
		l.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// start starts the program on the host with this id.
func (l *lan) start(id int, name string, args ...string) *daemon {
	l.Helper()
	cmd := exec.Command("nsenter", append([]string{"-t", l.hosts[id-1], "-n", program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return launch(l.T, name, cmd)
}

// drop has the bridge drop the packets that match any of these expressions.
func (l *lan) drop(matches ...string) {
	l.Helper()
	rules := ""
	for _, m := range matches {
		rules += m + " counter drop; "
	}
	l.on(l.wire, "nft", "table bridge fault { chain drops { type filter hook forward priority 0; "+rules+"}; }")
}

// dropNoMore ends what drop began, and returns whether it dropped any packet.
func (l *lan) dropNoMore() bool {
	l.Helper()
	rules := l.on(l.wire, "nft", "list table bridge fault")
	l.on(l.wire, "nft", "delete table bridge fault")
	return strings.Count(rules, "counter packets ") > strings.Count(rules, "counter packets 0 ")
}

// dial connects to an address as seen on a host. For that a thread enters the namespace of the host, and leaves it again.
// It does not end there: the processes that it started would be killed (Pdeathsig).
func (l *lan) dial(id int, address string) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer own.Close()
	other, err := os.Open("/proc/" + l.hosts[id-1] + "/ns/net")
	if err != nil {
		return nil, err
	}
	defer other.Close()
	if err := enterNetwork(other); err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", address)
	if err := enterNetwork(own); err != nil {
		panic(err) // nothing else may run in that namespace
	}
	return conn, err
}

func enterNetwork(namespace *os.File) error {
	if _, _, errno := syscall.RawSyscall(setns, namespace.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
		return fmt.Errorf("entering a network namespace: %w", errno)
	}
	return nil
}
