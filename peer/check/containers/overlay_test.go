package containers_test

import (
	"fmt"
	"testing"

	"memberly/peer/types"
)

// An overlay network like Docker's own: VXLAN that carries packets to the hosts it was told of, but
// no broadcasts, although its interfaces claim to.
const (
	overlayAddr = "10.99.0.%d"
	overlayMAC  = "02:42:0a:63:00:%02x"
)

// overlay puts the hosts on an overlay network, and its addresses into their hosts file.
func (c *cluster) overlay() error {
	c.plan = ""
	under := make(map[types.ID]string)
	for _, p := range c.peers {
		under[p.id], c.addrs[p.name] = c.addrs[p.name], fmt.Sprintf(overlayAddr, p.id)
		c.plan += fmt.Sprintf("%s @%s\n", p.name, p.name)
	}
	c.addrs["all"] = fmt.Sprintf(overlayAddr, 255)
	for _, p := range c.peers {
		mac := fmt.Sprintf(overlayMAC, p.id)
		script := "ip link add over address " + mac + " type vxlan id 42 dstport 4789 nolearning dev eth0 local " + under[p.id] +
			" && ip addr add " + c.addrs[p.name] + "/24 broadcast " + c.addrs["all"] + " dev over && ip link set over up"
		for _, other := range c.peers {
			if mac := fmt.Sprintf(overlayMAC, other.id); other != p {
				script += " && ip neigh add " + c.addrs[other.name] + " lladdr " + mac + " dev over" +
					" && bridge fdb append " + mac + " dev over dst " + under[other.id]
			}
		}
		if _, err := command(c.ctx, "nsenter", "-t", c.pids[p.name], "-n", "sh", "-c", script); err != nil {
			return err
		}
	}
	return nil
}

// doctorsOnOverlay checks that doctors report the missing broadcast and nothing else, and that a group
// forms without it and removes silent members.
func doctorsOnOverlay(t *testing.T) {
	t.Parallel()
	w := newCluster(t, image+"-overlay", hosts[:3]...)
	if err := w.overlay(); err != nil {
		t.Fatal(err)
	}
	to := func(host string) string {
		return host + ": broadcast to: Broadcasts to @all do not reach " + host + ": " + noBroadcast
	}
	from := func(host string) string {
		return host + ": broadcast from: Broadcasts of " + host + " do not arrive here: let UDP 8081 from @" + host + " " + broadcastHere
	}
	t.Run("no-broadcast", func(t *testing.T) {
		x := examination{runs: "ddd", want: []verdict{
			says("one", "++++ ++++++!!d ++++++!!d", to("two"), from("two"), to("three"), from("three")),
			says("two", "++++ ++++++!!d ++++++!!d", to("one"), from("one"), to("three"), from("three")),
			says("three", "++++ ++++++!!d ++++++!!d", to("one"), from("one"), to("two"), from("two")),
		}}
		x.run(t, w)
	})
	formed := t.Run("group-forms", func(t *testing.T) {
		if err := w.arrange("ppp"); err != nil {
			t.Fatalf("%v\n%s", err, w.transcript.String())
		}
	})
	for _, f := range []faultCase{
		{"member-unheard", unheard, aFollower, removed, 0},
		{"leader-unheard", unheard, theLeader, removed, 0},
	} {
		t.Run(f.name, func(t *testing.T) {
			if !formed {
				t.Fatal("there is no group")
			}
			var r row
			tr := trial{group: w.group, faultCase: f}
			tr.run(t, &r)
			t.Logf("%s after %s s, after its end all agree in %s s", r.checked, r.during, r.after)
		})
	}
}

func aFollower(g *group) []*peer { return g.followers()[:1] }
