package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// processor is a control group of processes, whose share of a processor can be limited.
type processor struct {
	*testing.T
	path string
	v2   bool
}

const (
	cgroupV1 = "/sys/fs/cgroup/cpu"
	cgroupV2 = "/sys/fs/cgroup"
)

// newProcessor makes a control group, and removes it when all its processes have ended.
func newProcessor(t *testing.T) *processor {
	t.Helper()
	p := &processor{T: t}
	parent := cgroupV1
	if _, err := os.Stat(filepath.Join(parent, "cpu.cfs_quota_us")); err != nil {
		if os.WriteFile(filepath.Join(cgroupV2, "cgroup.subtree_control"), []byte("+cpu"), 0) != nil {
			t.Skip("it needs the controller cpu of control groups")
		}
		parent, p.v2 = cgroupV2, true
	}
	path, err := os.MkdirTemp(parent, "memberly-test-")
	if err != nil {
		t.Skipf("it needs a control group: %v", err)
	}
	p.path = path
	t.Cleanup(func() { within(t, "the control group is removed", func() bool { return os.Remove(path) == nil }) })
	return p
}

func (p *processor) write(file, value string) {
	p.Helper()
	if err := os.WriteFile(filepath.Join(p.path, file), []byte(value), 0); err != nil {
		p.Fatal(err)
	}
}

// add puts processes into the group, as are those that they start from now on.
func (p *processor) add(pids ...int) {
	p.Helper()
	for _, pid := range pids {
		p.write("cgroup.procs", strconv.Itoa(pid))
	}
}

// limit lets all processes of the group run for so long in each period; 0 is no limit.
func (p *processor) limit(share, period time.Duration) {
	p.Helper()
	quota := strconv.FormatInt(share.Microseconds(), 10)
	switch {
	case p.v2 && share == 0:
		p.write("cpu.max", "max")
	case p.v2:
		p.write("cpu.max", quota+" "+strconv.FormatInt(period.Microseconds(), 10))
	case share == 0:
		p.write("cpu.cfs_quota_us", "-1")
	default:
		p.write("cpu.cfs_period_us", strconv.FormatInt(period.Microseconds(), 10))
		p.write("cpu.cfs_quota_us", quota)
	}
}
