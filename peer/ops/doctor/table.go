package doctor

import (
	"fmt"
	"io"
	"strings"
)

// print writes both tables, and the remedies of each row's red cells and warnings below it.
func (r report) print(w io.Writer) {
	printTable(w, hereColumns[:len(r.here.cells)+1], []row{r.here})
	if len(r.others) > 0 {
		fmt.Fprintln(w)
		printTable(w, append(otherColumns, "runs"), r.others)
	}
	switch {
	case r.well() && r.warnings() != "":
		fmt.Fprintf(w, "\nAll is well, but %s.\n", r.warnings())
	case r.well():
		fmt.Fprintln(w, "\nAll is well.")
	case r.has(red):
		fmt.Fprintln(w, "\nRepair what is RED. It keeps the checks marked ? from a result.")
	default:
		fmt.Fprintln(w, "\nThe checks marked ? have no result yet: allow more time with -for.")
	}
}

func printTable(w io.Writer, columns []string, rows []row) {
	first := len(columns[0])
	for _, r := range rows {
		first = max(first, len(r.host))
	}
	widths := make([]int, len(columns)-1)
	for i, column := range columns[1:] {
		widths[i] = len(column)
		for _, r := range rows {
			if i < len(r.cells) {
				widths[i] = max(widths[i], len(r.cells[i].mark))
			}
		}
	}
	line := func(host string, texts []string) {
		s := fmt.Sprintf("%-*s", first, host)
		for i, text := range texts {
			s += fmt.Sprintf("  %-*s", widths[i], text)
		}
		fmt.Fprintln(w, strings.TrimRight(s, " "))
	}
	line(columns[0], columns[1:])
	for _, r := range rows {
		var texts []string
		for _, c := range r.cells {
			texts = append(texts, string(c.mark))
		}
		if len(columns) > len(r.cells)+1 {
			texts = append(texts, r.runs)
		}
		line(r.host, texts)
		for i, c := range r.cells {
			if c.mark == red || c.mark.warns() {
				fmt.Fprintf(w, "  %s: %s.\n", columns[i+1], c.remedy)
			}
		}
		if r.state != "" {
			fmt.Fprintf(w, "  state: %s.\n", r.state)
		}
	}
}
