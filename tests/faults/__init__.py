"""The fault matrix: a real broker and real workers that are killed, stopped, cut off and filled."""
