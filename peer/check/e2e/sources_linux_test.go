package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"memberly/peer/check/loopback"
)

// onWire starts two daemons, each in a network namespace of its own with these addresses on its eth0, one end of
// a wire between them. It takes root.
func onWire(t *testing.T, hostsFile string, addrs [2][]string) []*daemon {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 || exec.Command("unshare", "-n", "true").Run() != nil {
		t.Skip("this takes root, unshare and ip")
	}
	var daemons []*daemon
	for i, name := range []string{"one", "two"} {
		script := "ip link set lo up && until ip link show eth0; do sleep 0.01; done && ip link set eth0 up"
		for _, a := range addrs[i] {
			script += " && ip addr add " + a + " dev eth0"
			if strings.Contains(a, ":") {
				script += " nodad"
			}
		}
		cmd := exec.Command("sh", "-c", "("+script+`) >/dev/null 2>&1; exec "$0" "$@"`, program, "-h", hostsFile, "-n", name)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		daemons = append(daemons, launch(t, name, cmd))
	}
	pid := func(i int) string { return fmt.Sprint(daemons[i].cmd.Process.Pid) }
	if out, err := exec.Command("ip", "link", "add", "eth0", "netns", pid(0), "type", "veth",
		"peer", "name", "eth0", "netns", pid(1)).CombinedOutput(); err != nil {
		t.Skipf("no wire: %v %s", err, out)
	}
	return daemons
}

// What a host sends leaves from the address that it is listed with, be that a second one of its interface.
func TestSecondAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		file  [2]string
		addrs [2][]string
	}{
		{"IPv4", [2]string{"one 10.9.0.11", "two 10.9.0.2"}, [2][]string{{"10.9.0.1/24", "10.9.0.11/24"}, {"10.9.0.2/24"}}},
		{"IPv4, of another network", [2]string{"one 10.8.0.11", "two 10.9.0.2"},
			[2][]string{{"10.9.0.1/24", "10.8.0.11/32"}, {"10.9.0.2/24", "10.8.0.2/24"}}},
		{"IPv6", [2]string{"one fd09::11", "two fd09::2"}, [2][]string{{"fd09::11/64", "fd09::12/64", "fd09::1/64"}, {"fd09::2/64"}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			daemons := onWire(t, loopback.WriteHostsFile(t, c.file[0], c.file[1]), c.addrs)
			awaitView(daemons, 2)
			for _, d := range daemons {
				if got := d.stdout.String(); strings.Contains(got, "Error") {
					t.Errorf("%s says %s", d.name, got)
				}
			}
		})
	}
}

// A machine that lacks the address of its host in the file says so, with the remedy.
func TestAddressOfAnotherMachine(t *testing.T) {
	t.Parallel()
	daemons := onWire(t, loopback.WriteHostsFile(t, "one 10.9.0.33", "two 10.9.0.2"), [2][]string{{"10.9.0.1/24"}, {"10.9.0.2/24"}})
	daemons[0].awaitNotice("This host, one, is at 10.9.0.33 by the hosts file, but this machine has 10.9.0.1: ")
	if got := daemons[1].stdout.String(); strings.Contains(got, "This host") {
		t.Errorf("two says %s", got)
	}
}
