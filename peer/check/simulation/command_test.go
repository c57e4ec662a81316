package simulation

import (
	"strings"
	"testing"
	"time"
)

// A seed that fails is named with the command that repeats it.
func TestSimulateTells(t *testing.T) {
	t.Parallel()
	trial, err := parseTrial(strings.Fields("-seeds 3 -cuts 2 -drill -seed 8 -loss 0.5"))
	if err != nil {
		t.Fatal(err)
	}
	if stored, err := parseTrial(strings.Fields("-state -seed 8")); err != nil || !stored.drawn || stored.options != " -state=true" || stored.plan(8).Sync == 0 {
		t.Errorf("-state alone: %+v, %v", stored, err)
	}
	var all verdict
	all.add(Result{Plan: Plan{Seed: 10}, Failure: "12.000000s: peer 1 is wrong", Views: 4, Simulated: 40 * time.Second})
	all.add(Result{Plan: Plan{Seed: 9}, Failure: "3.000000s: peer 2 is wrong", Views: 5, Simulated: 30 * time.Second})
	all.add(Result{Plan: Plan{Seed: 8}, Views: 1, Twins: 1})
	var out strings.Builder
	code := all.tell(&out, &trial, 2*time.Second)
	want := `seed 9 breaks a promise: 3.000000s: peer 2 is wrong
  repeat it: memberly simulate -cuts=2 -drill=true -loss=0.5 -seed 9 -trace
seed 10 breaks a promise: 12.000000s: peer 1 is wrong
  repeat it: memberly simulate -cuts=2 -drill=true -loss=0.5 -seed 10 -trace
3 of 3 seeds, from 8 on: 70 s simulated in 2.0 s, 10 views, 1 groups made beside another, which nobody could prevent; 2 broke a promise
`
	if code != failure || out.String() != want {
		t.Errorf("exit code %d\n%s\nwant 1\n%s", code, out.String(), want)
	}
}

func TestSimulateFlags(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":                            "",
		"-seed 7 -seeds 9":            "",
		"-seed -1":                    "-seed",
		"-seeds 0":                    "from 1 to",
		"-hosts 0":                    "from 1 to 32",
		"-for 0s":                     "from 1ms to 24h0m0s",
		"-for 10":                     "with its unit",
		"-stagger 2m":                 "from 0s to 1m0s",
		"-delay 1s":                   "to 100ms",
		"-loss 1.1":                   "from 0 to 1",
		"-loss NaN":                   "from 0 to 1",
		"-resend 0.1":                 "from 0 to 0.05",
		"-drift -1":                   "from 0 to 0.02",
		"-crashes -1":                 "from 0 to 1000",
		"-cuts many":                  "from 0 to 1000",
		"-drill -hosts 3":             "-drill needs at least 4 hosts",
		"-late 2s":                    "from 0s to 300ms",
		"-backoff 1s":                 "from 5s to 2m0s",
		"-boot -1s":                   "from 0s to 24h0m0s",
		"-boot 1m":                    "give -for 1m0s or more",
		"-flaps -1":                   "from 0 to 1000",
		"-sync 1ms":                   "-sync is for hosts that store: give -state too",
		"-state -sync 0s":             "from 1µs to 300ms",
		"-state -stalls 2":            "from 0 to 1",
		"-state -drill":               "leave -state or -drill out",
		"-power-cuts -1":              "from 0 to 1000",
		"-state -seed 3":              "",
		"-power-cuts 1 -again":        "",
		"-state -power-cuts 3 -again": "",
		"-state -sync 200ms -stalls 0.05 -cuts 2 -restarts 3 -power-cuts 1 -again -seed 2": "",
		"-edits -1":                              "from 0 to 32",
		"-edits 2 -drill":                        "leave -edits or -drill out",
		"-edits 2 -for 7s":                       "give -for 8s or more",
		"-edits 4 -crashes 1 -again":             "",
		"-edits 3 -state -again -cuts 1 -seed 2": "",
		"-records -trace":                        "leave one of the two out",
		"-records -seeds 2":                      "leave out -seeds",
		"-records file.txt":                      `unexpected argument "file.txt"`,
		"-h hostsfile.txt":                       "help requested",
		"-again -no-udp -jumps 3 -moves 2 -offs 1 -mutes 1 -snaps 1 -freezes 1 -duplicate 0.1":                     "",
		"-again -hosts 25 -late 20ms -backoff 2m -boot 30s -for 2m -flaps 2 -bursts 2 -cuts 1 -delay 50ms -seed 3": "",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			trial, err := parseTrial(strings.Fields(args))
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Fatalf("error is %v, want %q", err, want)
			}
			if err != nil {
				return
			}
			if drawn := !strings.Contains(args, "-again"); trial.drawn != drawn {
				t.Errorf("the seed draws everything: %v, want %v", trial.drawn, drawn)
			}
			if r := Run(trial.plan(trial.seed), nil); r.Failure != "" {
				t.Error(r.Failure)
			}
		})
	}
}
