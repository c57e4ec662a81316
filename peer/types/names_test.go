package types

import "testing"

func TestNamesOfHosts(t *testing.T) {
	t.Parallel()
	n := NewNames(Host{Name: "one"}, Host{Name: "Two.example.org."})
	n.Set(3, Host{Name: "three"})
	n.Set(1, Host{Name: "one", Retired: true})
	for id, want := range []string{"", "one", "Two.example.org.", "three", ""} {
		if got := n.Name(ID(id)); got != want {
			t.Errorf("host %d is %q, want %q", id, got, want)
		}
	}
	for name, want := range map[string]bool{"one": false, "TWO.example.org": true, "three": true, "": false, "four": false} {
		if got := n.Has(name); got != want {
			t.Errorf("has %q: %t, want %t", name, got, want)
		}
	}
	n.Set(4, Host{Name: "one"})
	if !n.Has("one") {
		t.Error("a name that a retired host had is not listed for the host that has it now")
	}
}
