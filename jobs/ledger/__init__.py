"""The record of every job in Redis: the truth about its state."""
