package hold

// supervises is false: Windows has no signal that asks a command to end, no process group that could be killed as a
// whole, and no pipe that a supervisor could inherit as a numbered file. A command that cannot be ended in time must not
// be started.
const supervises = false

// Supervise fails.
func Supervise([]string) int { return failure }

// killGroup is never called.
func killGroup(int) (gone bool) { return true }
