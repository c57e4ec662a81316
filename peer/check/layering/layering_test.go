package layering

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file enforces the layers: which package may import which, and what the protocol must not use. It
// reads every Go file, for all systems.
//
// The main rule is that the daemon's packages import neither ops, which has the operator's tools, nor
// check, which tests the daemon. Both ops and check import the daemon's packages, but not each other.
// main imports all. The table has the finer rules.

// layer is what a package may import.
type layer struct {
	may string // of this project; its tests may also import those of support
	why string // no others
}

// layers has every package, by its folder in peer. main is the top folder.
var layers = map[string]layer{
	"main": {"check/simulation check/verify config network ops/commands ops/doctor ops/hold ops/hook ops/local ops/observe ops/reform seal types utils",
		"main turns flags into a peer, and that into an exit code"},

	"network": {"config datastructures handlers network/connections network/rawio seal storage types utils",
		"network puts sockets and a clock around the protocol"},
	"network/rawio":       {"", "rawio makes system calls, and knows nothing of peers"},
	"network/connections": {"types", "connections is only the policy, so that the simulator runs the policy that ships"},
	"handlers":            {"types", "handlers is only the protocol, so that the simulator runs the code that ships"},
	"config":              {"config/options seal types", "config checks flags, hosts file and key file before there is a peer"},
	"config/options":      {"", "options describes command lines, and knows none"},
	"seal":                {"config/options types", "seal knows keys and bytes; its users have the sockets and the clock"},
	"storage":             {"types", "storage knows a file and what is in it; its user has the protocol"},
	"utils":               {"", "utils knows host names and addresses, and nothing of groups"},
	"types":               {"", "types is the vocabulary of all packages"},
	"datastructures":      {"", "datastructures do not depend on what they contain"},

	"ops/commands": {"config config/options", "commands runs the commands that main passes to it"},
	"ops/doctor":   {"config config/options seal storage types utils", "doctor examines a host before there is a peer"},
	"ops/hook":     {"datastructures handlers ops/process types", "hook receives views, and can neither ask the peer nor delay it"},
	"ops/observe":  {"config config/options datastructures handlers types utils", "observe reads what the peer publishes, and can neither change nor delay anything"},
	"ops/hold":     {"config config/options handlers network/rawio ops/process types utils", "hold acts upon a lease, and can neither ask the peer nor delay it, but at its end"},
	"ops/process":  {"", "process knows commands, and nothing of peers"},
	"ops/reform":   {"config config/options storage types utils", "reform changes what is stored, and knows nothing of running peers"},
	"ops/local":    {"config ops/hold ops/hook types", "local starts whole processes, and uses only their output"},

	"check/simulation": {"config/options handlers network/connections types", "simulation puts its own clock and network around the protocol"},
	"check/verify":     {"config/options types utils", "verify judges records by the promises of the protocol, not by the code that wrote them"},
	"check/scenario":   {"", "scenario is what tests expect of the daemon, so it must not come from the daemon"},
	"check/bench":      {"config network check/simulation types", "bench measures the program and simulated groups"},
	"check/browser":    {"", "browser is controlled by tests, and knows only pages"},
	"check/containers": {"types", "containers uses only the daemon's image and records"},
	"check/e2e":        {"check/simulation check/verify config types", "e2e uses only the program, and checks its output with verify and simulation"},
	"check/layering":   {"", "layering only reads sources"},
	"check/ledger":     {"", "ledger knows what processes tell, not how they run"},
	"check/loopback":   {"config", "loopback gives tests addresses and collects output"},
	"check/dist":       {"", "dist builds and packs the program, and knows nothing of what it does"},
}

// root is the top folder.
const root = "../../.."

// support lists what any test may import.
const support = "check/browser check/ledger check/scenario check/loopback"

// pure lists the packages that the simulator runs, so all their input must be values.
var pure = []string{"handlers", "network/connections"}

// banned lists what pure packages must not import, with the packages below, and why.
var banned = map[string]string{
	"net":         "sending is an output value",
	"os":          "all input is a value",
	"syscall":     "all input is a value",
	"log":         "events are output values",
	"math/rand":   "the same steps must have the same outcome",
	"crypto/rand": "the same steps must have the same outcome",
	"context":     "its deadlines run on a clock, and time is an input value",
}

// timeless lists all that pure packages may use of package time: it reads no clock.
const timeless = "Duration Nanosecond Microsecond Millisecond Second Minute Hour"

func TestLayers(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if name == ".ci" {
			return fs.SkipDir // its programs are modules of their own, which no package of this one can import
		}
		if err != nil || d.IsDir() || path.Ext(name) != ".go" {
			return err
		}
		source, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		seen[layerOf(name)] = true
		for _, fault := range faults(name, source) {
			t.Error(fault)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range layers {
		if !seen[name] {
			t.Errorf("%s has no Go file: remove it from the table in layering_test.go", name)
		}
	}
}

// TestLayersBroken breaks each rule once.
func TestLayersBroken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, source, want string }{
		{"peer/handlers/x.go", `import "memberly/peer/types"; import "time"; var _ time.Duration = 2 * time.Second`, ""},
		{"peer/handlers/x_test.go", `import "memberly/peer/check/scenario"; import "os"; var _ = os.Args`, ""},
		{"peer/check/scenario/scenario_test.go", `import "memberly/peer/check/scenario"`, ""},
		{"main.go", `import "memberly/peer/handlers"`, "main must not import handlers"},
		{"peer/ops/doctor/x.go", `import "memberly/peer/check/verify"`, "ops/doctor must not import check/verify"},
		{"peer/check/verify/x.go", `import "memberly/peer/ops/observe"`, "check/verify must not import ops/observe"},
		{"peer/types/x.go", `import "memberly/peer/utils"`, "types must not import utils"},
		{"peer/network/x.go", `import "memberly/peer/check/scenario"`, "network must not import check/scenario"},
		{"peer/network/x_test.go", `import "memberly/peer/check/simulation"`, "network must not import check/simulation"},
		{"peer/handlers/x.go", `import "net/netip"`, "handlers must not import net/netip"},
		{"peer/handlers/x.go", `import "math/rand/v2"`, "handlers must not import math/rand/v2"},
		{"peer/network/connections/x.go", `import "net"`, "network/connections must not import net"},
		{"peer/network/connections/x.go", `import "time"; var now = time.Now`, "network/connections must not use time.Now"},
		{"peer/handlers/x.go", `import "time"; var now = time.Now`, "handlers must not use time.Now"},
		{"peer/handlers/x.go", `import clock "time"; var _ = clock.After(1)`, "handlers must not use time.After"},
		{"peer/handlers/x.go", `import . "time"; var _ = Now()`, "handlers must import time by name"},
		{"peer/utils/x_test.go", `import "golang.org/x/net/html"`, "standard library"},
		{"peer/utils/x.go", `import "C"`, "standard library"},
		{"peer/attic/x.go", ``, "attic is in no layer"},
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

// layerOf returns the package that a file is in.
func layerOf(name string) string {
	if dir, ok := strings.CutPrefix(path.Dir(filepath.ToSlash(name)), "peer/"); ok {
		return dir
	}
	return "main"
}

// faults returns the rules that a Go file breaks, and the reasons for them.
func faults(name string, source any) []string {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	in, test := layerOf(name), strings.HasSuffix(name, "_test.go")
	if _, ok := layers[in]; !ok {
		return []string{fmt.Sprintf("%s: %s is in no layer: add it to the table in layering_test.go, with what it may import and why", name, in)}
	}
	var found []string
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if fault := importFault(in, imported, test); fault != "" {
			found = append(found, fmt.Sprintf("%v: %s", set.Position(spec.Pos()), fault))
		}
	}
	if slices.Contains(pure, in) && !test {
		found = append(found, clockFaults(in, set, file)...)
	}
	return found
}

// importFault returns why a package, or its tests, must not import a package, or "" if they may.
func importFault(in, imported string, test bool) string {
	if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") || imported == "C" {
		return fmt.Sprintf("%s must not import %s: this project and its tests use only the standard library, "+
			"so that it builds wherever Go does", in, imported)
	}
	if other, ours := strings.CutPrefix(imported, "memberly/peer/"); ours {
		if slices.Contains(strings.Fields(layers[in].may), other) || test && slices.Contains(strings.Fields(support+" "+in), other) {
			return ""
		}
		return fmt.Sprintf("%s must not import %s, but only these packages of this project: [%s]: %s", in, other, layers[in].may, layers[in].why)
	}
	for name, why := range banned {
		if slices.Contains(pure, in) && !test && (imported == name || strings.HasPrefix(imported, name+"/")) {
			return fmt.Sprintf("%s must not import %s: %s", in, imported, why)
		}
	}
	return ""
}

// clockFaults returns the forbidden uses of package time in a file of a pure package.
func clockFaults(in string, set *token.FileSet, file *ast.File) (found []string) {
	clock := ""
	for _, spec := range file.Imports {
		if spec.Path.Value != `"time"` {
			continue
		}
		if clock = "time"; spec.Name != nil {
			clock = spec.Name.Name
		}
		if clock == "." {
			return []string{fmt.Sprintf("%v: %s must import time by name, so that this test sees what it uses", set.Position(spec.Pos()), in)}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && clock != "" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == clock && !slices.Contains(strings.Fields(timeless), s.Sel.Name) {
				found = append(found, fmt.Sprintf("%v: %s must not use time.%s: time is an input value, "+
					"so that every failure can be repeated", set.Position(s.Pos()), in, s.Sel.Name))
			}
		}
		return true
	})
	return found
}
