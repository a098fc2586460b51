"""One attempt at a job: its project, its steps and their results."""
