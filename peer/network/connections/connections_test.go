package connections

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"memberly/peer/types"
)

// scripts are calls about host 2, and the actions that each returns. Addresses are A and B; a connection
// is named by a word, and a frame too.
var scripts = []struct{ name, script string }{
	{"a frame waits for the connection that is dialled", `
		send x           -> dial
		send y           ->
		opened c A dialled -> x on c; y on c
		send z           -> z on c`},
	{"an accepted connection serves both directions", `
		opened c A       ->
		send x           -> x on c`},
	{"an accepted connection takes the frames that wait, and a dial goes on", `
		send x           -> dial
		opened c A       -> x on c
		send y           -> y on c
		opened d A dialled -> y on d`},
	{"the newest connection is in use", `
		opened c A       ->
		opened d A       ->
		send x           -> x on d
		broken c         -> close c
		send y           -> y on d
		broken d         -> close d; in use
		send z           -> dial`},
	{"an older connection is in use again when the newest ends", `
		opened c A       ->
		opened d A       ->
		broken d         -> close d; in use
		send x           -> x on c`},
	{"the end of a connection that is not in the table means nothing", `
		opened c A       ->
		broken c         -> close c; in use
		broken c         ->
		broken d         ->`},
	{"a redial opens another connection, and frames go over both", `
		opened c A       ->
		redial           -> dial
		send x           -> x on c
		opened d A dialled -> x on d
		send y           -> y on d`},
	{"a redial does not wait for a dial", `
		redial           -> dial
		redial           -> dial
		send x           ->
		failed           ->
		opened c A dialled -> x on c`},
	{"of several dials, the first that succeeds takes the frames that wait", `
		send x           -> dial
		redial           -> dial
		opened c A dialled -> x on c
		send y           -> y on c
		opened d A dialled ->
		redial           -> dial
		redial           -> dial
		send z           -> z on d
		failed           ->
		opened e A dialled -> z on e`},
	{"when a dial fails, frames wait on that were sent since the latest began", `
		send x           -> dial
		redial           -> dial
		send y           ->
		send z B         ->
		failed           ->
		opened c A dialled -> y on c; dial B
		redial           -> dial
		send v A         -> v on c
		send w B         -> w on c
		failed A         ->
		opened d B dialled -> z on d; w on d`},
	{"frames wait for a later dial when a connection ends", `
		send x           -> dial
		redial           -> dial
		opened c A dialled -> x on c
		broken c         -> close c; in use
		send y           ->
		opened d A dialled -> y on d`},
	{"a frame for another address waits until no dial is in progress", `
		redial           -> dial
		redial           -> dial
		opened c A dialled ->
		send x B         -> x on c
		failed           -> 
		send y B         -> dial B; y on c
		opened d B dialled -> y on d`},
	{"a redial beyond five follows the dial that ends next", `
		redial           -> dial
		redial           -> dial
		redial           -> dial
		redial           -> dial
		redial           -> dial
		redial           ->
		redial B         ->
		failed           -> dial B
		failed           ->
		redial           -> dial
		redial           ->
		opened c A dialled -> dial`},
	{"frames are dropped when the dial fails", `
		send x           -> dial
		failed           ->
		send y           -> dial
		opened c A dialled -> y on c`},
	{"the oldest connection makes room", `
		opened a A       ->
		opened b A       ->
		opened c A       ->
		opened d A       ->
		opened e A       -> close a
		broken a         ->
		opened f A dialled -> close b`},
	{"the oldest connection of the same address makes room", `
		opened a A       ->
		opened b B       ->
		opened c A       ->
		opened d B       ->
		opened e B       -> close b
		opened f B       -> close d
		opened g A       -> close a
		opened h C       -> close c`},
	{"a frame goes over the newest connection with its address", `
		opened c A       ->
		opened d B       ->
		send x A         -> x on c
		send y           -> y on d`},
	{"one address is dialled where no connection has it", `
		opened c A       ->
		send x B         -> dial B; x on c
		opened d B dialled -> x on d`},
	{"a dial of one address fails, and the others' frames wait on", `
		send x A         -> dial A
		send y B         ->
		send z A         ->
		failed A         -> dial B
		opened c B dialled -> y on c`},
	{"a frame for another address has it dialled afterwards", `
		send x A         -> dial A
		send y B         ->
		send z A         ->
		opened c A dialled -> x on c; z on c; dial B
		opened d B dialled -> y on d`},
	{"a dial of all addresses fails, and nothing waits on", `
		send x           -> dial
		send y B         ->
		failed           ->
		redial           -> dial
		opened c B dialled ->`},
	{"a frame does not wait for an address that was reached meanwhile", `
		send x           -> dial
		send y B         ->
		opened c B       -> x on c; y on c
		opened d A dialled ->`},
	{"a dial only if there is room", `
		reach            -> dial
		reach            ->
		opened a A dialled ->
		opened b A       ->
		opened c A       ->
		reach            -> dial
		opened d A dialled ->
		reach            ->`},
	{"the newest frames wait", `
		send 1 -> dial
		send 2 ->
		send 3 ->
		send 4 ->
		send 5 ->
		send 6 ->
		send 7 ->
		send 8 ->
		send 9 ->
		send 10 ->
		send 11 ->
		send 12 ->
		send 13 ->
		send 14 ->
		send 15 ->
		send 16 ->
		send 17 ->
		opened c A dialled -> 2 on c; 3 on c; 4 on c; 5 on c; 6 on c; 7 on c; 8 on c; 9 on c; 10 on c; 11 on c; 12 on c; 13 on c; 14 on c; 15 on c; 16 on c; 17 on c`},
	{"a retired host has no connection", `
		opened c A       ->
		opened d A       ->
		retire           -> close c; close d
		send x           ->
		redial           ->
		reach            ->
		opened e A       -> close e
		broken e         ->
		retire           ->`},
	{"dials that are in progress when a host is retired end", `
		send x           -> dial
		redial           -> dial
		redial           -> dial
		send y B         ->
		retire           ->
		opened c A dialled -> close c
		failed           ->
		failed B         ->
		send z           ->`},
	{"all connections are closed in the end", `
		opened c A       ->
		opened d A       ->
		clear            -> close c; close d
		clear            ->
		broken c         ->`},
}

func TestScripts(t *testing.T) {
	t.Parallel()
	for _, c := range scripts {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table := New[string, string](3)
			for line := range strings.Lines(strings.TrimSpace(c.script)) {
				call, want, _ := strings.Cut(line, "->")
				if got := apply(table, strings.Fields(call)); got != strings.TrimSpace(want) {
					t.Errorf("%s -> %s, want %s", strings.TrimSpace(call), got, want)
				}
			}
		})
	}
}

// apply makes a call of a script, and returns its actions.
func apply(t *Table[string, string], call []string) string {
	const id = 2
	arg := func(i int) string { return append(call, "", "", "")[i] }
	switch call[0] {
	case "send":
		return describe(t.Send(id, address(arg(2)), arg(1)), false)
	case "redial":
		return describe(t.Redial(id, address(arg(1))), false)
	case "reach":
		return describe(t.DialIfRoom(id), false)
	case "opened":
		return describe(t.Opened(id, arg(1), address(arg(2)), arg(3) == "dialled"), false)
	case "failed":
		return describe(t.DialFailed(id, address(arg(1))), false)
	case "broken":
		return describe(t.Broken(id, arg(1)))
	case "retire":
		return describe(t.Retire(id), false)
	case "clear":
		return describe(t.Clear(), false)
	}
	panic("no such call: " + call[0])
}

// address returns the address that a script names; an invalid one if it names none.
func address(name string) netip.Addr {
	if name == "" {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, name[0]})
}

// describe writes actions as scripts do.
func describe(actions []Action[string, string], inUse bool) string {
	var all []string
	for _, a := range actions {
		switch {
		case a.Host != 2:
			all = append(all, fmt.Sprint("host ", a.Host))
		case a.Verb == Dial && a.At.IsValid():
			all = append(all, "dial "+string(a.At.AsSlice()[3:]))
		case a.Verb == Dial:
			all = append(all, "dial")
		case a.Verb == Queue:
			all = append(all, a.Frame+" on "+a.Conn)
		case a.Verb == Close:
			all = append(all, "close "+a.Conn)
		}
	}
	if inUse {
		all = append(all, "in use")
	}
	return strings.Join(all, "; ")
}

// Whatever happens to connections, the limits hold, each one is closed once, and frames wait only while a dial
// is in progress.
func TestInvariants(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		table := New[int, int](1)
		h := &table.hosts[0]
		dials, next, isOpen := 0, 0, map[int]bool{}
		for range 500 {
			var actions []Action[int, int]
			at := []types.Addr{{}, address("A"), address("B")}[random.IntN(3)]
			switch k := random.IntN(10); {
			case k < 4:
				actions = table.Send(1, at, 0)
			case k < 5:
				actions = table.Redial(1, at)
			case k < 6:
				actions, _ = table.Broken(1, random.IntN(next+1))
			case k < 8 && dials > 0:
				dials--
				actions = table.DialFailed(1, at)
			default:
				dialled := dials > 0 && k < 9
				if dialled {
					dials--
				}
				next++
				isOpen[next] = true
				actions = table.Opened(1, next, cmp.Or(at, address("A")), dialled)
			}
			for _, a := range actions {
				switch {
				case a.Verb == Dial:
					dials++
				case !isOpen[a.Conn]:
					t.Fatalf("seed %d: action %v for a connection that is closed", seed, a)
				case a.Verb == Close:
					delete(isOpen, a.Conn)
				}
			}
			if len(isOpen) != len(h.open) || len(isOpen) > MaxOpen || dials != h.dials || dials > maxDials ||
				len(h.waiting) > maxWaiting || dials == 0 && len(h.waiting) > 0 {
				t.Fatalf("seed %d: %d open and %d dials by the actions, %+v", seed, len(isOpen), dials, h)
			}
		}
	}
}

// The connections with one host are nothing to another.
func TestHostsApart(t *testing.T) {
	t.Parallel()
	table := New[string, string](2)
	table.Opened(2, "c", address("A"), false)
	table.Grow(3)
	table.Grow(2)
	table.Retire(1)
	if !table.Retired(1) || table.Retired(2) || table.Retired(3) {
		t.Error("another host than 1 is retired, or 1 is not")
	}
	if got := table.Send(3, netip.Addr{}, "x"); len(got) != 1 || got[0].Verb != Dial || got[0].Host != 3 {
		t.Errorf("a frame for host 3 has the actions %v", got)
	}
	if got := table.Send(types.ID(2), netip.Addr{}, "y"); len(got) != 1 || got[0].Verb != Queue || got[0].Conn != "c" {
		t.Errorf("a frame for host 2 has the actions %v", got)
	}
}

// Open lists the newest connection first, so that Broken for each reports of the first that it is in use.
func TestOpen(t *testing.T) {
	t.Parallel()
	table := New[string, string](2)
	for _, c := range []string{"c", "d", "e"} {
		table.Opened(2, c, address("A"), false)
	}
	if got := strings.Join(table.Open(2), " "); got != "e d c" {
		t.Errorf("open are %s, want e d c", got)
	}
}

// Sending over an open connection allocates nothing.
func TestSendAllocatesNothing(t *testing.T) {
	table := New[int, []byte](2)
	table.Opened(2, 1, address("A"), false)
	frame := []byte("frame")
	if n := testing.AllocsPerRun(100, func() { table.Send(2, netip.Addr{}, frame) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
