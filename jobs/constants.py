"""Bounds that the command line states too: its help must not wait for what is slow to import."""

MAX_SLOTS = 64
"""Jobs that one worker may run at a time."""
DAY_S = 86_400
"""Seconds that a command or a job may take at most."""
