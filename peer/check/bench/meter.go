//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// meter collects measurements.
type meter struct {
	program string
	key     string   // the real peers' key file; "" for none
	names   []string // in the order of their first value
	values  map[string][]float64
	units   map[string]string
}

func newMeter(program, key string) *meter {
	return &meter{program: program, key: key, values: make(map[string][]float64), units: make(map[string]string)}
}

func (m *meter) add(name string, d time.Duration) { m.addUnit(name, d.Seconds()*1000, "ms") }

func (m *meter) addUnit(name string, value float64, unit string) {
	if m.values[name] == nil {
		m.names = append(m.names, name)
	}
	m.values[name], m.units[name] = append(m.values[name], value), unit
}

// print prints the table.
func (m *meter) print(to io.Writer) {
	fmt.Fprintln(to, "| figure | median | least | most | unit | runs |\n| --- | --- | --- | --- | --- | --- |")
	for _, name := range m.names {
		v := slices.Sorted(slices.Values(m.values[name]))
		fmt.Fprintf(to, "| %s | %s | %s | %s | %s | %d |\n", name,
			short(v[len(v)/2]), short(v[0]), short(v[len(v)-1]), m.units[name], len(v))
	}
}

// short formats v with about three digits.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
