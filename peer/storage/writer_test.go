package storage

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// diary is what a Writer has called.
type diary struct {
	began time.Time
	disk  *fakeDisk
	*Writer
	done    []uint64
	reports []string // the time since it began, and the error
}

// newDiary returns one whose Writer writes to a new disk. Inside a bubble only.
func newDiary(t *testing.T) *diary {
	d := &diary{began: time.Now(), disk: newDisk(1, nil)}
	d.Writer = NewWriter(opened(t, d.disk), func(seq uint64) { d.done = append(d.done, seq) },
		func(err error) { d.reports = append(d.reports, fmt.Sprint(time.Since(d.began), " ", err)) })
	d.count("")
	return d
}

// save saves values, each with its number.
func (d *diary) save(values ...int) {
	for _, n := range values {
		d.Save(uint64(n), *value(n))
	}
}

// expect checks which sequence numbers were reported as done.
func (d *diary) expect(t *testing.T, done ...uint64) {
	t.Helper()
	if synctest.Wait(); !slices.Equal(d.done, done) {
		t.Errorf("done: %v, want %v", d.done, done)
	}
}

// stall makes each Sync wait until the returned function is called.
func (d *diary) stall() (resume func()) {
	gate := make(chan struct{})
	d.broken(func() error {
		<-gate
		return nil
	})
	return func() { close(gate) }
}

func TestWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDiary(t)
		d.save(1)
		d.expect(t, 1)
		d.save(2)
		d.expect(t, 1, 2)
		if !d.Close() || time.Since(d.began) > 0 || len(d.reports) > 0 {
			t.Errorf("closing took %v, reports %q", time.Since(d.began), d.reports)
		}
		d.save(3)
		d.expect(t, 1, 2)
		if !d.Close() {
			t.Error("the second Close says that the last was not written")
		}
		stores(t, opened(t, d.disk), 2)
	})
}

// While the disk stalls, Save does not wait, and of all that was saved meanwhile only the newest is written.
func TestWriterStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDiary(t)
		resume := d.stall()
		d.save(1)
		synctest.Wait()
		d.save(2, 3, 4, 5)
		d.expect(t)
		time.Sleep(time.Hour)
		d.expect(t)
		resume()
		d.expect(t, 1, 5)
		if want := []string{"write", "sync", "write", "write", "sync", "write"}; !slices.Equal(d.disk.calls, want) || len(d.reports) > 0 {
			t.Errorf("calls %v, want %v; reports %q", d.disk.calls, want, d.reports)
		}
		if !d.Close() {
			t.Error("Close says that the last was not written")
		}
	})
}

// A Save just before Close is written, even if another Write runs; one after that is not.
func TestWriterClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDiary(t)
		resume := d.stall()
		d.save(1)
		synctest.Wait()
		d.save(2)
		time.AfterFunc(patience/2, func() { d.save(3) })
		time.AfterFunc(patience-1, resume)
		if !d.Close() {
			t.Error("Close says that the last was not written")
		}
		d.expect(t, 1, 2)
	})
}

// Nor is a Save just before Close forgotten if no Write runs.
func TestWriterSaveClose(t *testing.T) {
	t.Parallel()
	for range 50 { // as it is drawn which of the two the Writer notices first
		synctest.Test(t, func(t *testing.T) {
			d := newDiary(t)
			synctest.Wait()
			d.save(1)
			if !d.Close() {
				t.Error("Close says that the last was not written")
			}
			d.expect(t, 1)
		})
	}
}

// Close does not wait longer than a second. What is written after that, nobody is told of.
func TestWriterCloseStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDiary(t)
		resume := d.stall()
		d.save(1)
		synctest.Wait()
		if d.Close() || time.Since(d.began) != time.Second {
			t.Errorf("Close says that all was written, or took %v", time.Since(d.began))
		}
		resume()
		d.expect(t)
		stores(t, opened(t, d.disk), 1)
	})
}

// broken makes each Sync fail with what err says, or none if it is nil.
func (d *diary) broken(err func() error) {
	d.disk.mutex.Lock()
	defer d.disk.mutex.Unlock()
	d.disk.fail = func(op string) error {
		if op == "sync" && err != nil {
			return err()
		}
		return nil
	}
}

// failing returns what broken needs for this error.
func failing(err error) func() error { return func() error { return err } }

// count returns how many calls of a kind there were since it was called last.
func (d *diary) count(op string) (n int) {
	d.disk.mutex.Lock()
	defer d.disk.mutex.Unlock()
	for _, o := range d.disk.calls {
		if o == op {
			n++
		}
	}
	d.disk.calls = nil
	return n
}

// A Write that fails is tried again after 0.2, 0.4, 0.8, 1, 1... seconds, however often something new is saved, which
// is then what is written. The error is reported once a minute, and so is its end.
func TestWriterRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDiary(t)
		d.broken(failing(syscall.EIO))
		for n := range 450 {
			d.save(n)
			synctest.Wait()
			want := 0
			if slices.Contains([]int{0, 20, 60, 140, 240, 340, 440}, n) {
				want = 1
			}
			if got := d.count("sync"); got != want {
				t.Errorf("after %d ms: %d tries, want %d", 10*n, got, want)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(90 * time.Second)
		d.broken(failing(syscall.ENOSPC))
		time.Sleep(5 * time.Second)
		d.broken(nil)
		time.Sleep(time.Second)
		d.expect(t, 449)
		d.save(450)
		d.expect(t, 449, 450)
		want := []string{"0s writing state file x: input/output error", "1m0.4s writing state file x: input/output error",
			"1m35.4s writing state file x: no space left on device", "1m40.4s <nil>"}
		if d.Close(); !slices.Equal(d.reports, want) {
			t.Errorf("reports %q, want %q", d.reports, want)
		}
		stores(t, opened(t, d.disk), 450)
	})
}

// An error that comes and goes is reported once a minute too, with its end.
func TestWriterFlaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDiary(t)
		fails := 0
		d.broken(func() error {
			if fails++; fails%2 == 1 {
				return syscall.EIO
			}
			return nil
		})
		for n := range 65 {
			d.save(n)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		want := []string{"0s writing state file x: input/output error", "200ms <nil>",
			"1m0s writing state file x: input/output error", "1m0.2s <nil>"}
		if !d.Close() || !slices.Equal(d.reports, want) || len(d.done) != 65 {
			t.Errorf("reports %q, want %q; %d done", d.reports, want, len(d.done))
		}
	})
}

// Close cuts a pause short, and then tries every 0.2 s at first.
func TestWriterCloseFailing(t *testing.T) {
	t.Parallel()
	for _, recovers := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := newDiary(t)
			d.broken(failing(syscall.EIO))
			d.save(1)
			time.Sleep(10*time.Second + 500*time.Millisecond) // within a pause of 1 s
			d.count("")
			began := time.Now()
			if recovers {
				time.AfterFunc(50*time.Millisecond, func() { d.broken(nil) })
			}
			if d.Close() != recovers {
				t.Errorf("Close says that it was written: %v", !recovers)
			}
			want, tries := time.Second, 3 // at 0, 0.2 and 0.6 s
			if recovers {
				want, tries = 200*time.Millisecond, 2
			}
			if took, tried := time.Since(began), d.count("sync"); took != want || tried != tries {
				t.Errorf("Close took %v and %d tries, want %v and %d", took, tried, want, tries)
			}
		})
	}
}
