package network

import "time"

const (
	userTimeout     = 0x80 // TCP_RXT_CONNDROPTIME
	userTimeoutUnit = time.Second
)
