package layering

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// This file finds, in the sources, what a peer can write on stdout, and compares it with the tables of
// docs/troubleshooting.md. A message is the text of a call of one of printers, as far as it is known: what is
// not becomes open. A message without a row fails the test, and so does a row without a message. A function
// that passes its caller's words on belongs in printers and passedOn; else the test fails, because its words are open.

// open stands for text that is known only when the program runs.
const open = "\x00"

// printers are the functions and methods that write a line on stdout, by the place of the argument with its text.
var printers = map[string]int{
	"printf": 0, "Say": 0, "say": 0, "Report": 0, // of package network's lines, and as peers pass it on
	"once": 1, "rarely": 1, "failure": 0, "refused": 1, // of package network
}

// tellers are the folders of what writes on a peer's stdout.
var tellers = []string{".", "peer/network", "peer/network/connections", "peer/network/rawio", "peer/storage",
	"peer/ops/observe", "peer/ops/hook", "peer/ops/hold", "peer/ops/process", "peer/ops/local"}

// passedOn lists the functions that write words which come from elsewhere, and where these are: a row, or a reason.
var passedOn = map[string]string{
	"peer/network/drops.go: blame":         "because: a fault begins as in words, which are read too",
	"peer/network/drops.go: stranger":      "because: as blame",
	"peer/network/drops.go: foreign":       "because: as blame",
	"peer/network/drops.go: failure":       "because: it is one of printers",
	"peer/network/drops.go: once":          "because: it is one of printers",
	"peer/network/peer.go: Say":            "because: it is one of printers",
	"peer/network/troubles.go: rarely":     "because: it is one of printers",
	"peer/network/hostsfile.go: reload":    `The hosts file "FILE" is not a regular file, `,
	"peer/network/store.go: use":           "state file FILE: ",
	"peer/ops/observe/notices.go: Stepped": "because: events finds the words",
	"peer/ops/local/stream.go: line":       "because: it is a line of a peer, after its name",
}

// elsewhere matches messages that begin with the words from elsewhere.
var elsewhere = regexp.MustCompile("^(The)?" + open + "($|:|" + open + "| \\(from )")

// commandOutput are files whose output on stdout is that of a command, not of a peer, and files that print a table or
// what a flag asks for.
var commandOutput = []string{"main.go", "peer/ops/observe/client.go", "peer/ops/observe/reload.go", "peer/ops/hold/command.go",
	"peer/ops/local/local.go", "peer/network/listen.go"}

func TestMessagesInTroubleshooting(t *testing.T) {
	t.Parallel()
	rows := make(map[string]*regexp.Regexp)
	for _, row := range firstColumn(sectionOf(t, page(t, "troubleshooting.md"), "## By message")) {
		rows[row] = rowPattern(row)
	}
	if len(rows) < 50 {
		t.Fatalf("found %d rows in docs/troubleshooting.md", len(rows))
	}
	used, from := make(map[string]bool), make(map[string]bool)
	for _, m := range messages(t) {
		if m.text == "" {
			continue // what a function returns if there is nothing to say
		}
		if row := passedOn[m.from]; row != "" && elsewhere.MatchString(m.text) {
			used[row], from[m.from] = true, true
			continue
		}
		found := false
		for row, pattern := range rows {
			if pattern.MatchString(m.text) {
				found, used[row] = true, true
			}
		}
		if !found {
			t.Errorf("%s can write %q on stdout: add a row to the tables of docs/troubleshooting.md", m.from, strings.ReplaceAll(m.text, open, "…"))
		}
	}
	for place := range passedOn {
		if !from[place] {
			t.Errorf("%s writes no words from elsewhere: correct passedOn", place)
		}
	}
	for _, row := range sorted(rows) {
		if !used[row] {
			t.Errorf("docs/troubleshooting.md has a row for %q, which nothing writes: correct or remove it", row)
		}
	}
}

// placeholder is what stands for open in a row: names, addresses, numbers and files.
var placeholder = regexp.MustCompile(`"FILE"|\b(?:FILE|X|Y|A|B|N)\b`)

// rowPattern returns what messages of a row begin with.
func rowPattern(row string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?s)^")
	rest := row
	for at := placeholder.FindStringIndex(rest); at != nil; at = placeholder.FindStringIndex(rest) {
		b.WriteString(regexp.QuoteMeta(rest[:at[0]]) + ".+")
		rest = rest[at[1]:]
	}
	return regexp.MustCompile(b.String() + regexp.QuoteMeta(rest))
}

// message is what a place in the sources can write.
type message struct{ text, from string }

// messages returns what the folders of tellers can write on stdout.
func messages(t *testing.T) (found []message) {
	for _, folder := range tellers {
		p := &teller{functions: make(map[string][]*ast.FuncDecl), values: make(map[string][]ast.Expr), busy: make(map[string]bool)}
		files := sources(t, folder)
		for _, name := range sorted(files) {
			p.declare(files[name])
		}
		for _, name := range sorted(files) {
			found = append(found, p.written(name, files[name])...)
		}
		switch folder {
		case "peer/network":
			for _, text := range p.elements(p.values["words"][0]) {
				found = append(found, message{text + ": " + open, "words of faults"})
			}
		case "peer/ops/observe":
			found = append(found, p.events(t)...)
		}
	}
	return found
}

// events returns what package observe says of events: the words of Names.event, of the kinds that Notices tells of.
func (p *teller) events(t *testing.T) (found []message) {
	t.Helper()
	var told []string
	eachCase(p.method("Notices", "Stepped"), func(kinds []string, c *ast.CaseClause) {
		ast.Inspect(c, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && nameOf(call.Fun) == "event" {
				told = append(told, kinds...)
			}
			return true
		})
	})
	f := p.method("Names", "event")
	said := make(map[string]bool)
	eachCase(f, func(kinds []string, c *ast.CaseClause) {
		for _, kind := range kinds {
			if !slices.Contains(told, kind) {
				continue
			}
			said[kind] = true
			ast.Inspect(c, func(n ast.Node) bool {
				if r, ok := n.(*ast.ReturnStmt); ok {
					for _, text := range p.text(f, r.Results[0]) {
						found = append(found, message{text, "event " + kind})
					}
				}
				return true
			})
		}
	})
	if len(told) == 0 || len(said) != len(told) {
		t.Errorf("Notices tells of the events %v, and Names.event has words for %v of them: correct this test", told, sorted(said))
	}
	return found
}

// method returns a method of a type.
func (p *teller) method(of, name string) *ast.FuncDecl {
	for _, f := range p.functions[name] {
		if f.Recv != nil && nameOf(f.Recv.List[0].Type) == of {
			return f
		}
	}
	return new(ast.FuncDecl)
}

// eachCase calls do with every case of the switches in f, and the names in it.
func eachCase(f *ast.FuncDecl, do func(names []string, c *ast.CaseClause)) {
	if f.Body == nil {
		return
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if c, ok := n.(*ast.CaseClause); ok {
			var names []string
			for _, e := range c.List {
				names = append(names, nameOf(e))
			}
			do(names, c)
		}
		return true
	})
}

// teller is a package that writes messages.
type teller struct {
	functions map[string][]*ast.FuncDecl
	values    map[string][]ast.Expr // of constants and variables of the package
	busy      map[string]bool       // functions and variables that are being looked into: one that needs itself is open
}

func (p *teller) declare(file *ast.File) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			p.functions[d.Name.Name] = append(p.functions[d.Name.Name], d)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if v, ok := s.(*ast.ValueSpec); ok && len(v.Values) == len(v.Names) {
					for i, n := range v.Names {
						p.values[n.Name] = append(p.values[n.Name], v.Values[i])
					}
				}
			}
		}
	}
}

// written returns what the calls of printers in a file can write.
func (p *teller) written(name string, file *ast.File) (found []message) {
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			called := nameOf(c.Fun)
			at, ok := printers[called]
			switch {
			case strings.HasPrefix(called, "Fprint") && len(c.Args) > 1 && strings.Contains(strings.ToLower(nameOf(c.Args[0])), "stdout"):
				if slices.Contains(commandOutput, name) {
					return true
				}
				at, ok = 1, true
			case called == "printf" && !isOutput(c.Fun):
				return true
			}
			if !ok || at >= len(c.Args) {
				return true
			}
			texts := p.text(f, c.Args[at])
			switch called {
			case "rarely":
			case "failure", "refused":
				texts = product(texts, []string{": " + open})
			default:
				texts = p.fill(f, texts, c.Args[at+1:])
			}
			for _, text := range texts {
				found = append(found, message{strings.TrimSuffix(text, "\n"), name + ": " + f.Name.Name})
			}
			return true
		})
	}
	return found
}

// isOutput reports whether a printf is that of stdout: the others in tellers' folders write a table or a page.
func isOutput(f ast.Expr) bool {
	s, ok := f.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	switch nameOf(s.X) {
	case "notice", "stdout", "to":
		return true
	}
	return false
}

// nameOf returns the last name of an expression: that of a function, a method or a field.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// most bounds how many texts of an expression are told apart.
const most = 200

// text returns the texts that an expression in a function can be.
func (p *teller) text(in *ast.FuncDecl, e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, ok := literal(e); ok {
			return []string{s}
		}
	case *ast.ParenExpr:
		return p.text(in, e.X)
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return product(p.text(in, e.X), p.text(in, e.Y))
		}
	case *ast.Ident:
		return p.variable(in, e.Name)
	case *ast.CallExpr:
		switch called := nameOf(e.Fun); {
		case called == "Sprintf":
			return p.fill(in, p.text(in, e.Args[0]), e.Args[1:])
		case called == "Join" && len(e.Args) == 2:
			return p.text(in, e.Args[0])
		case called == "append" && len(e.Args) > 1:
			return p.text(in, e.Args[1])
		case len(p.functions[called]) > 0 && (isLocal(e.Fun) || len(p.functions[called]) == 1):
			return p.results(called)
		}
	}
	return []string{open}
}

func isLocal(f ast.Expr) bool { _, ok := f.(*ast.Ident); return ok }

// results returns the texts that functions of a name can return first.
func (p *teller) results(name string) (texts []string) {
	if p.busy[name+"()"] {
		return []string{open}
	}
	p.busy[name+"()"] = true
	defer delete(p.busy, name+"()")
	for _, f := range p.functions[name] {
		if f.Body == nil {
			continue
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false
			case *ast.ReturnStmt:
				if len(n.Results) > 0 {
					texts = append(texts, p.text(f, n.Results[0])...)
				}
			}
			return true
		})
	}
	return distinct(texts)
}

// variable returns the texts that a variable of a function, or of the package, can be.
func (p *teller) variable(in *ast.FuncDecl, name string) (texts []string) {
	key := nameOf(in.Name) + "." + name
	if p.busy[key] {
		return []string{open}
	}
	p.busy[key] = true
	defer delete(p.busy, key)
	add := func(e ast.Expr) { texts = append(texts, p.text(in, e)...) }
	body := in.Body
	if body == nil {
		body = new(ast.BlockStmt)
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, l := range n.Lhs {
				if nameOf(l) == name && len(n.Lhs) == len(n.Rhs) && n.Tok != token.ADD_ASSIGN {
					add(n.Rhs[i])
				}
			}
		case *ast.ValueSpec:
			for i, l := range n.Names {
				if l.Name == name && i < len(n.Values) {
					add(n.Values[i])
				}
			}
		case *ast.RangeStmt:
			if n.Value != nil && nameOf(n.Value) == name {
				texts = append(texts, p.elementsIn(in, n.X)...)
			}
		}
		return true
	})
	if len(texts) == 0 && len(p.values[name]) == 1 {
		add(p.values[name][0])
	}
	if len(texts) == 0 {
		return []string{open}
	}
	return distinct(texts)
}

// elements returns the texts of a list.
func (p *teller) elements(e ast.Expr) []string {
	return p.elementsIn(&ast.FuncDecl{Name: ast.NewIdent("")}, e)
}

func (p *teller) elementsIn(in *ast.FuncDecl, e ast.Expr) (texts []string) {
	list, ok := e.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	for _, element := range list.Elts {
		if kv, ok := element.(*ast.KeyValueExpr); ok {
			element = kv.Value
		}
		texts = append(texts, p.text(in, element)...)
	}
	return distinct(texts)
}

var verb = regexp.MustCompile(`%%|%[-+# 0-9.*]*[a-zA-Z]`)

// fill returns formats with their arguments in place.
func (p *teller) fill(in *ast.FuncDecl, formats []string, args []ast.Expr) (texts []string) {
	for _, format := range formats {
		filled, rest := []string{""}, args
		for len(format) > 0 {
			at := verb.FindStringIndex(format)
			if at == nil {
				break
			}
			filled = product(filled, []string{format[:at[0]]})
			with := []string{open}
			switch v := format[at[0]:at[1]]; {
			case v == "%%":
				with = []string{"%"}
			case len(rest) > 0:
				if strings.HasSuffix(v, "s") || strings.HasSuffix(v, "v") {
					with = p.text(in, rest[0])
				}
				rest = rest[1:]
			}
			filled, format = product(filled, with), format[at[1]:]
		}
		texts = append(texts, product(filled, []string{format})...)
	}
	return distinct(texts)
}

// product returns each text of a followed by each of b. If these are too many, b is open.
func product(a, b []string) (texts []string) {
	if len(a)*len(b) > most {
		b = []string{open}
	}
	for _, x := range a {
		for _, y := range b {
			texts = append(texts, x+y)
		}
	}
	return distinct(texts)
}

// distinct returns texts in order, each once.
func distinct(texts []string) []string {
	slices.Sort(texts)
	return slices.Compact(texts)
}
