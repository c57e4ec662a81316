package utils

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	// FamilyGrace is how long the addresses of one family wait for those of the other. A name server
	// may never answer for one of them.
	FamilyGrace = 300 * time.Millisecond
	// lenientAfter is how long a strict look-up has before a lenient one begins beside it.
	lenientAfter = time.Second
)

// LookupFunc asks a name service for the addresses of a host, as net.Resolver.LookupNetIP does. The network
// is "ip4" or "ip6"; answers of the other family are ignored.
type LookupFunc func(ctx context.Context, network, host string) ([]netip.Addr, error)

// Resolver turns hosts into addresses. The zero Resolver asks the machine's name service.
// Any goroutine may use it.
type Resolver struct {
	Lookup  LookupFunc    // asked in place of the name service, if set; twice if it fails or is slow
	Turns   [2]Turns      // bound the look-ups at a time, for IPv4 and for IPv6
	Timeout time.Duration // bounds Family from its first turn on, if it is positive
}

// Turns has room for as many look-ups as may run at a time. Others wait in the order in which they came. Nil
// sets no bound.
type Turns chan struct{}

// take waits for a turn; it fails if ctx ends first.
func (t Turns) take(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// give ends a turn.
func (t Turns) give() {
	if t != nil {
		<-t
	}
}

// The machine's name service. The first reports the failure of any part of a look-up (a search
// domain); the second overlooks it where another part was answered, even by "no such host".
var (
	strictly  LookupFunc = (&net.Resolver{StrictErrors: true}).LookupNetIP
	leniently LookupFunc = net.DefaultResolver.LookupNetIP
)

// Answer is what the name service says about the addresses of one family that a host has.
type Answer struct {
	Addrs []netip.Addr // all of that family, each once; at least one if Err is nil
	Err   error        // NoSuchName tells what it means
}

// Family asks for a host's addresses of one family: those of IPv4, or of IPv6. It takes as long as the
// name service does, and as those before it in Turns: bound it by ctx.
func (r Resolver) Family(ctx context.Context, name string, ipv6 bool) Answer {
	strict, lenient := strictly, leniently
	if r.Lookup != nil {
		strict, lenient = r.Lookup, r.Lookup
	}
	network, turns := "ip4", r.Turns[0]
	if ipv6 {
		network, turns = "ip6", r.Turns[1]
	}
	if err := turns.take(ctx); err != nil {
		return Answer{Err: err}
	}
	if r.Timeout > 0 {
		bounded, cancel := context.WithTimeout(ctx, r.Timeout)
		defer cancel()
		ctx = bounded
	}
	return ask(ctx, network, name, strict, lenient, turns)
}

// Addrs returns the addresses of the host name, at least one and each once, IPv4-mapped ones as IPv4.
// If fixed is valid, it returns that alone and asks no name service. Once one family is answered with
// addresses, it waits FamilyGrace for the other. Bound the time of the look-up with ctx. NoSuchName
// classifies the error.
func (r Resolver) Addrs(ctx context.Context, name string, fixed netip.Addr) ([]netip.Addr, error) {
	if fixed.IsValid() {
		return []netip.Addr{fixed.Unmap()}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan Answer, 2)
	for _, ipv6 := range []bool{false, true} {
		go func() { answers <- r.Family(ctx, name, ipv6) }()
	}
	first := <-answers
	var grace <-chan time.Time
	if first.Err == nil {
		grace = time.After(FamilyGrace)
	}
	select {
	case second := <-answers:
		return append(first.Addrs, second.Addrs...), Failure(first, second)
	case <-grace:
		return first.Addrs, nil
	}
}

// Failure returns why the answers for both families have no address, or nil if one has. That is
// NoSuchName only if both are.
func Failure(a, b Answer) error {
	switch {
	case a.Err == nil || b.Err == nil:
		return nil
	case NoSuchName(a.Err):
		return b.Err
	}
	return a.Err
}

// ask calls strict first, because callers take "no such name" as evidence that the host does not run.
// If strict fails, or is slow, ask returns what lenient finds, but never lenient's error. The caller took a turn
// for strict; lenient takes one of its own.
func ask(ctx context.Context, network, name string, strict, lenient LookupFunc, turns Turns) Answer {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call := func(f LookupFunc, turn func(context.Context) error) <-chan Answer {
		c := make(chan Answer, 1)
		go func() {
			if err := turn(ctx); err != nil {
				c <- Answer{Err: err}
				return
			}
			defer turns.give()
			found, err := f(ctx, network, name)
			c <- answerOf(network, name, found, err)
		}()
		return c
	}
	taken := func(context.Context) error { return nil }
	answer, slow := call(strict, taken), time.After(lenientAfter)
	var (
		other   <-chan Answer // of the lenient look-up
		failed  *Answer       // what the strict one ended with
		useless bool          // the lenient one failed
	)
	for failed == nil || !useless {
		select {
		case a := <-answer:
			if a.Err == nil || NoSuchName(a.Err) {
				return a
			}
			failed, answer, slow = &a, nil, nil
			if other == nil && !useless {
				other = call(lenient, turns.take)
			}
		case <-slow:
			other = call(lenient, turns.take)
		case a := <-other:
			if a.Err == nil {
				return a
			}
			other, useless = nil, true
		}
	}
	return *failed
}

// answerOf returns the Answer for a network that a LookupFunc gave.
func answerOf(network, name string, found []netip.Addr, err error) Answer {
	_, filtered := errors.AsType[*net.AddrError](err) // /etc/hosts has the name, without such an address
	switch {
	case err != nil && !filtered:
		return Answer{Err: err}
	case len(found) == 0 && err == nil:
		return Answer{Err: fmt.Errorf("lookup %s: the name service gave no address", name)}
	}
	var once []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); a.Is6() == (network == "ip6") && !slices.Contains(once, a) {
			once = append(once, a)
		}
	}
	if once == nil {
		return Answer{Err: &net.DNSError{Err: "no address of this family", Name: name, IsNotFound: true}}
	}
	return Answer{Addrs: once}
}

// NoSuchName reports whether err, of an Answer or of Addrs, is the name service's word that the name does
// not exist or has no address. Any other error (no answer in time, no name service) says nothing
// about the host.
func NoSuchName(err error) bool {
	failure, ok := errors.AsType[*net.DNSError](err)
	return ok && failure.IsNotFound && !failure.IsTemporary && !failure.IsTimeout
}
