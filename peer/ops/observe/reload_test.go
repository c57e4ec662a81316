package observe

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"memberly/peer/handlers"
	"memberly/peer/types"
)

// reloaded is peer one of three, after it has read its hosts file again, with what is said of that then.
func reloaded(l handlers.Listing) *fake {
	f := three()
	f.status.At.Wall = time.Now().Add(time.Hour).UnixNano()
	l.Hosts = make([]types.Host, len(f.status.Hosts))
	f.status.Listing = l
	return f
}

// Only the command of this machine has the hosts file read: nobody else, and no web page.
func TestReloadAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		change func(*http.Request)
		result error
		status int
		reads  bool
	}{
		{"the command", func(*http.Request) {}, nil, http.StatusOK, true},
		{"an invalid file", func(*http.Request) {}, errors.New("line 3: !"), http.StatusUnprocessableEntity, true},
		{"another machine", func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1234" }, nil, http.StatusForbidden, false},
		{"a page", func(r *http.Request) { r.Header.Del(reloadHeader) }, nil, http.StatusForbidden, false},
		{"another header", func(r *http.Request) { r.Header.Set(reloadHeader, "x") }, nil, http.StatusForbidden, false},
		{"another name", func(r *http.Request) { r.Host = "evil.example" }, nil, http.StatusMisdirectedRequest, false},
		{"a look", func(r *http.Request) { r.Method = http.MethodGet }, nil, http.StatusMethodNotAllowed, false},
	} {
		read := false
		s := newServer(Config{Names: named("one", "two", "three"), Reload: func() error { read = true; return c.result }}, three())
		r := httptest.NewRequest(http.MethodPost, "http://localhost/reload", nil)
		r.RemoteAddr = "127.0.0.1:1234"
		r.Header.Set(reloadHeader, reloadValue)
		c.change(r)
		w := httptest.NewRecorder()
		s.routes().ServeHTTP(w, r)
		if w.Code != c.status || read != c.reads || c.result != nil && !strings.Contains(w.Body.String(), c.result.Error()) {
			t.Errorf("%s: status %d, read %v: %s", c.what, w.Code, read, w.Body)
		}
	}
}

// The command waits until the group has agreed on what the file has, and else says on which hosts what is missing.
func TestReload(t *testing.T) {
	t.Parallel()
	alone := reloaded(handlers.Listing{})
	alone.status.Standing, alone.status.View, alone.status.Halt = types.Fresh, types.View{}, handlers.NoGroup
	frozen := reloaded(handlers.Listing{Agreed: 3})
	frozen.status.At.Wall = 1
	for _, c := range []struct {
		what string
		then []*fake // after the file was read: at each look, the last one for ever
		err  error
		code int
		want string
	}{
		{"at once", []*fake{reloaded(handlers.Listing{Agreed: 3})}, nil, yes, "3 hosts, agreed in view 3\n"},
		{"after a while", []*fake{frozen, reloaded(handlers.Listing{Agreed: 2, Ahead: []types.ID{3}}), reloaded(handlers.Listing{Agreed: 3})}, nil, yes, "3 hosts, agreed in view 3\n"},
		{"others have it not", []*fake{reloaded(handlers.Listing{Agreed: 2, Ahead: []types.ID{3}, Differ: []types.ID{2}})}, nil, no, "the file of two is not the same: make the same change there\n"},
		{"in no group", []*fake{alone}, nil, no, "one is in no group: it waits to be let into the group"},
		{"no step", []*fake{frozen}, nil, no, "has taken no step"},
		{"an invalid file", nil, errors.New("line 3: \x1b!"), no, `has not read its hosts file: line 3: \x1b!`},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var looks atomic.Int32
			then := c.then
			current := three() // settled, but before the file was read
			server := newServer(Config{Names: named("one", "two", "three"), Monitor: time.Minute, Reload: func() error { looks.Store(1); return c.err }}, current)
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				of := server
				if n := int(looks.Load()); n > 0 && r.Method == http.MethodGet {
					of = newServer(server.config, then[min(n, len(then))-1])
					looks.Add(1)
				}
				of.routes().ServeHTTP(w, r)
			}))
			t.Cleanup(h.Close)
			var stdout, stderr strings.Builder
			code := RunReload(t.Context(), []string{"-wait", "1s", strings.TrimPrefix(h.URL, "http://")}, nil, &stdout, &stderr)
			if got := stdout.String() + stderr.String(); code != c.code || !strings.Contains(got, c.want) || (stderr.Len() > 0) != (c.err != nil) {
				t.Errorf("code %d, %q, %q, want %d, %q", code, stdout.String(), stderr.String(), c.code, c.want)
			}
		})
	}
}

// A file whose reading hangs keeps no request for ever; nor does a peer that cannot read its file again.
func TestReloadHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, reloadHangs)
}

func reloadHangs(t *testing.T) {
	end := make(chan struct{})
	s := newServer(Config{Names: named("one", "two", "three"), Reload: func() error { <-end; return nil }}, three())
	ask := func(s *Server) int {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/reload", nil)
		r.RemoteAddr = "[::1]:1234"
		r.Header.Set(reloadHeader, reloadValue)
		w := httptest.NewRecorder()
		s.routes().ServeHTTP(w, r)
		return w.Code
	}
	for _, which := range []string{"first", "second, which waits for the first,"} {
		if code := ask(s); code != http.StatusGatewayTimeout {
			t.Errorf("the %s gets status %d", which, code)
		}
	}
	close(end)
	if code := ask(newServer(Config{Names: named("one", "two", "three")}, three())); code != http.StatusNotImplemented {
		t.Errorf("a peer that cannot answers status %d", code)
	}
}

// Wrong usage, and servers that are no peers.
func TestReloadUsage(t *testing.T) {
	t.Parallel()
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }))
	t.Cleanup(stranger.Close)
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"-help":       {yes, ReloadPage.Text()},
		"-wait 10":    {misuse, "-wait"},
		"-wait 1ms":   {misuse, "from 1s to 1h"},
		"nowhere":     {misuse, "Usage: memberly reload"},
		"1 2":         {misuse, "one address"},
		"127.0.0.1:1": {no, "connection refused: start the peer with -http 1, if it runs without\n"},
		strings.TrimPrefix(stranger.URL, "http://"): {no, "is not a peer"},
	} {
		var stdout, stderr strings.Builder
		code := RunReload(t.Context(), strings.Fields(args), nil, &stdout, &stderr)
		if all := stdout.String() + stderr.String(); code != want.code || !strings.Contains(all, want.text) {
			t.Errorf("%q: code %d, %q, %q", args, code, stdout.String(), stderr.String())
		}
	}
}
