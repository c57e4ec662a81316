package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"memberly/peer/types"
	"memberly/peer/utils"
)

// lookupGrace is how long a host that did not accept a connection waits for the name service, which may know
// other addresses of it.
const lookupGrace = 200 * time.Millisecond

// connect returns a connection with id, by whichever of its addresses answers first; else the outcome. The
// known addresses are dialled at once. Unless they were confirmed lately, the name service is asked meanwhile,
// and further addresses that it gives are dialled too. The outcome is a Refusal only if all addresses refused
// that the name service gave last, and a StaleRefusal if that was long ago. If at is valid, connect dials it alone, and the outcome says nothing about
// the host.
func (l *links) connect(id types.ID, at netip.Addr) (net.Conn, types.Outcome) {
	ctx, cancel := context.WithTimeout(l.tasks.ctx, dialTimeout)
	defer cancel()
	d := &dialing{links: l, ctx: ctx, host: id, began: time.Now(), refused: make(map[netip.Addr]bool),
		ended: make(chan attempt)}
	if at.IsValid() {
		d.dial(l.addresses.named(id, at))
	} else {
		var addrs []netip.Addr
		addrs, d.lookup = l.addresses.toDial(id)
		d.dial(addrs)
	}
	socket := d.run()
	cancel()
	d.discard()
	if socket != nil {
		return socket, 0
	}
	l.addresses.expire(id)
	if at.IsValid() {
		return nil, types.NoAnswer
	}
	return nil, d.outcome()
}

// dialing dials the addresses of a host, all at the same time.
type dialing struct {
	*links
	ctx     context.Context
	host    types.ID
	began   time.Time
	lookup  *lookup             // nil if the addresses were confirmed before
	refused map[netip.Addr]bool // whether an address refused, of those dialled
	running int                 // attempts
	ended   chan attempt
}

// attempt is what came of dialling an address.
type attempt struct {
	addr   netip.Addr
	socket net.Conn
	err    error
}

// dial begins to dial those of addrs that were not dialled yet.
func (d *dialing) dial(addrs []netip.Addr) {
	for _, addr := range addrs {
		if _, tried := d.refused[addr]; tried {
			continue
		}
		d.refused[addr] = false
		d.running++
		go func() {
			dialer := d.sources.dialer(addr)
			socket, err := dialer.DialContext(d.ctx, "tcp", endpoint(addr))
			if errors.Is(err, syscall.EADDRNOTAVAIL) {
				d.sources.look() // this machine has lost the address to dial from
			}
			d.ended <- attempt{addr, socket, err}
		}()
	}
}

// run returns the first connection. It returns nil when all known addresses were tried and the name service
// was given its time.
func (d *dialing) run() net.Conn {
	settled := d.settled()
	var grace <-chan time.Time
	for settled != nil || d.running > 0 && !d.isRefused() {
		if d.running == 0 && len(d.refused) > 0 && grace == nil {
			grace = time.After(lookupGrace)
		}
		select {
		case a := <-d.ended:
			d.running--
			if a.err == nil {
				return a.socket
			}
			d.refused[a.addr] = errors.Is(a.err, syscall.ECONNREFUSED)
		case <-settled:
			if settled = d.named(); d.running > 0 {
				grace = nil // there are new addresses, which have the time of the dial
			}
		case <-grace:
			return nil
		case <-d.ctx.Done():
			return nil
		}
	}
	return nil
}

// settled returns what is closed when there is an answer of the name service; nil if none was asked for.
func (d *dialing) settled() <-chan struct{} {
	if d.lookup == nil {
		return nil
	}
	return d.lookup.settled
}

// named dials what the name service has just given. That a name does not exist is old if it was asked before this
// dial began: named then asks again, and returns what is closed when that is answered.
func (d *dialing) named() <-chan struct{} {
	if utils.NoSuchName(d.lookup.err) && d.lookup.began.Before(d.began) {
		_, d.lookup = d.addresses.toDial(d.host)
		if d.lookup != nil {
			return d.lookup.settled
		}
	}
	d.dial(d.addresses.known(d.host))
	return nil
}

// discard waits for the attempts that the end of ctx ends, and closes what they connected.
func (d *dialing) discard() {
	for ; d.running > 0; d.running-- {
		if a := <-d.ended; a.socket != nil {
			a.socket.Close()
		}
	}
}

// isRefused reports whether all addresses of the host refused, of at least one.
func (d *dialing) isRefused() bool {
	known := d.addresses.known(d.host)
	return len(known) > 0 && !slices.ContainsFunc(known, func(a netip.Addr) bool { return !d.refused[a] })
}

// outcome returns what came of a dial of all addresses that made no connection. If the name service does not
// answer, the addresses that are known count as those of the host, as stale ones after some time. That the name does not exist counts only for a
// host without a known address: a name service that has lost all names would else account for hosts that are
// merely silent.
func (d *dialing) outcome() types.Outcome {
	switch l := d.lookup; {
	case d.isRefused() && d.addresses.current(d.host):
		return types.Refusal
	case d.isRefused():
		return types.StaleRefusal
	case len(d.addresses.known(d.host)) > 0:
		return d.addresses.silence(d.host)
	case l != nil && l.isSettled() && utils.NoSuchName(l.err) && !l.began.Before(d.began):
		return types.NoName
	}
	return types.Unresolved
}
