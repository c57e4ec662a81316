package network

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"memberly/peer/types"
	"memberly/peer/utils"
)

// This file asks the name service on behalf of the address book. A question does not end with what asked it: a
// name service that is slow would else never be heard. There is one at a time for each host and family, and its
// answer goes to the address book whenever it comes.

const (
	// lookupTimeout bounds one question to the name service, from when it is its turn. Go's resolver asks each
	// server for 5 s, twice.
	lookupTimeout = 15 * time.Second
	// maxLookups is how many look-ups run at a time; each holds a file descriptor. Half of them are for each
	// family, so that a name service that never answers for one does not keep those of the other waiting.
	maxLookups = 64
)

// bounded returns r with turns for maxLookups, each of which lookupTimeout bounds.
func bounded(r utils.Resolver) utils.Resolver {
	for i := range r.Turns {
		r.Turns[i] = make(utils.Turns, maxLookups/len(r.Turns))
	}
	r.Timeout = lookupTimeout
	return r
}

// lookup waits for the addresses of one host, of both families.
type lookup struct {
	of      *entry        // which may have been replaced since: then the answers count for nothing
	began   time.Time     // when the older of its questions was asked
	settled chan struct{} // closed when both families are answered, or one with addresses and the other is late
	err     error         // once settled: nil if the name has addresses
}

// wait waits until l is settled; it returns false if ctx ends first.
func (l *lookup) wait(ctx context.Context) bool {
	select {
	case <-l.settled:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *lookup) isSettled() bool {
	select {
	case <-l.settled:
		return true
	default:
		return false
	}
}

// question is a question to the name service for addresses of one family.
type question struct {
	began  time.Time // when it began to wait for its turn
	done   chan struct{}
	answer utils.Answer // once done
}

// unanswered stands for a family that is late.
var unanswered = utils.Answer{Err: context.DeadlineExceeded}

// begin begins a look-up of id, whose latest is settled. The caller holds mu.
func (b *addressBook) begin(id types.ID) *lookup {
	e, now := b.hosts[id-1], time.Now()
	l := &lookup{of: e, began: now, settled: make(chan struct{})}
	e.lookup = l
	if e.fixed.IsValid() {
		b.put(id, []netip.Addr{e.fixed})
		e.trusted = now.Add(addressTrust)
		close(l.settled)
		return l
	}
	var questions [2]*question
	for i := range e.pending {
		q := e.pending[i]
		if q == nil {
			q = &question{began: now, done: make(chan struct{})}
			e.pending[i] = q
			b.tasks.run(func() { b.ask(id, i, q, e) })
		}
		if questions[i] = q; q.began.Before(l.began) {
			l.began = q.began
		}
	}
	b.tasks.run(func() { b.settle(id, l, questions) })
	return l
}

// ask asks the name service q, about the family i of id, which is e, once it is its turn.
func (b *addressBook) ask(id types.ID, i int, q *question, e *entry) {
	q.answer = b.resolver.Family(b.tasks.ctx, b.nameOf(e), i == 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	e.pending[i] = nil
	if q.answer.Err == nil && b.hosts[id-1] == e {
		b.replace(id, i, q.answer.Addrs)
		e.given = time.Now()
	}
	close(q.done)
}

// nameOf returns the name of e.
func (b *addressBook) nameOf(e *entry) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return e.name
}

// replace makes addrs the addresses of id of the family i. The caller holds mu.
func (b *addressBook) replace(id types.ID, i int, addrs []netip.Addr) {
	all := slices.Clone(addrs)
	for _, a := range b.hosts[id-1].addrs {
		if a.Is6() != (i == 1) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare) // a name service may turn the order with each answer
	b.put(id, all)
}

// settle waits for the questions of l, and settles it when enough is answered. A family of which the name service
// has no address loses those that it had only if the other has one.
func (b *addressBook) settle(id types.ID, l *lookup, questions [2]*question) {
	done := [2]<-chan struct{}{questions[0].done, questions[1].done}
	answers := [2]utils.Answer{unanswered, unanswered}
	var grace <-chan time.Time
	slow := time.NewTimer(slowAfter)
	defer slow.Stop()
	for done[0] != nil || done[1] != nil {
		select {
		case <-done[0]:
			done[0], answers[0] = nil, questions[0].answer
		case <-done[1]:
			done[1], answers[1] = nil, questions[1].answer
		case <-grace:
			b.confirm(id, l, nil)
		case <-slow.C:
			if !l.isSettled() && b.is(id, l.of) {
				b.troubles.slow(id)
			}
		}
		if grace == nil && utils.Failure(answers[0], answers[1]) == nil {
			grace = time.After(utils.FamilyGrace)
		}
	}
	for i, a := range answers {
		if utils.NoSuchName(a.Err) && answers[1-i].Err == nil {
			b.withdraw(id, i, l.of)
		}
	}
	b.confirm(id, l, utils.Failure(answers[0], answers[1]))
}

// withdraw takes the addresses of the family i from id, if that is still e.
func (b *addressBook) withdraw(id types.ID, i int, e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hosts[id-1] == e {
		b.replace(id, i, nil)
	}
}

// is reports whether e is still what is known of id.
func (b *addressBook) is(id types.ID, e *entry) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.hosts[id-1] == e
}

// confirm settles l, unless it is settled. Without an error the known addresses are confirmed: that there is no
// answer for one family counts as such.
func (b *addressBook) confirm(id types.ID, l *lookup, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.isSettled() {
		return
	}
	e := l.of
	if b.hosts[id-1] == e {
		b.troubles.note(id, err)
	}
	e.answered = time.Now()
	if utils.NoSuchName(err) {
		e.given = time.Time{}
	}
	if l.err = err; err == nil {
		e.trusted = e.answered.Add(addressTrust)
	}
	close(l.settled)
}
