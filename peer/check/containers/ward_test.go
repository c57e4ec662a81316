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

// ward is a group where doctors are at work. Its hosts are containers that stay up and do nothing.
// Peers, doctors and strangers are started in them by nsenter, as doctors must run at the same
// time, and a container takes longer to start. They have the host's network, names and files, and
// end with this process.
type ward struct {
	*group
	dir  string            // what every host has as /files
	plan string            // the hosts file, if nobody has another
	pids map[string]string // of the hosts, by name
	at   map[string]string // addresses: of the hosts, by name, and of their broadcasts, as "all"; "nobody" has none of theirs
	ends map[*peer]context.CancelFunc
}

// newWard starts hosts of these names on a network of their own. All of it is removed when the
// test ends.
func newWard(t *testing.T, name string, names ...string) *ward {
	t.Helper()
	w := &ward{dir: t.TempDir(), plan: strings.Join(names, "\n") + "\n", pids: make(map[string]string),
		at: make(map[string]string), ends: make(map[*peer]context.CancelFunc),
		group: &group{ctx: t.Context(), name: name, judge: newJudge(), lines: make(chan line, 4096), began: time.Now()}}
	t.Cleanup(func() { w.remove(t) })
	if err := w.build(t, names); err != nil {
		t.Fatalf("making ward %s: %v", name, err)
	}
	return w
}

func (w *ward) build(t *testing.T, names []string) error {
	for i, name := range names {
		container := w.name + "-" + name
		w.peers = append(w.peers, &peer{id: types.ID(i + 1), name: name, container: container, lodging: container})
	}
	if _, err := docker(w.ctx, "network", "create", w.name); err != nil {
		return err
	}
	network, err := docker(w.ctx, "network", "inspect", "-f", "{{with index .IPAM.Config 0}}{{.Gateway}} {{.Subnet}}{{end}}", w.name)
	if err != nil {
		return err
	}
	gateway, subnet, _ := strings.Cut(network, " ")
	last, err := broadcastOf(subnet)
	if err != nil {
		return err
	}
	w.at["all"], w.at["nobody"] = last.String(), last.Prev().String()
	if err := nameNobody(t, gateway); err != nil {
		return err
	}
	host := func(_ *group, p *peer) error {
		_, err := docker(w.ctx, "run", "-d", "--name", p.container, "--hostname", p.name, "--network", w.name,
			"--network-alias", p.name, "--dns", gateway, "-v", w.dir+":/files:ro", image, "-h", "hostsfile.txt", "-d", "3600")
		return err
	}
	if err := each(host)(w.group, w.peers); err != nil {
		return err
	}
	return w.locate()
}

// locate finds out where the hosts are.
func (w *ward) locate() error {
	form := fmt.Sprintf("{{.State.Pid}} {{(index .NetworkSettings.Networks %q).IPAddress}}", w.name)
	for _, p := range w.peers {
		place, err := docker(w.ctx, "inspect", "-f", form, p.lodging)
		if err != nil {
			return err
		}
		w.pids[p.name], w.at[p.name], _ = strings.Cut(place, " ")
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

// nameNobody serves, until the test ends, the names that Docker does not know: nobody has any, but
// of those that begin with "lost" it does not know either.
func nameNobody(t *testing.T, addr string) error {
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
			rcode := byte(3) // no such name
			if strings.HasPrefix(string(buf[13:n]), "lost") {
				rcode = 2 // out of order
			}
			buf[2] |= 0x80 // an answer
			buf[3] = 0x80 | rcode
			socket.WriteTo(buf[:n], from)
		}
	}()
	return nil
}

func (w *ward) host(name string) *peer {
	return w.peers[slices.IndexFunc(w.peers, func(p *peer) bool { return p.name == name })]
}

// in is a command in the namespaces of a host, which ends with ctx, or this process.
func (w *ward) in(ctx context.Context, host string, args ...string) *exec.Cmd {
	enter := []string{"--pdeathsig", "KILL", "nsenter", "-t", w.pids[host]}
	return exec.CommandContext(ctx, "setpriv", append(enter, args...)...)
}

// memberly is the image's program in a host.
func (w *ward) memberly(ctx context.Context, host string, args ...string) *exec.Cmd {
	return w.in(ctx, host, append([]string{"-n", "-m", "-u", "/memberly"}, args...)...)
}

// write gives the hosts a hosts file, and returns its path there. In it, @name stands for an address.
func (w *ward) write(name, text string) (string, error) {
	return "/files/" + name, os.WriteFile(filepath.Join(w.dir, name), []byte(w.spell(text)), 0o644)
}

var reference = regexp.MustCompile(`@[a-z]+`)

// spell puts addresses in the place of names.
func (w *ward) spell(text string) string {
	return reference.ReplaceAllStringFunc(text, func(name string) string { return w.at[name[1:]] })
}

var address = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`)

// unspell puts names in the place of addresses.
func (w *ward) unspell(text string) string {
	return address.ReplaceAllStringFunc(text, func(addr string) string {
		for name, a := range w.at {
			if a == addr {
				return "@" + name
			}
		}
		return addr
	})
}

// admit starts peers, in hosts that have none, and returns when all hold the view of all.
func (w *ward) admit(peers ...*peer) error {
	file, err := w.write("plan", w.plan)
	if err != nil {
		return err
	}
	for _, p := range peers {
		ctx, end := context.WithCancel(w.ctx)
		w.ends[p] = end
		start := w.memberly(ctx, p.name, "-h", file, "-n", p.name)
		p.command = func() *exec.Cmd { return start }
	}
	w.judge.open(plight{forming: true})
	if err := w.start(peers...); err != nil {
		return err
	}
	_, err = w.settle(w.running(), startLimit)
	w.judge.open(plight{})
	return err
}

func (w *ward) running() []types.ID {
	return ids(slices.DeleteFunc(slices.Clone(w.peers), func(p *peer) bool { return !p.running }))
}

// undisturbed takes in what the peers have written: they had nothing to write.
func (w *ward) undisturbed() error {
	for {
		select {
		case l := <-w.lines:
			if err := w.note(l); err != nil {
				return err
			}
			return fmt.Errorf("%s noticed: %s", l.peer.name, l.text)
		default:
			return nil
		}
	}
}
