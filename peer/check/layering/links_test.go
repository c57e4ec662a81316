package layering

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// This file checks the documentation: every relative link leads to a file, and every anchor to a heading.

// readmeLines is how long README.md may be: a page.
const readmeLines = 150

func TestLinks(t *testing.T) {
	t.Parallel()
	pages := readPages(t, os.DirFS(root))
	if len(pages) < 20 {
		t.Fatalf("found %d pages: is %s the top folder?", len(pages), root)
	}
	for _, fault := range linkFaults(os.DirFS(root), pages) {
		t.Error(fault)
	}
	if n := strings.Count(pages["README.md"], "\n"); n > readmeLines {
		t.Errorf("README.md has %d lines, and may have %d: move what is not for every newcomer to docs", n, readmeLines)
	}
}

// TestLinksBroken breaks links in each way.
func TestLinksBroken(t *testing.T) {
	t.Parallel()
	pages := map[string]string{
		"README.md": "# Top\n[a](docs/a.md) [b](docs/a.md#two-words) ![c](docs/a.md#-exec) [d](#top) [e](https://x/y#z) `[f](none.md)`\n" +
			"```\n[g](none.md)\n# Not a heading\n```\n[h](docs/b.md)\n[i](docs/a.md#not-a-heading)\n[j](#not-a-heading) [k](docs/a.md#two-words-1) [l](docs/a.md#own)",
		"docs/a.md": "# A\n## Two words!\n### -exec\n## `Two` words\n<a id=\"own\"></a>[up](../README.md#top) [out](../../x.md)\n",
	}
	files := make(testFS)
	for name := range pages {
		files[name] = true
	}
	want := []string{
		"README.md:7: docs/b.md does not exist",
		"README.md:8: docs/a.md has no heading for #not-a-heading",
		"README.md:9: README.md has no heading for #not-a-heading",
		"docs/a.md:5: ../x.md does not exist",
	}
	if got := linkFaults(files, pages); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// testFS is a file system that only knows which files exist.
type testFS map[string]bool

func (f testFS) Open(string) (fs.File, error) { return nil, errors.ErrUnsupported }

func (f testFS) Stat(name string) (fs.FileInfo, error) {
	if !f[name] {
		return nil, fs.ErrNotExist
	}
	return nil, nil
}

// readPages returns all Markdown files, by their paths.
func readPages(t *testing.T, files fs.FS) map[string]string {
	t.Helper()
	pages := make(map[string]string)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != ".":
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".md":
			return nil
		}
		text, err := fs.ReadFile(files, name)
		pages[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

var (
	code  = regexp.MustCompile("`[^`]*`")
	link  = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
	owned = regexp.MustCompile(`<a (?:id|name)="([^"]+)">`)
)

// linkFaults returns the relative links of pages that lead nowhere.
func linkFaults(files fs.FS, pages map[string]string) (faults []string) {
	for _, name := range sorted(pages) {
		for i, line := range prose(pages[name]) {
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
				if fault := linkFault(files, pages, name, m[1]+m[2]); fault != "" {
					faults = append(faults, fmt.Sprintf("%s:%d: %s", name, i+1, fault))
				}
			}
		}
	}
	return faults
}

// linkFault returns what is wrong with a link of the page at from, or "".
func linkFault(files fs.FS, pages map[string]string, from, to string) string {
	if strings.Contains(to, ":") {
		return "" // of another site
	}
	file, anchor, anchored := strings.Cut(to, "#")
	target := path.Join(path.Dir(from), file)
	if file == "" {
		target = from
	}
	if _, err := fs.Stat(files, target); err != nil {
		return target + " does not exist"
	}
	if anchored && !anchors(pages[target])[anchor] {
		return fmt.Sprintf("%s has no heading for #%s", target, anchor)
	}
	return ""
}

// anchors returns the anchors of a page, as code hosts make them of headings.
func anchors(page string) map[string]bool {
	found := make(map[string]bool)
	seen := make(map[string]int)
	for _, line := range prose(page) {
		for _, m := range owned.FindAllStringSubmatch(line, -1) {
			found[m[1]] = true
		}
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))
		if n := seen[anchor]; n > 0 {
			found[fmt.Sprintf("%s-%d", anchor, n)] = true
		} else {
			found[anchor] = true
		}
		seen[anchor]++
	}
	return found
}

// prose returns the lines of a page, with those of code blocks emptied.
func prose(page string) []string {
	lines := strings.Split(page, "\n")
	inside := false
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence || inside {
			lines[i] = ""
		}
		inside = inside != fence
	}
	return lines
}
