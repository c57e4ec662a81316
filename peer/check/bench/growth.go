//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"memberly/peer/check/simulation"
)

// sizes are those of the simulated groups.
var sizes = []int{5, 10, 20, 50, 100, 200, 500, 1000}

// grow simulates groups of all sizes up to most, prints the table, and writes the plots to folder.
func grow(folder string, most int) error {
	var all []simulation.Growth
	fmt.Println("| hosts | formed, ms | its messages | its bytes | one removed, ms | its messages | of these the leader's | its bytes | " +
		"a tenth lost, ms | cut, ms | healed, ms | idle peer, B/s |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, n := range sizes {
		if n > most {
			break
		}
		g, err := simulation.Grow(n, 1)
		if err != nil {
			return err
		}
		all = append(all, g)
		fmt.Printf("| %d | %.1f | %d | %d | %.2f | %d | %d | %d | %.0f | %.0f | %.0f | %.0f |\n", n, ms(g.Formed),
			g.Formed.All.Messages, g.Formed.All.Bytes, ms(g.Removed), g.Removed.All.Messages, g.Removed.Leader.Messages,
			g.Removed.All.Bytes, ms(g.Lost), ms(g.Cut), ms(g.Healed), beats(g))
	}
	for _, p := range plots(all) {
		if err := os.WriteFile(filepath.Join(folder, p.file), []byte(p.svg()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func ms(c simulation.Cost) float64 { return c.Took.Seconds() * 1000 }

// beats returns what an idle peer sends, in bytes per second.
func beats(g simulation.Growth) float64 {
	return float64(g.Idle.Beats.Bytes) / simulation.IdleTime.Seconds() / float64(g.Hosts)
}

func plots(all []simulation.Growth) []plot {
	along := func(y func(simulation.Growth) float64) (points []point) {
		for _, g := range all {
			points = append(points, point{float64(g.Hosts), y(g)})
		}
		return points
	}
	return []plot{
		{"growth-time.svg", "Time until all agree, in ms (simulated network, 50 to 200 µs a packet)", []series{
			{"forming the group", along(func(g simulation.Growth) float64 { return ms(g.Formed) })},
			{"a member's process ends", along(func(g simulation.Growth) float64 { return ms(g.Removed) })},
			{"a tenth is switched off", along(func(g simulation.Growth) float64 { return ms(g.Lost) })},
			{"a cut heals", along(func(g simulation.Growth) float64 { return ms(g.Healed) })}}},
		{"growth-messages.svg", "Messages over TCP for one removal", []series{
			{"by the leader", along(func(g simulation.Growth) float64 { return float64(g.Removed.Leader.Messages) })},
			{"by each other member", along(func(g simulation.Growth) float64 {
				return float64(g.Removed.All.Messages-g.Removed.Leader.Messages) / float64(g.Hosts-2)
			})}}},
		{"growth-idle.svg", "What an idle peer sends, in bytes a second, where nothing can be broadcast", []series{
			{"heartbeats", along(beats)}}},
	}
}
