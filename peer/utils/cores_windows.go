package utils

// ForbidCores does nothing: Windows writes no dump of a process unless its owner has set that up.
func ForbidCores() {}
