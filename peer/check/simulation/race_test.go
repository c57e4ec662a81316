//go:build race

package simulation

// The race detector makes a run eight times slower. What it looks for, the few places where runs share something, shows in
// any run, so the tests run fewer.
const (
	seedShare  = 4 // of the seeds that tests run by default, one in so many runs
	usualMoves = 7 // the default of -depth
)
