//go:build !race

package simulation

const (
	seedShare  = 1 // of the seeds that tests run by default, one in so many runs
	usualMoves = 8 // the default of -depth
)
