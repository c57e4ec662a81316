package doctor

import (
	"fmt"
	"io"
	"strings"
)

// print writes both tables, and the remedies of each row's red and slow cells below it.
func (r report) print(w io.Writer) {
	printTable(w, hereColumns, []row{r.here})
	if len(r.others) > 0 {
		fmt.Fprintln(w)
		printTable(w, append(otherColumns, "runs"), r.others)
	}
	switch {
	case r.well() && r.has(slow):
		fmt.Fprintln(w, "\nAll is well, but the name service is slow.")
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
	line := func(host string, texts []string) {
		s := fmt.Sprintf("%-*s", first, host)
		for i, text := range texts {
			s += fmt.Sprintf("  %-*s", len(columns[i+1]), text)
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
			if c.mark == red || c.mark == slow {
				fmt.Fprintf(w, "  %s: %s.\n", columns[i+1], c.remedy)
			}
		}
	}
}
