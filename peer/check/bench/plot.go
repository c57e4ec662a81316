//go:build linux

package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// plot is a picture of lines over the number of hosts. Both axes are logarithmic.
type plot struct {
	file   string
	title  string
	series []series
}

type series struct {
	name   string
	points []point
}

type point struct{ x, y float64 }

// The sizes of the picture and of its margins, in pixels.
const (
	wide, high  = 720, 400
	left, right = 70, 190
	above, foot = 40, 40
)

var colours = []string{"#1f77b4", "#d62728", "#2ca02c", "#9467bd"}

// svg draws the plot.
func (p plot) svg() string {
	low, most := p.bounds()
	x := func(v float64) float64 { return left + (wide-left-right)*scale(v, low.x, most.x) }
	y := func(v float64) float64 { return high - foot - (high-above-foot)*scale(v, low.y, most.y) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", wide, high)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/><text x="%d" y="24" font-size="14">%s</text>`+"\n", wide, high, left, p.title)
	for v := low.y; v <= most.y; v *= 10 {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", left, y(v), wide-right, left-8, y(v)+4, v)
	}
	for _, at := range p.series[0].points {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%g</text>`+"\n", x(at.x), high-foot+20, at.x)
	}
	names := p.names(y)
	for i, s := range p.series {
		var path []string
		for _, at := range s.points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x(at.x), y(at.y)))
		}
		last := s.points[len(s.points)-1]
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/><text x="%.1f" y="%.1f" fill="%[2]s">%[5]s</text>`+"\n",
			strings.Join(path, " "), colours[i], x(last.x)+8, names[i], s.name)
	}
	return b.String() + "</svg>\n"
}

// names returns where the series' names stand: at their last points, or lower where another name stands there.
func (p plot) names(y func(float64) float64) []float64 {
	at, order := make([]float64, len(p.series)), make([]int, len(p.series))
	for i, s := range p.series {
		at[i], order[i] = y(s.points[len(s.points)-1].y)+4, i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(at[i], at[j]) })
	for k := 1; k < len(order); k++ {
		at[order[k]] = max(at[order[k]], at[order[k-1]]+14)
	}
	return at
}

// bounds returns the bounds of both axes. Those of y are powers of ten.
func (p plot) bounds() (low, most point) {
	low, most = point{math.Inf(1), math.Inf(1)}, point{}
	for _, s := range p.series {
		for _, at := range s.points {
			low = point{min(low.x, at.x), min(low.y, at.y)}
			most = point{max(most.x, at.x), max(most.y, at.y)}
		}
	}
	low.y, most.y = math.Pow10(int(math.Floor(math.Log10(low.y)))), math.Pow10(int(math.Ceil(math.Log10(most.y))))
	return low, most
}

// scale returns the place of v on a logarithmic axis, from 0 at low to 1 at most.
func scale(v, low, most float64) float64 { return math.Log(v/low) / math.Log(most/low) }
