package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"memberly/peer/config"
	"memberly/peer/storage"
	"memberly/peer/types"
)

const (
	// stateTime bounds the examination of the state file, whose disk may not answer.
	stateTime = 5 * time.Second
	// deadDisk is how long the disk does not answer before that is its fault, and not that of an examination cut short.
	deadDisk = 900 * time.Millisecond
	// stateWrites is how many writes are timed; the slowest counts.
	stateWrites = 5
	// slowWrite is how long a write takes that deserves a warning. After 200 ms others ask again.
	slowWrite = 100 * time.Millisecond
)

// stateEvidence is what was found of the state file.
type stateEvidence struct {
	cut    bool  // the examination ended before
	err    error // it cannot be used; what is wrong and what to do
	damage error // one of its two copies is damaged, and this may have been forgotten
	isNew  bool  // there is none, or nothing is stored in it
	view   int64 // the number of the stored view; 0 for none
	lacks  int   // how many hosts of that view the hosts file does not have
	bound  bool  // the host was in no group yet, and the hosts file is not that of its first process
	timed  bool  // writes beside it were
	took   time.Duration
}

// examineState examines the state file of c, without changing it: it uses a copy in the same folder. It returns when ctx
// ends or the disk does not answer, too.
func examineState(ctx context.Context, c config.Config) *stateEvidence {
	if c.State == "" {
		return nil
	}
	return awaitState(ctx, c.State, func() *stateEvidence { return lookAtState(c) })
}

// awaitState waits for look to examine the state file at path, as examineState does.
func awaitState(ctx context.Context, path string, look func() *stateEvidence) *stateEvidence {
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	began := time.Now()
	found := make(chan *stateEvidence, 1)
	go func() { found <- look() }()
	select {
	case e := <-found:
		return e
	case <-ctx.Done():
		took := time.Since(began)
		if took < deadDisk {
			return &stateEvidence{cut: true}
		}
		return &stateEvidence{err: fmt.Errorf("state file %s: its disk did not answer in %v: check the disk", path, took.Round(100*time.Millisecond))}
	}
}

// lookAtState is examineState without a limit in time.
func lookAtState(c config.Config) *stateEvidence {
	e := &stateEvidence{}
	content, err := readState(c.State)
	if err != nil {
		return &stateEvidence{err: fmt.Errorf("state file %s: %w", c.State, err)}
	}
	e.isNew = len(content) == 0
	path, err := filepath.EvalSymlinks(c.State)
	if err != nil {
		path = c.State // there is none
	}
	folder, err := os.MkdirTemp(filepath.Dir(path), ".memberly-doctor-")
	e.timed = err == nil
	if err != nil && !e.isNew {
		folder, err = os.MkdirTemp("", "memberly-doctor-") // the file is enough for a peer
	}
	if err != nil {
		return &stateEvidence{err: fmt.Errorf("state file %s: there is none, and its folder cannot be written to (%w): "+
			"make the folder, on a local disk, and let this user write to it", c.State, reason(err))}
	}
	defer os.RemoveAll(folder)
	e.try(filepath.Join(folder, "copy"), c, content)
	return e
}

// readState returns the content of the state file, which a peer could also write; none if there is no file.
func readState(path string) ([]byte, error) {
	switch s, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil && !s.Mode().IsRegular():
		return nil, errors.New("it is not a file: name a file")
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		f.Close()
		var content []byte
		if content, err = os.ReadFile(path); err == nil {
			return content, nil
		}
	}
	return nil, fmt.Errorf("cannot access it: %w: let this user read and write it", reason(err))
}

// try opens a copy of the content as a peer would, and times writes to it. For errors it is the state file.
func (e *stateEvidence) try(path string, c config.Config, content []byte) {
	asOriginal := func(err error) error { return errors.New(strings.ReplaceAll(err.Error(), path, c.State)) }
	if err := os.WriteFile(path, content, 0o600); err != nil {
		e.err = fmt.Errorf("state file %s: no copy of it can be written beside it (%w): make room on its disk", c.State, reason(err))
		return
	}
	f, err := storage.Open(path, storage.Owner{ID: c.ID, Name: c.Name}, c.Hosts)
	if err != nil {
		e.err = asOriginal(err)
		return
	}
	defer f.Close()
	if damage, _ := f.Damage(); damage != nil {
		e.damage = asOriginal(damage)
	}
	stored := f.Stored()
	e.isNew, e.view, e.lacks = f.New(), stored.View.Number, max(0, len(stored.View.Last)-len(c.Hosts))
	e.bound = stored.File != 0 && stored.Group == (types.Group{}) && stored.File != types.FileDigest(c.Hosts)
	for range stateWrites {
		began := time.Now()
		if err := f.Write(&stored); err != nil {
			e.err = asOriginal(err)
			return
		}
		e.took = max(e.took, time.Since(began))
	}
}

// reason removes the path from an error.
func reason(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err
	}
	return err
}

// cell judges what was found. A file that a peer uses at this moment may be in the middle of a write.
func (e *stateEvidence) cell(peerRuns bool) cell {
	switch {
	case e == nil:
		return cell{mark: unused}
	case e.cut || peerRuns && (e.err != nil || e.damage != nil):
		return cell{mark: unknown}
	case e.err != nil:
		return check(false, "%v", e.err)
	case e.damage != nil:
		return check(false, "%v. To be safe, remove the file while the other hosts have a leader: this host then begins anew", e.damage)
	case e.took >= slowWrite:
		return cell{slow, fmt.Sprintf("A write to the disk of the state file took %v, and changes of the group wait for it: "+
			"put the file on a faster local disk", e.took.Round(time.Millisecond))}
	}
	return cell{mark: good}
}

// words tells what was found, in half a sentence; "" if that is said elsewhere.
func (e *stateEvidence) words() string {
	if e == nil || e.cut || e.err != nil {
		return ""
	}
	words := fmt.Sprintf("view %d is stored", e.view)
	switch {
	case e.isNew:
		words = "nothing is stored yet"
	case e.bound:
		words = "no view is stored yet, and the hosts file has changed since this host first ran: " +
			"it waits to be let in by a group; to let it help to make one, use the file as it was"
	case e.view == 0:
		words = "no view is stored yet"
	case e.lacks > 0:
		words += fmt.Sprintf(", and the hosts file lacks %d of its hosts: bring it up to date", e.lacks)
	}
	if e.timed {
		words += fmt.Sprintf("; a write takes %.1f ms", float64(e.took.Microseconds())/1000)
	}
	return words
}
