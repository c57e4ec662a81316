package network

import "time"

const (
	userTimeout     = 0x44 // TCP_MAXUNACKTIME
	userTimeoutUnit = time.Second
)
