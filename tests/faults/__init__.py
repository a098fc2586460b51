"""The fault matrix: real workers and a real broker, killed, stopped, cut off and filled."""
