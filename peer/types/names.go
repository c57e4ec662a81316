package types

import "sync"

// Names are the hosts that a peer knows, for whoever shows them. They become more, and change, while it runs. Any
// goroutine may use them.
type Names struct {
	mu    sync.RWMutex
	hosts []Host // by ID-1
}

// NewNames returns the names of hosts.
func NewNames(hosts ...Host) *Names {
	n := &Names{}
	for i, h := range hosts {
		n.Set(ID(i+1), h)
	}
	return n
}

// Set makes h the host id, which is known or the next.
func (n *Names) Set(id ID, h Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if int(id) == len(n.hosts)+1 {
		n.hosts = append(n.hosts, h)
		return
	}
	n.hosts[id-1] = h
}

// Name returns the name of a host, and "" for an id of none.
func (n *Names) Name(id ID) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if id < 1 || int(id) > len(n.hosts) {
		return ""
	}
	return n.hosts[id-1].Name
}

// Has reports whether a host that is not retired has this name, however it is spelt.
func (n *Names) Has(name string) bool {
	key := NameKey(name)
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, h := range n.hosts {
		if !h.Retired && NameKey(h.Name) == key {
			return true
		}
	}
	return false
}
