package containers_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/types"
)

// cluster is a group whose hosts are idle containers. nsenter starts peers, doctors and strangers in
// them, because doctors must run at the same time and a container takes longer to start. These
// processes have the host's network, names and files, and end with this process.
type cluster struct {
	*group
	dir   string            // mounted on every host as /files
	plan  string            // the hosts file of hosts that have no other
	pids  map[string]string // of the hosts, by name
	addrs map[string]string // of the hosts, by name; of their broadcasts, as "all"; and of no host, as "unused"
	ends  map[*peer]context.CancelFunc
}

// newCluster starts hosts with these names on their own network. The end of the test removes
// everything.
func newCluster(t *testing.T, name string, names ...string) *cluster {
	t.Helper()
	w := &cluster{dir: t.TempDir(), plan: strings.Join(names, "\n") + "\n", pids: make(map[string]string),
		addrs: make(map[string]string), ends: make(map[*peer]context.CancelFunc),
		group: &group{ctx: t.Context(), name: name, judge: newJudge(), lines: make(chan line, 4096), began: time.Now()}}
	t.Cleanup(func() { w.remove(t) })
	if err := w.build(t, names); err != nil {
		t.Fatalf("making cluster %s: %v", name, err)
	}
	return w
}

func (c *cluster) build(t *testing.T, names []string) error {
	for i, name := range names {
		container := c.name + "-" + name
		c.peers = append(c.peers, &peer{id: types.ID(i + 1), name: name, container: container, netContainer: container})
	}
	if _, err := docker(c.ctx, "network", "create", c.name); err != nil {
		return err
	}
	network, err := docker(c.ctx, "network", "inspect", "-f", "{{with index .IPAM.Config 0}}{{.Gateway}} {{.Subnet}}{{end}}", c.name)
	if err != nil {
		return err
	}
	gateway, subnet, _ := strings.Cut(network, " ")
	last, err := broadcastOf(subnet)
	if err != nil {
		return err
	}
	c.addrs["all"], c.addrs["unused"] = last.String(), last.Prev().String()
	if err := serveNoNames(t, gateway); err != nil {
		return err
	}
	host := func(_ *group, p *peer) error {
		_, err := docker(c.ctx, "run", "-d", "--name", p.container, "--hostname", p.name, "--network", c.name,
			"--network-alias", p.name, "--dns", gateway, "-v", c.dir+":/files:ro", image, "-h", "hostsfile.txt", "-d", "3600")
		return err
	}
	if err := each(host)(c.group, c.peers); err != nil {
		return err
	}
	return c.locate()
}

// locate finds the hosts' processes and addresses.
func (c *cluster) locate() error {
	form := fmt.Sprintf("{{.State.Pid}} {{(index .NetworkSettings.Networks %q).IPAddress}}", c.name)
	for _, p := range c.peers {
		place, err := docker(c.ctx, "inspect", "-f", form, p.netContainer)
		if err != nil {
			return err
		}
		c.pids[p.name], c.addrs[p.name], _ = strings.Cut(place, " ")
	}
	return nil
}

// broadcastOf returns the last address of an IPv4 network.
func broadcastOf(subnet string) (netip.Addr, error) {
	prefix, err := netip.ParsePrefix(subnet)
	if err != nil {
		return netip.Addr{}, err
	}
	last := prefix.Addr().As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(last), nil
}

// serveNoNames runs a name server for the names that Docker does not know, until the test ends. It
// answers that a name does not exist, or fails for names that begin with "lost".
func serveNoNames(t *testing.T, addr string) error {
	socket, err := net.ListenPacket("udp", net.JoinHostPort(addr, "53"))
	if err != nil {
		return err
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		for buf := make([]byte, 1500); ; {
			n, from, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			if n <= 12 {
				continue
			}
			rcode := byte(3) // NXDOMAIN
			if strings.HasPrefix(string(buf[13:n]), "lost") {
				rcode = 2 // SERVFAIL
			}
			buf[2] |= 0x80 // an answer
			buf[3] = 0x80 | rcode
			socket.WriteTo(buf[:n], from)
		}
	}()
	return nil
}

func (c *cluster) host(name string) *peer {
	return c.peers[slices.IndexFunc(c.peers, func(p *peer) bool { return p.name == name })]
}

// in returns a command in the namespaces of a host. It ends with ctx, or with this process.
func (c *cluster) in(ctx context.Context, host string, args ...string) *exec.Cmd {
	enter := []string{"--pdeathsig", "KILL", "nsenter", "-t", c.pids[host]}
	return exec.CommandContext(ctx, "setpriv", append(enter, args...)...)
}

// memberly returns a command that runs the image's program in a host.
func (c *cluster) memberly(ctx context.Context, host string, args ...string) *exec.Cmd {
	return c.in(ctx, host, append([]string{"-n", "-m", "-u", "/memberly"}, args...)...)
}

// write writes a hosts file, in which @name stands for an address, and returns its path on the hosts.
func (c *cluster) write(name, text string) (string, error) {
	return "/files/" + name, os.WriteFile(filepath.Join(c.dir, name), []byte(c.withAddrs(text)), 0o644)
}

var reference = regexp.MustCompile(`@[a-z]+`)

// withAddrs replaces @name by addresses.
func (c *cluster) withAddrs(text string) string {
	return reference.ReplaceAllStringFunc(text, func(name string) string { return c.addrs[name[1:]] })
}

var address = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`)

// withNames replaces addresses by @name.
func (c *cluster) withNames(text string) string {
	return address.ReplaceAllStringFunc(text, func(addr string) string {
		for name, a := range c.addrs {
			if a == addr {
				return "@" + name
			}
		}
		return addr
	})
}

// startPeers starts peers on hosts without one, and returns when all running peers hold their view.
func (c *cluster) startPeers(peers ...*peer) error {
	file, err := c.write("plan", c.plan)
	if err != nil {
		return err
	}
	for _, p := range peers {
		ctx, end := context.WithCancel(c.ctx)
		c.ends[p] = end
		start := c.memberly(ctx, p.name, "-h", file, "-n", p.name)
		p.command = func() *exec.Cmd { return start }
	}
	c.judge.begin(condition{forming: true})
	if err := c.start(peers...); err != nil {
		return err
	}
	_, err = c.settle(c.running(), startLimit)
	c.judge.begin(condition{})
	return err
}

func (c *cluster) running() []types.ID {
	return ids(slices.DeleteFunc(slices.Clone(c.peers), func(p *peer) bool { return !p.running }))
}

// checkQuiet fails if the peers have written anything.
func (c *cluster) checkQuiet() error {
	for {
		select {
		case l := <-c.lines:
			if err := c.note(l); err != nil {
				return err
			}
			return fmt.Errorf("%s noticed: %s", l.peer.name, l.text)
		default:
			return nil
		}
	}
}
