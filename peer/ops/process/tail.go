package process

import (
	"fmt"
	"strings"
	"sync"
)

// maxTail is how many bytes of a command's output a Tail keeps: the last ones.
const maxTail = 300

// Tail is a writer that keeps the end of what a command writes. The zero Tail is empty. Any goroutine may use it.
type Tail struct {
	mu   sync.Mutex
	text []byte
}

// Write keeps the end of b. It never fails.
func (t *Tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b[max(0, len(b)-maxTail):]...)
	t.text = append(t.text[:0], t.text[max(0, len(t.text)-maxTail):]...)
	return len(b), nil
}

// Reset empties t.
func (t *Tail) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = t.text[:0]
}

// Quoted returns the text on one line, after a colon; "" if there is none.
func (t *Tail) Quoted() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := strings.TrimSpace(string(t.text)); text != "" {
		return fmt.Sprintf(": %q", text)
	}
	return ""
}
