//go:build !memberly_next

package handlers

import "memberly/peer/types"

// sendAdded sends, with each heartbeat, what wire versions after 2 add.
func (h *Handler) sendAdded() {}

// onAdded handles m, of a kind that version 2 does not have. It returns false if this version has no such kind either.
func (h *Handler) onAdded(*types.Message) bool { return false }
