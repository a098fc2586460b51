"""Batches: many projects submitted, followed, resumed, reported and compared as one object."""
