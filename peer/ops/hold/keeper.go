// Package hold runs a command while a peer leads: it starts the command when the peer has a lease, and ends it before
// the lease ends (-hold, and memberly hold). A command never starts before all of the one before has ended.
package hold

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"memberly/peer/ops/process"
)

// Patience is how long a command may go on after SIGTERM while the lease lasts.
const Patience = 10 * time.Second

// A command that ends by itself is started again after a pause, which doubles from the first to the last. One that
// ran for as long as the last pause begins anew.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// settleTime is between the beginning of a lease and the start of the command. A peer that is killed has a successor
// within milliseconds, while the supervisor that finds it dead has to get a processor to kill its command.
const settleTime = 200 * time.Millisecond

// lostGrace is how long a command may go on after SIGTERM when its peer has ceased to lead before the lease has ended: a
// leader that follows another one tells the members so, and they need not wait for the end of its lease.
const lostGrace = settleTime / 2

// The shares of a lease's length that are left when SIGTERM, and when SIGKILL is sent.
const (
	terminateShare = 0.2
	killShare      = 0.05
)

// claim is what is known of a peer's lease.
type claim struct {
	life     string        // of the peer's process; a lease of another life has ended
	fence    uint64        // 0 for none
	until    time.Duration // when it ends, by clock
	length   time.Duration // of a lease that has just been renewed
	id       int           // of the peer
	name     string        // of the peer
	resigned bool          // the peer gives it up, and waits until the command has ended
	gone     bool          // the peer has ended: another may lead at once
}

func (c claim) terminate() time.Duration {
	return c.until - time.Duration(terminateShare*float64(c.length))
}
func (c claim) kill() time.Duration { return c.until - time.Duration(killShare*float64(c.length)) }

// keeper has the command run while there is a lease.
type keeper struct {
	argv   []string
	env    func(claim) []string // besides those of this process
	once   bool                 // do not start the command again after it has ended by itself, for the same lease
	output func() (stdout, stderr io.Writer)
	// ended is told how each run ended by itself, and the pause until the next. It returns whether to go on.
	ended func(r result, pause time.Duration) bool

	// stuck, if not nil, is told once of a run whose process group SIGKILL does not end, and why.
	stuck func(group int, why string)
	idle  func() // if not nil, it is called when mayRun becomes false

	mu    sync.Mutex
	claim claim         // the newest
	runs  bool          // the command runs, or may be about to
	wake  chan struct{} // has a value when something has changed
	stop  sync.Once
	stops chan struct{} // closed to end the command, and the keeper
	done  chan struct{} // closed when that is done

	// These belong to the goroutine of run.
	child      *child
	served     uint64        // the newest fence
	servedLife string        // of the peer with that fence
	over       bool          // with once: the run of that fence has ended by itself
	pause      time.Duration // before the next run, from
	rests      time.Duration // this moment on
}

// result is how a run of the command ended.
type result struct {
	code    int
	failure string // why it could not be started; "" if it was
}

func (k *keeper) open() {
	k.wake, k.stops, k.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	process.Reap()
	go k.run()
}

// update tells the keeper of the lease.
func (k *keeper) update(c claim) {
	k.mu.Lock()
	k.claim = c
	k.runs = k.runs || c.startable()
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// startable reports whether the command may be started by the claim, as long as it lasts.
func (c claim) startable() bool { return c.fence != 0 && !c.resigned && !c.gone }

// newest returns the newest claim.
func (k *keeper) newest() claim {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.claim
}

// mayRun reports whether the command runs, or may be about to by what the keeper was told.
func (k *keeper) mayRun() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.runs
}

// rested notes that the command does not run, and will not before the keeper is told of another lease.
func (k *keeper) rested() {
	k.mu.Lock()
	is := k.runs && (!k.claim.startable() || k.over && k.claim.fence == k.served)
	if is {
		k.runs = false
	}
	k.mu.Unlock()
	if is && k.idle != nil {
		k.idle()
	}
}

// close has the command ended, within Patience and before the lease ends, and starts it no more. done is closed after that.
func (k *keeper) close() { k.stop.Do(func() { close(k.stops) }) }

func (k *keeper) run() {
	defer close(k.done)
	stops := k.stops
	for {
		c := k.newest()
		next := never
		switch {
		case k.child != nil:
			k.instruct(c, stops == nil)
		case stops == nil:
			return
		default:
			if next = k.consider(c); k.child == nil {
				k.rested()
			}
		}
		timer := time.NewTimer(next)
		select {
		case <-k.wake:
		case <-timer.C:
		case <-stops:
			stops = nil
		case <-k.child.exited():
			if !k.finish(stops == nil) {
				return
			}
		}
		timer.Stop()
	}
}

// never is a wait that nothing ends.
const never = 1000 * time.Hour

// consider starts the command if it is to run now. Else it returns after how long to consider it again.
func (k *keeper) consider(c claim) time.Duration {
	now := clock()
	if c.fence != 0 && (c.fence != k.served || c.life != k.servedLife) {
		k.servedLife = c.life
		k.pause, k.rests, k.over, k.served = settleTime, now, false, c.fence
	}
	switch {
	case !c.startable() || k.over || now >= c.terminate():
		return never
	case now < k.rests+k.pause:
		return untilAt(k.rests + k.pause)
	}
	var err error
	if k.child, err = k.launch(c); err != nil {
		k.rest(0)
		k.ended(result{code: failure, failure: err.Error()}, k.pause)
		return untilAt(k.rests + k.pause)
	}
	return 0
}

// instruct tells the supervisor until when the command may run.
func (k *keeper) instruct(c claim, stopping bool) {
	ch := k.child
	same := c.fence == ch.claim.fence && c.life == ch.claim.life
	if same && !c.gone {
		ch.claim = c // renewed, perhaps; else the end of the last one counts
	}
	o := order{ch.claim.terminate(), ch.claim.kill()}
	if ends := stopping || c.resigned || c.gone || !same; ends && ch.ends == 0 {
		ch.ends = clock()
	}
	if !same && c.life == ch.claim.life && ch.lost == 0 {
		ch.lost = clock()
	}
	if ch.ends != 0 {
		o = order{ch.ends, min(o.kill, ch.ends+Patience)}
	}
	if ch.lost != 0 {
		o.kill = min(o.kill, ch.lost+lostGrace)
	}
	if c.gone || c.life != ch.claim.life {
		o.kill = min(o.kill, ch.ends)
	}
	ch.send(o)
}

// rest begins the pause after a run that took so long.
func (k *keeper) rest(took time.Duration) {
	k.rests = clock()
	if k.pause = min(2*k.pause, lastPause); k.pause < firstPause || took >= lastPause {
		k.pause = firstPause
	}
}

// finish notes the end of a run. It returns false if the keeper is to end.
func (k *keeper) finish(stopping bool) bool {
	ch := k.child
	k.child = nil
	r, byItself := ch.result()
	if stopping || ch.ends != 0 || !byItself {
		return true
	}
	k.rest(clock() - ch.began)
	k.over = k.once && r.failure == ""
	return k.ended(r, k.pause)
}

// child is one run of the command, under its supervisor.
type child struct {
	claim      claim
	supervisor *process.Group
	orders     *os.File
	reports    chan string // those of the supervisor's end, which closes it
	last       order       // that was sent
	began      time.Duration
	ends       time.Duration // since when it is to end; 0 if it is not
	lost       time.Duration // since when the peer does not lead any more, without having resigned; 0 if it does
}

// launch starts the command under a supervisor.
func (k *keeper) launch(c claim) (*child, error) {
	self, err := executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program to supervise the command: %w", err)
	}
	orders, toOrders, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe to supervise the command: %w", err)
	}
	defer orders.Close()
	reports, toReports, err := os.Pipe()
	if err != nil {
		toOrders.Close()
		return nil, fmt.Errorf("making a pipe to supervise the command: %w", err)
	}
	defer toReports.Close()
	cmd := exec.Command(self, append([]string{Supervisor}, k.argv...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), k.env(c)...)
	cmd.ExtraFiles = []*os.File{ordersFD - 3: orders, reportsFD - 3: toReports}
	cmd.Stdout, cmd.Stderr = k.output()
	cmd.WaitDelay = time.Second
	ch := &child{claim: c, orders: toOrders, reports: make(chan string, 2), began: clock()}
	if ch.supervisor, err = process.Start(cmd); err != nil {
		toOrders.Close()
		reports.Close()
		return nil, fmt.Errorf("starting %s to supervise the command: %w", self, err)
	}
	ch.send(order{c.terminate(), c.kill()})
	go k.listen(reports, ch.reports)
	return ch, nil
}

// listen passes a supervisor's reports on, but for those that concern nobody but the user, until it has ended.
func (k *keeper) listen(from io.ReadCloser, to chan<- string) {
	defer from.Close()
	defer close(to)
	for lines := bufio.NewScanner(from); lines.Scan(); {
		line, group, why := lines.Text()+"\n", 0, ""
		if n, _ := fmt.Sscanf(line, reportStuck, &group, &why); n == 2 {
			if k.stuck != nil {
				k.stuck(group, why)
			}
			continue
		}
		to <- line // there are two at most
	}
}

// executable returns the path of this program, also if its file was replaced since.
func executable() (string, error) {
	const link = "/proc/self/exe"
	if _, err := os.Stat(link); err == nil {
		return link, nil
	}
	return os.Executable()
}

// send gives the supervisor an order, unless it has it. It does not matter if the supervisor has ended.
func (c *child) send(o order) {
	if o != c.last {
		c.last = o
		c.orders.WriteString(o.String())
	}
}

// exited returns a channel that is closed when the supervisor has ended; nil if there is none.
func (c *child) exited() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.supervisor.Done()
}

// result returns how the command ended, after the end of its supervisor; byItself is false if the lease left no time to
// start it. If something ended the supervisor alone, it first kills the command.
func (c *child) result() (r result, byItself bool) {
	c.orders.Close()
	started := 0
	for line := range c.reports {
		if n, _ := fmt.Sscanf(line, reportStarted, &started); n == 1 {
			continue
		}
		if expired := false; strings.HasPrefix(line, "ended ") {
			fmt.Sscanf(line, reportEnded, &r.code, &expired)
			byItself = !expired
		}
		if n, _ := fmt.Sscanf(line, reportFailed, &r.code, &r.failure); n == 2 {
			byItself = true
		}
	}
	if err := c.supervisor.Err(); err != nil && !errors.Is(err, exec.ErrWaitDelay) && started > 0 {
		for !killGroup(started) {
			time.Sleep(glance / 10) // no event tells that a group of other processes' children is empty
		}
		return result{code: failure, failure: "its supervisor ended: " + err.Error()}, true
	}
	return r, byItself
}

// variables are those that tell the command of the peer and its lease.
func variables(c claim) []string {
	return []string{
		"MEMBERLY_VERSION=1",
		"MEMBERLY_PEER=" + strconv.Itoa(c.id),
		"MEMBERLY_PEER_NAME=" + c.name,
		"MEMBERLY_FENCE=" + strconv.FormatUint(c.fence, 10),
	}
}
