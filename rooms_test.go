package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file keeps the rooms rooms (DESIGN 7): which package may import which, and what the
// protocol must do without. It reads every Go file, whatever system it is for. To open a door
// between two rooms, change the table and say why.

// room is a folder's place in the house.
type room struct {
	may string // the rooms that it may import; its tests may import golden too
	why string // that it may import no other
}

// rooms has every room, by its folder within peer; main is the top folder.
var rooms = map[string]room{
	"main":           {"config doctor local network observe seal simulate simulation types utils verify", "main turns flags into a peer, and that into an exit code: it does not meddle with what lies below"},
	"network":        {"config datastructures handlers hook seal types utils", "network is the sockets and the clock around the protocol, and nothing else runs below it"},
	"doctor":         {"config network seal types utils", "doctor stands in a peer's place before there is one: of network it takes the ports alone"},
	"hook":           {"types", "hook is told of views: it cannot ask the peer anything, nor hold it up"},
	"observe":        {"config datastructures handlers types", "observe reads what the peer publishes: it has no door to the network room, through which it could change or hold up anything"},
	"local":          {"config hook types utils", "local starts whole processes, and knows of them what anybody can see"},
	"handlers":       {"datastructures types", "handlers is the protocol alone, so that the simulator runs the very code that ships"},
	"simulation":     {"datastructures handlers types", "simulation puts its own clock and network around the protocol: the real ones must not slip in"},
	"simulate":       {"simulation types", "simulate shows the simulator to users: it needs no daemon"},
	"verify":         {"types", "verify judges records by what the protocol promises, not by the code that wrote them"},
	"config":         {"seal types", "config checks flags, hosts file and key file before there is a peer"},
	"seal":           {"types", "seal knows keys and bytes: sockets and clock are its users'"},
	"utils":          {"", "utils knows host names and addresses, and nothing of groups"},
	"types":          {"", "types is the words that all the others speak, so it can depend on none of them"},
	"datastructures": {"", "datastructures are the same whatever is in them"},
	"golden":         {"", "golden is what the daemon is held to, so it must not come from the daemon"},
	"figures":        {"config network simulation types", "figures measures what a user has: the program, and the simulator's groups"},
	"containers":     {"types", "containers knows the daemon by its image and its records alone"},
}

// banned is what handlers must not import, nor any package below it, and why.
var banned = map[string]string{
	"net":         "sending is a value that goes out",
	"os":          "all that it must know comes in as a value",
	"syscall":     "all that it must know comes in as a value",
	"log":         "records and notices are values that go out",
	"math/rand":   "the same steps must have the same outcome",
	"crypto/rand": "the same steps must have the same outcome",
	"context":     "its deadlines run on a clock, and time comes in as a value",
}

// timeless is all of package time that handlers may use: it measures, and reads no clock.
const timeless = "Duration Nanosecond Microsecond Millisecond Second Minute Hour"

func TestRooms(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".go" {
			return err
		}
		seen[roomOf(name)] = true
		for _, fault := range faults(name, nil) {
			t.Error(fault)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range rooms {
		if !seen[name] {
			t.Errorf("room %s has no Go file: take it off the table in rooms_test.go", name)
		}
	}
}

// TestRoomsBroken breaks each rule once.
func TestRoomsBroken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, source, want string }{
		{"peer/handlers/x.go", `import "memberly/peer/types"; import "time"; var _ time.Duration = 2 * time.Second`, ""},
		{"peer/handlers/x_test.go", `import "memberly/peer/golden"; import "os"; var _ = os.Args`, ""},
		{"peer/golden/golden_test.go", `import "memberly/peer/golden"`, ""},
		{"main.go", `import "memberly/peer/handlers"`, "main must not import handlers"},
		{"peer/types/x.go", `import "memberly/peer/utils"`, "types must not import utils"},
		{"peer/network/x.go", `import "memberly/peer/golden"`, "network must not import golden"},
		{"peer/network/x_test.go", `import "memberly/peer/simulation"`, "network must not import simulation"},
		{"peer/handlers/x.go", `import "net/netip"`, "handlers must not import net/netip"},
		{"peer/handlers/x.go", `import "math/rand/v2"`, "handlers must not import math/rand/v2"},
		{"peer/handlers/x.go", `import "time"; var now = time.Now`, "handlers must not use time.Now"},
		{"peer/handlers/x.go", `import clock "time"; var _ = clock.After(1)`, "handlers must not use time.After"},
		{"peer/handlers/x.go", `import . "time"; var _ = Now()`, "handlers must import time by name"},
		{"peer/utils/x_test.go", `import "golang.org/x/net/html"`, "standard library"},
		{"peer/utils/x.go", `import "C"`, "standard library"},
		{"peer/attic/x.go", ``, "attic is no room"},
	} {
		got := faults(c.name, "package p\n"+c.source)
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%s with %s: %q, want no fault", c.name, c.source, got)
		case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
			t.Errorf("%s with %s: %q, want one fault: %s", c.name, c.source, got, c.want)
		}
	}
}

// roomOf returns the room that a file is in.
func roomOf(name string) string {
	if dir, ok := strings.CutPrefix(path.Dir(filepath.ToSlash(name)), "peer/"); ok {
		return dir
	}
	return "main"
}

// faults says which rules a Go file breaks, and why they are there. The source is read from
// the file if it is nil.
func faults(name string, source any) []string {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	in, test := roomOf(name), strings.HasSuffix(name, "_test.go")
	if _, ok := rooms[in]; !ok {
		return []string{fmt.Sprintf("%s: %s is no room: add it to the table in rooms_test.go, with what it may import and why", name, in)}
	}
	var found []string
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if fault := importFault(in, imported, test); fault != "" {
			found = append(found, fmt.Sprintf("%v: %s", set.Position(spec.Pos()), fault))
		}
	}
	if in == "handlers" && !test {
		found = append(found, clockFaults(set, file)...)
	}
	return found
}

// importFault says why a room, or its tests, must not import a package; "" if they may.
func importFault(in, imported string, test bool) string {
	if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") || imported == "C" {
		return fmt.Sprintf("%s must not import %s: this project stands on the standard library alone, its tests too, "+
			"so that it builds wherever there is Go", in, imported)
	}
	if other, ours := strings.CutPrefix(imported, "memberly/peer/"); ours {
		if slices.Contains(strings.Fields(rooms[in].may), other) || test && (other == "golden" || other == in) {
			return ""
		}
		return fmt.Sprintf("%s must not import %s, but only these of ours: [%s]: %s", in, other, rooms[in].may, rooms[in].why)
	}
	for name, why := range banned {
		if in == "handlers" && !test && (imported == name || strings.HasPrefix(imported, name+"/")) {
			return fmt.Sprintf("%s must not import %s: %s", in, imported, why)
		}
	}
	return ""
}

// clockFaults finds what of package time a file of handlers must not use.
func clockFaults(set *token.FileSet, file *ast.File) (found []string) {
	clock := ""
	for _, spec := range file.Imports {
		if spec.Path.Value != `"time"` {
			continue
		}
		if clock = "time"; spec.Name != nil {
			clock = spec.Name.Name
		}
		if clock == "." {
			return []string{fmt.Sprintf("%v: handlers must import time by name, so that it can be seen to read no clock", set.Position(spec.Pos()))}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && clock != "" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == clock && !slices.Contains(strings.Fields(timeless), s.Sel.Name) {
				found = append(found, fmt.Sprintf("%v: handlers must not use time.%s: time comes in as a value, "+
					"so that every failure can be repeated", set.Position(s.Pos()), s.Sel.Name))
			}
		}
		return true
	})
	return found
}
