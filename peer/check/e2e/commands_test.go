package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"memberly/peer/check/scenario"
	"memberly/peer/check/simulation"
	"memberly/peer/check/verify"
	"memberly/peer/types"
)

// execute runs the real binary, and returns its exit code.
func execute(t *testing.T, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestCommands runs commands as a user does.
func TestCommands(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "records.txt")
	var all []string
	for _, p := range scenario.Scenarios()[3].Peers {
		all = append(all, p.Records...)
	}
	if err := os.WriteFile(file, []byte(strings.Join(all, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args, input    string
		code           int
		stdout, stderr string // contains it, and is empty if this is
	}{
		{"verify -help", "", 0, "Usage: memberly verify", ""},
		{"verify " + file, "", 0, "The records agree: 27 records of 5 peers, 1 group, 7 views; 0 other lines ignored\n", ""},
		{"verify", "one | " + all[0] + "\nhello\n", 0, "The records agree: 1 record of 1 peer, 1 group, 1 view; 1 other line ignored\n", ""},
		{"verify " + file + " -", scenario.Scenarios()[3].Peers[2].Records[5], 1, "contradiction: peer 3 installs view 7 again, and", ""},
		{"verify", "one | " + all[0][1:], 2, "", "no record among 1 line"},
		{"verify -seed 1", "", 2, "", "Usage: memberly verify"},
		{"simulate -help", "", 0, "Usage: memberly simulate", ""},
		{"simulate -help", "", 0, "Faults (upper limits: a fault that hits a host without a process has no effect)", ""},
		{"simulate", "", 0, "1 of 1 seeds, from 1 on: ", ""},
		{"simulate -seeds 20 -seed 7 -cuts 2 -loss 0.2", "", 0, "20 of 20 seeds, from 7 on: ", ""},
		{"simulate -hosts 3 -trace", "", 0, "memb_list: [<1,2,3>]", ""},
		{"simulate -hosts 12 -records", "", 0, "\n1  | {peer_id:1, view_id: 12, leader: 1, memb_list: [<1,2,3,4,5,6,7,8,9,10,11,12>]}\n", ""},
		{"simulate -state -power-cuts 2 -trace", "", 0, "  stored ", ""},
		{"simulate -state -seeds 20 -seed 7", "", 0, "20 of 20 seeds, from 7 on: ", ""},
		{"reform -help", "", 0, "Usage: memberly reform", ""},
		{"simulate -hosts 33", "", 2, "", "give a whole number from 1 to 32"},
		{"keygen -help", "", 0, "Usage: memberly keygen", ""},
		{"keygen", "", 0, "=\n", ""},
		{"keygen " + file, "", 1, "", "exists already, and may hold keys in use: name a new file"},
		{"keygen a b", "", 2, "", `unexpected argument "b"`},
		{"simulated", "", 2, "", `unknown command "simulated"`},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			code, out, errs := execute(t, c.input, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(out, c.stdout) || !strings.Contains(errs, c.stderr) ||
				c.stdout == "" && out != "" || c.stderr == "" && errs != "" {
				t.Errorf("exit code %d, stdout\n%s\nstderr\n%s\nwant %d, %q, %q", code, out, errs, c.code, c.stdout, c.stderr)
			}
		})
	}
}

// Every command fails if its output cannot be written, even if it found all well.
func TestOutputFails(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, args := range []string{"simulate", "simulate -records", "verify", "verify -help", "status -help", "doctor -help"} {
		var errs strings.Builder
		cmd := exec.CommandContext(t.Context(), program, strings.Fields(args)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(scenario.Scenarios()[0].Peers[0].Records[0]), full, &errs
		cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "memberly: writing the output: ") {
			t.Errorf("%s >/dev/full: exit code %d, %q", args, code, errs.String())
		}
	}
}

// verify accepts the records that the simulator prints, which are the same each time.
func TestSimulatedRecordsVerify(t *testing.T) {
	t.Parallel()
	args := strings.Fields("simulate -seed 5 -restarts 3 -cuts 1 -leaves 1 -records")
	code, records, errs := execute(t, "", args...)
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, %s", code, errs)
	}
	if _, again, _ := execute(t, "", args...); again != records {
		t.Error("the same seed writes other records")
	}
	if code, out, errs := execute(t, records, "verify"); code != 0 || !strings.Contains(out, "The records agree: ") {
		t.Errorf("exit code %d, %s\n%s", code, errs, out)
	}
}

// verifySeeds is the number of seeds that TestVerifySeeds tries: those of peer/check/simulation, and
// others with what these lack, which is crashes that write records, and small groups that lose one
// member after the other.
const verifySeeds = 600

// TestVerifySeeds tests verify's rules: records of correct peers are no contradiction, whatever failed,
// but become one if the members of one view are changed. verify finds no more groups than there were.
// It may find fewer, because a process that is killed leaves no record of that.
func TestVerifySeeds(t *testing.T) {
	t.Parallel()
	rejected, fewer := 0, 0
	for seed := range uint64(verifySeeds) {
		lines, were := recordsOf(t, seed+1)
		groups := 0
		code, out := verified(t, lines)
		if fmt.Sscanf(out[strings.LastIndex(out, "peer"):], "peers, %d group", &groups); code != 0 {
			t.Errorf("seed %d: exit code %d\n%s", seed+1, code, out)
		}
		if groups > were {
			t.Errorf("seed %d: of %d groups\n%s", seed+1, were, out)
		} else if groups < were {
			fewer++
		}
		if changed, ok := changeLast(lines); ok && groups == 1 {
			rejected++
			if code, out := verified(t, changed); code != 1 {
				t.Errorf("seed %d with another last view: exit code %d\n%s", seed+1, code, out)
			}
		}
	}
	if rejected < verifySeeds/4 || fewer > verifySeeds/10 {
		t.Errorf("of %d seeds %d were changed, want more, and %d have too few groups", verifySeeds, rejected, fewer)
	}
}

// recordsOf returns the records of a seed's plan, and how many groups wrote them.
func recordsOf(t *testing.T, seed uint64) (lines []string, groups int) {
	p := simulation.NewPlan(seed)
	switch seed % 3 {
	case 0:
		for i := range p.Faults {
			if f := &p.Faults[i]; f.Kind == simulation.Crash {
				f.Kind = simulation.Signal
			}
		}
	case 1:
		p = simulation.Profile{Hosts: 2 + int(seed/3%3), For: 30 * time.Second, Stagger: time.Second,
			Network: simulation.Network{MaxDelay: time.Millisecond}, Faults: map[simulation.Kind]int{simulation.Leave: 2}}.Plan(seed)
	}
	r := simulation.Records(p, func(r types.Record) { lines = append(lines, r.String()) })
	if r.Failure != "" {
		t.Fatalf("seed %d breaks a promise: %s", seed, r.Failure)
	}
	return lines, r.Groups
}

// With -state, verify accepts the records of hosts that store, and after a power cut install again what they held.
func TestVerifyStoredSeeds(t *testing.T) {
	t.Parallel()
	again := 0
	for seed := range uint64(200) {
		var lines []string
		p := simulation.Profile{Hosts: 2 + int(seed%5), For: 30 * time.Second, Stagger: time.Second, Again: true, Reborn: int(seed % 3), PowerCuts: 1 + int(seed%2),
			Disks:   simulation.Disks{Sync: 5 * time.Millisecond},
			Network: simulation.Network{MaxDelay: time.Millisecond}, Faults: map[simulation.Kind]int{simulation.Leave: int(seed % 2), simulation.Signal: int(seed / 2 % 2)}}.Plan(seed)
		if r := simulation.Records(p, func(r types.Record) { lines = append(lines, r.String()) }); r.Failure != "" {
			t.Fatalf("seed %d breaks a promise: %s", seed, r.Failure)
		}
		if code, out := verified(t, lines, "-state"); code != 0 {
			t.Errorf("seed %d: exit code %d\n%s", seed, code, out)
		}
		if code, _ := verified(t, lines); code != 0 {
			again++
		}
	}
	if again < 50 {
		t.Errorf("of 200 seeds %d need -state, want more", again)
	}
}

// verify accepts the records of groups whose hosts files change: views in which no member does.
func TestVerifyGrownSeeds(t *testing.T) {
	t.Parallel()
	grown := 0
	for seed := range uint64(200) {
		var lines []string
		p := simulation.Profile{Hosts: 2 + int(seed%4), For: 30 * time.Second, Stagger: time.Second, Edits: 1 + int(seed%5), Reborn: int(seed % 2),
			Network: simulation.Network{MaxDelay: time.Millisecond}, Faults: map[simulation.Kind]int{simulation.Signal: int(seed / 2 % 2)}}
		var args []string
		if seed%2 == 1 {
			p.Disks, args = simulation.Disks{Sync: 5 * time.Millisecond}, []string{"-state"}
		}
		if r := simulation.Records(p.Plan(seed), func(r types.Record) { lines = append(lines, r.String()) }); r.Failure != "" {
			t.Fatalf("seed %d breaks a promise: %s", seed, r.Failure)
		}
		code, out := verified(t, lines, args...)
		if code != 0 {
			t.Errorf("seed %d: exit code %d\n%s", seed, code, out)
		}
		if strings.Contains(out, "a host is added or retired\n") {
			grown++
		}
	}
	if grown < 150 {
		t.Errorf("in %d of 200 seeds hosts change, want more", grown)
	}
}

func verified(t *testing.T, lines []string, args ...string) (code int, stdout string) {
	var out, errs strings.Builder
	if len(lines) == 0 {
		return 0, "0 peers, 0 groups" // no peer ran for long enough
	}
	code = verify.Run(t.Context(), args, strings.NewReader(strings.Join(lines, "\n")), &out, &errs)
	return code, out.String() + errs.String()
}

// changeLast swaps the last two members in the last record of a view that has several.
func changeLast(lines []string) (changed []string, ok bool) {
	for i := len(lines) - 1; i >= 0; i-- {
		head, members, found := strings.Cut(lines[i], "memb_list: [<")
		ids := strings.Split(strings.TrimSuffix(members, ">]}"), ",")
		if n := len(ids); found && n > 1 {
			ids[n-1], ids[n-2] = ids[n-2], ids[n-1]
			changed = slices.Clone(lines)
			changed[i] = head + "memb_list: [<" + strings.Join(ids, ",") + ">]}"
			return changed, true
		}
	}
	return nil, false
}
