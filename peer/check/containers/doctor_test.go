package containers_test

import (
	"fmt"
	"testing"
	"time"

	"memberly/peer/types"
)

// Sentences, from the colon on, that occur more than once.
const (
	letTCPIn       = "let TCP 8080 through to it (its firewall, security groups, routes)."
	noBroadcast    = "let UDP 8081 to that address through. If the network has no broadcast, see docs/deploy.md: the group works without it, by asking over TCP."
	broadcastHere  = "through to this machine's broadcast address."
	noAnswer       = "what listens there is not a peer, is stopped, or runs another release; or the hosts file there has another address for this host, or lacks it."
	startOrName    = "start it if it is a container or a pod; otherwise add it there, or write its address after its name in the hosts file."
	correctAddress = "peers drop what it sends. Correct its address in the name service or the hosts file, or remove the address translation in between."
	sameFile       = "use the same names in the same order everywhere."
	ownAddress     = "give each host an address of its own."
	moreCPU        = "give the machine more CPU time, and do not suspend it. The group removes a peer that stalls for 2.2 s."
	stopOther      = "stop the peer that already runs on this machine, or the other program that uses the port."
)

// sameRelease ends the sentence about a message of an impostor.
var sameRelease = fmt.Sprintf("unknown wire version %d, this peer speaks %d and later: run the same release on all hosts.", types.FirstVersion-1, types.FirstVersion)

// clusters are the examinations by cluster.
var clusters = []struct {
	name string
	rows []examination
}{
	{"blocked-doctors", []examination{
		{name: "all-well", runs: "ddd", want: []verdict{
			says("one", "++++ ++++++++d ++++++++d"),
			says("two", "++++ ++++++++d ++++++++d"),
			says("three", "++++ ++++++++d ++++++++d"),
		}},
		{name: "tcp-into-two", runs: "ddd", is: lost("two", "ip saddr @one tcp dport 8080"), want: []verdict{
			says("one", "++++ ++!+++++d ++++++++d", "two: TCP to: No connection to TCP 8080 of two at @two (dial tcp …): "+letTCPIn),
			says("two", "++++ +++!++++d ++++++++d", "one: TCP from: one does not reach TCP 8080 here: let TCP 8080 through to this machine, from @one."),
			says("three", "++++ ++++++++d ++++++++d"),
		}},
		{name: "tcp-into-one", runs: "ddd", is: lost("one", "ip saddr @two tcp dport 8080"), want: []verdict{
			says("one", "++++ +++!++++d ++++++++d", "two: TCP from: two does not reach TCP 8080 here: let TCP 8080 through to this machine, from @two."),
			says("two", "++++ ++!+++++d ++++++++d", "one: TCP to: No connection to TCP 8080 of one at @one (dial tcp …): "+letTCPIn),
			says("three", "++++ ++++++++d ++++++++d"),
		}},
		{name: "udp-into-two", runs: "ddd", is: lost("two", "ip saddr @one udp dport 8081"), want: []verdict{
			says("one", "++++ ++++!+!+d ++++++++d",
				"two: UDP to: Datagrams reach this host from two, but not the other way: let UDP 8081 through to two.",
				"two: broadcast to: Broadcasts to @all do not reach two: let UDP 8081 to that address through."),
			says("two", "++++ ++++?!?!d ++++++++d",
				"one: UDP from: Datagrams of one do not arrive here: let UDP 8081 from @one through to this machine.",
				"one: broadcast from: Broadcasts of one do not arrive here: let UDP 8081 from @one "+broadcastHere),
			says("three", "++++ ++++++++d ++++++++d"),
		}},
		{name: "udp-into-one", runs: "ddd", is: lost("one", "ip saddr @two udp dport 8081"), want: []verdict{
			says("one", "++++ ++++?!?!d ++++++++d",
				"two: UDP from: Datagrams of two do not arrive here: let UDP 8081 from @two through to this machine.",
				"two: broadcast from: Broadcasts of two do not arrive here: let UDP 8081 from @two "+broadcastHere),
			says("two", "++++ ++++!+!+d ++++++++d",
				"one: UDP to: Datagrams reach this host from one, but not the other way: let UDP 8081 through to one.",
				"one: broadcast to: Broadcasts to @all do not reach one: let UDP 8081 to that address through."),
			says("three", "++++ ++++++++d ++++++++d"),
		}},
		{name: "broadcast-into-two", runs: "ddd", is: lost("two", "meta pkttype broadcast udp dport 8081"), want: []verdict{
			says("one", "++++ ++++++!+d ++++++++d", "two: broadcast to: Broadcasts to @all do not reach two: "+noBroadcast),
			says("two", "++++ +++++++!d +++++++!d",
				"one: broadcast from: Broadcasts of one do not arrive here: let UDP 8081 from @one "+broadcastHere,
				"three: broadcast from: Broadcasts of three do not arrive here: let UDP 8081 from @three "+broadcastHere),
			says("three", "++++ ++++++++d ++++++!+d", "two: broadcast to: Broadcasts to @all do not reach two: "+noBroadcast),
		}},
		{name: "nothing-runs-on-three", runs: "dd-", want: []verdict{
			says("one", "++++ ++++++++d +?!?????-", "three: TCP to: Nothing listens on TCP 8080 of three: start `memberly doctor` there too, or the peer."),
			says("two", "++++ ++++++++d +?!?????-", "three: TCP to: Nothing listens on TCP 8080 of three: start `memberly doctor` there too, or the peer."),
		}},
		{name: "three-is-down", runs: "dd-", is: gone("three"), plans: map[string]string{"all": "one\ntwo\nthree @three\n"}, want: []verdict{
			says("one", "++++ ++++++++d +?!?????-", "three: TCP to: No connection to TCP 8080 of three at @three (dial tcp …): start the host, and "+letTCPIn),
			says("two", "++++ ++++++++d +?!?????-", "three: TCP to: No connection to TCP 8080 of three at @three (dial tcp …): start the host, and "+letTCPIn),
		}},
	}},
	{"blocked-peers", []examination{ // the doctor is on three, and the peers notice nothing
		{name: "one-doctor-among-peers", runs: "ppd", lasts: quiet, want: []verdict{
			says("three", "++++ +++++-++p +++++-++p"),
		}},
		{name: "tcp-into-one", runs: "ppd", is: lost("one", "ip saddr @three tcp dport 8080"), want: []verdict{
			says("three", "++++ +?!?+-++q +++++-++p", "one: TCP to: No connection to TCP 8080 of one at @one (dial tcp …): "+letTCPIn),
		}},
		{name: "tcp-from-one", runs: "ppd", is: lost("three", "ip saddr @one tcp dport 8080"), want: []verdict{
			says("three", "++++ +++!+-++p +++++-++p", "one: TCP from: one does not reach TCP 8080 here: let TCP 8080 through to this machine, from @one."),
		}},
		{name: "udp-into-one", runs: "ppd", is: lost("one", "ip saddr @three udp dport 8081"), want: []verdict{
			says("three", "++++ ++++!-?+p +++++-++p",
				"one: UDP to: Datagrams to one, or its answers, are lost: let UDP 8081 through to one, and to this machine."),
		}},
		{name: "udp-from-one", runs: "ppd", is: lost("three", "ip saddr @one udp dport 8081"), want: []verdict{
			says("three", "++++ ++++!-?!p +++++-++p",
				"one: UDP to: Datagrams to one, or its answers, are lost: let UDP 8081 through to one, and to this machine.",
				"one: broadcast from: Broadcasts of one do not arrive here: let UDP 8081 from @one "+broadcastHere),
		}},
		{name: "broadcast-into-one", runs: "ppd", is: lost("one", "meta pkttype broadcast udp dport 8081"), want: []verdict{
			says("three", "++++ +++++-!+p +++++-++p", "one: broadcast to: Broadcasts to @all do not reach one: "+noBroadcast),
		}},
		{name: "broadcast-from-all", runs: "ppd", is: lost("three", "meta pkttype broadcast udp dport 8081"), want: []verdict{
			says("three", "++++ +++++-+!p +++++-+!p",
				"one: broadcast from: Broadcasts of one do not arrive here: let UDP 8081 from @one "+broadcastHere,
				"two: broadcast from: Broadcasts of two do not arrive here: let UDP 8081 from @two "+broadcastHere),
		}},
		{name: "another-file", runs: "ppd", plans: map[string]string{"three": "two\none\nthree\n"}, want: []verdict{
			says("three", "++++ +!+++-++p +!+++-++p", "two: file: two has another hosts file: "+sameFile, "one: file: one has another hosts file: "+sameFile),
		}},
		{name: "beside-its-peer", runs: "ppb", want: []verdict{ // which joins where a doctor was
			says("three", "+!!+ +++??-??p +++??-??p", "three: TCP 8080: TCP 8080 is in use here: "+stopOther, "three: UDP 8081: UDP 8081 is in use here: "+stopOther),
		}},
	}},
	{"astray", []examination{
		{name: "unknown-name", runs: "dd-", plans: map[string]string{"all": "one\ntwo\nnowhere\n"}, want: []verdict{
			says("one", "++++ ++++++++d !?????---", "nowhere: name: The name service does not know nowhere: "+startOrName),
			says("two", "++++ ++++++++d !?????---", "nowhere: name: The name service does not know nowhere: "+startOrName),
		}},
		{name: "name-service-out-of-order", runs: "dd-", plans: map[string]string{"all": "one\ntwo\nlost\n"}, want: []verdict{
			says("one", "++++ ++++++++d !?????---", "lost: name: The name service did not answer for lost (lookup …): repair it, or write the address after the name in the hosts file."),
			says("two", "++++ ++++++++d !?????---", "lost: name: The name service did not answer for lost (lookup …): repair it, or write the address after the name in the hosts file."),
		}},
		{name: "another-file", runs: "ddd", plans: map[string]string{"two": "one\nthree\ntwo\n"}, want: []verdict{
			says("one", "++++ +!++++++d ++++++++d", "two: file: two has another hosts file: "+sameFile),
			says("two", "++++ +!++++++d +!++++++d", "one: file: one has another hosts file: "+sameFile, "three: file: three has another hosts file: "+sameFile),
			says("three", "++++ ++++++++d +!++++++d", "two: file: two has another hosts file: "+sameFile),
		}},
		{name: "one-address-for-two-hosts", runs: "dd-", plans: map[string]string{"all": "one\ntwo\nthree @two\n"}, want: []verdict{
			says("one", "++++ !???????? !????????", "two: name: two and three are both at @two: "+ownAddress, "three: name: three and two are both at @two: "+ownAddress),
			says("two", "++++ ++++++++d !????????", "three: name: three is at @two, which is this machine: correct the name service, /etc/hosts or the hosts file."),
		}},
		{name: "one-name-twice", runs: "dd-", plans: map[string]string{"all": "one\ntwo\nTWO\n"}, want: []verdict{
			says("one", "", `memberly doctor: hosts file "/files/plan-of-one": line 3: host "TWO" is on line 2 already: remove one of the two`),
			says("two", "", `memberly doctor: hosts file "/files/plan-of-two": line 3: host "TWO" is on line 2 already: remove one of the two`),
		}},
		{name: "one-is-elsewhere", runs: "ddd", plans: map[string]string{"all": "one @unused\ntwo\nthree\n"}, want: []verdict{
			says("one", "!+++ +??????+d +??????+d", "one: address: The name service or the hosts file says that one is at @unused, which is no address of this machine: "+
				"the others would look for it there. Correct the name service or the file."),
			says("two", "++++ +??!????- ++++++++d", "one: TCP from: one sends from @one, but here its address is @unused: "+correctAddress),
			says("three", "++++ +??!????- ++++++++d", "one: TCP from: one sends from @one, but here its address is @unused: "+correctAddress),
		}},
		{name: "port-taken", runs: "ddd", is: impostor("one", silentImpostor), want: []verdict{
			says("one", "+!++ +++?++++d +++?++++d", "one: TCP 8080: TCP 8080 is in use here: "+stopOther),
			says("two", "++++ ++!+++++d ++++++++d", "one: TCP to: one accepts connections to TCP 8080, but does not answer: "+noAnswer),
			says("three", "++++ ++!+++++d ++++++++d", "one: TCP to: one accepts connections to TCP 8080, but does not answer: "+noAnswer),
		}},
		{name: "earlier-peer", runs: "dd-", is: impostor("three", earlierPeer), want: []verdict{
			says("one", "++++ ++++++++d +?!?????o", "three: TCP to: three runs another release: HEARTBEAT from peer 3: "+sameRelease),
			says("two", "++++ ++++++++d +?!?????o", "three: TCP to: three runs another release: HEARTBEAT from peer 3: "+sameRelease),
		}},
		{name: "earlier-doctor", runs: "dd-", is: impostor("three", earlierDoctor), want: []verdict{
			says("one", "++++ ++++++++d +?!+????o", "three: TCP to: three runs another release: HEARTBEAT from peer 3: "+sameRelease),
			says("two", "++++ ++++++++d +?!+????o", "three: TCP to: three runs another release: HEARTBEAT from peer 3: "+sameRelease),
		}},
		{name: "a-doctor-is-stopped-for-a-second", runs: "ddd", stops: "three", until: time.Second, want: []verdict{
			says("one", "++++ ++++++++d ++++++++d"),
			says("two", "++++ ++++++++d ++++++++d"),
			says("three", "+++! ++++++++d ++++++++d", "three: clock: This process did not run for …: "+moreCPU),
		}},
		{name: "a-doctor-is-stopped", runs: "ddd", stops: "three", want: []verdict{
			says("one", "++++ ++++++++d +?!?????-", "three: TCP to: three accepts connections to TCP 8080, but does not answer: "+noAnswer),
			says("two", "++++ ++++++++d +?!?????-", "three: TCP to: three accepts connections to TCP 8080, but does not answer: "+noAnswer),
			says("three", "+++! * *", "three: clock: This process did not run for …: "+moreCPU),
		}},
	}},
}

// TestDoctor has doctors find real problems, some clusters at the same time, the rows of each one
// after the other.
func TestDoctor(t *testing.T) {
	t.Parallel()
	needContainers(t)
	for _, setup := range clusters {
		t.Run(setup.name, func(t *testing.T) {
			t.Parallel()
			w := newCluster(t, image+"-"+setup.name, hosts[:3]...)
			for _, x := range setup.rows {
				t.Run(x.name, func(t *testing.T) { x.run(t, w) })
			}
		})
	}
	t.Run("overlay", doctorsOnOverlay)
}
