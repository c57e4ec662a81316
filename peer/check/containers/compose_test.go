package containers_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestComposeOfDocs starts the three hosts of docs/deploy/compose.yaml with keys, which belong to the image's user.
func TestComposeOfDocs(t *testing.T) {
	needContainers(t)
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	folder := t.TempDir()
	put := func(name, content string) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o400); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := docker(ctx, "run", "--rm", image, "keygen")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(put("group.key", key+"\n"), 65532, 65532); err != nil {
		t.Fatal(err)
	}
	first := put("compose.yaml", strings.ReplaceAll(readFile(t, "docs/deploy/compose.yaml"), "image: prj3\n", "image: "+image+"\n"))
	second := put("compose-keys.yaml", readFile(t, "docs/deploy/compose-keys.yaml"))
	p := project{append(composeProgram(), "-p", image+"-docs", "-f", first, "-f", second)}
	t.Cleanup(func() { p.remove(t) })
	p.up(ctx, t)
	for _, host := range hosts[:3] {
		id := p.container(ctx, t, host)
		for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			out, err := docker(ctx, "logs", id)
			if err == nil && allThree.MatchString(out) && strings.Contains(out, "Read 1 key from") {
				break
			}
			if time.Since(began) > 25*time.Second {
				t.Fatalf("%s is not in a sealed group of three: %v\n%s", host, err, out)
			}
		}
		if _, err := docker(ctx, "exec", id, "/memberly", "ready"); err != nil {
			t.Error(err)
		}
	}
}
