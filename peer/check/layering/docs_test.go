package layering

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file compares tables of the documentation with the sources.

// sorted returns the keys of m, in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// page reads a page of docs.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sectionOf returns a section of a page, from below its heading to the next one of its level.
func sectionOf(t *testing.T, text, heading string) string {
	t.Helper()
	_, section, ok := strings.Cut(text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n"+heading[:strings.IndexByte(heading, ' ')+1])
	return section
}

var quoted = regexp.MustCompile("`([^`]+)`")

// firstColumn returns what is quoted in the first column of all tables of a section.
func firstColumn(section string) (found []string) {
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cell, _, _ := strings.Cut(line[2:], " | ")
		for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
			found = append(found, m[1])
		}
	}
	return found
}

// sources parses the Go files of folders that are no tests.
func sources(t *testing.T, folders ...string) map[string]*ast.File {
	t.Helper()
	files := make(map[string]*ast.File)
	for _, folder := range folders {
		names, err := fs.Glob(os.DirFS(root), path.Join(folder, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s has no Go file (%v)", folder, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path.Join(root, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = file
		}
	}
	return files
}

// literal returns the value of a string literal.
func literal(e ast.Expr) (string, bool) {
	b, ok := e.(*ast.BasicLit)
	if !ok || b.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(b.Value)
	return s, err == nil
}

// The reference lists just the metrics that are served.
func TestMetricsInReference(t *testing.T) {
	t.Parallel()
	served := make(map[string]bool)
	for _, file := range sources(t, "peer/ops/observe") {
		ast.Inspect(file, func(n ast.Node) bool {
			if b, ok := n.(*ast.BasicLit); ok {
				if s, _ := literal(b); regexp.MustCompile(`^memberly_[a-z_]+$`).MatchString(s) {
					served[s] = true
				}
			}
			return true
		})
	}
	if len(served) < 20 {
		t.Fatalf("found %d metrics in the sources", len(served))
	}
	listed := firstColumn(sectionOf(t, page(t, "reference-http.md"), "## /metrics"))
	for _, name := range sorted(served) {
		if !slices.Contains(listed, name) {
			t.Errorf("docs/reference-http.md has no row for %s", name)
		}
	}
	for _, name := range listed {
		if !served[name] {
			t.Errorf("docs/reference-http.md has a row for %s, which is not served", name)
		}
	}
}

// The reference has every field of the JSON that is served.
func TestFieldsInReference(t *testing.T) {
	t.Parallel()
	reference := page(t, "reference-http.md")
	tags := 0
	for name, file := range sources(t, "peer/ops/observe") {
		ast.Inspect(file, func(n ast.Node) bool {
			f, ok := n.(*ast.Field)
			if !ok || f.Tag == nil {
				return true
			}
			tag, _ := literal(f.Tag)
			_, field, _ := strings.Cut(tag, `json:"`)
			field, _, _ = strings.Cut(field, `"`)
			field, _, _ = strings.Cut(field, ",")
			if field == "" || field == "-" {
				return true
			}
			tags++
			if !regexp.MustCompile("`([a-z_]+\\.)?" + field + "`|`\"" + field + "\":").MatchString(reference) {
				t.Errorf("docs/reference-http.md does not have the field %s of %s", field, name)
			}
			return true
		})
	}
	if tags < 50 {
		t.Errorf("found %d fields in the sources", tags)
	}
}
