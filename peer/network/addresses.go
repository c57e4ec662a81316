package network

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"memberly/peer/config"
	"memberly/peer/types"
	"memberly/peer/utils"
)

const (
	// lookupTimeout bounds one question to the name service.
	lookupTimeout = time.Second
	// lookupPause is how long an answer of the name service serves further claims, so that strangers
	// that claim to be a host cost one look-up per host in this time.
	lookupPause = 200 * time.Millisecond
	// addressTrust is how long an address is dialled without another look-up, after the name
	// service gave it or a connection with it ended.
	addressTrust = 2 * time.Second
)

// addressBook knows which addresses each host has, and which host has an address. An address belongs
// to one host at most: that of the latest look-up. Any goroutine may use it.
type addressBook struct {
	resolver utils.Resolver
	changes  atomic.Uint64 // counts them
	lookups  bucket        // look-ups that come of claims, and of names not known yet

	mu    sync.RWMutex
	owner map[netip.Addr]types.ID // by bare address
	hosts []entry                 // by ID-1
}

type entry struct {
	name    string
	fixed   netip.Addr   // from the hosts file; never looked up
	addrs   []netip.Addr // never modified, only replaced
	trusted time.Time    // until when addrs can be dialled without a look-up

	asking   sync.Mutex // held while the name service is asked; guards the rest
	asked    time.Time  // when it was last asked
	answered time.Time  // when that was over
	err      error      // its answer, if that was no address
}

func newAddressBook(hosts []config.Host, r utils.Resolver) *addressBook {
	b := &addressBook{resolver: r, owner: make(map[netip.Addr]types.ID), hosts: make([]entry, len(hosts))}
	rate, burst := limitTable[limitLookups].allowed(usualBeat)
	b.lookups.allot(rate, burst+float64(len(hosts))) // each host is looked up once besides
	for i, h := range hosts {
		e := &b.hosts[i]
		e.name, e.fixed = h.Name, h.Addr
		if h.Addr.IsValid() {
			b.set(types.ID(i+1), []netip.Addr{h.Addr.Unmap()})
		}
	}
	return b
}

// bare returns addr as the address book compares it: IPv4 as IPv4, and without zone.
func bare(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// len returns how many hosts the file has.
func (b *addressBook) len() int { return len(b.hosts) }

// in reports whether id is a host of the file.
func (b *addressBook) in(id types.ID) bool { return id >= 1 && int(id) <= len(b.hosts) }

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
// know addr.
func (b *addressBook) resolves(ctx context.Context, addr netip.Addr, id types.ID) bool {
	if !b.in(id) {
		return false
	}
	if b.of(addr) != id {
		b.refresh(ctx, id)
	}
	return b.of(addr) == id
}

// refresh asks the name service for id's addresses, unless it has just answered. The rate is limited,
// because a stranger that claims to be each host in turn could have it asked without end.
func (b *addressBook) refresh(ctx context.Context, id types.ID) {
	e := &b.hosts[id-1]
	e.asking.Lock()
	defer e.asking.Unlock()
	if time.Since(e.answered) >= lookupPause && b.lookups.allow(time.Now()) {
		b.ask(ctx, id)
	}
}

// toDial returns the addresses by which to dial id. With an error it may still return old ones, which
// the name service did not confirm.
func (b *addressBook) toDial(ctx context.Context, id types.ID) ([]netip.Addr, error) {
	e := &b.hosts[id-1]
	now := time.Now()
	if addrs, trusted := b.trusted(id); now.Before(trusted) {
		return addrs, nil
	}
	e.asking.Lock()
	defer e.asking.Unlock()
	if e.asked.Before(now) { // nobody has asked while this waited
		b.ask(ctx, id)
	}
	return b.known(id), e.err
}

func (b *addressBook) trusted(id types.ID) ([]netip.Addr, time.Time) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.hosts[id-1].addrs, b.hosts[id-1].trusted
}

// ask asks the name service for id's addresses. The caller holds the asking of id.
func (b *addressBook) ask(ctx context.Context, id types.ID) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	e := &b.hosts[id-1]
	e.asked = time.Now()
	addrs, err := b.resolver.Addrs(ctx, e.name, e.fixed)
	e.answered, e.err = time.Now(), err
	if err == nil {
		slices.SortFunc(addrs, netip.Addr.Compare) // a name service may turn the order with each answer
		b.set(id, addrs)
	}
}

// set makes addrs the addresses of id, and of no other host.
func (b *addressBook) set(id types.ID, addrs []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := &b.hosts[id-1]
	e.trusted = time.Now().Add(addressTrust)
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
	e := &b.hosts[before-1]
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

// moved reports whether the name service gives id other addresses than addrs. If addrs refused, that
// then says nothing about id. If the name service does not answer, id counts as refusing.
func (b *addressBook) moved(ctx context.Context, id types.ID, addrs []netip.Addr) bool {
	now, err := b.toDial(ctx, id)
	return err == nil && !slices.Equal(now, addrs)
}

// expire notes that id was not reached, so that the next dial looks its name up again.
func (b *addressBook) expire(id types.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hosts[id-1].trusted = time.Time{}
}
