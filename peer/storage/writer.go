package storage

import (
	"maps"
	"sync"
	"time"

	"memberly/peer/types"
)

const (
	firstPause = 200 * time.Millisecond // after a Write that failed; it doubles
	lastPause  = time.Second
	patience   = time.Second // of Close
	quiet      = time.Minute // between two reports of the same error
)

// Writer writes to a File in a goroutine of its own, so that nobody waits for the disk. Of what it is given while a
// Write runs, it writes only the newest. If a Write fails, it tries again, after 0.2 s at first and once a second in
// the end. Any goroutine may call its methods.
type Writer struct {
	file      *File
	done      func(seq uint64)
	trouble   trouble
	wake      chan struct{} // delivers after next or closed was set
	closing   chan struct{} // closed when Close begins
	abandoned chan struct{} // closed when Close has waited long enough
	ended     chan struct{} // closed when all was written
	finish    func() bool

	mutex  sync.Mutex
	next   *save // the newest whose Write has not begun; nil for none
	closed bool  // none is to follow
}

// save is what one call of Save was given.
type save struct {
	seq    uint64
	stored types.Stored
}

// NewWriter returns a Writer that alone writes to f until it is closed; it does not close f. It calls both functions
// in its goroutine, so they must not wait. done gets the seq of each Save that the disk has, with all before it.
// report gets the error of a Write that failed, the same one at most once a minute, and nil when Writes succeed again
// after that.
func NewWriter(f *File, done func(seq uint64), report func(error)) *Writer {
	w := &Writer{file: f, done: done, trouble: trouble{report: report, told: make(map[string]time.Time)},
		wake: make(chan struct{}, 1), closing: make(chan struct{}), abandoned: make(chan struct{}), ended: make(chan struct{})}
	w.finish = sync.OnceValue(w.end)
	go w.run()
	return w
}

// Save has s written, in place of what was saved before and is not written yet. seq must be higher than in the calls
// before. It never waits. Nobody may modify what s refers to.
func (w *Writer) Save(seq uint64, s types.Stored) {
	w.mutex.Lock()
	if !w.closed {
		w.next = &save{seq, s}
	}
	w.mutex.Unlock()
	w.signal()
}

// Close waits at most a second for the last Save to be written, and reports whether it was. If not, a Write may still
// be stalled, and may succeed later, but done is not told of it. What is saved after Close is not written.
func (w *Writer) Close() bool { return w.finish() }

func (w *Writer) end() bool {
	w.mutex.Lock()
	w.closed = true
	w.mutex.Unlock()
	close(w.closing)
	w.signal()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.ended:
		return true
	case <-timer.C:
		close(w.abandoned)
		return false
	}
}

func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes until all is written after Close began, or Close has given up.
func (w *Writer) run() {
	for {
		switch s, closed := w.take(); {
		case s != nil:
			if !w.write(s) {
				return
			}
		case closed:
			close(w.ended)
			return
		default:
			<-w.wake
		}
	}
}

// take returns the newest save whose Write has not begun, or nil, and whether none is to follow.
func (w *Writer) take() (s *save, closed bool) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	s, w.next = w.next, nil
	return s, w.closed
}

// write writes s, or what was saved since, until it succeeds. It returns false when Close has given up.
func (w *Writer) write(s *save) bool {
	closing := w.closing
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := w.file.Write(&s.stored)
		select {
		case <-w.abandoned:
			return false
		default:
		}
		if err == nil {
			w.done(s.seq)
			w.trouble.over()
			return true
		}
		w.trouble.tell(err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-closing: // Close does not wait for a long pause: try at once, then begin with short ones
			closing, pause = nil, firstPause/2
		case <-w.abandoned:
			return false
		}
		timer.Stop()
		if newer, _ := w.take(); newer != nil {
			s = newer
		}
	}
}

// trouble reports errors, but not too often.
type trouble struct {
	report func(error)
	told   map[string]time.Time // when each error was reported, for a minute
	open   bool                 // an error was reported, and not yet that it is over
}

func (t *trouble) tell(err error) {
	now := time.Now()
	maps.DeleteFunc(t.told, func(_ string, at time.Time) bool { return now.Sub(at) >= quiet })
	if _, ok := t.told[err.Error()]; ok {
		return
	}
	t.told[err.Error()] = now
	t.open = true
	t.report(err)
}

func (t *trouble) over() {
	if t.open {
		t.open = false
		t.report(nil)
	}
}
