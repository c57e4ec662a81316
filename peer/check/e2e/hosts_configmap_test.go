package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// This file does to processes what Kubernetes does to the pods of docs/deploy.md.

// statefulSet is a StatefulSet whose pods have a ConfigMap mounted as a volume. Pod n has the address of host n+1.
type statefulSet struct {
	*hosted
	configMap []string // pods, after "!" those that are retired
	revisions int      // of volumes
}

func pod(n int) string { return fmt.Sprint("memberly-", n) }

// claim returns the state file of a pod, which stays when the pod goes.
func (s *statefulSet) claim(n int) string { return filepath.Join(s.folder, pod(n)+".state") }

// volume returns the folder where the ConfigMap is mounted.
func (s *statefulSet) volume(n int) string { return filepath.Join(s.folder, pod(n)) }

// mount writes the ConfigMap as it is now to the volumes of pods, as the kubelet does: to a new folder, which the link
// ..data names from one moment on. The file is a link through ..data that never changes.
func (s *statefulSet) mount(pods ...int) {
	s.Helper()
	var content strings.Builder
	for _, host := range s.configMap {
		n := 0
		fmt.Sscanf(strings.TrimPrefix(host, "!"), "memberly-%d", &n)
		fmt.Fprintln(&content, host, s.Host(n+1)) // there is no name service
	}
	for _, n := range pods {
		s.revisions++
		volume, revision := s.volume(n), fmt.Sprint("..", s.revisions)
		in := func(name string) string { return filepath.Join(volume, name) }
		old, _ := os.Readlink(in("..data"))
		s.must(os.MkdirAll(in(revision), 0o700))
		s.must(os.WriteFile(filepath.Join(in(revision), "hosts.txt"), []byte(content.String()), 0o600))
		s.must(os.Symlink(revision, in("..data_tmp")))
		s.must(os.Rename(in("..data_tmp"), in("..data")))
		if old == "" {
			s.must(os.Symlink("..data/hosts.txt", in("hosts.txt")))
		} else {
			s.must(os.RemoveAll(in(old)))
		}
	}
}

func (s *statefulSet) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// command returns the command of a pod.
func (s *statefulSet) command(n int) *exec.Cmd {
	args := append([]string{"-h", filepath.Join(s.volume(n), "hosts.txt"), "-n", pod(n), "-http", "8082"}, s.args...)
	if s.storing {
		args = append(args, "-state", s.claim(n))
	}
	return exec.Command(program, args...)
}

// run starts a pod, whose volume is new.
func (s *statefulSet) run(n int) {
	s.Helper()
	s.must(os.RemoveAll(s.volume(n)))
	s.mount(n)
	s.runs[n+1] = launch(s.T, pod(n), s.command(n))
}

// awaitReady waits until the readiness probe of a pod succeeds.
func (s *statefulSet) awaitReady(n int) {
	s.Helper()
	within(s.T, pod(n)+" is ready", func() bool {
		return exec.Command(program, "ready", s.at(n+1)).Run() == nil
	})
}

// end ends a pod, as the kubelet does.
func (s *statefulSet) end(n int) {
	s.Helper()
	s.runs[n+1].signal(syscall.SIGTERM)
	if code := s.runs[n+1].awaitExit(patience); code != 0 {
		s.Errorf("%s: exit code %d, want 0", pod(n), code)
	}
}

// are waits until the first pods are ready and hold a view with these members, and list the hosts of the ConfigMap.
func (s *statefulSet) are(pods int, members ...int) {
	s.Helper()
	retired := func(i int) bool { return s.configMap[i][0] == '!' }
	within(s.T, fmt.Sprint(pods, " pods hold a view of ", members), func() bool {
		for n := range pods {
			now, ok := s.ask(n + 1)
			for _, h := range now.Hosts {
				ok = ok && h.Agreed && h.Retired == retired(h.ID-1)
			}
			if !ok || !now.Ready || !now.File.Settled || now.File.Agreed != len(s.configMap) || !slices.Equal(slices.Sorted(slices.Values(now.View.Members)), members) {
				return false
			}
		}
		return true
	})
}

// The ConfigMap changes, and the StatefulSet is scaled: pods notice by themselves that their volumes have changed, whenever
// the kubelet gets to them.
func TestHostsConfigMap(t *testing.T) {
	t.Parallel()
	for _, storing := range []bool{false, true} {
		t.Run(fmt.Sprint("state ", storing), func(t *testing.T) {
			t.Parallel()
			s := &statefulSet{hosted: newHosted(t, 0), configMap: []string{pod(0), pod(1), pod(2)}}
			s.storing = storing
			for n := range 3 {
				s.run(n) // podManagementPolicy: Parallel
			}
			s.are(3, 1, 2, 3)
			lead, ok := s.ask(1)
			if !ok {
				t.Fatal("memberly-0 does not answer")
			}
			s.scaleUp(&lead)
			s.update()
			s.scaleDown()
			s.scaleUpAgain()
			last, ok := s.ask(1)
			if !ok || last.Group != lead.Group {
				t.Errorf("it is %v, and was %v", &last, &lead)
			}
		})
	}
}

// scaleUp adds two hosts to the ConfigMap, and scales at once, before the other pods have the new volume.
func (s *statefulSet) scaleUp(lead *hostsSaid) {
	s.configMap = append(s.configMap, pod(3), pod(4))
	s.run(3)
	s.run(4)
	s.says([]int{4, 5}, "does not list this host yet")
	s.idle(100*time.Millisecond, 4, 5)
	for n := range 3 {
		s.unmoved(100*time.Millisecond, lead, 1, 2, 3)
		s.mount(n)
	}
	s.are(5, 1, 2, 3, 4, 5)
}

// update restarts all pods, the last one first, each when the one before is ready.
func (s *statefulSet) update() {
	for n := 4; n >= 0; n-- {
		s.end(n)
		s.run(n)
		s.awaitReady(n)
	}
	s.are(5, 1, 2, 3, 4, 5)
}

// scaleDown ends the last pod, and retires it.
func (s *statefulSet) scaleDown() {
	s.end(4)
	s.configMap[4] = "!" + pod(4)
	s.mount(0, 1, 2, 3)
	s.are(4, 1, 2, 3, 4)
}

// scaleUpAgain adds a line for the pod that was retired, which becomes another host. What the old one has stored is of no use.
func (s *statefulSet) scaleUpAgain() {
	s.configMap = append(s.configMap, pod(4))
	s.mount(0, 1, 2, 3)
	s.are(4, 1, 2, 3, 4)
	if s.storing {
		s.must(os.RemoveAll(s.volume(4)))
		s.mount(4)
		launch(s.T, pod(4), s.command(4)).refuses(s.claim(4), `it is of host 5 ("memberly-4"), which is retired; this is host 6 of the same name`)
		s.must(os.Remove(s.claim(4)))
	}
	s.run(4)
	s.awaitReady(4)
	s.are(5, 1, 2, 3, 4, 6)
}
