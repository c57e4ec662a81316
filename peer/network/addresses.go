package network

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"memberly/peer/types"
	"memberly/peer/utils"
)

const (
	// lookupPause is how long an answer of the name service serves further claims, so that strangers
	// that claim to be a host cost one look-up per host in this time.
	lookupPause = 200 * time.Millisecond
	// claimPatience is how long a claim waits for the name service.
	claimPatience = time.Second
	// addressTrust is how long a refusal by all addresses of a host counts without another look-up, after
	// the name service gave them or a connection with one of them ended.
	addressTrust = 2 * time.Second
	// addressCurrent is how long an address counts as current after the name service gave it. A refusal by an
	// older one does not show that its host is down.
	addressCurrent = 20 * time.Second
)

// addressBook knows which addresses each host has, and which host has an address. An address belongs
// to one host at most: that of the latest look-up. What the name service gave last stays until it gives
// something else: that it does not answer, or knows the name no more, takes no address away. Any goroutine
// may use it.
type addressBook struct {
	resolver utils.Resolver
	tasks    *tasks
	self     types.ID
	troubles *troubles     // is told how look-ups end; may be nil
	changes  atomic.Uint64 // counts them
	lookups  bucket        // look-ups that come of claims, and of names not known yet

	count atomic.Int64 // of hosts

	mu    sync.RWMutex
	owner map[netip.Addr]types.ID // by bare address
	hosts []*entry                // by ID-1
}

// entry is a host. Another one takes its place when the host has another name or address from then on, or is retired.
type entry struct {
	name     string
	fixed    netip.Addr   // from the hosts file; never looked up
	retired  bool         // it has no address, and is not looked up
	digest   uint64       // of the list of hosts up to this one
	addrs    []netip.Addr // never modified, only replaced
	trusted  time.Time    // until when a refusal by addrs counts without a look-up
	given    time.Time    // when the name service last gave some of addrs; zero if it has said since that it has none
	lookup   *lookup      // the latest; nil if there was none
	pending  [2]*question // about IPv4, and about IPv6; nil for none
	answered time.Time    // when the latest look-up was settled
}

func newAddressBook(hosts []types.Host, r utils.Resolver, t *tasks) *addressBook {
	b := &addressBook{resolver: bounded(r), tasks: t, owner: make(map[netip.Addr]types.ID)}
	b.lookups.allot(limitTable[limitLookups].allowed(usualBeat))
	for i, h := range hosts {
		b.list(types.ID(i+1), h)
	}
	return b
}

// list makes h the host id, which is known or the next. What was found out about a host that had another name or
// address, or was not retired, is forgotten.
func (b *addressBook) list(id types.ID, h types.Host) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := &entry{name: h.Name, fixed: h.Addr.Unmap(), retired: h.Retired}
	if int(id) > len(b.hosts) {
		b.hosts = append(b.hosts, e)
		b.lookups.raise(0, 1) // each host is looked up once besides
	} else if old := b.hosts[id-1]; types.NameKey(old.name) == types.NameKey(e.name) && old.fixed == e.fixed && old.retired == e.retired {
		old.name = h.Name
		return
	}
	var addrs []netip.Addr
	if e.fixed.IsValid() && !e.retired {
		addrs = []netip.Addr{e.fixed}
		e.trusted = time.Now().Add(addressTrust)
	}
	e.addrs = b.hosts[id-1].addrs
	b.hosts[id-1] = e
	b.put(id, addrs)
	b.sum(id)
	b.changes.Add(1) // even without an address, as there may be one to look up
	b.count.Store(int64(len(b.hosts)))
}

// sum makes the digests from host id on. The caller holds mu.
func (b *addressBook) sum(id types.ID) {
	var digest uint64
	if id > 1 {
		digest = b.hosts[id-2].digest
	}
	for _, e := range b.hosts[id-1:] {
		digest = types.Extend(digest, e.name)
		e.digest = digest
	}
}

// digest returns how many hosts there are, the retired ones included, and the digest of their list.
func (b *addressBook) digest() (lines int, digest uint64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.hosts), b.hosts[len(b.hosts)-1].digest
}

// agrees reports whether a digest is that of the first hosts, this many.
func (b *addressBook) agrees(lines int, digest uint64) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return lines >= 1 && lines <= len(b.hosts) && b.hosts[lines-1].digest == digest
}

// bare returns addr as the address book compares it: IPv4 as IPv4, and without zone.
func bare(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// len returns how many hosts there are, the retired ones included.
func (b *addressBook) len() int { return int(b.count.Load()) }

// in reports whether there is a host id.
func (b *addressBook) in(id types.ID) bool { return id >= 1 && int(id) <= b.len() }

// host returns host id. Its address is invalid if its name is looked up.
func (b *addressBook) host(id types.ID) types.Host {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e := b.hosts[id-1]
	return types.Host{Name: e.name, Addr: e.fixed, Retired: e.retired}
}

// of returns the host that addr belongs to, as far as is known; 0 for none.
func (b *addressBook) of(addr netip.Addr) types.ID {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.owner[addr]
}

// known returns the addresses that id was last found to have.
func (b *addressBook) known(id types.ID) []netip.Addr {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.hosts[id-1].addrs
}

// named returns the known addresses of id that are bare as at.
func (b *addressBook) named(id types.ID, at netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(b.known(id)), func(a netip.Addr) bool { return bare(a) != at })
}

// resolves reports whether addr belongs to id. It asks the name service if the address book does not
// know addr, and waits for it, but not for long.
func (b *addressBook) resolves(ctx context.Context, addr netip.Addr, id types.ID) bool {
	if !b.in(id) {
		return false
	}
	if b.of(addr) != id {
		if q := b.refresh(id); q != nil {
			ctx, cancel := context.WithTimeout(ctx, claimPatience)
			defer cancel()
			q.wait(ctx)
		}
	}
	return b.of(addr) == id
}

// refresh looks id up, unless the name service has just answered. The rate is limited, because a stranger
// that claims to be each host in turn could have it asked without end. It returns the look-up in progress,
// or nil for none.
func (b *addressBook) refresh(id types.ID) *lookup {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.hosts[id-1]
	if q := e.lookup; q != nil && !q.isSettled() {
		return q
	}
	if now := time.Now(); e.retired || now.Sub(e.answered) < lookupPause || !b.lookups.allow(now) {
		return nil
	}
	return b.begin(id)
}

// toDial returns the addresses by which to dial id, as far as they are known. If they were not confirmed
// lately, it also returns a look-up in progress.
func (b *addressBook) toDial(id types.ID) ([]netip.Addr, *lookup) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.hosts[id-1]
	switch q := e.lookup; {
	case e.retired:
		return nil, nil
	case time.Now().Before(e.trusted):
		return e.addrs, nil
	case q != nil && !q.isSettled():
		return e.addrs, q
	}
	q := b.begin(id)
	return e.addrs, q // which are those of the hosts file by now, if that has one
}

// set makes addrs the addresses of id, and of no other host.
func (b *addressBook) set(id types.ID, addrs []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(id, addrs)
}

// put is set for one that holds mu.
func (b *addressBook) put(id types.ID, addrs []netip.Addr) {
	e := b.hosts[id-1]
	if slices.Equal(e.addrs, addrs) {
		return
	}
	for _, old := range e.addrs {
		if b.owner[bare(old)] == id {
			delete(b.owner, bare(old))
		}
	}
	for _, addr := range addrs {
		b.release(bare(addr))
		b.owner[bare(addr)] = id
	}
	e.addrs = addrs
	b.changes.Add(1)
}

// release takes addr from the host that had it, whose entry is out of date.
func (b *addressBook) release(addr netip.Addr) {
	before, taken := b.owner[addr]
	if !taken {
		return
	}
	e := b.hosts[before-1]
	e.addrs = slices.DeleteFunc(slices.Clone(e.addrs), func(a netip.Addr) bool { return bare(a) == addr })
	e.trusted = time.Time{}
}

// trustRecent notes that addr was id's until now, because a connection with it has just ended. A dial
// then finds out whether the host is gone without the name service.
func (b *addressBook) trustRecent(id types.ID, addr netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owner[addr] == id {
		b.hosts[id-1].trusted = time.Now().Add(addressTrust)
	}
}

// listed returns the first address of id that the hosts file has, or the name service gave just now; false if there is none.
func (b *addressBook) listed(id types.ID) (netip.Addr, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e := b.hosts[id-1]
	if len(e.addrs) == 0 || !e.fixed.IsValid() && !time.Now().Before(e.trusted) {
		return netip.Addr{}, false
	}
	return bare(e.addrs[0]), true
}

// current reports whether the addresses of id are those of the hosts file, or the name service gave some of them
// lately. Else the host may have moved.
func (b *addressBook) current(id types.ID) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e := b.hosts[id-1]
	return e.fixed.IsValid() || !e.given.IsZero() && time.Since(e.given) < addressCurrent
}

// silence returns the outcome of a dial of id whose known addresses did not answer.
func (b *addressBook) silence(id types.ID) types.Outcome {
	if b.current(id) {
		return types.NoAnswer
	}
	return types.Unresolved
}

// expire notes that id was not reached, so that the next dial looks its name up again.
func (b *addressBook) expire(id types.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hosts[id-1].trusted = time.Time{}
}
