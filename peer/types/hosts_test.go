package types

import (
	"net/netip"
	"testing"
)

func TestHostDigests(t *testing.T) {
	t.Parallel()
	hosts := []Host{{Name: "one"}, {Name: "two", Addr: netip.MustParseAddr("10.0.0.2")}}
	changed := func(change func(h []Host)) []Host {
		h := append([]Host(nil), hosts...)
		change(h)
		return h
	}
	for _, c := range []struct {
		what       string
		hosts      []Host
		list, file bool // whether it has the same digests
	}{
		{"spelt otherwise", changed(func(h []Host) { h[0].Name = "ONE." }), true, true},
		{"at another address", changed(func(h []Host) { h[1].Addr = netip.Addr{} }), true, true},
		{"one retired", changed(func(h []Host) { h[1].Retired = true }), true, false},
		{"in another order", []Host{hosts[1], hosts[0]}, false, false},
		{"one less", hosts[:1], false, false},
		{"names run together", []Host{{Name: "onetwo"}}, false, false},
		{"none", nil, false, false},
	} {
		if (Digest(c.hosts) == Digest(hosts)) != c.list || (FileDigest(c.hosts) == FileDigest(hosts)) != c.file {
			t.Errorf("%s: same digests %v and %v, want %v and %v", c.what, !c.list, !c.file, c.list, c.file)
		}
	}
	if Extend(Digest(hosts[:1]), "two") != Digest(hosts) || Digest(nil) != 0 {
		t.Error("the digest of a longer list does not follow from that of a shorter one")
	}
	if got := (Host{Name: "two", Addr: netip.MustParseAddr("10.0.0.2"), Retired: true}).String(); got != "!two 10.0.0.2" {
		t.Errorf("a retired host is written as %q", got)
	}
}
