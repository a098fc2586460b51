"""Bounds that the command line needs; a module of its own keeps ``--help`` fast."""

MAX_SLOTS = 64
"""Most jobs that one worker may run at a time."""
DAY_S = 86_400
"""Longest time limit of a command or a job, in seconds."""
