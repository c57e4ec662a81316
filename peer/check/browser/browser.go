// Package browser gives tests a real browser, to see the page of -http in.
package browser

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Browser is a headless Chromium, controlled with its own protocol over two pipes: JSON objects, each
// followed by a zero byte.
type Browser struct {
	t       *testing.T
	to      *os.File
	session string // of the page; empty for the browser itself

	mu      sync.Mutex
	number  int
	replies map[int]chan reply
	faults  []string // what the page complained of, or loaded from elsewhere
}

type reply struct {
	result json.RawMessage
	fault  string
}

// New starts the browser that MEMBERLY_CHROMIUM names, with one empty page.
func New(t *testing.T) *Browser {
	t.Helper()
	program := os.Getenv("MEMBERLY_CHROMIUM")
	if program == "" {
		t.Skip("set MEMBERLY_CHROMIUM to a Chromium, as .ci/run does, to see the page in it")
	}
	theirs, ours := pipe(t)
	answers, their := pipe(t)
	profile, err := os.MkdirTemp("", "memberly-browser-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--no-first-run", "--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, their}
	if err := cmd.Start(); err != nil {
		os.RemoveAll(profile)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		// Its other processes end soon after it, and write to the profile until then.
		began := time.Now()
		for err := os.RemoveAll(profile); err != nil; err = os.RemoveAll(profile) {
			if time.Since(began) > patience {
				t.Error(err)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	theirs.Close()
	their.Close()
	b := &Browser{t: t, to: ours, replies: make(map[int]chan reply)}
	go b.listen(answers)
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "Accessibility"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		read.Close()
		write.Close()
	})
	return read, write
}

// patience is how long the page may take to show something, with every core busy.
const patience = 20 * time.Second

// listen dispatches the browser's messages until it ends.
func (b *Browser) listen(from *os.File) {
	for r := bufio.NewReaderSize(from, 1<<20); ; {
		line, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
			Method string
			Params json.RawMessage
		}
		if json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if waiting, ok := b.replies[m.ID]; ok && m.ID > 0 {
			answer := reply{result: m.Result}
			if m.Error != nil {
				answer.fault = m.Error.Message
			}
			waiting <- answer
			delete(b.replies, m.ID)
		} else {
			b.suspect(m.Method, string(m.Params))
		}
		b.mu.Unlock()
	}
}

// suspect records faults of the page: an exception, a console error, a request to another host.
func (b *Browser) suspect(method, params string) {
	switch method {
	case "Runtime.exceptionThrown", "Log.entryAdded":
		b.faults = append(b.faults, params)
	case "Network.requestWillBeSent":
		var r struct{ Request struct{ URL string } }
		json.Unmarshal([]byte(params), &r)
		if u := r.Request.URL; !strings.HasPrefix(u, "http://127.") && !strings.HasPrefix(u, "data:") && u != "about:blank" {
			b.faults = append(b.faults, "the page loads "+u)
		}
	}
}

// call calls a method of the browser, and decodes the answer into result.
func (b *Browser) call(method string, params, result any) {
	b.t.Helper()
	b.mu.Lock()
	b.number++
	q := map[string]any{"id": b.number, "method": method}
	if params != nil {
		q["params"] = params
	}
	if b.session != "" {
		q["sessionId"] = b.session
	}
	answer := make(chan reply, 1)
	b.replies[b.number] = answer
	b.mu.Unlock()
	line, err := json.Marshal(q)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(line, 0)); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	select {
	case a := <-answer:
		if a.fault != "" {
			b.t.Fatalf("%s: %s", method, a.fault)
		}
		if result != nil {
			if err := json.Unmarshal(a.result, result); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-time.After(3 * patience):
		b.t.Fatalf("%s: no answer", method)
	}
}

// Text returns the value of an expression in the page, as text.
func (b *Browser) Text(expression string) string {
	b.t.Helper()
	var v any
	b.value(expression, &v)
	return fmt.Sprint(v)
}

// value decodes the value of an expression in the page.
func (b *Browser) value(expression string, into any) {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if e := r.ExceptionDetails; e != nil {
		b.t.Fatalf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if len(r.Result.Value) == 0 {
		return // undefined
	}
	if err := json.Unmarshal(r.Result.Value, into); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
}

// Open opens a page, and waits until it is loaded.
func (b *Browser) Open(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	b.Until("document.URL === "+strconv.Quote(url)+" && document.readyState", "complete")
}

// Until waits until the value of an expression in the page equals want.
func (b *Browser) Until(expression, want string) {
	b.t.Helper()
	b.poll(expression, func(got string) bool { return got == want })
}

// Awaits waits until the text of the element with this id contains all of these.
func (b *Browser) Awaits(id string, texts ...string) {
	b.t.Helper()
	b.poll(fmt.Sprintf("document.getElementById(%q)?.innerText ?? \"\"", id), func(got string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(got, text) })
	})
}

// poll waits until ok holds for the value of an expression in the page.
func (b *Browser) poll(expression string, ok func(string) bool) {
	b.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(2 * patience)
	for {
		got := b.Text(expression)
		if ok(got) {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			b.t.Fatalf("after %v, %s is still %q", 2*patience, expression, got)
		}
	}
}

// Look sets the size of the window, and light or dark mode.
func (b *Browser) Look(width, height int, scheme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height,
		"deviceScaleFactor": 1, "mobile": width < 500}, nil)
	b.call("Emulation.setScrollbarsHidden", map[string]any{"hidden": true}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{
		{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Picture takes a screenshot, and keeps it if MEMBERLY_PICTURES names a folder.
func (b *Browser) Picture(name string) {
	b.t.Helper()
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil || len(png) < 1000 {
		b.t.Errorf("picture %s has %d bytes: %v", name, len(png), err)
	}
	if folder := os.Getenv("MEMBERLY_PICTURES"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o644); err != nil {
			b.t.Error(err)
		}
	}
}

// press presses and releases a key.
func (b *Browser) press(key string, code int) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		b.call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
	}
}

// Spoken returns the roles and names that a screen reader finds.
func (b *Browser) Spoken() map[string]bool {
	b.t.Helper()
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name struct{ Value any }
		}
	}
	b.call("Accessibility.getFullAXTree", nil, &tree)
	found := make(map[string]bool)
	for _, n := range tree.Nodes {
		if !n.Ignored {
			found[fmt.Sprint(n.Role.Value, " ", n.Name.Value)] = true
		}
	}
	return found
}

// Fits checks that only elements that scroll are wider than the window.
func (b *Browser) Fits() {
	b.t.Helper()
	if got := b.Text("document.documentElement.scrollWidth <= innerWidth"); got != "true" {
		b.t.Errorf("the page is %s pixels wide, the window %s", b.Text("document.documentElement.scrollWidth"), b.Text("innerWidth"))
	}
}

// Clean checks that the page threw no exception, kept its content security policy, and loaded nothing
// from other hosts. The report of its killed peer is no fault.
func (b *Browser) Clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range b.faults {
		if !strings.Contains(fault, "net::ERR_") {
			b.t.Error(fault)
		}
	}
}
