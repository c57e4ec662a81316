//go:build linux

package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// A real peer joins a group of generated members, and leads it when their leader has ended: their messages are those of a
// present peer.
func TestMembers(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "memberly")
	if out, err := exec.Command("go", "build", "-o", program, "memberly").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := newMeter(program, "")
	if err := m.withMembers(5, 1, func(g *group, c *members) error {
		c.endLeader()
		return g.await("the lead", c.leads)
	}); err != nil {
		t.Error(err)
	}
}
