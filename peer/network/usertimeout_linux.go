package network

import "time"

const (
	userTimeout     = 18 // TCP_USER_TIMEOUT
	userTimeoutUnit = time.Millisecond
)
